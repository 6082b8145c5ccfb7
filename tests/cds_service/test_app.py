"""The routes, the errors, CORS, and what never reaches a log."""

import io
from dataclasses import replace

import orjson
import pytest

from cds_service.app import create_app
from cds_service.settings import Settings
from tests.chart import esi, hook_request, score

FAILED = hook_request(esi("2026-03-16"), score(8, "2026-03-10", "a"), score(7, "2026-04-20", "b"))
SERVICE = "/cds-services/failed-esi"


def test_discovery_lists_the_service_for_both_hooks(client):
    response = client.get("/cds-services")
    services = response.get_json()["services"]
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert [(s["hook"], s["id"]) for s in services] == [("order-select", "failed-esi"), ("order-sign", "failed-esi")]
    for service in services:
        assert set(service) == {"hook", "id", "title", "description", "usageRequirements", "prefetch"}
        assert set(service["prefetch"]) == {
            "patient", "procedures", "conditions", "observations", "medications", "serviceRequests", "allergies",
            "coverage",
        }  # fmt: skip


def test_a_service_that_asks_for_nothing_has_no_empty_members(service):
    plain = replace(service, prefetch={}, usage_requirements="")
    client = create_app([plain], Settings(log_level="error")).test_client()
    assert set(client.get("/cds-services").get_json()["services"][0]) == {"hook", "id", "title", "description"}


def test_a_template_uses_only_the_portable_subset(client):
    for service in client.get("/cds-services").get_json()["services"]:
        for template in service["prefetch"].values():
            assert template.count("{{context.patientId}}") == template.count("{{") == 1
            assert not set("|:") & set(template.replace("{{context.patientId}}", ""))
            assert "percent-relief" in template or not template.startswith("Observation")


def test_both_hooks_get_the_same_advice(call):
    signed = hook_request(
        esi("2026-03-16"), score(8, "2026-03-10", "a"), score(7, "2026-04-20", "b"), hook="order-sign"
    )
    assert call(signed).get_json() == call(FAILED).get_json()


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "code"),
    [
        ("post", "/cds-services/other", {"json": {}}, 404, "not-found"),
        ("get", "/nowhere", {}, 404, "not-found"),
        ("get", SERVICE, {}, 405, "not-supported"),
        ("delete", "/cds-services", {}, 405, "not-supported"),
        ("post", SERVICE, {"data": b"{", "content_type": "application/json"}, 400, "structure"),
        ("post", SERVICE, {"json": {}}, 400, "structure"),
        ("post", SERVICE, {"data": "a=b"}, 415, "not-supported"),
        ("post", SERVICE, {"data": b"{}", "content_type": "application/xml"}, 415, "not-supported"),
        ("post", SERVICE, {"json": {}, "headers": {"Content-Encoding": "gzip"}}, 415, "not-supported"),
        ("post", SERVICE, {"json": {**FAILED, "prefetch": {}}}, 412, "required"),
    ],
)
def test_every_refusal_is_an_operation_outcome_with_cors(client, method, path, arguments, status, code):
    headers = {"Origin": "https://sandbox.example", **arguments.pop("headers", {})}
    response = getattr(client, method)(path, headers=headers, **arguments)
    body = response.get_json()
    assert (response.status_code, body["resourceType"], body["issue"][0]["code"]) == (status, "OperationOutcome", code)
    assert body["issue"][0]["details"]["text"]
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_a_405_says_what_is_allowed(client):
    assert "POST" in client.get(SERVICE).headers["Allow"]


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/fhir+json"]
)
def test_json_is_taken_under_its_usual_names(client, content_type):
    assert client.post(SERVICE, data=orjson.dumps(FAILED), content_type=content_type).status_code == 200


def test_a_body_over_the_limit_is_413():
    client = create_app(settings=Settings(max_body=2048, log_level="error")).test_client()
    response = client.post(SERVICE, data=b" " * 2049, content_type="application/json")
    assert (response.status_code, response.get_json()["issue"][0]["code"]) == (413, "too-long")


@pytest.mark.parametrize("path", ["/cds-services", SERVICE])
def test_a_preflight_is_answered_on_every_route(client, path):
    response = client.options(
        path,
        headers={
            "Origin": "https://sandbox.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        },
    )
    assert response.status_code == 200
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "authorization" in response.headers["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_listed_origins_are_answered_by_name_and_others_not_at_all():
    settings = Settings(cors_origins=("https://ehr.example",), log_level="error")
    client = create_app(settings=settings).test_client()
    ours = client.get("/cds-services", headers={"Origin": "https://ehr.example"})
    other = client.get("/cds-services", headers={"Origin": "https://evil.example"})
    assert ours.headers["Access-Control-Allow-Origin"] == "https://ehr.example"
    assert "Access-Control-Allow-Origin" not in other.headers


def test_health_is_told_without_looking_at_anything_else(client):
    assert client.get("/livez").get_json() == {"status": "ok"}
    assert client.get("/readyz").get_json() == {"status": "ok", "knowledge": {"failed-esi": "2026.1"}}


@pytest.fixture
def broken(monkeypatch):
    """An application whose evaluation fails with patient data in the message."""

    def fail(*_):
        raise RuntimeError("canary-in-exception Jane Doe 1972-03-04")

    monkeypatch.setattr("cds_service.app.answer", fail)
    return create_app(settings=Settings()).test_client()


def test_a_fault_of_ours_is_500_and_says_nothing_of_the_patient(broken, capfd):
    response = broken.post(SERVICE, json=FAILED)
    assert response.status_code == 500
    assert response.get_json()["issue"][0]["code"] == "exception"
    out, err = capfd.readouterr()
    assert "RuntimeError" in err
    for text in (response.get_data(as_text=True), out, err):
        assert "canary" not in text
        assert "Jane" not in text


def test_one_log_line_a_call_and_no_patient_data_in_it(capfd):
    client = create_app(settings=Settings()).test_client()
    client.post(SERVICE, json=FAILED)
    lines = [orjson.loads(line) for line in capfd.readouterr().err.splitlines()]
    (answered,) = [line for line in lines if line["event"] == "answered"]
    assert answered["service"] == "failed-esi"
    assert answered["hook_instance"] == FAILED["hookInstance"]
    assert "pat-1" not in str(lines)


def canaries(value, found, path="c"):
    """Put a unique text into every string of a request, keeping what gives it its shape."""
    keep = {
        "resourceType",
        "system",
        "status",
        "hook",
        "code",
        "reference",
        "selections",
        "patientId",
        "id",
        "birthDate",
    }
    if isinstance(value, dict):
        return {
            k: v if k in keep or k.endswith("DateTime") else canaries(v, found, f"{path}{k}") for k, v in value.items()
        }
    if isinstance(value, list):
        return [canaries(item, found, f"{path}{number}") for number, item in enumerate(value)]
    if isinstance(value, str):
        found.append(f"canary{len(found)}x")
        return found[-1]
    return value


@pytest.mark.parametrize("breaks", [None, "prefetch", "context", "procedures"])
def test_no_text_of_a_request_reaches_a_log_or_an_error(capfd, breaks):
    client = create_app(settings=Settings()).test_client()
    found: list[str] = []
    body = canaries(FAILED, found)
    body["hookInstance"] = "canary-hook-instance"
    if breaks == "procedures":
        body["prefetch"]["procedures"] = "canary-value"
    elif breaks:
        body[breaks] = "canary-value"
    response = client.post(SERVICE, json=body)
    written = capfd.readouterr().err + ("" if response.status_code == 200 else response.get_data(as_text=True))
    assert len(found) > 20
    assert "canary" not in written


def test_chart_text_never_reaches_a_card(call):
    found: list[str] = []
    response = call(canaries(FAILED, found))
    assert response.get_json()["cards"]
    assert "canary" not in response.get_data(as_text=True)


class Broken(io.BytesIO):
    """A body whose connection is lost."""

    def read(self, *_):
        raise OSError("lost")

    readinto = readline = read


def chunked(client, body):
    """Post a body without a Content-Length, as a chunked one reaches the application."""
    return client.post(
        SERVICE,
        input_stream=body,
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
    )


def test_a_body_without_a_length_is_held_to_the_same_limit():
    client = create_app(settings=Settings(max_body=2048, log_level="error")).test_client()
    assert chunked(client, io.BytesIO(b"{}" + b" " * 2046)).status_code == 400
    assert chunked(client, io.BytesIO(b"{}" + b" " * 2047)).status_code == 413


def test_a_body_that_breaks_off_is_400(client):
    response = chunked(client, Broken())
    assert (response.status_code, response.get_json()["issue"][0]["expression"]) == (400, ["body"])


@pytest.mark.parametrize("path", ["//cds-services", "/cds-services/", "/cds-services//failed-esi"])
def test_a_wrong_address_is_404_with_advice_and_never_a_redirect(client, path):
    response = client.get(path)
    assert (response.status_code, response.get_json()["issue"][0]["code"]) == (404, "not-found")
    assert "GET /cds-services" in response.get_json()["issue"][0]["diagnostics"]
