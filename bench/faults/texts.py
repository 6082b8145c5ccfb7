"""Texts that try to become more than text: in every free text of a chart, then the cards as two renderers show them.

What chart text reaches a card at all is escaped; the judge is what GitHub's own renderer and markdown-it make of the
card with raw HTML switched on, as the public sandbox does.
"""

from __future__ import annotations

import random
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import hooks
from bench.faults.measure import Measure, main
from cds_service.answer import answer
from cds_service.scenarios import scenarios
from cds_service.service import Site

TEXTS = 10_000
SEED = 20_260_604
ALLOWED = frozenset({"p", "strong", "em", "ul", "ol", "li", "a", "br", "code"})
TEXT_MEMBERS = frozenset({"text", "display", "comment", "unit", "label", "title"})
PARTS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))", "![x](https://evil.test/p.png)", "<https://evil.test>", "https://evil.test/x", "www.evil.test", "[x]: https://evil.test",
    "# Stop all medicines", "> quoted", "| a | b |\n|---|---|\n| 1 | 2 |", "```\ncode\n```", "**bold**", "~~gone~~", "- [ ] task", "1. one",
    "&lt;b&gt;", "&#60;b&#62;", "\u202eevil", "\u2066x\u2069", "\x1b[31m", "\r\n\r\nHTTP/1.1 200 OK", "<!-- comment -->", "<![CDATA[x]]>",
    "<style>*{}</style>", "<iframe src=//evil.test>", "\\", "`", "*", "_", "{0.__class__}", "{version}", "%s", "${7*7}", "{{7*7}}", "\u0000",
    "<details open ontoggle=alert(1)>", "<form action=//evil.test><input>", "javascript:alert(1)", "data:text/html,<b>", "---\n", "\n\n    indented",
)  # fmt: skip


class Tags(HTMLParser):
    """The tags of a page, and where its links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links |= {value or "" for name, value in attrs if name in {"href", "src", "action"}}
        self.tags |= {name for name, _ in attrs if name.startswith("on")}


def hostile(rng: random.Random) -> str:
    """One to four of the parts, put together."""
    return "".join(rng.choice((" ", "", "\n", "left ")) + rng.choice(PARTS) for _ in range(rng.randint(1, 4)))


def poisoned(value: Any, rng: random.Random) -> tuple[Any, int]:
    """A request with a hostile text after every free text of its resources, and how many there were."""
    count = 0

    def walk(value: Any) -> Any:
        nonlocal count
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        changed = {name: walk(item) for name, item in value.items()}
        for name in TEXT_MEMBERS & changed.keys():
            if isinstance(changed[name], str):
                changed[name], count = f"{changed[name]} {hostile(rng)}", count + 1
        if "coding" in changed and "text" not in changed:
            changed["text"], count = hostile(rng), count + 1
        if "resourceType" in changed and changed["resourceType"] not in {"Bundle", "Patient"}:
            changed["note"], count = [*(changed.get("note") or ()), {"text": hostile(rng)}], count + 1
        return changed

    return walk(value), count


def run(scale: float = 1.0) -> list[Measure]:
    """Poison the stories until enough texts were tried; judge every card twice."""
    try:
        import cmarkgfm
        from cmarkgfm.cmark import Options
        from markdown_it import MarkdownIt
    except ModuleNotFoundError as missing:
        return [Measure("Hostile texts", f"{TEXTS:,} texts", "", None, f"{missing.name} is not installed")]
    renderers = {
        "GitHub": lambda text: cmarkgfm.github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE),
        "markdown-it": MarkdownIt("gfm-like", {"html": True, "linkify": False}).render,
    }
    service = hooks.SERVICES[0](Site())
    stories = [story for story in scenarios([service.id]) if story.response()["body"].get("cards")]
    known = {name: _seen(render, service, stories) for name, render in renderers.items()}
    rng, wrong, texts, cards = random.Random(SEED), Counter[str](), 0, 0
    while texts < max(300, int(TEXTS * scale)):
        story = rng.choice(stories)
        body, count = poisoned(story.request(), rng)
        texts += count
        for card in answer(service, body, story.today).cards():
            cards += 1
            for name, render in renderers.items():
                found = Tags("".join(map(render, _texts(card))))
                wrong[name] += not (found.tags <= ALLOWED and found.links <= known[name])
    return [
        Measure(
            "Hostile texts",
            f"{TEXTS:,} texts, 2 renderers: 0 tags or links that are not ours",
            f"{texts:,} texts in {cards:,} cards: " + ", ".join(f"{name} {wrong[name]}" for name in renderers),
            cards > 0 and not any(wrong.values()),
            f"seed {SEED}",
        )
    ]


def _seen(render: Any, service: Any, stories: Any) -> set[str]:
    """The links of the cards as they are without any hostile text: those are ours."""
    cards = [card for story in stories for card in answer(service, story.request(), story.today).cards()]
    ours = {link for card in cards for link in Tags("".join(map(render, _texts(card)))).links}
    words = service.page()
    return ours | Tags(render(words)).links


def _texts(card: dict[str, Any]) -> list[str]:
    suggestions = card.get("suggestions", ())
    actions = [action for suggestion in suggestions for action in suggestion["actions"]]
    reasons = [reason["display"] for reason in card.get("overrideReasons", ())]
    return [
        card["summary"], card["detail"], card["source"]["label"], *reasons,
        *(suggestion["label"] for suggestion in suggestions), *(action["description"] for action in actions),
    ]  # fmt: skip


if __name__ == "__main__":
    main(run)
