"""Cards and decisions as text, the way a clinician or a tester reads them in a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_WIDTH = 92
_INDICATORS = {"info": "INFO", "warning": "WARNING", "critical": "CRITICAL"}
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


def card_text(card: Mapping[str, Any]) -> str:
    """One card: indicator, summary, detail, and the suggestions as buttons."""
    lines = [f"[{_INDICATORS[card['indicator']]}] {card['summary']}", "", *_markdown(card.get("detail", ""))]
    suggestions = card.get("suggestions", ())
    lines += [""] if suggestions else []
    for suggestion in suggestions:
        lines.append(f"[ {suggestion['label']} ]  {suggestion['actions'][0]['description']}")
    if reasons := card.get("overrideReasons"):
        lines += ["", *_wrap(f"Not now, because: {' | '.join(reason['display'] for reason in reasons)}")]
    lines += ["", f"Source: {card['source']['label']}"]
    return _boxed(lines)


def cards_text(cards: list[Mapping[str, Any]]) -> str:
    """All cards, or that there is none."""
    return "\n".join(card_text(card) for card in cards) if cards else "No card."


def explanation_text(explanation: Mapping[str, Any]) -> str:
    """The whole decision: cards, or why there is none, and what led there."""
    lines = [f"As of {explanation['today']}.", ""]
    lines += [cards_text(explanation["cards"]), ""]
    for decision in explanation["all"]:
        lines += [*_decision_lines(decision), ""]
    return "\n".join(lines).rstrip()


def _decision_lines(decision: Mapping[str, Any]) -> Iterator[str]:
    yield f"Order: {', '.join(decision['order']) or 'none'} ({decision['orderedKind'] or 'nothing selected'})"
    if decision["silence"]:
        yield f"  no card because: {decision['silence']}"
    for label, member in (
        ("outcome", "outcome"),
        ("subtype", "subtype"),
        ("evidence grade", "evidenceGrade"),
        ("tier", "tier"),
    ):
        if decision[member]:
            yield f"  {label}: {decision[member]}"
    for label, member in (
        ("options", "options"),
        ("in parallel", "parallel"),
        ("rules", "rules"),
        ("evidence", "evidence"),
        ("not read", "notRead"),
        ("unreadable", "unreadable"),
        ("not conforming to FHIR R4", "nonconforming"),
    ):
        if decision[member]:
            yield from _wrap(f"  {label}: {', '.join(decision[member])}", indent="    ")
    for session in decision["sessions"]:
        yield from _wrap(f"  session {_members(session)}", indent="    ")
    for note in decision["notes"]:
        yield from _wrap(f"  note: {note}", indent="    ")
    if decision["outcome"]:
        yield from _wrap(f"  facts: {_members(decision['facts'])}", indent="    ")


def _members(members: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in members.items())


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(str(item) for item in value)
    return " ".join(str(item) for item in value.values()) if isinstance(value, dict) else str(value)


def _markdown(text: str) -> Iterator[str]:
    """The little Markdown that our cards use, as plain text."""
    for line in text.split("\n"):
        plain = _LINK.sub(r"\1", line).replace("**", "").replace("\\*", "*")
        yield from _wrap(plain, indent="  " if plain.startswith("* ") else "") if plain else ("",)


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH - 4, subsequent_indent=indent) or [""]


def _boxed(lines: list[str]) -> str:
    edge = "-" * (_WIDTH - 2)
    body = [part for line in lines for part in (_wrap(line) if line else [""])]
    return "\n".join([f"+{edge}+", *(f"| {line:<{_WIDTH - 4}} |" for line in body), f"+{edge}+"])
