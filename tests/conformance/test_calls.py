"""Items about hook requests, prefetch and the FHIR server."""

import orjson
import pytest

from cds_service.app import create_app
from cds_service.settings import Settings
from tests.chart import FAILED, bundle, draft, hook_request, patient, procedure, score, service_request
from tests.conftest import TODAY
from tests.fhir_server import FakeFhirServer, serving
from tests.registered import RING, clients_file

SERVICE = "/cds-services/failed-esi"
TOKEN = "canary-token"  # noqa: S105 - invented


@pytest.fixture
def asking(patient_app):
    return patient_app.test_client()


def story(**more):
    return {**hook_request(*FAILED), **more}


def without(body, *names):
    return {name: value for name, value in body.items() if name not in names}


def authorized(fhir, **more):
    authorization = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 60, "scope": "x", "subject": "c"}
    return {"fhirServer": fhir.url, "fhirAuthorization": authorization | more}


def cards(response):
    assert response.status_code == 200
    return response.get_json()["cards"]


def refusal(response):
    return response.status_code, response.get_json()["issue"][0]["expression"]


def test_item_06_unknown_members_and_extensions_are_ignored(call):
    body = story(unknown={"a": 1}, extension={"org.example": {"a": 1}})
    body["context"] = {**body["context"], "unknown": "x"}
    assert call(body).get_json() == call(story()).get_json()


def test_item_18_a_json_object_is_taken(call):
    assert len(cards(call(story()))) == 1
    assert refusal(call([story()])) == (400, ["body"])


@pytest.mark.parametrize("hook", ["patient-view", "order-review", "failed-esi"])
def test_item_19_a_hook_that_is_not_listed_is_refused(call, hook):
    assert refusal(call(story(hook=hook))) == (400, ["hook"])


def test_item_20_a_hook_instance_is_required_in_any_form_and_is_no_key(call):
    assert refusal(call(without(story(), "hookInstance"))) == (400, ["hookInstance"])
    for identity in ("d1577c69-dfbe-1ad4-ba6d-3e05e953b2ea", "not-a-uuid", "X" * 80):
        assert len(cards(call(story(hookInstance=identity)))) == 1
    same = hook_request(*FAILED, drafts=(draft("83036", side=""),))
    assert cards(call(same)) == []


def test_item_21_an_authorization_without_a_server_is_refused(call):
    assert refusal(call(story(fhirAuthorization={"access_token": TOKEN}))) == (400, ["fhirServer"])


@pytest.mark.parametrize("scope", ["", "user/Condition.Read", "Observation.Read (Labs) (R4)", "patient/*.rs"])
def test_item_22_a_token_is_kept_nowhere_and_its_scope_is_not_interpreted(fhir, capfd, scope):
    client = create_app(settings=Settings(deadline_ms=5000), today=lambda: TODAY).test_client()
    response = client.post(SERVICE, json=without(story(), "prefetch") | authorized(fhir, scope=scope))
    assert len(cards(response)) == 1
    assert "canary" not in capfd.readouterr().err + response.get_data(as_text=True)


def test_item_22_a_token_for_another_patient_is_refused(call, fhir):
    assert refusal(call(story(**authorized(fhir, patient="other")))) == (422, ["fhirAuthorization.patient"])


@pytest.mark.parametrize("context", [None, [], "x"])
def test_item_23_a_context_is_a_required_object(call, context):
    assert refusal(call(story(context=context))) == (400, ["context"])


def test_item_24_prefetch_is_an_object_or_not_there(call):
    assert refusal(call(story(prefetch=[]))) == (400, ["prefetch"])
    assert refusal(call(without(story(), "prefetch"))) == (412, ["prefetch.patient"])


@pytest.mark.parametrize("extension", [{}, {"a": None}, {"com.example.version": "1.1"}, []])
def test_item_25_the_extension_of_a_request_needs_no_understanding(call, extension):
    assert call(story(extension=extension)).get_json() == call(story()).get_json()


def test_item_26_what_is_wrong_is_told_in_a_fixed_order():
    client = create_app(settings=Settings(log_level="error", max_body=4096)).test_client()
    long, json = b"{" + b" " * 5000, "application/json"
    asked = [
        ("/cds-services/other", long, "text/plain"),
        (SERVICE, long, "text/plain"),
        (SERVICE, long, json),
        (SERVICE, b"{", json),
        (SERVICE, b'{"hook": "other"}', json),
        (SERVICE, b'{"hook": "order-select"}', json),
    ]
    answers = [client.post(path, data=body, content_type=kind) for path, body, kind in asked]
    assert [answer.status_code for answer in answers] == [404, 415, 413, 400, 400, 400]
    assert [refusal(answer)[1] for answer in answers[3:]] == [["body"], ["hook"], ["hookInstance"]]


def test_item_26_the_token_comes_first(tmp_path):
    settings = Settings(clients=clients_file(tmp_path, RING), public_url="https://cds.example.org", log_level="error")
    client = create_app(settings=settings).test_client()
    for path in ("/cds-services/other", SERVICE):
        assert client.post(path, data=b"{", content_type="text/plain").status_code == 401


def test_item_27_no_address_of_a_request_decides_whom_we_ask(fhir):
    client = create_app(settings=Settings(log_level="error", fhir_loopback=False), today=lambda: TODAY).test_client()
    response = client.post(SERVICE, json=without(story(), "prefetch") | authorized(fhir))
    assert refusal(response) == (412, ["prefetch.patient"])
    assert fhir.seen == []


def test_item_27_a_next_page_elsewhere_is_not_asked(asking, fhir):
    with serving(FakeFhirServer(list(FAILED))) as elsewhere:
        body = story(fhirServer=fhir.url)
        link = {"relation": "next", "url": f"{elsewhere.url}/Procedure?page=0"}
        body["prefetch"]["procedures"]["link"] = [link]
        assert asking.post(SERVICE, json=body).status_code == 200
        assert (elsewhere.seen, fhir.seen) == ([], [])


def test_item_28_keys_that_were_not_asked_for_are_ignored(call):
    body = story()
    body["prefetch"]["unasked"] = {"resourceType": "Bundle", "entry": [{"resource": score(1, "2026-04-21", "o9")}]}
    assert call(body).get_json() == call(story()).get_json()


@pytest.mark.parametrize("key", ["conditions", "medications", "serviceRequests", "allergies", "coverage"])
def test_item_28_an_optional_key_may_stay_away(call, key):
    body = story()
    del body["prefetch"][key]
    assert len(cards(call(body))) == 1


def test_item_29_what_did_not_come_is_fetched(asking, fhir):
    body = hook_request(*FAILED, not_sent=["observations"]) | {"fhirServer": fhir.url}
    assert asking.post(SERVICE, json=body).get_json() == asking.post(SERVICE, json=story()).get_json()
    assert [path.partition("?")[0] for path, _ in fhir.seen] == ["/fhir/Observation"]


@pytest.mark.parametrize("key", ["patient", "procedures"])
def test_item_30_required_data_that_cannot_be_had_is_412(call, key):
    body = story()
    del body["prefetch"][key]
    assert refusal(call(body)) == (412, [f"prefetch.{key}"])


def test_item_30_thin_data_is_not_412(call):
    body = hook_request(patient(), prefetch={"procedures": None, "conditions": None, "observations": None})
    assert cards(call(body)) == []


@pytest.mark.parametrize(("key", "status"), [("procedures", 412), ("observations", 200)])
def test_item_31_an_operation_outcome_is_a_failed_query(call, key, status):
    body = story()
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
    body["prefetch"][key] = failed
    response = call(body)
    assert response.status_code == status
    if status == 200:
        assert key in cards(response)[0]["extension"]["org.cds-service.decision"]["notRead"]


def test_item_32_prefetch_and_server_lead_to_the_same_answer(asking, fhir):
    fetched = asking.post(SERVICE, json=without(story(), "prefetch") | {"fhirServer": fhir.url})
    assert fetched.get_json() == asking.post(SERVICE, json=story()).get_json()
    assert len(cards(fetched)) == 1


def test_item_33_what_a_template_promises_is_checked_again(call):
    done = service_request("72148", "s1", authored="2026-05-01", status="completed")
    assert (
        cards(call(hook_request(*FAILED, done)))[0]["suggestions"][0] == cards(call(story()))[0]["suggestions"][0]
    )  # the template asks for active orders
    foreign = procedure("97110", "2025-01-02", "p9", subject={"reference": "Patient/other"})
    assert call(hook_request(*FAILED, foreign)).status_code == 422


def test_item_43_without_a_server_nothing_is_asked(asking, fhir):
    assert asking.post(SERVICE, json=without(story(), "prefetch")).status_code == 412
    assert fhir.seen == []


def test_item_44_the_token_goes_with_every_request(asking, fhir):
    fhir.page_size = 1
    asking.post(SERVICE, json=without(story(), "prefetch") | authorized(fhir))
    assert len(fhir.seen) > 8
    assert {headers.get("authorization") for _, headers in fhir.seen} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("searched_for", "status"),
    [("patient=pat-1", 200), ("_count=50", 200), ("patient=pat-2", 412), ("patient=pat-1&date=ge2026-05-01", 412)],
)
def test_item_45_a_server_that_searched_for_something_else_is_noticed(asking, fhir, searched_for, status):
    def empty(exchange):
        link = {"relation": "self", "url": f"{fhir.url}/Procedure?{searched_for}"}
        exchange.send(orjson.dumps(bundle(link=[link], total=0)))

    fhir.faults["Procedure"] = empty
    response = asking.post(SERVICE, json=without(story(), "prefetch") | {"fhirServer": fhir.url})
    assert response.status_code == status
    if status == 412:
        assert refusal(response) == (412, ["prefetch.procedures"])


def test_item_45_what_a_server_sends_beside_what_was_asked_counts_for_nothing(asking, fhir):
    body = without(story(), "prefetch") | {"fhirServer": fhir.url}
    plain = asking.post(SERVICE, json=body).get_json()
    fhir.chart += [score(1, "2026-05-01", "other", code="2345-7"), draft("62323", "proposed") | {"intent": "proposal"}]
    assert asking.post(SERVICE, json=body).get_json() == plain


def test_item_76_the_token_of_the_call_never_goes_to_the_fhir_server(asking, fhir):
    body = without(story(), "prefetch")
    headers = {"Authorization": "Bearer of-the-call"}
    asking.post(
        SERVICE, data=orjson.dumps(body | {"fhirServer": fhir.url}), headers=headers, content_type="application/json"
    )
    asking.post(SERVICE, data=orjson.dumps(body | authorized(fhir)), headers=headers, content_type="application/json")
    assert {headers.get("authorization") for _, headers in fhir.seen} == {None, f"Bearer {TOKEN}"}
