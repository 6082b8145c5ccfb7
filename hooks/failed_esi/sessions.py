"""Which procedures are injection sessions (DET), what else was done to the spine, and how sessions form episodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial, reduce

from cds_service.fhir.codes import Coding
from cds_service.fhir.dates import DateSpan, Moment, days_before, days_between
from cds_service.fhir.record import Concept, PatientRecord, Procedure
from hooks.failed_esi.facts import OrderKind
from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.orders import (
    BILLING_SYSTEMS,
    SPINE_DIAGNOSES,
    Target,
    drugs_in,
    is_drug,
    is_elsewhere,
    names_esi,
    needs_sign,
    procedure_kind,
    read_target,
    reason_codings,
)

_LOOK_ALIKE_REASONS = frozenset({"malignancy", "pregnancy"})
_GIVEN = frozenset({"completed", "in-progress"})

# What ends the follow-up of a session (OBS-7) and what ends an episode (EPI-1).
ENDS_FOLLOW_UP = frozenset(
    {
        OrderKind.ESI,
        OrderKind.RFA,
        OrderKind.SCS_IMPLANT,
        OrderKind.DECOMPRESSION,
        OrderKind.MILD,
        OrderKind.FUSION,
    }
)
# More sessions than anybody is given; a chart that claims more is not searched further back.
_MOST_SESSIONS = 24
OPERATIONS = frozenset({OrderKind.DECOMPRESSION, OrderKind.FUSION, OrderKind.MILD})


@dataclass(frozen=True, slots=True)
class Intervention:
    """A procedure on the spine, other than an injection session."""

    kind: OrderKind
    days: DateSpan
    target: Target
    procedure: Procedure
    is_therapeutic: bool

    @property
    def day(self) -> date | None:
        """The day it was done, when it is known exactly."""
        return self.days.day

    @property
    def is_on_the_spine(self) -> bool:
        """Whether it could change pain on the day it was done; an image or an exercise does not (OBS-6)."""
        return self.kind not in {OrderKind.IMAGING, OrderKind.PT, OrderKind.REFERRAL}


@dataclass(frozen=True, slots=True)
class Session:
    """All injections of one day in one coverage region (DET-6)."""

    days: DateSpan
    target: Target
    procedures: tuple[Procedure, ...]
    rules: tuple[str, ...]
    flags: frozenset[str] = frozenset()

    @property
    def day(self) -> date | None:
        """The day it took place, when it is known exactly."""
        return self.days.day

    @property
    def ended(self) -> Moment | None:
        """The end of its last injection, when every one was written with a clock of the same kind."""
        ends = [p.performed for p in self.procedures if p.performed and p.performed.clock]
        kinds = {end.clock.tzinfo is None for end in ends if end.clock}
        if len(ends) < len(self.procedures) or len(kinds) != 1:
            return None
        return reduce(lambda latest, end: end if end.is_after(latest) else latest, ends)


@dataclass(frozen=True, slots=True)
class Uncounted:
    """An injection that does not count, and the rule that says so."""

    reference: str
    rule: str
    is_possible: bool = False
    days: DateSpan | None = None  # when the spine was injected all the same


@dataclass(frozen=True, slots=True)
class History:
    """What was done to the spine, oldest first."""

    sessions: tuple[Session, ...]
    interventions: tuple[Intervention, ...]
    uncounted: tuple[Uncounted, ...]
    undated: tuple[str, ...]


def read_history(record: PatientRecord, today: date, knowledge: Knowledge) -> History:
    """Sort the procedures on file into sessions, other interventions and look-alikes; future ones are ignored."""
    injections: list[_Injection] = []
    interventions: list[Intervention] = []
    uncounted: list[Uncounted] = []
    undated: list[str] = []
    days_with = _DaysWith.read(record, knowledge)
    for procedure in record.procedures:
        detected = _detect(procedure, record, days_with, knowledge)
        if isinstance(detected, Uncounted):
            uncounted.append(detected)
            continue
        kind = detected.kind if detected else procedure_kind(procedure.code, knowledge)
        if kind is None or procedure.status != "completed":  # DET-5
            continue
        days = _days(procedure, today)
        if days is None:
            if procedure.performed is None:
                undated.append(procedure.reference)
        elif detected:
            injections.append(_Injection(days, detected, procedure))
        elif kind is not OrderKind.PT or not is_elsewhere(
            procedure.body_sites, reason_codings(procedure, record), knowledge
        ):
            interventions.append(_intervention(kind, days, procedure, record, knowledge))
    return History(
        sessions=tuple(sorted(_sessions(injections), key=partial(_recency, today=today, knowledge=knowledge))),
        interventions=tuple(sorted(interventions, key=lambda i: (i.days.last, i.days.first, i.procedure.reference))),
        uncounted=tuple(uncounted),
        undated=tuple(undated),
    )


def sessions_in_cap_period(history: History, target: Target, since: date) -> tuple[Session, ...]:
    """D-1c: the sessions of the coverage region that certainly took place after a date.

    A vague one whose days hold an exact one may be the same session recorded twice, and is not counted (DET-6).
    """
    counted = [
        session
        for session in history.sessions
        if session.days.first > since and session.target.place.coverage == target.place.coverage is not None
    ]
    exact = [session.day for session in counted if session.day]
    return tuple(s for s in counted if s.day or not any(s.days.first <= day <= s.days.last for day in exact))


def target_sessions(
    history: History, target: Target, today: date, knowledge: Knowledge, *, is_injection: bool
) -> tuple[Session, ...]:
    """The sessions at the target of an order within the look-back, oldest first.

    For an injection the anatomic regions have to match (REG-3); for other orders lumbar and sacral are one.
    """
    earliest = days_before(today, knowledge.criteria.esi_lookback)
    found = [
        session
        for session in history.sessions
        if session.days.last >= earliest
        and (session.target.place.matches if is_injection else session.target.place.reaches)(target.place)
        and not session.target.is_other_than(target)
    ]
    return tuple(found[-_MOST_SESSIONS:])


def episode(history: History, target: Target, knowledge: Knowledge) -> tuple[Session, ...]:
    """EPI-1: the last session of the region, on any side, and those before it without a long gap or an operation."""
    chain: list[Session] = []
    in_region = [session for session in history.sessions if session.target.place.matches(target.place)]
    for session in reversed(in_region[-_MOST_SESSIONS:]):
        if chain and _is_broken(session, chain[-1], history, knowledge):
            break
        chain.append(session)
    return tuple(reversed(chain))


def is_after(days: DateSpan, other: DateSpan) -> bool:
    """Whether one certainly took place on a later day than the other."""
    return days.first > other.last


@dataclass(frozen=True, slots=True)
class _Detected:
    """An injection that counts."""

    rule: str
    target: Target
    flags: frozenset[str]
    kind: OrderKind = OrderKind.ESI


@dataclass(frozen=True, slots=True)
class _Injection:
    days: DateSpan
    detected: _Detected
    procedure: Procedure


@dataclass(frozen=True, slots=True)
class _DaysWith:
    """The days on which something else happened that tells what an injection was."""

    steroid: frozenset[date]
    delivery: frozenset[date]

    @classmethod
    def read(cls, record: PatientRecord, knowledge: Knowledge) -> _DaysWith:
        """The days of a corticosteroid given, and of a pregnancy or delivery coded."""
        given = (
            (medicine.authored.days if medicine.authored else medicine.first)
            for medicine in record.medications
            if medicine.kind == "MedicationAdministration"
            and medicine.status in _GIVEN
            and is_drug("corticosteroid", medicine, knowledge)
        )
        coded = (
            condition.since
            for condition in record.conditions
            if "pregnancy" in knowledge.codes.concepts(condition.code.codings)
        )
        return cls(_exact_days(given), _exact_days(coded))


def _exact_days(spans: Iterable[DateSpan | None]) -> frozenset[date]:
    return frozenset(span.day for span in spans if span and span.day)


def _detect(
    procedure: Procedure, record: PatientRecord, days_with: _DaysWith, knowledge: Knowledge
) -> _Detected | Uncounted | None:
    """DET-1 to DET-5 for one procedure; None when it is no spinal injection of this kind at all."""
    entries = knowledge.codes.find(procedure.code.codings)
    concepts = frozenset(entry.concept for entry in entries)
    esi = tuple(entry for entry in entries if entry.concept == "esi")
    evidence = _InjectionEvidence(procedure, concepts, reason_codings(procedure, record), days_with, knowledge)
    is_open = needs_sign(esi) if esi else "esi-possible" in concepts
    if not esi and not is_open and not evidence.is_named_in_words():
        return None
    rule = "DET-1" if esi and not is_open else "DET-2"
    if procedure.status != "completed":
        return Uncounted(procedure.reference, "DET-5")
    if rule == "DET-2" and evidence.is_look_alike():
        return Uncounted(procedure.reference, "DET-3")
    days = procedure.performed.days if procedure.performed else None
    if evidence.is_anaesthetic_only():
        return Uncounted(procedure.reference, "DET-1", days=days)
    if is_open and not (evidence.has_steroid() or evidence.has_spine_reason()):
        return Uncounted(procedure.reference, "DET-2", is_possible=True, days=days)
    has_no_guidance = any(entry.attributes.get("guidance") == "none" for entry in esi)
    return _Detected(
        rule=rule,
        target=read_target(
            esi or entries,
            procedure.code.words,
            procedure.body_sites,
            evidence.reasons,
            evidence.drugs(),
            knowledge,
        ),
        flags=frozenset({"no-guidance"}) if has_no_guidance else frozenset(),
    )


class _InjectionEvidence:
    """What speaks for and against a procedure being an epidural steroid injection."""

    def __init__(
        self,
        procedure: Procedure,
        concepts: frozenset[str],
        reasons: tuple[Coding, ...],
        days_with: _DaysWith,
        knowledge: Knowledge,
    ) -> None:
        self.procedure = procedure
        self.concepts = concepts
        self.reasons = reasons
        self.days_with = days_with
        self.knowledge = knowledge
        self.day = procedure.performed.day if procedure.performed else None

    def is_named_in_words(self) -> bool:
        """Terminology 1.1 (d): by words alone, where no code of a billing system or of a look-alike says otherwise."""
        code = self.procedure.code
        if self.concepts - SPINE_DIAGNOSES or any(coding.system in BILLING_SYSTEMS for coding in code.codings):
            return False
        if names_esi(code.words, self.knowledge):
            return True
        return self.knowledge.words.mean("esi-text", code.words) and self.has_steroid()

    def has_steroid(self) -> bool:
        """A steroid in the words, the substances used, or given on the same day."""
        texts = (
            self.procedure.code.words,
            self.procedure.notes,
            *(used.words for used in self.procedure.used),
        )
        if self.knowledge.words.mean("steroid", *texts):
            return True
        codings = [coding for used in self.procedure.used for coding in used.codings]
        return "corticosteroid" in self.knowledge.codes.concepts(codings) or self.day in self.days_with.steroid

    def has_spine_reason(self) -> bool:
        """A reason, coded or in words, that is pain from the spine."""
        reasons = [reason.words for reason in self.procedure.reasons]
        return bool(self.knowledge.codes.concepts(self.reasons) & SPINE_DIAGNOSES) or self.knowledge.words.mean(
            "spine-pain", *reasons
        )

    def is_look_alike(self) -> bool:
        """DET-3: labour, chemotherapy, pump trials and the like, which a code between the laminae covers as well."""
        procedure = self.procedure
        texts = [
            procedure.code.words,
            procedure.category.words,
            *(reason.words for reason in procedure.reasons),
        ]
        if self.knowledge.words.mean("look-alike", *texts, *(used.words for used in procedure.used)):
            return True
        if self.knowledge.codes.concepts(self.reasons) & _LOOK_ALIKE_REASONS:
            return True
        return "not-esi" in self.concepts or self.day in self.days_with.delivery

    def is_anaesthetic_only(self) -> bool:
        """DET-1: marked as a root block, or nothing but local anaesthetic used."""
        if self.has_steroid():
            return False
        mean = self.knowledge.words.mean
        if mean("anaesthetic-only", self.procedure.code.words, self.procedure.notes):
            return True
        return bool(self.procedure.used) and all(mean("local-anaesthetic", used.words) for used in self.procedure.used)

    def drugs(self) -> frozenset[str]:
        """The corticosteroids named."""
        texts = (
            self.procedure.code.words,
            self.procedure.notes,
            *(used.words for used in self.procedure.used),
        )
        named = (drugs_in(text, self.knowledge) for text in texts)
        coded = self.knowledge.codes.find(coding for used in self.procedure.used for coding in used.codings)
        labels = frozenset(e.label for e in coded if e.concept == "corticosteroid" and e.system == "rxnorm")
        return labels.union(*named)


def _recency(session: Session, today: date, knowledge: Knowledge) -> tuple[bool, date, date]:
    """Sorts by the latest possible day; a vague date never hides a session that is surely too recent to judge."""
    is_recent = days_between(session.days.first, today) < knowledge.criteria.earliest_evaluation
    return is_recent, session.days.last, session.days.first


def _days(procedure: Procedure, today: date) -> DateSpan | None:
    """The days on which it may have happened; None without a date or with one in the future."""
    if procedure.performed is None or procedure.performed.days.first > today:
        return None
    return procedure.performed.days


def _intervention(
    kind: OrderKind, days: DateSpan, procedure: Procedure, record: PatientRecord, knowledge: Knowledge
) -> Intervention:
    entries = knowledge.codes.find(procedure.code.codings)
    used = Concept(
        tuple(c for used in procedure.used for c in used.codings), "; ".join(u.words for u in procedure.used)
    )
    return Intervention(
        kind=kind,
        days=days,
        target=read_target(
            entries,
            procedure.code.words,
            procedure.body_sites,
            reason_codings(procedure, record),
            frozenset(),
            knowledge,
        ),
        procedure=procedure,
        is_therapeutic=any(entry.attributes.get("purpose") == "therapeutic" for entry in entries)
        or knowledge.words.mean("therapeutic", procedure.code.words)
        or "corticosteroid" in knowledge.codes.concepts(used.codings)
        or knowledge.words.mean("steroid", used.words),
    )


def _sessions(injections: Iterable[_Injection]) -> Iterator[Session]:
    """DET-6: one session for each day and coverage region; a record without a region joins the day's only one."""
    by_days: dict[DateSpan, list[_Injection]] = {}
    for injection in injections:
        by_days.setdefault(injection.days, []).append(injection)
    for days, group in by_days.items():
        coverages = {i.detected.target.place.coverage for i in group}
        known = coverages - {None}
        if len(known) == 1:
            yield _session(days, group)
            continue
        for coverage in coverages:
            yield _session(days, [i for i in group if i.detected.target.place.coverage == coverage])


def _session(days: DateSpan, injections: list[_Injection]) -> Session:
    injections = sorted(injections, key=lambda injection: injection.procedure.reference)
    targets = [injection.detected.target for injection in injections]
    place = targets[0].place
    for target in targets[1:]:
        place = place.joined(target.place)
    approaches = {target.approach for target in targets if target.approach}
    return Session(
        days=days,
        target=Target(
            place=place,
            sides=frozenset(side for target in targets for side in target.reached_sides),
            approach=approaches.pop() if len(approaches) == 1 else None,
            drugs=frozenset(drug for target in targets for drug in target.drugs),
            is_approach_open=any(target.is_approach_open for target in targets),
        ),
        procedures=tuple(injection.procedure for injection in injections),
        rules=tuple(sorted({injection.detected.rule for injection in injections})),
        flags=frozenset(flag for injection in injections for flag in injection.detected.flags),
    )


def _is_broken(session: Session, later: Session, history: History, knowledge: Knowledge) -> bool:
    if days_between(session.days.last, later.days.first) > knowledge.criteria.episode_gap:
        return True
    return any(
        intervention.kind in OPERATIONS
        and intervention.target.place.reaches(session.target.place)
        and not is_after(session.days, intervention.days)
        and not is_after(intervention.days, later.days)
        for intervention in history.interventions
    )
