"""From one intent and one chart to facts, from facts to rows: state, tier, options and what is said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cached_property

from cds_service.fhir.dates import days_between, months_before, years_before
from cds_service.fhir.record import Order, PatientRecord
from cds_service.protocol.hook_request import HookRequest
from hooks.failed_esi.anatomy import Place
from hooks.failed_esi.facts import (
    Cap,
    Facts,
    Interval,
    OrderKind,
    Outcome,
    Payer,
    Person,
    Progress,
    Reach,
    State,
    Strength,
    SurgeryGap,
    Switch,
    Taken,
    YesNo,
    columns,
    yes_no,
)
from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.orders import (
    Intent,
    Target,
    ablation_target,
    fits_a_red_flag,
    is_benzodiazepine,
    is_drug,
    is_elsewhere,
    is_urgent,
    order_kind,
    order_target,
    reason_codings,
)
from hooks.failed_esi.outcome import Assessment, Judge
from hooks.failed_esi.red_flags import Met, Watch
from hooks.failed_esi.sessions import (
    History,
    Session,
    episode,
    is_after,
    read_history,
    sessions_in_cap_period,
    target_sessions,
)
from hooks.failed_esi.tables import Row
from hooks.failed_esi.workup import Chart, Workup

_FROM_WORKUP = tuple(field.name for field in fields(Facts) if hasattr(Workup, field.name))
_LEADS = frozenset({OrderKind.SCS_TRIAL, OrderKind.SCS_IMPLANT})
_STATES = {
    Outcome.NOT_YET_EVALUABLE: State.NOT_YET_EVALUABLE,
    Outcome.FAILED: State.FAILED,
    Outcome.PARTIAL: State.PARTIAL,
    Outcome.UNKNOWN: State.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class CapCount:
    """The sessions in the coverage region within so many months, and how many are usual."""

    sessions: tuple[Session, ...]
    limit: int
    months: int

    @property
    def is_reached(self) -> bool:
        """Whether there are as many as the limit allows, or more."""
        return len(self.sessions) >= self.limit


@dataclass(frozen=True, slots=True)
class Case:
    """Everything known and decided about one intent; what the cards are written from."""

    intent: Intent
    target: Target
    facts: Facts
    assessments: tuple[Assessment, ...]
    cap: CapCount
    workup: Workup | None
    tier: Row
    options: tuple[str, ...]
    already_ordered: tuple[str, ...]
    parallel: tuple[str, ...]
    rows: tuple[Row, ...]
    met: tuple[Met, ...]
    chart: Chart
    changed_technique: bool
    grade: str | None

    @property
    def governing(self) -> Assessment | None:
        """The assessment that decides: of the most recent session at the target."""
        return self.assessments[-1] if self.assessments else None

    @property
    def said(self) -> tuple[Row, ...]:
        """The rows that say something."""
        return tuple(row for row in self.rows if row.card)

    @property
    def silence(self) -> str | None:
        """Why nothing is said, when nothing is."""
        return None if self.said else next((row.silence for row in self.rows if row.silence), None)


@dataclass(frozen=True, slots=True)
class _Placed:
    """An order on file or beside this one, and the place it is for."""

    order: Order
    kind: OrderKind
    place: Place
    is_draft: bool


class Pathway:
    """The pathway for one patient on one day."""

    def __init__(self, request: HookRequest, record: PatientRecord, today: date, knowledge: Knowledge) -> None:
        """Read the history once for all intents."""
        self.request = request
        self.record = record
        self.today = today
        self.knowledge = knowledge
        self.criteria = knowledge.criteria
        self.history: History = read_history(record, today, knowledge)
        self.judge = Judge(record, self.history, today, knowledge)
        self.chart = Chart(record, self.history, self.judge.reports, today, knowledge)
        self.watch = Watch(record, self.chart.diagnoses, self.history, today, knowledge)

    def decide(self, intent: Intent) -> Case:
        """Establish the facts of one intent and look up what follows."""
        target = self._target(intent)
        person = self._person()
        # Gates 1 and 2: what is not about the spine, or not about an adult, is not looked into.
        is_ours = intent.kind is not OrderKind.UNRELATED and person is Person.ADULT
        is_injection = intent.kind is OrderKind.ESI
        found = target_sessions(self.history, target, self.today, self.knowledge, is_injection=is_injection)
        sessions = found if is_ours else ()
        is_radicular = self.chart.is_radicular(target.place)
        assessments = tuple(self.judge.assess(session, is_radicular=is_radicular) for session in sessions)
        governing = assessments[-1] if assessments else None
        workup = self.chart.workup(target.place, governing.session) if governing else None
        cap = self._cap(target)
        n_failed = self._n_failed(assessments, target)
        changed = governing is not None and target.differs_in_technique_from(governing.session.target)
        facts = Facts(
            ordered=intent.kind,
            person=person,
            state=self._state(assessments),
            interval=self._interval(governing),
            cap=Cap.REACHED if cap.is_reached else Cap.BELOW,
            strength=_strength(governing, is_retry=n_failed == 1 and changed),
            sedating=self._sedating(intent),
            ablation_target=ablation_target(intent, self.knowledge),
            surgery_gap=self._surgery_gap(governing),
            payer=self._payer(),
            diagnoses_read=yes_no(self.record.is_complete("conditions")),
            payer_checks=Switch.ON if self.knowledge.has_payer_checks else Switch.OFF,
        )
        if workup:
            facts = self._beside_drafts(_with_workup(facts, workup), intent)
        met = self._met(replace(intent, target=target), person, has_session=governing is not None)
        overriding = _overriding(met, intent, self.knowledge)
        tier = overriding[0] if overriding else self.knowledge.tier_table.decide(columns(facts))
        offered = self._offered(tier.options, facts)
        ordered = self._ordered_since(governing, intent, target)
        facts = replace(facts, progress=self._progress(offered, ordered))
        by_name = columns(facts)
        return Case(
            intent=intent,
            target=target,
            facts=facts,
            assessments=assessments,
            cap=cap,
            workup=workup,
            tier=tier,
            options=tuple(option for option in offered if not self._is_ordered(option, ordered)),
            already_ordered=tuple(option for option in offered if self._is_ordered(option, ordered)),
            parallel=self._parallel(tier, by_name, ordered),
            rows=overriding or tuple(table.decide(by_name) for table in self.knowledge.order_tables),
            met=met,
            chart=self.chart,
            changed_technique=changed,
            grade=_grade(governing, target),
        )

    def _target(self, intent: Intent) -> Target:
        """An order that is no injection and names no region takes that of the latest session anywhere.

        The level of a stimulator order is where its leads go, not where the pain is.
        """
        is_placed = intent.target.place.coverage is not None and intent.kind not in _LEADS
        if is_placed or not self.history.sessions:
            return intent.target
        return replace(intent.target, place=self.history.sessions[-1].target.place)

    def _person(self) -> Person:
        """EXC-6; a birth date known only to the month or year counts when every day of it agrees."""
        born = self.record.patient.born
        latest = years_before(self.today, self.criteria.adult_age)
        if born is None or born.first <= latest < born.last:
            return Person.AGE_UNKNOWN
        return Person.ADULT if born.last <= latest else Person.CHILD

    def _state(self, assessments: tuple[Assessment, ...]) -> State:
        if not assessments:
            return State.NO_SESSION
        last = assessments[-1]
        if last.outcome is Outcome.SUCCESS:
            is_confirmed = last.subtype == "durability-confirmed"
            return State.SUCCESS if is_confirmed else State.SUCCESS_NOT_CONFIRMED
        before = assessments[-2].outcome if len(assessments) > 1 else None
        if last.outcome is Outcome.PARTIAL and before in {Outcome.PARTIAL, Outcome.FAILED}:
            return State.PARTIAL_AGAIN
        return _STATES[last.outcome]

    def _interval(self, governing: Assessment | None) -> Interval:
        """D-1b: too short only when every day on which the session may have taken place is too recent."""
        if governing is None:
            return Interval.LONG_ENOUGH
        elapsed = days_between(governing.session.days.first, self.today)
        return Interval.TOO_SHORT if elapsed < self.criteria.min_gap else Interval.LONG_ENOUGH

    def _cap(self, target: Target) -> CapCount:
        """D-1c: the sessions against the limit of the year, or the shorter one that some payers add."""
        criteria = self.criteria
        yearly = CapCount(self._counted(target, criteria.cap_months), criteria.cap_sessions, criteria.cap_months)
        if yearly.is_reached or not criteria.second_cap_sessions:
            return yearly
        sessions = self._counted(target, criteria.second_cap_months)
        shorter = CapCount(sessions, criteria.second_cap_sessions, criteria.second_cap_months)
        return shorter if shorter.is_reached else yearly

    def _counted(self, target: Target, months: int) -> tuple[Session, ...]:
        return sessions_in_cap_period(self.history, target, months_before(self.today, months))

    def _met(self, intent: Intent, person: Person, *, has_session: bool) -> tuple[Met, ...]:
        """Gates 3 and 5: the findings that this order is checked for."""
        is_specific = str(intent.kind) in self.knowledge.red_flags["spine_specific"]
        if intent.kind is OrderKind.UNRELATED or person is Person.CHILD:
            return ()
        if not is_specific and not self.watch.has_recent_injection():
            return ()
        is_whole = person is Person.ADULT and (has_session or intent.kind is OrderKind.ESI)
        return self.watch.meet(intent, Reach.ALL if is_whole else Reach.RED_FLAGS)

    def _sedating(self, intent: Intent) -> YesNo:
        """D-9: whether a drafted medicine is a gabapentinoid or a tricyclic."""
        is_sedating = any(is_drug("sedating-neuropathic", order, self.knowledge) for order in intent.orders)
        return yes_no(is_sedating)

    def _beside_drafts(self, facts: Facts, intent: Intent) -> Facts:
        """A sedative that is drafted too, or is itself the order, is one that will be taken."""
        drafts = (*self.request.selected, *self.request.other_drafts)
        others = [order for order in drafts if order not in intent.orders]
        has_opioid = any(order_kind(order, self.knowledge) is OrderKind.OPIOID for order in others)
        has_sedative = has_opioid or any(
            order_kind(order, self.knowledge) is OrderKind.OPIOID or is_benzodiazepine(order, self.knowledge)
            for order in drafts
        )
        is_medicine = intent.kind is OrderKind.NEUROPATHIC
        return replace(
            facts,
            opioid=Taken.TAKEN if has_opioid and is_medicine else facts.opioid,
            sedative=Taken.TAKEN if has_sedative else facts.sedative,
        )

    def _surgery_gap(self, governing: Assessment | None) -> SurgeryGap:
        """D-11, D-12: the days since the last session, all of which must agree that it was so recent."""
        elapsed = days_between(governing.session.days.first, self.today) if governing else None
        if elapsed is None or elapsed > self.criteria.surgery_gap_long:
            return SurgeryGap.LONG
        return SurgeryGap.SHORT if elapsed < self.criteria.surgery_gap_short else SurgeryGap.MEDIUM

    def _payer(self) -> Payer:
        is_medicare = any(self.knowledge.words.mean("medicare", coverage.words) for coverage in self.record.coverages)
        return Payer.MEDICARE if is_medicare else Payer.OTHER

    def _n_failed(self, assessments: tuple[Assessment, ...], target: Target) -> int:
        """EPI-2: failed sessions of the episode since its last success."""
        members = episode(self.history, target, self.knowledge)
        count = 0
        for assessment in assessments:
            if assessment.session not in members:
                continue
            if assessment.outcome is Outcome.SUCCESS:
                count = 0
            count += assessment.outcome is Outcome.FAILED
        return count

    def _offered(self, options: Iterable[str], facts: Facts) -> tuple[str, ...]:
        by_name = columns(facts)
        offered = self.knowledge.offered
        return tuple(option for option in options if option not in offered or offered[option].holds(by_name))

    def _ordered_since(self, governing: Assessment | None, intent: Intent, target: Target) -> frozenset[OrderKind]:
        """The kinds of order for the region placed after the governing session, or drafted beside this one."""
        if governing is None:
            return frozenset()
        ours = {order.reference for order in intent.orders}
        return frozenset(
            placed.kind
            for placed in self._orders
            if placed.place.reaches(target.place)
            and (
                placed.order.reference not in ours
                if placed.is_draft
                else self._was_placed_after(placed.order, governing.session)
            )
        )

    @cached_property
    def _orders(self) -> tuple[_Placed, ...]:
        """Every draft and active order that concerns the spine, with the place it names, if any."""
        drafts = [(order, True) for order in (*self.request.selected, *self.request.other_drafts)]
        active = [(order, False) for order in self.record.orders if order.status == "active"]
        return tuple(
            _Placed(order, kind, order_target(order, self.record, self.knowledge).place, is_draft)
            for order, is_draft in (*drafts, *active)
            if (kind := order_kind(order, self.knowledge)) is not OrderKind.UNRELATED
            and not is_elsewhere(order.body_sites, reason_codings(order, self.record), self.knowledge)
        )

    def _was_placed_after(self, order: Order, session: Session) -> bool:
        if order.authored is None or order.authored.days.first > self.today:
            return False
        is_same_day_after = session.ended is not None and order.authored.is_after(session.ended)
        return is_after(order.authored.days, session.days) or is_same_day_after

    def _is_ordered(self, option: str, ordered: frozenset[OrderKind]) -> bool:
        return bool(self.knowledge.ordered_through.get(option, frozenset()) & ordered)

    def _progress(self, offered: Iterable[str], ordered: frozenset[OrderKind]) -> Progress:
        """SUP-2: all options that can be ordered have been."""
        orderable = [option for option in offered if option in self.knowledge.ordered_through]
        is_all = bool(orderable) and all(self._is_ordered(option, ordered) for option in orderable)
        return Progress.ALL_ORDERED if is_all else Progress.OPEN

    def _parallel(self, tier: Row, facts: dict[str, str], ordered: frozenset[OrderKind]) -> tuple[str, ...]:
        rows = self.knowledge.parallel_table.all_that_hold({**facts, "row": tier.id})
        return tuple(row.id for row in rows if not self._is_ordered(row.id, ordered))


def _overriding(met: tuple[Met, ...], intent: Intent, knowledge: Knowledge) -> tuple[Row, ...]:
    """Red flags and other pathways replace every other row; on an urgent order that fits, they only inform."""
    said: dict[str, Row] = {}
    for one in met:  # the weightiest first
        if one.row.card:
            said.setdefault(one.row.card, one.row)
    if not said:
        return tuple(one.row for one in met if one.row.silence)[:1]
    fits = fits_a_red_flag(intent, knowledge) and is_urgent(intent, knowledge)
    return tuple(replace(row, indicator="info") if fits and card == "RED-FLAG" else row for card, row in said.items())


def _with_workup(facts: Facts, workup: Workup) -> Facts:
    return replace(facts, **{name: getattr(workup, name) for name in _FROM_WORKUP})


def _strength(governing: Assessment | None, *, is_retry: bool) -> Strength:
    """Whether a failure may warn: not on a coded outcome, a late loss, or a first retry with another technique."""
    if governing is None or governing.softens or is_retry:
        return Strength.SOFT
    return Strength.FIRM


def _grade(governing: Assessment | None, target: Target) -> str | None:
    """REG-6: a target that is the same only if something unknown is so caps the evidence at B."""
    if governing is None:
        return None
    is_capped = governing.grade == "A" and not target.is_surely(governing.session.target)
    return "B" if is_capped else governing.grade
