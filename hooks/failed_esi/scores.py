"""Which observations say something about an injection: OBS-1 to OBS-11."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from cds_service.fhir.dates import Moment, days_between
from cds_service.fhir.record import Concept, Observation, PatientRecord, Procedure
from hooks.failed_esi.anatomy import Site
from hooks.failed_esi.facts import Relief
from hooks.failed_esi.knowledge import Criteria, Knowledge, Scale
from hooks.failed_esi.sessions import History

_BY_RANGE_LIMIT = 10  # values that never exceed this on a 0-100 scale were recorded as 0-10 (OBS-10)


@dataclass(frozen=True, slots=True)
class Score:
    """One usable score, on its scale."""

    scale: Scale
    site: Site
    day: date
    measured: Moment
    value: Decimal
    reference: str
    order: tuple[str, str]
    is_marked_post: bool
    part_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReportedRelief:
    """Relief in percent as the patient reported it, and the procedure it is about when that is named."""

    percent: Decimal
    measured: Moment
    day: date
    reference: str
    about: tuple[str, ...]
    is_marked_post: bool = False

    def was_after(self, ended: Moment | None) -> bool:
        """Whether a report was certainly given after a session of its day had ended."""
        return self.is_marked_post or (ended is not None and self.measured.is_after(ended))


@dataclass(frozen=True, slots=True)
class Pair:
    """A follow-up score with its baseline on the same scale and site (OBS-1), and how much relief that is."""

    baseline: Score
    follow_up: Score
    day: int
    baseline_age: int
    relief: Relief

    @property
    def scale(self) -> Scale:
        """The scale of both."""
        return self.baseline.scale

    @property
    def percent(self) -> Decimal | None:
        """The relief in percent of the baseline, for display; None where a ratio means nothing."""
        if self.scale.is_t_score or self.baseline.value <= 0:
            return None
        return improvement(self.baseline, self.follow_up) * 100 / self.baseline.value

    def is_strong(self, criteria: Criteria) -> bool:
        """Grade A: a fresh baseline, and a function score or pain at a named site."""
        is_specific = self.scale.measures == "function" or self.baseline.site is not Site.UNSPECIFIED
        return self.baseline_age <= criteria.strong_baseline and is_specific


def improvement(baseline: Score, follow_up: Score) -> Decimal:
    """How much better, in points of the scale; negative when worse."""
    change = baseline.value - follow_up.value
    return -change if baseline.scale.higher_is_better else change


def relief_between(baseline: Score, follow_up: Score, criteria: Criteria) -> Relief:
    """Classify exactly, by products and never by quotients; thresholds are inclusive.

    A T-score is never substantial (OBS-9): a ratio of T-scores means nothing.
    """
    gain, scale = improvement(baseline, follow_up), baseline.scale
    if not scale.is_t_score and baseline.value > 0:
        if gain * 100 >= criteria.substantial_relief * baseline.value:
            return Relief.SUBSTANTIAL
        if gain * 100 >= criteria.meaningful_relief * baseline.value:
            return Relief.MCID
    return Relief.MCID if scale.change is not None and gain >= scale.change else Relief.NONE


def read_scores(record: PatientRecord, history: History, today: date, knowledge: Knowledge) -> tuple[Score, ...]:
    """All usable scores up to today, oldest first.

    Left out: other sites, values outside the range of their scale, undated and imprecise ones, and on a day
    with a spine procedure whatever was measured after it (OBS-6).
    """
    by_range = _scales_recorded_in_tenths(record, knowledge)
    found = [
        score
        for observation in record.observations
        if (score := _read_score(observation, by_range, knowledge)) and score.day <= today
    ]
    procedures = _procedures_by_day(history)
    clean = [s for s in found if not _was_after(s, procedures.get(s.day))]
    return tuple(sorted(clean, key=lambda score: (score.day, *score.order)))


def read_reported_relief(record: PatientRecord, today: date, knowledge: Knowledge) -> tuple[ReportedRelief, ...]:
    """All dated percent-relief reports up to today, oldest first."""
    found = [
        ReportedRelief(
            percent=percent,
            measured=o.measured,
            day=o.measured.day,
            reference=o.reference,
            about=(*o.part_of, *o.about),
            is_marked_post=knowledge.words.mean("post-procedure", o.notes),
        )
        for o in record.observations
        if "percent-relief" in knowledge.codes.concepts(o.code.codings)
        and o.measured is not None
        and o.measured.day is not None
        and o.measured.day <= today
        and (percent := _in_percent(o)) is not None
    ]
    return tuple(sorted(found, key=lambda report: (report.day, report.reference)))


def relief_of_percent(percent: Decimal, criteria: Criteria) -> Relief:
    """OBS-8: classify reported relief."""
    if percent >= criteria.substantial_relief:
        return Relief.SUBSTANTIAL
    return Relief.MCID if percent >= criteria.meaningful_relief else Relief.NONE


def pairs_for(
    scores: Iterable[Score], day_of_session: date, until: date | None, knowledge: Knowledge
) -> tuple[tuple[Pair, ...], bool]:
    """Pair every follow-up score of a session with its baseline.

    Returns the pairs whose baseline reaches the floor (OBS-3), and whether any was left out for its floor.
    """
    criteria = knowledge.criteria
    pairs: list[Pair] = []
    below_floor = False
    for series in _series(scores):
        baseline = _baseline(series, day_of_session, criteria)
        if baseline is None:
            continue
        follow_ups = [s for s in series if _is_follow_up(s, day_of_session, until, criteria)]
        if baseline.scale.floor is not None and baseline.value < baseline.scale.floor:
            below_floor = below_floor or bool(follow_ups)
            continue
        age = days_between(baseline.day, day_of_session)
        # of several values in one day the last counts (OBS-6)
        for score in {s.day: s for s in follow_ups}.values():
            relief = relief_between(baseline, score, criteria)
            pairs.append(Pair(baseline, score, days_between(day_of_session, score.day), age, relief))
    return tuple(pairs), below_floor


def has_follow_up(scores: Iterable[Score], day_of_session: date, until: date | None, knowledge: Knowledge) -> bool:
    """Whether any score at all lies where it could say something about the session."""
    return any(_is_follow_up(score, day_of_session, until, knowledge.criteria) for score in scores)


def has_baseline(scores: Iterable[Score], day_of_session: date, knowledge: Knowledge) -> bool:
    """Whether any score at all lies where it could be a baseline."""
    return any(_is_baseline(score, day_of_session, knowledge.criteria) for score in scores)


def without_untargeted_pain(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """OBS-5: where limb pain was measured before and after, pain elsewhere does not speak for a radicular ESI."""
    if not any(p.scale.measures == "pain" and p.baseline.site is Site.LIMB for p in pairs):
        return pairs
    return tuple(p for p in pairs if p.scale.measures != "pain" or p.baseline.site is Site.LIMB)


def _read_score(observation: Observation, in_tenths: frozenset[str], knowledge: Knowledge) -> Score | None:
    scale_name = next((c for c in knowledge.codes.concepts(observation.code.codings) if c in knowledge.scales), None)
    moment = observation.measured
    if scale_name is None or moment is None or moment.day is None:
        return None
    scale = knowledge.scales[scale_name]
    value = _on_scale(observation, scale, is_in_tenths=scale_name in in_tenths)
    site = knowledge.anatomy.site(observation.body_site or Concept(), knowledge.codes)
    if value is None or site is None or not scale.lowest <= value <= scale.highest:
        return None
    return Score(
        scale=scale,
        site=site if scale.measures == "pain" else Site.UNSPECIFIED,
        day=moment.day,
        measured=moment,
        value=value,
        reference=observation.reference,
        order=(_clock(moment), f"{observation.issued}|{observation.reference}"),
        is_marked_post=knowledge.words.mean("post-procedure", observation.notes),
        part_of=observation.part_of,
    )


def _on_scale(observation: Observation, scale: Scale, *, is_in_tenths: bool) -> Decimal | None:
    """Bring a value to its scale by its own denominator, by its unit, or by the range of its series."""
    if observation.out_of:
        return observation.value * scale.highest / observation.out_of
    factor = scale.units.get(observation.unit, scale.units["*"])
    if factor == "by-range":
        return observation.value * (scale.highest / _BY_RANGE_LIMIT if is_in_tenths else 1)
    return observation.value * factor if isinstance(factor, Decimal) else None


def _scales_recorded_in_tenths(record: PatientRecord, knowledge: Knowledge) -> frozenset[str]:
    """The scales whose unit leaves the range open and whose values never exceed a tenth of it."""
    largest: dict[str, Decimal] = {}
    for observation in record.observations:
        for concept in knowledge.codes.concepts(observation.code.codings):
            scale = knowledge.scales.get(concept)
            if scale and scale.units.get(observation.unit, scale.units["*"]) == "by-range":
                largest[concept] = max(largest.get(concept, Decimal(0)), observation.value)
    return frozenset(concept for concept, value in largest.items() if value <= _BY_RANGE_LIMIT)


@dataclass(slots=True)
class _ProceduresOfDay:
    """What was done to the spine on one day: by name, and the first end of each kind of clock."""

    references: set[str]
    first_ended: dict[bool, Moment]

    def add(self, procedure: Procedure) -> None:
        self.references.add(procedure.reference)
        ended = procedure.performed
        if ended and ended.clock:
            is_aware = ended.clock.tzinfo is not None  # only clocks of one kind can be compared
            if is_aware not in self.first_ended or self.first_ended[is_aware].is_after(ended):
                self.first_ended[is_aware] = ended


def _procedures_by_day(history: History) -> dict[date, _ProceduresOfDay]:
    by_day: dict[date, _ProceduresOfDay] = {}
    done = [(session.day, procedure) for session in history.sessions for procedure in session.procedures]
    done += [(i.day, i.procedure) for i in history.interventions if i.is_on_the_spine]
    for day, procedure in done:
        if day:
            by_day.setdefault(day, _ProceduresOfDay(set(), {})).add(procedure)
    return by_day


def _was_after(score: Score, done: _ProceduresOfDay | None) -> bool:
    """Whether a score was taken after a procedure of its day: marked so, part of it, or by the clock (OBS-6)."""
    if done is None:
        return False
    if score.is_marked_post or not done.references.isdisjoint(score.part_of):
        return True
    return any(score.measured.is_after(ended) for ended in done.first_ended.values())


def _in_percent(observation: Observation) -> Decimal | None:
    """The percentage reported, "8/10" included; None when it may as well be a fraction, or is out of range."""
    value = observation.value
    if observation.out_of:
        value = value * 100 / observation.out_of
    elif observation.unit not in {"", "%", "percent"} or (not observation.unit and 0 < abs(value) <= 1):
        return None
    return value if -100 <= value <= 100 else None


def _series(scores: Iterable[Score]) -> Iterator[tuple[Score, ...]]:
    """Group by scale and site: only such scores are compared (OBS-1, OBS-10)."""
    series: dict[tuple[str, Site], list[Score]] = {}
    for score in scores:
        series.setdefault((score.scale.id, score.site), []).append(score)
    for name in sorted(series):
        yield tuple(series[name])


def _baseline(series: tuple[Score, ...], day_of_session: date, criteria: Criteria) -> Score | None:
    """OBS-2: the latest value up to the procedure; those of its day that came after are already left out."""
    before = [score for score in series if _is_baseline(score, day_of_session, criteria)]
    return before[-1] if before else None


def _is_baseline(score: Score, day_of_session: date, criteria: Criteria) -> bool:
    age = days_between(score.day, day_of_session)
    return 0 <= age <= criteria.baseline_window and not score.is_marked_post


def _is_follow_up(score: Score, day_of_session: date, until: date | None, criteria: Criteria) -> bool:
    """OBS-4 and OBS-7: from the first day of evaluation until the next intervention in the region."""
    day = days_between(day_of_session, score.day)
    is_in_time = until is None or score.day <= until
    return criteria.earliest_evaluation <= day <= criteria.late_window_end and is_in_time


def _clock(moment: Moment) -> str:
    """Sorts the times of one day; a value without a time comes first."""
    return moment.clock.time().isoformat() if moment.clock else ""
