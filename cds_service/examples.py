"""One scenario for every kind of answer, answered with the knowledge that is loaded: the examples for integrators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from cds_service.answer import answer
from cds_service.protocol.errors import CdsError
from cds_service.scenarios import Scenario, scenarios
from cds_service.service import Service


@dataclass(frozen=True, slots=True)
class Example:
    """A call and what it is answered with on a given day."""

    name: str
    story: str
    request: dict[str, Any]
    status: int
    body: dict[str, Any]


def examples(service: Service, today: date, key: bytes = b"") -> Iterator[Example]:
    """Give the examples of a service, that of the demonstration first; their stories end on the given day.

    `key` is the one behind the ids of the cards.
    """
    stories = sorted(scenarios([service.id]), key=lambda scenario: scenario.name != service.demo)
    first = {_kind(story): story for story in reversed(stories)}
    for story in stories:
        if story in first.values():
            request = story.request(today)
            yield Example(story.name, story.story, request, *_answered(service, request, today, key))


def feedback_examples(shown: Iterable[Example], today: date) -> Iterator[Example]:
    """What a client may report of the first card with suggestions: that one was taken, or why none was."""
    cards = (card for example in shown for card in example.body.get("cards", ()))
    card = next((card for card in cards if {"suggestions", "overrideReasons"} <= card.keys()), None)
    if card:
        accepted = {"acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}]}
        overridden = {"overrideReason": {"reason": card["overrideReasons"][0], "userComment": "Discussed."}}
        yield _reported("accepted", "A suggestion of the card was taken.", card["uuid"], accepted, today)
        yield _reported("overridden", "The card was put aside, and for this reason.", card["uuid"], overridden, today)


def _reported(outcome: str, story: str, card: str, more: Mapping[str, Any], today: date) -> Example:
    entry = {"card": card, "outcome": outcome, **more, "outcomeTimestamp": f"{today}T12:00:00Z"}
    return Example(outcome, story, {"feedback": [entry]}, 200, {})


def _kind(scenario: Scenario) -> tuple[object, ...]:
    """What integrators tell apart: the status, and the indicators of the cards or the type of the issue."""
    expected = scenario.response()
    issues = {issue["code"] for issue in expected["body"].get("issue", ())}
    return expected["status"], *(issues or sorted({card["indicator"] for card in expected["body"]["cards"]}))


def _answered(service: Service, request: dict[str, Any], today: date, key: bytes) -> tuple[int, dict[str, Any]]:
    try:
        return 200, answer(service, request, today).response(key)
    except CdsError as error:
        return error.status, error.operation_outcome()
