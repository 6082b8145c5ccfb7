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
