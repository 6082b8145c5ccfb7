"""The decision as it is shown on a card, in `explain` and in records: members of the public contract."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from cds_service.service import Decision
from hooks.failed_esi.decision import Case, Pathway
from hooks.failed_esi.facts import OrderKind, columns
from hooks.failed_esi.outcome import Assessment
from hooks.failed_esi.scores import Score

# Silences that no injection could turn into a card, whatever the procedures that were not read would show.
_INDEPENDENT_OF_HISTORY = frozenset({"unrelated-order", "child", "palliative"})


def decision_of(case: Case, pathway: Pathway, shown: Iterable[str]) -> Decision:
    """Trace one case; `shown` are the ids of its cards that were shown."""
    governing = case.governing
    silence = silence_of(case, pathway)
    return Decision(
        orders=tuple(order.reference for order in case.intent.orders if order.has_id),
        ordered_kind=str(case.intent.kind),
        outcome=str(governing.outcome) if governing else None,
        subtype=governing.subtype if governing else None,
        evidence_grade=case.grade,
        tier=case.tier.tier,
        options=case.options,
        parallel=case.parallel,
        rules=_rules(case),
        evidence=_evidence(case),
        finding=(*(r for one in case.met for r in one.finding.references), *(governing.finding if governing else ())),
        sessions=tuple(_session(assessment) for assessment in case.assessments),
        facts={name: str(value) for name, value in columns(case.facts).items()},
        notes=tuple(_notes(case, pathway)),
        cards=tuple(shown),
        silence=silence,
        silence_reason=str(pathway.knowledge.wording["silence"][silence]) if silence else None,
        rests_on_history=silence not in _INDEPENDENT_OF_HISTORY and not _is_always_silent(case, pathway),
    )


def _is_always_silent(case: Case, pathway: Pathway) -> bool:
    """Whether no row says anything about orders of this kind, and no red flag waits for an injection to be found."""
    return str(case.intent.kind) not in pathway.knowledge.kinds_with_cards and not pathway.watch.might_meet(case.intent)


def silence_of(case: Case, pathway: Pathway) -> str | None:
    """Why no card is shown; an injection without a date, and one that might be one, are named as such."""
    if case.silence != "no-session":
        return case.silence
    if pathway.history.undated:
        return "undated-only"
    return "possible-only" if any(u.is_possible for u in pathway.history.uncounted) else case.silence


def _rules(case: Case) -> tuple[str, ...]:
    governing = case.governing.rules if case.governing else ()
    said = [rule for row in case.rows if row.card for rule in (*row.rules, row.rule)]
    silent = [] if case.said else [row.rule for row in case.rows if row.silence and row.rule != "other"]
    lines = [one.row.rule for one in case.met if one.row.line or one.row.card]
    return tuple(dict.fromkeys([*governing, *([case.tier.rule] if case.governing else []), *said, *silent, *lines]))


def _evidence(case: Case) -> tuple[str, ...]:
    governing = case.governing.evidence if case.governing else ()
    workup = case.workup.evidence if case.workup and case.tier.options else ()
    counted = [p.reference for session in case.cap.sessions for p in session.procedures] if _is_capped(case) else []
    met = [reference for one in case.met if one.row.card for reference in one.finding.references]
    return tuple(dict.fromkeys([*met, *governing, *workup, *counted]))


def _is_capped(case: Case) -> bool:
    return any(row.card == "ANNUAL-CAP" for row in case.rows)


def _session(assessment: Assessment) -> dict[str, Any]:
    session = assessment.session
    pair = assessment.shown_pair
    members = {
        "date": str(session.days),
        "region": str(session.target.place.region) if session.target.place.region else None,
        "coverageRegion": str(session.target.place.coverage) if session.target.place.coverage else None,
        "levels": list(session.target.place.level_names),
        "sides": sorted(str(side) for side in session.target.reached_sides),
        "approach": session.target.approach,
        "outcome": str(assessment.outcome),
        "subtype": assessment.subtype,
        "evidenceGrade": assessment.grade,
        "reliefPercent": _number(assessment.relief_percent),
        "baseline": _score(pair.baseline) if pair else None,
        "followUp": _score(pair.follow_up) if pair else None,
        "flags": sorted(assessment.flags),
    }
    return {name: value for name, value in members.items() if value not in (None, [], {})}


def _score(score: Score) -> dict[str, Any]:
    return {"value": _number(score.value), "scale": score.scale.name, "date": score.day.isoformat()}


def _number(value: Decimal | None) -> int | float | None:
    """A JSON number; only shown, never calculated with."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def _notes(case: Case, pathway: Pathway) -> Iterable[str]:
    """What was on file and did not count."""
    for uncounted in pathway.history.uncounted:
        why = "may be an epidural steroid injection, nothing shows it" if uncounted.is_possible else "does not count"
        yield f"{uncounted.reference} {why} ({uncounted.rule})"
    for reference in pathway.history.undated:
        yield f"{reference} carries no date and was not placed in time"
    elsewhere = len(pathway.history.sessions) - len(case.assessments)
    if elsewhere and case.intent.kind is not OrderKind.UNRELATED:
        yield f"{elsewhere} session(s) at other targets, or too long ago, were left aside"
