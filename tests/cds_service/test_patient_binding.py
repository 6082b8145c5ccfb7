"""Whose data it is: one foreign resource anywhere, and nothing is evaluated."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.protocol.errors import ForeignPatient
from tests.chart import bundle, condition, draft, esi, hook_request, medication, patient, procedure, score

OURS = (esi("2026-03-16", "esi-1"), score(8, "2026-03-10", "o1"), score(7, "2026-04-20", "o2"), condition("M54.16"))
SERVER = "https://ehr.example.org/fhir/R4"


def about(resource, subject):
    return {**copy.deepcopy(resource), "subject": subject}


def status_of(call, body):
    return call(body).status_code


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/pat-1",
        "Patient/pat-1/_history/3",
        f"{SERVER}/Patient/pat-1",
        f"{SERVER}/Patient/pat-1/_history/3",
        "urn:uuid:pat-1",
    ],
)
def test_our_patient_is_known_in_every_form(call, reference):
    assert status_of(call, hook_request(about(OURS[0], {"reference": reference}))) == 200


@pytest.mark.parametrize(
    "reference",
    [
        "Patient/pat-2",
        "Patient/PAT-1",
        "Patient/pat-11",
        f"{SERVER}/Patient/pat-2",
        f"{SERVER}/Patient/pat-1/x",
        "urn:uuid:somebody",
        "#missing",
        "pat-1",
    ],
)
def test_anybody_else_stops_the_evaluation(call, reference):
    response = call(hook_request(*OURS, about(procedure("97110", "2026-01-01", "x"), {"reference": reference})))
    issue = response.get_json()["issue"][0]
    assert (response.status_code, issue["code"], issue["expression"]) == (422, "security", ["prefetch.procedures"])
    assert "pat-" not in response.get_data(as_text=True)


@pytest.mark.parametrize(
    ("base", "status"),
    [
        (SERVER, 200),
        (f"{SERVER}/", 200),
        ("https://EHR.example.org:443/fhir/R4", 200),
        ("https://ehr.example.org/fhir/R4/evil", 422),
        ("https://ehr.example.org.evil.example/fhir/R4", 422),
        ("http://ehr.example.org/fhir/R4", 422),
        ("https://ehr.example.org:8443/fhir/R4", 422),
        ("https://user@ehr.example.org/fhir/R4", 422),
        ("https://ehr.example.org:port/fhir/R4", 422),
    ],
)
def test_an_absolute_reference_must_be_of_the_server_that_was_named(call, base, status):
    body = hook_request(about(OURS[0], {"reference": f"{base}/Patient/pat-1"}))
    assert status_of(call, {**body, "fhirServer": SERVER}) == status


def test_without_a_named_server_the_base_of_a_reference_is_not_compared(call):
    assert status_of(call, hook_request(about(OURS[0], {"reference": "https://a.example/Patient/pat-1"}))) == 200


def test_a_urn_is_resolved_through_the_bundle_of_the_patient(call):
    body = hook_request(about(OURS[0], {"reference": "urn:uuid:5f1c"}))
    assert status_of(call, body) == 422
    named = bundle(patient())
    named["entry"][0]["fullUrl"] = "urn:uuid:5f1c"
    body["prefetch"]["patient"] = named
    assert status_of(call, body) == 200


def test_an_identifier_is_resolved_through_the_patient(call):
    identifier = {"system": "urn:mrn", "value": "4711"}
    body = hook_request(about(OURS[0], {"identifier": identifier}))
    assert status_of(call, body) == 422
    body["prefetch"]["patient"]["identifier"] = [identifier]
    assert status_of(call, body) == 200


def test_a_contained_patient_is_resolved_by_its_identifier(call):
    identifier = {"system": "urn:mrn", "value": "4711"}
    contained = {"resourceType": "Patient", "id": "p", "identifier": [identifier]}
    resource = {**about(OURS[0], {"reference": "#p"}), "contained": [contained]}
    body = hook_request(resource)
    assert status_of(call, body) == 422
    body["prefetch"]["patient"]["identifier"] = [identifier]
    assert status_of(call, body) == 200


@pytest.mark.parametrize("subject", [None, {}, {"display": "somebody"}])
def test_a_resource_that_names_nobody_is_read_as_sent_for_this_patient(cards_of, subject):
    session = about(OURS[0], subject)
    if subject is None:
        del session["subject"]
    assert cards_of(hook_request(session, *OURS[1:])) == ["FAILED-ESI-NEXT-TIER"]


@pytest.mark.parametrize("reference", ["Group/g1", "Device/d1", f"{SERVER}/Location/l1"])
def test_what_is_about_no_person_is_named_and_not_used(ask, reference):
    answered = ask(hook_request(about(OURS[0], {"reference": reference}), *OURS[1:]))
    assert answered.advice.cards == ()
    assert answered.unreadable == ("Procedure/esi-1: subject",)


def test_a_draft_of_somebody_else_stops_the_evaluation(call):
    other = about(draft(name="d2"), {"reference": "Patient/pat-2"})
    response = call(hook_request(*OURS, drafts=(draft(), other)))
    assert response.get_json()["issue"][0]["expression"] == ["context.draftOrders"]


def test_even_an_unrelated_order_is_not_answered_beside_foreign_data(call):
    foreign = about(condition("E11.9"), {"reference": "Patient/pat-2"})
    assert status_of(call, hook_request(foreign, drafts=(draft("83036", side=""),))) == 422


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        ("patient", patient(patient_id="pat-2")),
        ("conditions", about(condition("E11.9"), {"reference": "Patient/pat-2"})),
        ("observations", about(score(3, "2026-01-01"), {"reference": "Patient/pat-2"})),
        ("medications", about(medication("x"), {"reference": "Patient/pat-2"})),
        ("allergies", {"resourceType": "AllergyIntolerance", "id": "a", "patient": {"reference": "Patient/pat-2"}}),
        ("coverage", {"resourceType": "Coverage", "id": "c", "beneficiary": {"reference": "Patient/pat-2"}}),
    ],
)
def test_foreign_data_is_found_under_every_key(call, key, resource):
    body = hook_request(*OURS, prefetch={key: resource})
    assert call(body).get_json()["issue"][0]["expression"] == [f"prefetch.{key}"]


@pytest.mark.parametrize(
    "resource",
    [
        about(condition("E11.9"), {"reference": "Patient/pat-2"}),
        {"resourceType": "Task", "id": "t", "for": {"reference": "Patient/pat-2"}},
    ],
)
def test_foreign_data_under_a_key_nobody_asked_for_is_found_and_the_key_not_repeated(call, resource):
    response = call(hook_request(*OURS, prefetch={"keyOfJohnDoe": resource}))
    assert (response.status_code, response.get_json()["issue"][0]["expression"]) == (422, ["prefetch"])
    assert "JohnDoe" not in response.get_data(as_text=True)


@pytest.mark.parametrize(
    "subject",
    [
        "Patient/pat-1",
        7,
        {"reference": 7},
        {"reference": ["Patient/pat-1"]},
        {"identifier": "4711"},
        {"identifier": {"value": "4711"}},
        [{"reference": "Patient/pat-1"}, {"reference": "Patient/pat-2"}],
        {"reference": "Person/pat-1"},
        {"reference": "RelatedPerson/pat-1"},
        {"reference": "patient/pat-1"},
        {"reference": "Practitioner/pat-1"},
    ],
)
def test_a_subject_that_cannot_be_read_as_this_patient_is_somebody_else(call, subject):
    assert status_of(call, hook_request(*OURS, about(condition("E11.9"), subject))) == 422


def test_a_second_patient_is_somebody_else_even_with_our_subject(call):
    stranger = {**patient(patient_id="pat-2"), "subject": {"reference": "Patient/pat-1"}}
    assert status_of(call, hook_request(*OURS, prefetch={"patient": bundle(patient(), stranger)})) == 422


@pytest.mark.parametrize("patient_claim", [7, "", {"reference": "Patient/pat-1"}])
def test_a_patient_of_the_token_that_is_no_id_is_refused(call, patient_claim):
    authorization = {"access_token": "t", "token_type": "Bearer", "patient": patient_claim}
    body = hook_request(*OURS) | {"fhirServer": SERVER, "fhirAuthorization": authorization}
    assert status_of(call, body) == 400


def test_a_draft_about_a_group_is_no_order_for_this_patient(ask):
    answered = ask(hook_request(*OURS, drafts=(about(draft(), {"reference": "Group/g1"}),)))
    assert (answered.advice.cards, answered.request.selected) == ((), ())


@pytest.mark.parametrize(("patient_id", "status"), [("pat-1", 200), ("Patient/pat-1", 200), ("pat-2", 422)])
def test_the_token_must_be_for_the_same_patient(call, patient_id, status):
    body = hook_request(*OURS)
    authorization = {"access_token": "t", "token_type": "Bearer", "expires_in": 1, "scope": "patient/*.rs"}
    body |= {"fhirServer": SERVER, "fhirAuthorization": {**authorization, "patient": patient_id}}
    assert status_of(call, body) == status


@given(owners=st.lists(st.sampled_from(["pat-1", "pat-2", "pat-3"]), min_size=4, max_size=4))
def test_no_mix_of_patients_ever_gets_a_card(ask, owners):
    mixed = [about(r, {"reference": f"Patient/{owner}"}) for r, owner in zip(OURS, owners, strict=True)]
    body = hook_request(*mixed)
    if set(owners) == {"pat-1"}:
        assert ask(body).advice.cards
    else:
        with pytest.raises(ForeignPatient):
            ask(body)
