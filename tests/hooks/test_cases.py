"""Every worked case comes out as it says, over the whole way from a hook request to the cards."""

import re

import pytest

import hooks
from cds_service.answer import answer
from cds_service.service import Site
from tests.cases import read_cases

CASES = read_cases()
RANKS = {"info": 0, "warning": 1, "critical": 2}
OPTIONAL = {"subtype", "grade", "cautions", "lines", "silence"}  # compared where a case names them


@pytest.fixture(scope="module")
def services():
    return {profile: hooks.SERVICES[0](Site(profile=profile)) for profile in {case.profile for case in CASES}}


def shown_texts(templates, details):
    """The names of the texts of wording.toml that stand in the details of the cards."""
    patterns = {name: re.sub(r"\\{\w+\\}", ".+?", re.escape(text)) for name, text in templates.items()}
    return [name for name, pattern in patterns.items() if any(re.search(pattern, detail) for detail in details)]


def seen(case, services, wording):
    """What came out, in the words of a case; what is absent is left out."""
    explanation = answer(services[case.profile], case.request(), case.today).explanation(case.today)
    decision = explanation["decision"]
    indicators = [card["indicator"] for card in explanation["cards"]]
    details = [card["detail"] for card in explanation["cards"]]
    members = {
        "cards": [c["extension"]["org.cds-service.decision"]["card"] for c in explanation["cards"]],
        "indicator": max(indicators, key=RANKS.__getitem__, default=None),
        "grade": decision["evidenceGrade"],
        "cautions": shown_texts(wording["cautions"], details),
        "lines": shown_texts({name: wording["found"][name] for name in ("undated", "older", "cancer")}, details),
        "silence": next((n for n, text in wording["silence"].items() if text == decision["silence"]), None),
        **{name: decision[name] for name in ("outcome", "subtype", "tier", "options", "parallel")},
    }
    return {n: v for n, v in members.items() if n in case.expect or (n not in OPTIONAL and v not in (None, []))}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_case_comes_out_as_it_says(case, services, knowledge):
    assert seen(case, services, knowledge.wording) == dict(case.expect)


def test_names_are_unique():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


# Rules of the specification that no row stands for: an order that fits is silent, gates and suppression are code.
WITHOUT_A_ROW = {
    "D-2", "D-7", "D-8", "D-14", "D-15", "SUP-1", "SUP-3", "SUP-5", "SUP-6", "gate 2", "gate 3", "gate 4", "gate 5",
}  # fmt: skip
DEFAULTS = {"interval-clear", "cap-clear", "trial-clear", "surgery-clear", "opinion-clear", "clarify-clear"}
# The rows that are reached when no other holds, and those that stand before a table without a session: no rules.
NO_RULE = {*DEFAULTS, "other orders", "surgery, no session", "opinion, no session"}
# Rules that have no near miss of their own, and why.
NO_NEAR_MISS = {
    "D-2": "blocks are silent in every state",
    "D-14": "anti-inflammatory medicine is silent in every state",
    "D-15": "steroids by mouth are silent in every state",
    "SUP-1": "an order is about the spine or not",
    "SUP-5": "every card is its near miss",
    "SUP-6": "two cards are its near miss",
    "gate 4": "every session at the target is its near miss",
}


def rules_of(knowledge):
    """Every rule that the knowledge files hold, the cautions, and the rules without a row."""
    tables = [table for table, _ in knowledge.tables()]
    rows = [row for table in tables for row in table.rows if row.id not in NO_RULE]
    named = {rule for row in rows for rule in (row.rule, *row.rules)}
    return named | {caution.id for caution in knowledge.cautions} | WITHOUT_A_ROW


def test_every_rule_is_proved_by_a_case(knowledge):
    assert sorted(rules_of(knowledge) - {rule for case in CASES for rule in case.proves}) == []


def test_every_rule_has_a_case_in_which_it_just_does_not_hold(knowledge):
    missing = rules_of(knowledge) - {rule for case in CASES for rule in case.nearly}
    assert sorted(missing) == sorted(NO_NEAR_MISS)
