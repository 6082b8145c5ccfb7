"""What a card says and offers, beyond what the worked cases and the scenarios already show."""

import pytest

from tests.chart import SNOMED, coded, condition, esi, hook_request, medication, procedure, score

FAILED = (
    esi("2026-03-16"),
    score(8, "2026-03-10", "o1"),
    score(8, "2026-04-20", "o2"),
    procedure("72148", "2026-03-20", "mri"),
    condition("M54.16", name="c1"),
)


@pytest.fixture
def card(call):
    """The only card of a hook request, over HTTP."""

    def one(*resources, **more):
        (found,) = call(hook_request(*resources, **more)).json["cards"]
        return found

    return one


def labels(card):
    return [suggestion["label"] for suggestion in card["suggestions"]]


def test_a_medicine_is_proposed_only_where_no_sedative_is_known_to_be_taken(card):
    drug = "Draft medicine for neuropathic pain"
    assert drug in labels(card(*FAILED))
    taken = card(*FAILED, medication("oxycodone"))
    unread = card(*FAILED, not_sent=["medications"])
    for other in (taken, unread):
        assert drug not in labels(other)
        assert "no order is proposed" in other["detail"]
    assert "may be taken" in unread["detail"]


def test_diagnoses_that_were_not_sent_are_asked_for(card):
    found = card(*FAILED, not_sent=["conditions"])
    assert found["detail"].startswith("**Conditions: not, or not completely, part of the data sent.")
    assert "can neither be advised nor ruled out" in found["detail"]


def test_a_change_without_a_date_is_said_to_be_without_one(card):
    assert "finding recorded without a date" in card(*FAILED, condition("M21.372", "", "drop"))["detail"]
    dated = card(*FAILED, condition("M21.372", "2026-05-01", "drop"))
    assert "finding recorded on 2026-05-01" in dated["detail"]


def test_a_second_partial_response_names_what_is_missing(card):
    found = card(
        *FAILED,
        esi("2025-11-16", "p0"),
        score(8, "2025-11-10", "b0"),
        score(5, "2025-12-20", "f0"),
        score(5, "2026-05-20", "o3"),
    )
    assert found["summary"].endswith("a partial response. Consider what limited it.")
    assert "A course of physical therapy" in found["detail"]


@pytest.mark.parametrize(
    "sign",
    [
        {**condition("M54.16", name="s"), "code": coded(SNOMED, "897711006")},
        procedure("63661", "2025-01-10", "s"),
    ],
)
def test_a_stimulator_in_place_or_revised_was_tried(decide, sign):
    chart = (*FAILED, condition("M96.1", "2024-01-01", "c2"), procedure("97110", "2026-01-10", "pt1"))
    chart += (procedure("97110", "2026-03-10", "pt2"),)
    assert decide(hook_request(*chart))["options"] == ["scs-trial"]
    assert decide(hook_request(*chart, sign))["options"] != ["scs-trial"]


def test_two_levels_ordered_together_get_one_card(call):
    drafts = tuple(
        {**hook_request()["context"]["draftOrders"]["entry"][0]["resource"], "id": name, "code": coded(*code)}
        for name, code in (("d1", ("http://www.ama-assn.org/go/cpt", "64483")), ("d2", ("", "", "S1 TFESI")))
    )
    selections = ["ServiceRequest/d1", "ServiceRequest/d2"]
    response = call(hook_request(*FAILED, drafts=drafts, selections=selections))
    assert len(response.json["cards"]) == 1
