"""DSTU2 and STU3 are recognised and refused; the quirks of R4 servers are not."""

import pytest

from cds_service.fhir.version import was_not_done
from tests.chart import condition, esi, hook_request, score

FAILED = (esi("2026-03-16"), score(8, "2026-03-10", "a"), score(7, "2026-04-20", "b"))
PLAIN = {"clinicalStatus": "active"}


def old_condition(**members):
    kept = {
        name: value for name, value in condition("M54.16").items() if name not in {"clinicalStatus", "recordedDate"}
    }
    return {**kept, **members}


def older_order(kind):
    return {"resourceType": kind, "id": "old-1", "status": "draft", "subject": {"reference": "Patient/pat-1"}}


@pytest.mark.parametrize(
    ("body", "where", "version"),
    [
        ({**hook_request(*FAILED), "fhirVersion": "1.0.2"}, "fhirVersion", "DSTU2"),
        ({**hook_request(*FAILED), "fhirVersion": "3.0.1"}, "fhirVersion", "STU3"),
        (
            {**hook_request(*FAILED), "extension": {"com.epic.cdshooks.request.fhir-version": "STU3"}},
            "fhirVersion",
            "STU3",
        ),
        (hook_request(*FAILED, drafts=(older_order("MedicationOrder"),)), "context.draftOrders", "DSTU2"),
        (hook_request(*FAILED, drafts=(older_order("DiagnosticOrder"),)), "context.draftOrders", "DSTU2"),
        (hook_request(*FAILED, drafts=(older_order("ProcedureRequest"),)), "context.draftOrders", "DSTU2 or STU3"),
        (hook_request(esi("2026-03-16", notPerformed=False)), "prefetch.procedures", "DSTU2"),
        (hook_request(esi("2026-03-16", notPerformed=True)), "prefetch.procedures", "DSTU2"),
        (hook_request(esi("2026-03-16", notDone=True)), "prefetch.procedures", "STU3"),
        (hook_request(*FAILED, old_condition(**PLAIN, dateRecorded="2025-08-05")), "prefetch.conditions", "DSTU2"),
        (hook_request(*FAILED, old_condition(**PLAIN, assertedDate="2025-08-05")), "prefetch.conditions", "STU3"),
        (
            hook_request(*FAILED, prefetch={"medications": older_order("MedicationOrder")}),
            "prefetch.medications",
            "DSTU2",
        ),
        (
            hook_request(*FAILED, prefetch={"serviceRequests": [{"resource": older_order("DiagnosticOrder")}]}),
            "prefetch.serviceRequests",
            "DSTU2",
        ),
    ],
)
def test_an_older_version_is_refused_by_name(call, body, where, version):
    response = call(body)
    (issue,) = response.get_json()["issue"]
    assert (response.status_code, issue["code"], issue["expression"]) == (422, "not-supported", [where])
    assert f"FHIR {version}. This service reads FHIR R4 (4.0.1) only" in issue["details"]["text"]
    assert "fhirServiceUrl" in issue["diagnostics"]


@pytest.mark.parametrize(
    "body",
    [
        {**hook_request(*FAILED), "fhirVersion": "4.0.1"},
        {**hook_request(*FAILED), "extension": {"com.epic.cdshooks.request.fhir-version": "R4"}},
        hook_request(*FAILED, old_condition(**PLAIN)),
        hook_request(*FAILED, condition("M54.16", assertedDate="2025-08-05")),
        hook_request(*FAILED, condition("M54.16"), old_condition(**PLAIN, assertedDate="2025-08-05", id="c2")),
        hook_request(*FAILED, condition("M54.16"), esi("2026-05-25", "p2", notDone=True)),
        hook_request(*FAILED, esi("2026-05-25", "p2", notPerformed=True, recorder={"display": "A. Nurse"})),
        hook_request(*FAILED, prefetch={"notOurs": older_order("MedicationOrder")}),
    ],
    ids=str,
)
def test_a_quirk_of_an_r4_server_is_read(call, body):
    response = call(body)
    (card,) = response.get_json()["cards"]
    assert (response.status_code, card["extension"]["org.cds-service.decision"]["outcome"]) == (200, "failed")


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"notPerformed": True}, True),
        ({"notPerformed": "true"}, True),
        ({"notDone": True}, True),
        ({"wasNotTaken": True}, True),
        ({"taken": "n"}, True),
        ({"taken": "unk"}, True),
        ({"taken": "y"}, False),
        ({"notGiven": True}, True),
        ({"wasNotGiven": False}, False),
        ({"notPerformed": False}, False),
        ({}, False),
    ],
)
def test_a_flag_that_says_not_done_is_never_read_as_done(resource, expected):
    assert was_not_done(resource) is expected


@pytest.mark.parametrize("name", ["orders", "medications"])
def test_the_draft_list_of_an_older_hook_is_named(call, name):
    body = hook_request(*FAILED)
    body["context"][name] = body["context"].pop("draftOrders")
    response = call(body)
    (issue,) = response.get_json()["issue"]
    assert (response.status_code, issue["expression"]) == (400, [f"context.{name}"])
    assert "context.draftOrders" in issue["diagnostics"]
    assert "FHIR R4" in issue["diagnostics"]


@pytest.mark.parametrize("hook", ["order-review", "medication-prescribe"])
def test_an_older_hook_is_told_which_ones_took_its_place(call, hook):
    response = call({**hook_request(*FAILED), "hook": hook})
    (issue,) = response.get_json()["issue"]
    assert (response.status_code, issue["expression"]) == (400, ["hook"])
    assert "order-select, order-sign. They took its place." in issue["diagnostics"]
