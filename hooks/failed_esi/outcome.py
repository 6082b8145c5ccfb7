"""Did this session help? The facts of one session in enums, and the outcome table's answer (OUT)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from cds_service.fhir.dates import days_between
from cds_service.fhir.record import PatientRecord
from hooks.failed_esi.facts import (
    Conflict,
    Evaluable,
    FirstSustained,
    NinetyDays,
    Outcome,
    Relief,
    SessionFacts,
    Stated,
    columns,
)
from hooks.failed_esi.knowledge import Criteria, Knowledge
from hooks.failed_esi.scores import (
    Pair,
    ReportedRelief,
    has_baseline,
    has_follow_up,
    pairs_for,
    read_reported_relief,
    read_scores,
    relief_of_percent,
    without_untargeted_pain,
)
from hooks.failed_esi.sessions import ENDS_FOLLOW_UP, History, Intervention, Session
from hooks.failed_esi.tables import Row

_RANK = {Relief.NO_POINT: -1, Relief.NONE: 0, Relief.MCID: 1, Relief.SUBSTANTIAL: 2}
_STATED = {
    "outcome-success": Stated.SUCCESSFUL,
    "outcome-partial": Stated.PARTIAL,
    "outcome-failed": Stated.UNSUCCESSFUL,
}


@dataclass(frozen=True, slots=True)
class Point:
    """One day of follow-up: its class is the best of pain and function, or the relief reported."""

    day: int
    relief: Relief
    pairs: tuple[Pair, ...] = ()
    report: ReportedRelief | None = None

    def deciding_pairs(self) -> list[Pair]:
        """The pairs that give the class, the one with the greatest relief first; pain before function."""
        deciding = [pair for pair in self.pairs if pair.relief is self.relief]
        return sorted(deciding, key=_preference, reverse=True)

    def is_discordant(self) -> bool:
        """Whether pain and function are two grades apart."""
        ranks = {
            measures: max((_RANK[p.relief] for p in self.pairs if p.scale.measures == measures), default=None)
            for measures in ("pain", "function")
        }
        pain, function = ranks["pain"], ranks["function"]
        return pain is not None and function is not None and abs(pain - function) >= 2


@dataclass(frozen=True, slots=True)
class Assessment:
    """What became of one session, why, and the point whose numbers show it."""

    session: Session
    outcome: Outcome
    subtype: str | None
    row: Row
    grade: str
    rules: tuple[str, ...]
    flags: frozenset[str]
    shown: Point | None
    shown_pair: Pair | None
    evidence: tuple[str, ...]

    @property
    def finding(self) -> tuple[str, ...]:
        """The resources that the outcome itself rests on: the injections, and what was shown of their effect."""
        pair, report = self.shown_pair, self.shown.report if self.shown else None
        return (
            *(procedure.reference for procedure in self.session.procedures),
            *((pair.baseline.reference, pair.follow_up.reference) if pair else ()),
            *((report.reference,) if report else ()),
        )

    @property
    def relief_percent(self) -> Decimal | None:
        """The relief shown, in percent to one decimal; None when nothing measured it."""
        if self.shown is None:
            return None
        if self.shown.report:
            return self.shown.report.percent
        percent = self.shown_pair.percent if self.shown_pair else None
        return None if percent is None else round(percent, 1)

    @property
    def softens(self) -> bool:
        """Whether the failure may only be named, not warned of."""
        return self.grade == "C" or self.row.softens


class Judge:
    """Judges the sessions of one patient."""

    def __init__(self, record: PatientRecord, history: History, today: date, knowledge: Knowledge) -> None:
        """Read the scores once for all sessions."""
        self.history = history
        self.today = today
        self.knowledge = knowledge
        self.scores = read_scores(record, history, today, knowledge)
        self.reports = read_reported_relief(record, today, knowledge)
        self._reports_by_day = _reports_by_day_of_session(self.reports, history)

    def assess(self, session: Session, *, is_radicular: bool) -> Assessment:
        """Apply the OBS rules and the OUT table to one session."""
        evidence = self._evidence(session, is_radicular)
        facts = self._facts(session, evidence)
        row = self.knowledge.outcome_table.decide(columns(facts))
        shown = _shown(row, evidence, self.knowledge.criteria)
        deciding = shown.deciding_pairs() if shown else []
        return Assessment(
            session=session,
            outcome=Outcome(row.outcome or Outcome.UNKNOWN),
            subtype=self._subtype(row, session, evidence),
            row=row,
            grade=self._grade(row, shown, deciding),
            rules=(*session.rules, *evidence.rules, row.rule),
            flags=session.flags | self._flags(row, shown, evidence),
            shown=shown,
            shown_pair=deciding[0] if deciding else None,
            evidence=_references(session, shown),
        )

    def _evidence(self, session: Session, is_radicular: bool) -> _Evidence:
        """Choose the points that may speak: paired scores first, reported relief where there is none (OBS-8)."""
        if session.day is None:
            return _Evidence()
        until = self._next_intervention(session)
        pairs, below_floor = pairs_for(self.scores, session.day, until, self.knowledge)
        rules = ["OBS-2"] if pairs else []
        is_radicular = is_radicular or session.target.approach == "transforaminal"
        if is_radicular and (targeted := without_untargeted_pain(pairs)) != pairs:
            pairs, rules = targeted, [*rules, "OBS-5"]
        reports = self._reports_about(session, session.day, until)
        paired = _points_of_pairs(pairs)
        reported = tuple(self._point_of_report(session.day, report) for report in reports)
        if not paired and reported:
            rules.append("OBS-8")
        return _Evidence(
            points=paired or reported,
            conflict=_conflict(paired, reported, self.knowledge.criteria),
            rules=tuple(rules),
            below_floor=below_floor,
            has_follow_up=has_follow_up(self.scores, session.day, until, self.knowledge),
            has_any_baseline=has_baseline(self.scores, session.day, self.knowledge),
        )

    def _next_intervention(self, session: Session) -> date | None:
        """OBS-7: the day of the next intervention in the region; one that may have come next counts as next."""
        place = session.target.place
        next_day = session.days.last + timedelta(days=1)
        others: list[Session | Intervention] = [s for s in self.history.sessions if s is not session]
        others += [i for i in self.history.interventions if i.kind in ENDS_FOLLOW_UP]
        later = [o.days for o in others if o.days.last >= next_day and o.target.place.concerns(place)]
        return min((max(days.first, next_day) for days in later), default=None)

    def _reports_about(self, session: Session, day: date, until: date | None) -> tuple[ReportedRelief, ...]:
        """The reports of relief in the follow-up that name this session, or name none and fall to it."""
        criteria = self.knowledge.criteria
        names = {procedure.reference for procedure in session.procedures}
        linked = [report for report in self.reports if not names.isdisjoint(report.about)]
        about = sorted([*linked, *self._reports_by_day.get(day, ())], key=lambda report: (report.day, report.reference))
        return tuple(
            report
            for report in about
            if criteria.earliest_evaluation <= days_between(day, report.day) <= criteria.late_window_end
            and (until is None or report.day <= until)
        )

    def _point_of_report(self, day: date, report: ReportedRelief) -> Point:
        relief = relief_of_percent(report.percent, self.knowledge.criteria)
        return Point(days_between(day, report.day), relief, report=report)

    def _facts(self, session: Session, evidence: _Evidence) -> SessionFacts:
        criteria = self.knowledge.criteria
        early = evidence.within(criteria.earliest_evaluation, criteria.early_window_end)
        sustained = evidence.within(criteria.durability_start, criteria.durability_end)
        late = evidence.within(criteria.durability_end + 1, criteria.late_window_end)
        elapsed = days_between(session.days.first, self.today)
        is_too_early = elapsed < criteria.earliest_evaluation
        may_be_too_early = days_between(session.days.last, self.today) < criteria.earliest_evaluation
        return SessionFacts(
            evaluable=Evaluable.TOO_EARLY if is_too_early else Evaluable.YES,
            conflict=Conflict.YES if evidence.conflict else Conflict.NO,
            ninety_days=NinetyDays.REACHED if elapsed >= criteria.durability_start else NinetyDays.NOT_REACHED,
            early_best=_best(early),
            early_last=_last(early),
            sustained=_best(sustained),
            first_sustained=_first_sustained(sustained, criteria),
            late_best=_best(late),
            late_last=_last(late),
            stated=Stated.NOTHING if may_be_too_early else self._stated(session),
        )

    def _stated(self, session: Session) -> Stated:
        """OUT-12: the outcome coded with the procedures; contradicting ones state nothing."""
        found = {
            _STATED[concept]
            for procedure in session.procedures
            for concept in self.knowledge.codes.concepts(procedure.outcome.codings)
            if concept in _STATED
        }
        return found.pop() if len(found) == 1 else Stated.NOTHING

    def _subtype(self, row: Row, session: Session, evidence: _Evidence) -> str | None:
        """OUT-13 states why nothing was usable."""
        if row.subtype != "nothing-usable":
            return row.subtype
        if session.day is None:
            return "imprecise-date"
        if evidence.below_floor:
            return "floor"
        return "scale-mismatch" if evidence.has_follow_up and evidence.has_any_baseline else "no-data"

    def _grade(self, row: Row, shown: Point | None, deciding: Sequence[Pair]) -> str:
        """A paired and strong, B other pairs or dated relief, C coded by the clinician, D none."""
        if row.rule == "OUT-12":
            return "C"
        if shown is None or row.subtype == "conflict":
            return "D"
        return "A" if any(pair.is_strong(self.knowledge.criteria) for pair in deciding) else "B"

    def _flags(self, row: Row, shown: Point | None, evidence: _Evidence) -> frozenset[str]:
        flags = set()
        criteria = self.knowledge.criteria
        if row.rule == "OUT-10" and shown and shown.day < criteria.early_window_flag:
            flags.add("early-window")
        if row.softens:
            flags.add("late-loss")
        if shown and shown.is_discordant():
            flags.add("pain-function-discordant")
        last = evidence.points[-1] if evidence.points else None
        if row.rule == "OUT-3" and last and last.relief is not Relief.SUBSTANTIAL:
            flags.add("recurrence")
        return frozenset(flags)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The points of one session, and what kept others out."""

    points: tuple[Point, ...] = ()
    conflict: Point | None = None
    rules: tuple[str, ...] = ()
    below_floor: bool = False
    has_follow_up: bool = False
    has_any_baseline: bool = False

    def within(self, first: int, last: int) -> tuple[Point, ...]:
        """The points of a window, both ends included."""
        return tuple(point for point in self.points if first <= point.day <= last)


def _reports_by_day_of_session(reports: Iterable[ReportedRelief], history: History) -> dict[date, list[ReportedRelief]]:
    """The reports that name no procedure, by the day of the session they fall to: the last one before them."""
    ended = {session.day: session.ended for session in history.sessions if session.day}
    days = sorted(ended)
    other_days = {i.day for i in history.interventions if i.is_on_the_spine}
    found: dict[date, list[ReportedRelief]] = {}
    for report in reports:
        is_linked = any(reference.startswith("Procedure/") for reference in report.about)
        if is_linked or report.day in other_days:  # on the day of a block or an ablation, it is about that
            continue
        # on the day of a session, only what was certainly said after it is about it
        is_after = report.day in ended and report.was_after(ended[report.day])
        position = bisect_right(days, report.day) if is_after else bisect_left(days, report.day)
        if position:
            found.setdefault(days[position - 1], []).append(report)
    return found


def _points_of_pairs(pairs: Iterable[Pair]) -> tuple[Point, ...]:
    by_day: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_day.setdefault(pair.day, []).append(pair)
    return tuple(
        Point(
            day,
            max((pair.relief for pair in by_day[day]), key=_RANK.__getitem__),
            tuple(by_day[day]),
        )
        for day in sorted(by_day)
    )


def _conflict(paired: Sequence[Point], reported: Sequence[Point], criteria: Criteria) -> Point | None:
    """OUT-2: the paired point nearest to a report, within the window, is two grades away from it."""
    for report in reported:
        near = [point for point in paired if abs(point.day - report.day) <= criteria.conflict_window]
        if near:
            nearest = min(near, key=lambda point: (abs(point.day - report.day), point.day))
            if abs(_RANK[nearest.relief] - _RANK[report.relief]) >= 2:
                return Point(nearest.day, nearest.relief, nearest.pairs, report.report)
    return None


def _best(points: Sequence[Point]) -> Relief:
    return max((point.relief for point in points), key=_RANK.__getitem__, default=Relief.NO_POINT)


def _last(points: Sequence[Point]) -> Relief:
    return points[-1].relief if points else Relief.NO_POINT


def _first_sustained(points: Sequence[Point], criteria: Criteria) -> FirstSustained:
    if not points:
        return FirstSustained.NO_POINT
    if points[0].day > criteria.durability_grace:
        return FirstSustained.AFTER_DAY_120
    is_on_time = points[0].day == criteria.durability_start
    return FirstSustained.ON_DAY_90 if is_on_time else FirstSustained.BY_DAY_120


def _shown(row: Row, evidence: _Evidence, criteria: Criteria) -> Point | None:
    """The point whose numbers stand for the outcome."""
    if row.shows is None:
        return None
    if row.shows == "conflict":
        return evidence.conflict
    which, _, window = row.shows.partition("-")
    points = {
        "early": evidence.within(criteria.earliest_evaluation, criteria.early_window_end),
        "sustained": evidence.within(criteria.durability_start, criteria.durability_end),
        "late": evidence.within(criteria.durability_end + 1, criteria.late_window_end),
    }[window]
    if which == "last":
        return points[-1]
    best = _best(points)
    return [point for point in points if point.relief is best][-1]


def _references(session: Session, shown: Point | None) -> tuple[str, ...]:
    references = [procedure.reference for procedure in session.procedures]
    for pair in shown.pairs if shown else ():
        references += [pair.baseline.reference, pair.follow_up.reference]
    if shown and shown.report:
        references.append(shown.report.reference)
    return tuple(dict.fromkeys(references))


def _preference(pair: Pair) -> tuple[Decimal, bool]:
    """The greater relief first, pain before function."""
    percent = pair.percent
    return (Decimal("-Infinity") if percent is None else percent, pair.scale.measures == "pain")
