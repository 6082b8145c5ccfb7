"""What a card says and offers, beyond what the worked cases and the scenarios already show."""

import pytest

from tests.chart import CPT, SNOMED, coded, condition, draft, esi, hook_request, medication, procedure, score

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
    older = (*FAILED[:3], procedure("72148", "2025-11-20", "mri"), FAILED[4])
    dated = card(*older, condition("M21.372", "2026-01-15", "drop"))
    assert "finding recorded on 2026-01-15" in dated["detail"]


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


def test_each_of_several_removals_says_which(call):
    drafts = (draft(name="d1"), draft(name="d2", level="S1"))
    (found,) = call(hook_request(*FAILED, drafts=drafts, selections=["ServiceRequest/d1", "ServiceRequest/d2"])).json[
        "cards"
    ]
    removals = [s for s in found["suggestions"] if s["actions"][0]["type"] == "delete"]
    assert [s["label"][-8:] for s in removals] == ["(1 of 2)", "(2 of 2)"]
    assert [s["actions"][0]["resourceId"] for s in removals] == ["ServiceRequest/d1", "ServiceRequest/d2"]


def test_a_draft_without_an_id_is_judged_and_never_named(call):
    nameless = {key: value for key, value in draft().items() if key != "id"}
    (found,) = call(hook_request(*FAILED, drafts=(nameless,), hook="order-sign")).json["cards"]
    assert {s["actions"][0]["type"] for s in found["suggestions"]} == {"create"}
    assert "order" not in found["extension"]["org.cds-service.decision"]


def test_every_id_of_an_answer_is_its_own(call):
    """Two cards of one kind, for injections of two regions, are two cards."""
    cervical = esi("2026-03-16", "p2", code=coded(CPT, "62321", "cervical interlaminar ESI with steroid"), level="C6-7")
    scores = (score(8, "2026-03-10", "n1", site="arm"), score(8, "2026-04-20", "n2", site="arm"))
    drafts = (draft(name="d1"), draft("62321", "d2", side="", level="C6-7"))
    selections = ["ServiceRequest/d1", "ServiceRequest/d2"]
    cards = call(hook_request(*FAILED, cervical, *scores, drafts=drafts, selections=selections)).json["cards"]
    assert len(cards) == 2
    ids = [card["uuid"] for card in cards] + [s["uuid"] for card in cards for s in card["suggestions"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("member", [{"doNotPerform": True}, {"status": "revoked"}, {"status": "entered-in-error"}])
def test_an_order_that_is_none_gets_no_card(call, member):
    assert call(hook_request(*FAILED, drafts=({**draft(), **member},))).json == {"cards": []}
