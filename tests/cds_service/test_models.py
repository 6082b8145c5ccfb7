"""The validated view: fhir.resources R4B names departures and never breaks."""

import pytest

from cds_service.fhir.models import new_order, nonconformities
from tests.chart import condition, esi, score


def test_a_conforming_resource_has_no_nonconformity():
    assert [nonconformities(r) for r in (esi("2026-03-16"), score(7, "2026-03-10"), condition("M54.16"))] == [()] * 3


@pytest.mark.parametrize(
    ("resource", "elements"),
    [
        ({**esi("2026-03-16"), "performedDateTime": "2026-03-16T10:00:00"}, ("performedDateTime",)),
        ({**esi("2026-03-16"), "surprise": 1}, ("unknown member",)),
        ({**score(7, "2026-03-10"), "component": [{}]}, ("component.code",)),
        ({**esi("2026-03-16"), "contained": [{"resourceType": "MedicinalProduct"}]}, ("resource",)),
    ],
)
def test_a_departure_is_named_without_its_value(resource, elements):
    found = nonconformities(resource)
    assert found == elements or found[0].endswith(elements[0])


def test_a_type_without_a_model_is_not_judged():
    assert nonconformities({"resourceType": "MedicinalProduct"}) == ()


def test_an_order_that_the_library_refuses_is_a_fault_of_ours():
    with pytest.raises(ValueError, match="coding"):
        new_order("ServiceRequest", code={"coding": 7}, patient_id="p", user_id="x", encounter_id=None)


def test_an_order_names_only_who_is_known():
    order = new_order("ServiceRequest", code={"text": "x"}, patient_id="p", user_id="somebody", encounter_id=None)
    assert set(order) == {"resourceType", "status", "intent", "code", "subject"}


def test_a_resource_of_the_finding_that_departs_is_used_and_named(ask):
    from tests.chart import hook_request

    odd = {**esi("2026-03-16", "esi-1"), "isUserSelected": True}
    answered = ask(hook_request(odd, score(8, "2026-03-10", "a"), score(7, "2026-04-20", "b")))
    assert answered.nonconforming == ("Procedure/esi-1: unknown member",)
    assert [advised.card.id for advised in answered.advice.cards] == ["FAILED-ESI-NEXT-TIER"]


def test_a_finding_that_is_only_a_line_is_named_too(ask):
    from tests.chart import FAILED, hook_request

    undated = condition("M21.371", "", "undated", isUserSelected=True)
    answered = ask(hook_request(*FAILED, undated))
    assert answered.nonconforming == ("Condition/undated: unknown member",)
    assert "Condition/undated" in answered.evidence
