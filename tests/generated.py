"""The generated parts of the documentation, between markers: python -m tests.generated rewrites them."""

from __future__ import annotations

import re
from datetime import date
from functools import cache, partial
from pathlib import Path

import orjson

import hooks
from cds_service.answer import answer
from cds_service.scenarios import find_scenario
from cds_service.service import Site
from cds_service.settings import Settings
from cds_service.terminal import cards_text
from hooks.failed_esi.knowledge import Knowledge, read_knowledge
from hooks.failed_esi.page import PARTS
from tests.conformance.items import items_table
from tests.hazards import hazards_page, threats_table

ROOT = Path(__file__).parent.parent


def settings_table() -> str:
    """Every setting with its default."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = ", ".join(default) if isinstance(default, tuple) else "" if default is None else str(default)
        rows.append(f"| `CDS_{name.upper()}` | {f'`{shown}`' if shown else ''} | {field.description} |")
    return "\n".join(rows)


def demo_card() -> str:
    """The card of the demonstration on the day of its story."""
    service = hooks.SERVICES[0](Site())
    scenario = find_scenario(service.demo, [service.id])
    today: date = scenario.today
    cards = answer(service, scenario.request(), today).cards()
    return f"```text\n{cards_text(cards)}\n```"


def demo_answer() -> str:
    """The same card as the EHR gets it, its long parts cut."""
    service = hooks.SERVICES[0](Site())
    scenario = find_scenario(service.demo, [service.id])
    response = answer(service, scenario.request(), scenario.today).response()
    text = orjson.dumps(_cut(response), option=orjson.OPT_INDENT_2).decode()
    return f"```json\n{text}\n```"


def _cut(value: object) -> object:
    """Long texts end in dots, lists after their first item; what is left is as it was."""
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in value.items()}
    if isinstance(value, list):
        return [*map(_cut, value[:1]), *(["..."] if len(value) > 1 else [])]
    return f"{value[:77]}..." if isinstance(value, str) and len(value) > 139 else value


@cache
def knowledge() -> Knowledge:
    """The knowledge as it ships."""
    return read_knowledge()


def part(name: str) -> str:
    """A part of the clinician's page."""
    return PARTS[name](knowledge())


GENERATED = {
    ("README.md", "settings"): settings_table,
    ("README.md", "card"): demo_card,
    ("README.md", "answer"): demo_answer,
    ("docs/conformance.md", "items"): items_table,
    ("docs/hazards.md", "hazards"): hazards_page,
    ("SECURITY.md", "threats"): threats_table,
    **{("hooks/failed_esi/README.md", name): partial(part, name) for name in PARTS},
}


def replaced(text: str, marker: str, content: str) -> str:
    """A text with the part between two markers replaced."""
    pattern = re.compile(rf"(<!-- {marker}:begin -->\n).*?(<!-- {marker}:end -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def main() -> None:
    """Rewrite every generated part."""
    for (name, marker), write in GENERATED.items():
        path = ROOT / name
        path.write_text(replaced(path.read_text(encoding="utf-8"), marker, write()), encoding="utf-8")


if __name__ == "__main__":
    main()
