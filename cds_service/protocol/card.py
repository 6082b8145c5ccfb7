"""Cards and suggestions as a service gives them; protocol/response.py writes them as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cds_service.fhir.codes import Coding

MAX_SUMMARY = 139  # "fewer than 140 characters"


class Indicator(StrEnum):
    """How much a card should stand out."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class NewOrder:
    """A draft order that a suggestion creates: what to order, never how much."""

    kind: str
    codings: tuple[Coding, ...]
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One action the clinician may take: create a new draft, or remove one of the drafts in the request."""

    label: str
    description: str
    create: NewOrder | None = None
    remove: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Who says so: the rule set and its version, and where it can be read."""

    label: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """An address the clinician may open; it leaves the EHR."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Card:
    """Advice for one clinical question. `id` is constant and names the kind of card."""

    id: str
    summary: str
    detail: str
    indicator: Indicator
    source: Source
    topic: Coding
    suggestions: tuple[Suggestion, ...] = ()
    links: tuple[Link, ...] = ()
    override_reasons: tuple[Coding, ...] = ()
