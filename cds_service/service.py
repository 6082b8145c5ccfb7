"""The seam between engine and medicine: what a service is, what it is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from cds_service.fhir.codes import CodeIndex, Coding
from cds_service.fhir.reader import IsRelevant
from cds_service.fhir.record import Order, PatientRecord
from cds_service.protocol.card import Card, NewOrder
from cds_service.protocol.hook_request import HookRequest


class KnowledgeError(Exception):
    """A pathway file does not fit together; the message names file, table and row, and what to do."""


DECISION_EXTENSION = "org.cds-service.decision"


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a service answered as it did: the members of the public decision extension, and its silence."""

    orders: tuple[str, ...] = ()
    ordered_kind: str | None = None
    outcome: str | None = None
    subtype: str | None = None
    evidence_grade: str | None = None
    tier: str | None = None
    options: tuple[str, ...] = ()
    parallel: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    finding: tuple[str, ...] = ()  # the part of the evidence that the finding itself rests on
    sessions: tuple[Mapping[str, Any], ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    cards: tuple[str, ...] = ()
    silence: str | None = None
    silence_reason: str | None = None
    rests_on_history: bool = True


@dataclass(frozen=True, slots=True)
class Advised:
    """A card with the decision behind it."""

    card: Card
    decision: Decision


@dataclass(frozen=True, slots=True)
class Advice:
    """The cards in the order in which they are shown, and every decision, also those that ended in silence."""

    cards: tuple[Advised, ...]
    decisions: tuple[Decision, ...]


class Advise(Protocol):
    """The medicine: a pure function of what was asked, what is on file and what day it is."""

    def __call__(self, request: HookRequest, record: PatientRecord, today: date) -> Advice:
        """Advise on the selected orders."""


@dataclass(frozen=True, slots=True)
class Service:
    """One clinical question, as the EHR sees it at discovery and as the engine asks it."""

    id: str
    title: str
    hooks: Mapping[str, str]  # hook -> description
    usage_requirements: str
    prefetch: Mapping[str, str]
    required: frozenset[str]
    knowledge_version: str
    knowledge_hash: str  # of all files and settings that the advice follows from
    site: Site  # what it was built for
    checked_on: date  # when the oldest of its sources was last checked
    advise: Advise
    demo: str  # the scenario that shows what the service does
    sample_orders: Mapping[str, NewOrder]  # one draft of each kind of order, for testers; the first is the usual one
    concerns: Callable[[Order], bool]  # whether a selected order is this service's business at all
    override_reasons: tuple[Coding, ...]  # those that its cards offer, by which feedback is counted
    codes: CodeIndex  # its value sets: a resource whose code is in one of them is read
    is_relevant: IsRelevant  # whether another resource, of this type and with these words, is read too
    check: Callable[[], Iterable[str]]  # cross-checks the files thoroughly; raises KnowledgeError
    page: Callable[[], str]  # what it rests on, for its users: Markdown of the knowledge that is loaded
    source_attributes: Callable[[], Mapping[str, Any]]  # the same for developers of certified health IT


@dataclass(frozen=True, slots=True)
class Site:
    """What a site may set: its value sets and policy profile, and the addresses that cards may name."""

    value_sets: Path | None = None
    profile: str = "policy"
    public_url: str | None = None
    emergency_url: str | None = None
