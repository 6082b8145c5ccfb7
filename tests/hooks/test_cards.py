"""What a card says and offers, beyond what the worked cases and the scenarios already show."""

from datetime import date

import pytest

import hooks
from cds_service.answer import answer
from cds_service.service import Site
from tests.chart import CPT, SNOMED, coded, condition, draft, esi, hook_request, medication, procedure, score
from tests.conftest import TODAY

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


def test_a_red_flag_shows_the_finding_and_nothing_of_the_ladder(card):
    found = card(*FAILED, condition("M21.372", "2026-05-20", "drop"))
    assert found["summary"] == "Foot drop (2026-05-20): consider urgent surgical assessment."
    assert "not a diagnosis made by this tool" in found["detail"]
    assert "Options to consider" not in found["detail"]
    assert "suggestions" not in found
    assert [reason["code"] for reason in found["overrideReasons"]] == [
        "already-discussed",
        "patient-preference",
        "chart-wrong",
    ]


def test_a_complication_names_the_injection_and_its_day(card):
    injected = (esi("2026-05-20"), condition("M54.16", name="c1"), condition("R33.9", "2026-05-27", "r"))
    found = card(*injected)
    assert (found["indicator"], "day 7 after a spinal injection" in found["summary"]) == ("critical", True)
    assert "day 7 after the spinal injection of 2026-05-20" in found["detail"]


def test_a_fall_of_strength_is_shown_by_its_grades(card):
    def grade(value, on, name):
        text = {"text": "Muscle strength left ankle dorsiflexion (MRC grade)"}
        return {**score(value, on, name, site="", unit=""), "code": text}

    found = card(*FAILED, grade(5, "2026-04-01", "m1"), grade(3, "2026-05-25", "m2"))
    assert found["summary"].startswith("Loss of muscle strength (2026-05-25)")
    assert "Muscle strength fell from 5 to 3 of 5 on 2026-05-25." in found["detail"]


@pytest.mark.parametrize(
    ("priority", "said"), [("stat", "is marked urgent"), ("routine", "Consider emergency priority")]
)
def test_an_order_that_fits_a_red_flag_is_told_so(card, priority, said):
    image = {**draft("72148", side="", level=""), "priority": priority}
    found = card(*FAILED, condition("M21.372", "2026-05-20", "drop"), drafts=(image,))
    assert said in found["detail"]
    assert found["indicator"] == ("info" if priority == "stat" else "critical")


@pytest.fixture
def at_site():
    """The only card at a site that names its addresses."""

    def one(*resources, today=TODAY):
        site = Site(public_url="https://cds.example", emergency_url="https://hospital.example/emergency")
        (found,) = answer(hooks.SERVICES[0](site), hook_request(*resources), today).cards()
        return found

    return one


def test_the_emergency_pathway_of_the_site_is_linked(at_site):
    found = at_site(*FAILED, condition("M21.372", "2026-05-20", "drop"))
    assert found["links"] == [
        {"label": "Emergency pathway", "url": "https://hospital.example/emergency", "type": "absolute"}
    ]
    assert "https://hospital.example/emergency" in found["detail"]
    assert "links" not in at_site(*FAILED)


def test_the_source_of_a_card_leads_to_the_page_of_the_pathway(at_site):
    assert at_site(*FAILED)["source"]["url"] == "https://cds.example/knowledge/failed-esi"


def test_a_source_that_was_checked_long_ago_is_under_review(at_site):
    later = tuple(esi("2028-12-16") if r["resourceType"] == "Procedure" else r for r in FAILED[:1])
    later += (score(8, "2028-12-10", "o1"), score(8, "2029-01-20", "o2"), condition("M54.16", name="c1"))
    assert (
        "Under review, last checked more than 24 months ago: Medicare LCD on ESI"
        in (at_site(*later, today=date(2029, 2, 1))["detail"])
    )
    assert "Under review" not in at_site(*FAILED)["detail"]


@pytest.mark.parametrize(
    ("on_file", "said"),
    [
        (medication("apixaban 5 mg"), "anticoagulant"),
        (condition("D68.0", "", "x"), "Bleeding risk"),
        (condition("E11.9", "", "x"), "glucose may rise"),
        (condition("I10", "", "x"), "blood pressure"),
        (condition("M81.0", "", "x"), "Osteoporosis"),
        (condition("Z91.041", "", "x"), "allergy to contrast"),
        (condition("H40.9", "", "x"), "Glaucoma"),
        (condition("F32.9", "", "x"), "psychiatric"),
    ],
)
def test_a_caution_stands_beside_what_it_is_about_and_raises_nothing(card, on_file, said):
    plain, careful = card(*FAILED), card(*FAILED, on_file)
    assert said in careful["detail"]
    assert said not in plain["detail"]
    assert careful["indicator"] == plain["indicator"]


@pytest.mark.parametrize(("value", "is_said"), [(9, True), (8.9, False)])
def test_a_high_hba1c_is_a_reason_to_discuss_the_timing(card, value, is_said):
    glucose = score(value, "2026-05-01", "a1c", site="", code="4548-4", unit="%")
    assert ("discuss the timing of a steroid" in card(*FAILED, glucose)["detail"]) is is_said


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("policy", "4 ESI sessions in the lumbar/sacral region in the past 12 months; the usual limit is 4."),
        ("evicore", "3 ESI sessions in the lumbar/sacral region in the past 6 months; the usual limit is 3."),
    ],
)
def test_the_limit_that_is_reached_is_the_one_that_is_named(profile, said):
    days = ("2025-07-06", "2026-01-02", "2026-02-26", "2026-04-10")[0 if profile == "policy" else 1 :]
    sessions = [esi(day, f"s{number}") for number, day in enumerate(days)]
    cards = answer(
        hooks.SERVICES[0](Site(profile=profile)), hook_request(*sessions, condition("M54.16")), TODAY
    ).cards()
    assert said in [card["summary"] for card in cards]
