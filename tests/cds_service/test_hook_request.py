"""Reading a hook request: strict about what is needed, tolerant of the rest."""

import copy

import pytest

from cds_service.protocol.errors import BadRequest
from cds_service.protocol.hook_request import HookRequest
from tests.chart import draft, hook_request, medication

HOOKS = ("order-select", "order-sign")


def parse(body):
    return HookRequest.parse(body, HOOKS, ("patient", "procedures"))


def changed(path, value=...):
    """A request with one member replaced, or left out."""
    body = hook_request()
    *parents, name = path.split(".")
    target = body
    for parent in parents:
        target = target[parent]
    if value is ...:
        del target[name]
    else:
        target[name] = value
    return body


@pytest.mark.parametrize("body", [None, 7, "text", [], [hook_request()]])
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(BadRequest) as error:
        parse(body)
    assert error.value.where == "body"


@pytest.mark.parametrize(
    "path", ["hook", "hookInstance", "context.userId", "context.patientId", "context.draftOrders", "context.selections"]
)
@pytest.mark.parametrize("value", [..., None, 7, "", True])
def test_a_required_member_that_is_missing_or_mistyped_is_named(path, value):
    with pytest.raises(BadRequest) as error:
        parse(changed(path, value))
    assert error.value.where == path


@pytest.mark.parametrize("value", [..., None, "x", []])
def test_a_context_that_is_no_object_is_refused(value):
    with pytest.raises(BadRequest) as error:
        parse(changed("context", value))
    assert error.value.where == "context"


@pytest.mark.parametrize("hook", ["patient-view", "failed-esi", "order-review", "ORDER-SELECT"])
def test_a_hook_that_is_not_listed_is_refused(hook):
    with pytest.raises(BadRequest) as error:
        parse(changed("hook", hook))
    assert error.value.where == "hook"


@pytest.mark.parametrize("prefetch", ["x", [], 7])
def test_prefetch_must_be_an_object(prefetch):
    with pytest.raises(BadRequest) as error:
        parse({**hook_request(), "prefetch": prefetch})
    assert error.value.where == "prefetch"


def test_authorization_needs_a_server():
    authorization = {"access_token": "t", "token_type": "Bearer", "expires_in": 60, "scope": "s", "subject": "c"}
    with pytest.raises(BadRequest) as error:
        parse({**hook_request(), "fhirAuthorization": authorization})
    assert error.value.where == "fhirServer"


def test_a_token_never_shows_when_a_request_is_printed():
    authorization = {"access_token": "secret-token", "token_type": "Bearer", "expires_in": 60, "scope": "s"}
    request = parse({**hook_request(), "fhirServer": "https://ehr.example/fhir", "fhirAuthorization": authorization})
    assert request.access_token == "secret-token"  # noqa: S105
    assert "secret-token" not in repr(request)


@pytest.mark.parametrize(
    "user", ["Practitioner/1", "PractitionerRole/1", "1", "https://ehr.example/fhir/Practitioner/1"]
)
def test_a_user_is_named_in_any_form(user):
    assert parse(changed("context.userId", user)).user_id == user


@pytest.mark.parametrize("patient_id", ["pat-1", "Patient/pat-1"])
def test_a_patient_id_may_carry_its_type(patient_id):
    assert parse(changed("context.patientId", patient_id)).patient_id == "pat-1"


@pytest.mark.parametrize("patient_id", ["a/b", "a?b=c", "a b", "a&b", "Patient/", "x" * 256])
def test_a_patient_id_that_could_change_a_query_is_refused(patient_id):
    with pytest.raises(BadRequest) as error:
        parse(changed("context.patientId", patient_id))
    assert error.value.where == "context.patientId"


@pytest.mark.parametrize(("sent", "read"), [("enc-1", "enc-1"), ("Encounter/enc-1", "enc-1"), (None, None), (7, None)])
def test_an_encounter_is_optional(sent, read):
    assert parse(changed("context.encounterId", sent)).encounter_id == read


def test_unknown_members_and_extensions_are_ignored():
    body = hook_request()
    body |= {"extension": {"com.example.key": {"a": [1]}}, "surprise": None}
    body["context"] |= {"surprise": 1}
    assert parse(body).patient_id == "pat-1"


LONG = "e" * 194


def with_drafts(selections, *drafts, urls=()):
    body = hook_request(drafts=drafts, selections=selections)
    for entry, url in zip(body["context"]["draftOrders"]["entry"], urls, strict=False):
        entry["fullUrl"] = url
    return parse(body)


def names(orders):
    return [order.reference for order in orders]


@pytest.mark.parametrize(
    "selection",
    [
        "ServiceRequest/d1",
        "ServiceRequest/d1/_history/2",
        "https://ehr.example/fhir/ServiceRequest/d1",
        "https://ehr.example/fhir/ServiceRequest/d1/_history/2",
        "urn:uuid:0b5f",
        "#d1",
        "d1",
        " ServiceRequest/d1 ",
    ],
)
def test_a_selection_is_found_in_whatever_form_it_comes(selection):
    request = with_drafts([selection], draft(name="d1"), draft(name="d2"), urls=["urn:uuid:0b5f"])
    assert (names(request.selected), names(request.other_drafts)) == (["ServiceRequest/d1"], ["ServiceRequest/d2"])
    assert request.unresolved_selections == 0


def test_an_id_of_194_characters_is_kept_to_the_letter():
    request = with_drafts([f"ServiceRequest/{LONG}"], draft(name=LONG))
    assert names(request.selected) == [f"ServiceRequest/{LONG}"]


def test_a_bare_id_that_two_drafts_share_selects_neither():
    request = with_drafts(["x"], draft(name="x"), medication("gabapentin", "x", status="draft"))
    assert (request.selected, request.unresolved_selections) == ((), 1)


def test_a_dangling_selection_selects_nothing_and_never_everything():
    request = with_drafts(["ServiceRequest/gone"], draft(name="d1"))
    assert (request.selected, request.unresolved_selections) == ((), 1)


def test_selections_decide_and_other_drafts_are_context():
    request = with_drafts(["ServiceRequest/d2"], draft(name="d1"), draft("97110", "d2"))
    assert names(request.selected) == ["ServiceRequest/d2"]


def test_order_sign_selects_every_draft():
    body = hook_request(drafts=(draft(name="d1"), draft("97110", "d2")), hook="order-sign")
    assert names(parse(body).selected) == ["ServiceRequest/d1", "ServiceRequest/d2"]


def test_a_draft_may_be_nearly_empty_while_it_is_being_picked():
    bare = {"resourceType": "ServiceRequest", "id": "d1", "code": {"coding": [{}]}, "reasonCode": []}
    (order,) = with_drafts(["ServiceRequest/d1"], bare).selected
    assert (order.code.codings, order.status) == ((), "")


def test_a_draft_bundle_needs_no_type_and_survives_strange_entries():
    body = hook_request()
    drafts = body["context"]["draftOrders"]
    del drafts["type"], drafts["resourceType"]
    drafts["entry"] += [None, {}, {"resource": 7}, {"resource": {"resourceType": "MedicinalProduct", "id": "m"}}]
    assert names(parse(body).selected) == ["ServiceRequest/d1"]


def test_the_drug_of_an_order_may_be_a_sibling_entry():
    drug = {"resourceType": "Medication", "id": "med-1", "code": {"text": "gabapentin 300 mg capsule"}}
    order = medication("", "d1", status="draft")
    del order["medicationCodeableConcept"]
    order["medicationReference"] = {"reference": "Medication/med-1"}
    request = with_drafts(["MedicationRequest/d1"], order, drug)
    assert request.selected[0].code.words == "gabapentin 300 mg capsule"
    assert request.other_drafts == ()


def test_the_request_that_was_read_is_not_changed():
    body = hook_request()
    before = copy.deepcopy(body)
    parse(body)
    assert body == before


def test_two_drafts_of_one_name_are_both_meant():
    request = with_drafts(["ServiceRequest/d1"], draft(name="d1"), draft("97110", "d1"))
    assert names(request.selected) == ["ServiceRequest/d1", "ServiceRequest/d1"]


@pytest.mark.parametrize(
    "drafts", [{}, {"resourceType": "Bundle", "entry": {}}, {"resourceType": "ServiceRequest"}, []]
)
def test_drafts_that_are_no_bundle_are_refused(drafts):
    with pytest.raises(BadRequest) as error:
        parse(changed("context.draftOrders", drafts))
    assert error.value.where == "context.draftOrders"
