"""The patient's chart as plain facts: all that the medicine ever sees of FHIR."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from cds_service.fhir.codes import Coding
from cds_service.fhir.dates import DateSpan, Moment


@dataclass(frozen=True, slots=True)
class Concept:
    """A CodeableConcept: its codings and its words (text and displays, as sent)."""

    codings: tuple[Coding, ...] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """The person in context."""

    born: DateSpan | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A problem or diagnosis that was not refuted or entered in error."""

    reference: str
    code: Concept
    active: bool
    onset: DateSpan | None = None
    recorded: DateSpan | None = None
    severity: Concept = Concept()

    @property
    def since(self) -> DateSpan | None:
        """The onset, or the day it was recorded when no onset is known."""
        return self.onset or self.recorded


@dataclass(frozen=True, slots=True)
class Procedure:
    """Something done to the patient; `performed` is the end of a period, `started` its start."""

    reference: str
    code: Concept
    status: str
    performed: Moment | None = None
    started: Moment | None = None
    body_sites: tuple[Concept, ...] = ()
    used: tuple[Concept, ...] = ()
    reasons: tuple[Concept, ...] = ()
    reason_references: tuple[str, ...] = ()
    category: Concept = Concept()
    outcome: Concept = Concept()
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """A measurement that carries a number; `out_of` is the upper end of the scale when the chart says so."""

    reference: str
    code: Concept
    measured: Moment | None
    value: Decimal
    unit: str = ""
    out_of: Decimal | None = None
    issued: str = ""
    body_site: Concept | None = None
    about: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Medication:
    """A medicine ordered, taken or given."""

    reference: str
    code: Concept
    status: str
    authored: Moment | None = None
    first: DateSpan | None = None
    last: DateSpan | None = None
    stopped_because: Concept = Concept()

    @property
    def kind(self) -> str:
        """The type of the FHIR resource it was read from."""
        return _kind_of(self.reference)


@dataclass(frozen=True, slots=True)
class Order:
    """A draft order or an active one."""

    reference: str
    code: Concept
    status: str = ""
    priority: str = ""
    authored: Moment | None = None
    body_sites: tuple[Concept, ...] = ()
    reasons: tuple[Concept, ...] = ()
    reason_references: tuple[str, ...] = ()
    performer: Concept = Concept()
    notes: str = ""
    is_prohibition: bool = False  # FHIR's modifier doNotPerform: the order is not to do it

    @property
    def has_id(self) -> bool:
        """Whether it can be referred to at all."""
        return "/" in self.reference

    @property
    def kind(self) -> str:
        """The type of the FHIR resource it was read from."""
        return _kind_of(self.reference)


@dataclass(frozen=True, slots=True)
class Allergy:
    """An allergy or intolerance that was not refuted or entered in error."""

    reference: str
    code: Concept


@dataclass(frozen=True, slots=True)
class Coverage:
    """An insurance that is not cancelled or entered in error; the words of its type and payor."""

    reference: str
    words: str


@dataclass(frozen=True, slots=True)
class PatientRecord:
    """What was read of one patient's chart, what could not be read, and which histories may be cut short."""

    patient: Patient = Patient()
    conditions: tuple[Condition, ...] = ()
    procedures: tuple[Procedure, ...] = ()
    observations: tuple[Observation, ...] = ()
    medications: tuple[Medication, ...] = ()
    orders: tuple[Order, ...] = ()
    allergies: tuple[Allergy, ...] = ()
    coverages: tuple[Coverage, ...] = ()
    unreadable: tuple[str, ...] = ()
    not_read: frozenset[str] = field(default_factory=frozenset)
    truncated: frozenset[str] = field(default_factory=frozenset)
    partial: frozenset[str] = field(default_factory=frozenset)
    _conditions_by_reference: Mapping[str, Condition] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the conditions: charts refer to them by the thousand."""
        by_reference = {condition.reference: condition for condition in self.conditions}
        object.__setattr__(self, "_conditions_by_reference", by_reference)

    def is_complete(self, key: str) -> bool:
        """Whether all that the chart holds under a prefetch key was read, so that what is absent is absent."""
        return key not in self.not_read | self.truncated | self.partial

    def conditions_named(self, references: Iterable[str]) -> tuple[Condition, ...]:
        """The conditions that these references point to."""
        return tuple(found for name in references if (found := self._conditions_by_reference.get(name)))


def _kind_of(reference: str) -> str:
    """The resource type in "Type/id" or "Type without id"."""
    return reference.partition("/")[0].removesuffix(" without id")
