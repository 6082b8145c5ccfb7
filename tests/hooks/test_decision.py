"""What is taken from an order, from other orders and from the birth date."""

from dataclasses import replace
from datetime import date

import pytest

from cds_service.fhir.evidence import gather
from cds_service.fhir.reader import read_record
from cds_service.protocol.hook_request import HookRequest
from hooks.failed_esi.decision import Pathway
from hooks.failed_esi.orders import read_intents
from tests.chart import condition, draft, esi, hook_request, medication, patient, procedure, score, service_request

TODAY = date(2026, 6, 1)
NERVE = condition("M54.16", name="nerve")
FAILED = (esi("2026-03-16"), score(8, "2026-03-10", "o1"), score(8, "2026-04-20", "o2"), NERVE)


def test_an_order_without_a_region_is_for_that_of_the_latest_session(decide):
    neck = (procedure("64479", "2026-03-16", "p1", side="left"), *FAILED[1:3], condition("M54.12"))
    exercise = (draft("97110", side="", level=""),)

    def imaging(code):
        return decide(hook_request(*neck, procedure(code, "2026-03-20", "image"), drafts=exercise))["facts"]["imaging"]

    assert imaging("72148") == "open"
    assert imaging("72141") == "done"


def test_lumbar_and_sacral_are_two_regions_for_an_injection_and_one_for_other_orders(decide):
    other = decide(hook_request(*FAILED, drafts=(draft("27096", side="", level=""),)))
    injection = decide(hook_request(*FAILED, drafts=(draft(level="S1"),)))
    assert (other["outcome"], injection["outcome"]) == ("failed", None)


@pytest.mark.parametrize(
    ("drug", "sedative"), [("lorazepam 1 mg", "taken"), ("oxycodone 5 mg", "taken"), ("ibuprofen", "not-found")]
)
def test_a_sedative_that_is_drafted_beside_will_be_taken(decide, drug, sedative):
    beside = medication(drug, "d2", status="draft")
    assert decide(hook_request(*FAILED, drafts=(draft(), beside)))["facts"]["sedative"] == sedative


@pytest.mark.parametrize(
    ("born", "person"),
    [
        ("2008-06-01", "adult"),  # eighteen today
        ("2008-06-02", "child"),
        ("2008-06", "age-unknown"),
        ("2008", "age-unknown"),
        ("2008-05", "adult"),
        ("2008-07", "child"),
    ],
)
def test_a_birth_date_tells_an_adult_when_every_day_of_it_agrees(decide, born, person):
    assert decide(hook_request(*FAILED, person=patient(born)))["facts"]["person"] == person


@pytest.mark.parametrize(
    ("authored", "is_ordered"),
    [
        ("2026-06-01", True),  # today
        ("2026-06-02", False),
        ("", False),
        ("2026-03-15", False),
        ("2026-03-16", False),  # on the day of the injection, before or after it
        ("2026-03-16T09:00:00Z", False),
        ("2026-03-16T11:00:00Z", True),
    ],
)
def test_an_option_counts_as_ordered_when_that_was_after_the_injection(decide, authored, is_ordered):
    session = esi("2026-03-16T10:00:00Z")
    image = service_request("72148", "image", authored=authored)
    options = decide(hook_request(session, *FAILED[1:], image))["options"]
    assert ("repeat-imaging" not in options) is is_ordered


def test_what_was_ordered_already_is_named_on_the_card(call):
    image = service_request("72148", "image", authored="2026-05-01")
    (card,) = call(hook_request(*FAILED, image)).json["cards"]
    assert "Already ordered: imaging" in card["detail"]


def test_a_consultation_that_was_ordered_is_not_named_beside_the_tier(decide):
    severe = condition("M43.16", name="slip", severity={"text": "severe"})
    consult = {**service_request("", "consult", authored="2026-05-01"), "code": {"text": "Refer to spine surgeon"}}
    assert decide(hook_request(*FAILED, severe))["parallel"] == ["surgical-consult"]
    assert decide(hook_request(*FAILED, severe, consult))["parallel"] == []


def test_another_technique_asks_for_its_reason(call):
    (other,) = call(hook_request(*FAILED, drafts=(draft(level="L3-4"),))).json["cards"]
    (same,) = call(hook_request(*FAILED)).json["cards"]
    assert "document the rationale" in other["detail"]
    assert "document the rationale" not in same["detail"]


@pytest.mark.parametrize(
    ("days", "cap"),
    [
        (("2026-01-10", "2026-03-16", "2026-05-10"), "reached"),
        (("2025-11-30", "2026-03-16", "2026-05-10"), "below"),
        (("2026-03-16", "2026-05-10"), "below"),
        (("2025-07-10", "2025-08-10", "2025-09-10", "2025-10-10"), "reached"),
    ],
)
def test_some_payers_add_a_limit_for_half_a_year(service, knowledge, days, cap):
    chart = (esi(day, f"p{number}") for number, day in enumerate(days))
    request = HookRequest.parse(hook_request(*chart), service.hooks, service.prefetch)
    record = read_record(gather(service, request), service.codes, service.is_relevant)
    stricter = replace(knowledge, criteria=replace(knowledge.criteria, second_cap_sessions=3, second_cap_months=6))
    (intent,) = read_intents(request.selected, record, stricter)
    assert Pathway(request, record, TODAY, stricter).decide(intent).facts.cap == cap
