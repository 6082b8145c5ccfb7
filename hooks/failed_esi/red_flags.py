"""Findings that come before the ladder: red flags (RF-1 to RF-7) and other pathways (EXC-1 to EXC-5)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from cds_service.fhir.codes import CodeEntry, normal_code
from cds_service.fhir.dates import DateSpan, Moment, days_before, days_between
from cds_service.fhir.record import Condition, Observation, PatientRecord
from hooks.failed_esi.anatomy import Coverage, Region, Side
from hooks.failed_esi.facts import Age, FindingFacts, FindingKind, OrderKind, Reach, columns, yes_no
from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.orders import Intent
from hooks.failed_esi.sessions import History
from hooks.failed_esi.tables import Row
from hooks.failed_esi.workup import Diagnosis

_KINDS = frozenset(str(kind) for kind in FindingKind)
_TUMOURS = frozenset({"spinal-tumour", "cord-tumour"})
# Findings that a spinal injection may cause (RF-7).
_MAY_FOLLOW = frozenset(
    {
        FindingKind.CORD_INJURY, FindingKind.BLADDER_BOWEL, FindingKind.FOOT_DROP, FindingKind.STRENGTH_FALL,
        FindingKind.WEAKNESS, FindingKind.CORD,
    }
)  # fmt: skip
# RF-1 and RF-4 do not ask whether a finding is new: a recent onset counts though an older record exists.
_COUNT_AGAIN = frozenset({FindingKind.CAUDA_EQUINA, FindingKind.CORD})
_INJECTIONS = frozenset({OrderKind.MBB, OrderKind.SIJ})
_AGES = tuple(Age)
_HIGHEST_GRADE = 5  # of muscle strength, on the MRC scale
# The seventh character of an injury code: a sequela is over, later care tells nothing of a new injury.
_SEQUELA = frozenset("S")
_LATER_CARE = frozenset("DGKPS")


class AfterInjection(NamedTuple):
    """The spinal injection that a finding followed closely, and by how many days (RF-7)."""

    elapsed: int
    days: DateSpan


class Grade(NamedTuple):
    """A grade of muscle strength, on the one day of its measurement."""

    measured: Moment
    value: Decimal
    reference: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding on file; `facts` hold what does not depend on the order."""

    label: str
    since: DateSpan | None
    references: tuple[str, ...]
    facts: FindingFacts
    families: frozenset[str] = frozenset()
    sides: frozenset[Side] = frozenset()
    regions: frozenset[Region] = frozenset()
    is_dated_by_onset: bool = False
    after: AfterInjection | None = None
    grades: tuple[Decimal, Decimal] | None = None

    def may_be(self, other: Finding) -> bool:
        """Whether a finding of the same code family may be this one: on no other side and in no other region."""
        is_one_side = not (self.sides and other.sides) or bool(self.sides & other.sides)
        is_one_region = not (self.regions and other.regions) or bool(self.regions & other.regions)
        return is_one_side and is_one_region


@dataclass(frozen=True, slots=True)
class Met:
    """A finding as one order meets it, and the row that decides about it."""

    finding: Finding
    row: Row


class Watch:
    """The findings of one chart."""

    def __init__(
        self,
        record: PatientRecord,
        diagnoses: Iterable[Diagnosis],
        history: History,
        today: date,
        knowledge: Knowledge,
    ) -> None:
        """Find them once for all orders."""
        self.today = today
        self.knowledge = knowledge
        self.criteria = knowledge.criteria
        self.injections = frozenset(_injection_days(history))
        diagnoses = tuple(diagnoses)
        self.ended = tuple(
            d.condition.since for d in diagnoses if "pregnancy-ended" in d.concepts and d.condition.since is not None
        )
        coded = _distinct(finding for d in diagnoses if d.condition.active for finding in self._coded(d))
        older = _older(coded)
        found = [self._unless_known(finding, older) for finding in coded]
        self.findings = (*found, *self._strength_falls(record.observations))

    def has_recent_injection(self) -> bool:
        """Whether a spinal injection, certain or possible, lies within the look-back (gate 3)."""
        earliest = days_before(self.today, self.criteria.esi_lookback)
        return any(days.last >= earliest for days in self.injections)

    def meet(self, intent: Intent, reach: Reach) -> tuple[Met, ...]:
        """What each finding means for an order, the weightiest first."""
        is_neck = intent.target.place.coverage is Coverage.CERVICAL_THORACIC
        met = []
        for finding in self.findings:
            facts = replace(
                finding.facts,
                reach=reach,
                neck_injection=yes_no(intent.kind is OrderKind.ESI and is_neck),
                exposes=yes_no(intent.kind in self.knowledge.traits["exposure"]),
            )
            row = self.knowledge.finding_table.decide(columns(facts))
            if row.card or row.line or row.silence:
                met.append(Met(finding, row))
        weight = [row.id for row in self.knowledge.finding_table.rows]
        return tuple(sorted(met, key=lambda one: (weight.index(one.row.id), one.finding.references)))

    def might_meet(self, intent: Intent) -> bool:
        """Whether any finding would get a card if injections that were not read were on file."""
        table = self.knowledge.finding_table
        for one in self.findings:
            facts = replace(
                one.facts,
                after_injection=yes_no(one.facts.age is Age.NEW),
                exposes=yes_no(intent.kind in self.knowledge.traits["exposure"]),
            )
            if table.decide(columns(facts)).card:
                return True
        return False

    def _coded(self, diagnosis: Diagnosis) -> Iterator[Finding]:
        condition = diagnosis.condition
        entries = {e.concept: e for e in self.knowledge.codes.find(condition.code.codings) if e.concept in _KINDS}
        for concept, entry in entries.items():
            if self._counts(FindingKind(concept), diagnosis):
                yield self._finding(FindingKind(concept), entry, diagnosis)

    def _counts(self, kind: FindingKind, diagnosis: Diagnosis) -> bool:
        condition = diagnosis.condition
        if kind is FindingKind.WEAKNESS:  # RF-3: these codes only with words of limb weakness
            return self.knowledge.words.mean("limb-weakness", condition.code.words)
        if kind is FindingKind.MALIGNANCY:
            return not diagnosis.concepts & _TUMOURS
        over = _LATER_CARE if kind is FindingKind.CORD_INJURY else _SEQUELA
        if any(_seventh(coding.system, coding.code) in over for coding in condition.code.codings):
            return False
        if kind is FindingKind.PREGNANT and condition.since:
            return not any(ended.last >= condition.since.first for ended in self.ended)
        return True

    def _finding(self, kind: FindingKind, entry: CodeEntry, diagnosis: Diagnosis) -> Finding:
        condition = diagnosis.condition
        age, since = self._age(kind, condition)
        after = self._after_injection(kind, since) if age is Age.NEW else None
        codings = condition.code.codings
        return Finding(
            label=entry.label,
            since=since,
            references=(condition.reference,),
            facts=FindingFacts(kind, age, after_injection=yes_no(after is not None)),
            families=frozenset(_family(coding.system, coding.code) for coding in codings),
            sides=self.knowledge.anatomy.sides(condition.code.words, (), codings, self.knowledge.codes),
            regions=diagnosis.place.regions,
            is_dated_by_onset=since is not None and since == condition.onset,
            after=after,
        )

    def _age(self, kind: FindingKind, condition: Condition) -> tuple[Age, DateSpan | None]:
        """How old, and by which date: the onset, else the day it was recorded (RF-5); vague dates may not tell."""
        limits = [getattr(self.criteria, name) for name in self.knowledge.windows.get(kind, ())]
        spans = [span for span in (condition.onset, condition.recorded) if span and span.first <= self.today]
        if not limits:
            return Age.NEW, (spans[0] if spans else None)
        for span in spans:
            ages = {self._age_on(day, limits) for day in (span.first, span.last)}
            if len(ages) == 1:
                return ages.pop(), span
            if ages == {Age.NEW, Age.LATELY}:
                return Age.LATELY, span
        return Age.UNDATED, None

    def _age_on(self, day: date, limits: Sequence[int]) -> Age:
        days = days_between(day, self.today)
        passed = sum(days > limit for limit in limits)
        return Age.OLD if passed == len(limits) else (Age.NEW, Age.LATELY)[passed]

    def _unless_known(self, finding: Finding, older: Mapping[tuple[FindingKind, str], Collection[Finding]]) -> Finding:
        """RF-6: an older active record of the same code family makes a finding not new."""
        if finding.facts.finding in _COUNT_AGAIN and finding.is_dated_by_onset:
            return finding
        ages = {Age.OLD} if finding.facts.age is Age.LATELY else {Age.LATELY, Age.OLD}
        same = (other for family in finding.families for other in older.get((finding.facts.finding, family), ()))
        is_known = any(other.facts.age in ages and finding.may_be(other) for other in same)
        return replace(finding, facts=replace(finding.facts, known=yes_no(is_known)))

    def _after_injection(self, kind: FindingKind, since: DateSpan | None) -> AfterInjection | None:
        """RF-7: the spinal injection that a finding certainly followed, by no more days than the limit."""
        if since is None or kind not in _MAY_FOLLOW:
            return None
        is_injury = kind is FindingKind.CORD_INJURY
        limit = self.criteria.injury_after_injection if is_injury else self.criteria.deficit_after_injection
        followed = [
            AfterInjection(days_between(days.last, since.first), days)
            for days in self.injections
            if since.first >= days.last and days_between(days.first, since.last) <= limit
        ]
        return min(followed, default=None)

    def _strength_falls(self, observations: Iterable[Observation]) -> Iterator[Finding]:
        """RF-3: one muscle, its two latest grades, and a fall between them."""
        by_muscle: dict[tuple[str, ...], list[Grade]] = {}
        for observation in observations:
            if grade := self._grade(observation):
                by_muscle.setdefault(_muscle(observation), []).append(grade)
        for grades in by_muscle.values():
            latest = sorted(grades, key=_when)
            if len(latest) > 1 and self._is_fall(before := latest[-2], after := latest[-1]):
                followed = self._after_injection(FindingKind.STRENGTH_FALL, after.measured.days)
                yield Finding(
                    label="Loss of muscle strength",
                    since=after.measured.days,
                    references=(before.reference, after.reference),
                    facts=FindingFacts(
                        FindingKind.STRENGTH_FALL, Age.NEW, after_injection=yes_no(followed is not None)
                    ),
                    after=followed,
                    grades=(before.value, after.value),
                )

    def _grade(self, observation: Observation) -> Grade | None:
        measured = observation.measured
        if measured is None or measured.day is None or measured.day > self.today:
            return None
        is_strength = self.knowledge.words.mean("muscle-strength", observation.code.words)
        is_on_scale = observation.out_of in {None, _HIGHEST_GRADE} and 0 <= observation.value <= _HIGHEST_GRADE
        return Grade(measured, observation.value, observation.reference) if is_strength and is_on_scale else None

    def _is_fall(self, before: Grade, after: Grade) -> bool:
        is_recent = days_between(after.measured.days.first, self.today) <= self.criteria.red_flag_motor
        is_weak = after.value <= self.criteria.strength_at_most
        is_later = after.measured.is_after(before.measured)
        return is_recent and is_later and is_weak and before.value - after.value >= self.criteria.strength_fall


def _injection_days(history: History) -> Iterator[DateSpan]:
    """When the spine was injected, certainly or possibly."""
    yield from (session.days for session in history.sessions)
    yield from (i.days for i in history.interventions if i.kind in _INJECTIONS)
    yield from (u.days for u in history.uncounted if u.days)


def _muscle(observation: Observation) -> tuple[str, ...]:
    """What was measured, by its words and codes: two values are compared only when these are the same."""
    site = observation.body_site
    words = [observation.code.words, site.words if site else ""]
    codes = sorted(f"{c.system}|{c.code}" for c in (*observation.code.codings, *(site.codings if site else ())))
    return (*(" ".join(word.lower().split()) for word in words), *codes)


def _family(system: str, code: str) -> str:
    """The category of an ICD-10-CM code, its first three characters; of other systems the code itself."""
    return normal_code(system, code)[:3] if system == "icd-10-cm" else f"{system}|{code}"


def _seventh(system: str, code: str) -> str:
    """The seventh character of an ICD-10-CM code, which for injuries tells the stage of care."""
    normal = normal_code(system, code)
    return normal[6:] if system == "icd-10-cm" and len(normal) == 7 else ""


def _when(grade: Grade) -> tuple[date, str, str]:
    clock = grade.measured.clock
    return grade.measured.days.first, clock.time().isoformat() if clock else "", grade.reference


def _distinct(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that say the same, as problem list and visits do, are one; their references are joined."""
    by_content: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        content = (finding.label, finding.since, finding.facts, finding.families, finding.sides, finding.regions)
        by_content.setdefault(content, []).append(finding)
    return [
        replace(same[0], references=tuple(reference for one in same for reference in one.references))
        for same in by_content.values()
    ]


def _older(findings: Iterable[Finding]) -> dict[tuple[FindingKind, str], list[Finding]]:
    """Findings that are not new by kind and family, one of each side, region and age."""
    found: dict[tuple[FindingKind, str], dict[tuple[object, ...], Finding]] = {}
    for finding in findings:
        if finding.facts.age in {Age.LATELY, Age.OLD}:
            for family in finding.families:
                of_family = found.setdefault((finding.facts.finding, family), {})
                of_family[finding.facts.age, finding.sides, finding.regions] = finding
    return {key: list(of_family.values()) for key, of_family in found.items()}
