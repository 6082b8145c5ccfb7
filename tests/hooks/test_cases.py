"""Every worked case comes out as it says, over the whole way from a hook request to the cards."""

import pytest

import hooks
from cds_service.answer import answer
from cds_service.service import Site
from tests.cases import read_cases

CASES = read_cases()
RANKS = {"info": 0, "warning": 1, "critical": 2}


@pytest.fixture(scope="module")
def services():
    return {profile: hooks.SERVICES[0](Site(profile=profile)) for profile in ("policy", "guideline")}


def seen(case, services):
    """What came out, in the words of a case; what is absent is left out."""
    explanation = answer(services[case.profile], case.request(), case.today).explanation(case.today)
    decision = explanation["decision"]
    indicators = [card["indicator"] for card in explanation["cards"]]
    members = {
        "cards": [c["extension"]["org.cds-service.decision"]["card"] for c in explanation["cards"]],
        "indicator": max(indicators, key=RANKS.__getitem__, default=None),
        "grade": decision["evidenceGrade"],
        **{name: decision[name] for name in ("outcome", "subtype", "tier", "options", "parallel")},
    }
    optional = {"subtype", "grade"} - case.expect.keys()
    return {n: v for n, v in members.items() if n == "cards" or (v not in (None, []) and n not in optional)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_case_comes_out_as_it_says(case, services):
    assert seen(case, services) == dict(case.expect)


def test_names_are_unique():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
