"""Asking the FHIR server: in one parallel round, within the deadline, and right whatever the server does."""

import gzip
import ssl
import threading
import time

import orjson
import pytest
import trustme

from cds_service.app import create_app
from cds_service.fhir.deadline import Deadline
from cds_service.fhir.server import Breaker, FhirServers
from cds_service.settings import Settings
from tests.chart import FAILED, draft, esi, hook_request, patient, procedure
from tests.conftest import TODAY
from tests.fhir_server import FakeFhirServer, serving

REQUIRED = {"Patient", "Procedure"}
TOKEN = "a-token-for-one-request"  # noqa: S105 - invented


def bare(server, *drafts, token=None):
    """A request that sends nothing along but where to ask."""
    body = hook_request(drafts=drafts or (draft(),))
    del body["prefetch"]
    body["fhirServer"] = server.url
    if token:
        body["fhirAuthorization"] = {"access_token": token, "token_type": "Bearer", "expires_in": 60, "scope": "x"}
    return body


def post(app, body):
    return app.test_client().post("/cds-services/failed-esi", json=body)


def shown(response):
    return [card["extension"]["org.cds-service.decision"]["card"] for card in response.get_json()["cards"]]


def test_without_prefetch_the_decision_is_the_same(patient_app, fhir):
    fetched = post(patient_app, bare(fhir))
    sent = post(patient_app, hook_request(*FAILED))
    assert fetched.get_json() == sent.get_json()
    assert shown(fetched) == ["FAILED-ESI-NEXT-TIER"]


def test_only_what_was_not_sent_is_asked(patient_app, fhir):
    body = hook_request(*FAILED, not_sent=["observations"]) | {"fhirServer": fhir.url}
    assert shown(post(patient_app, body)) == ["FAILED-ESI-NEXT-TIER"]
    assert [path.partition("?")[0] for path, _ in fhir.seen] == ["/fhir/Observation"]


def test_a_server_of_an_older_version_is_refused(patient_app):
    older = [patient(), esi("2026-03-16", "esi-1", notPerformed=True)]
    with serving(FakeFhirServer(older)) as server:
        response = post(patient_app, bare(server))
    (issue,) = response.get_json()["issue"]
    assert (response.status_code, issue["expression"]) == (422, ["fhirServer.procedures"])


def test_an_order_of_no_concern_asks_nothing(patient_app, fhir):
    assert post(patient_app, bare(fhir, draft("83036", side=""))).get_json() == {"cards": []}
    assert fhir.seen == []


def test_a_query_that_failed_at_the_client_is_not_asked_again(patient_app, fhir):
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
    body = hook_request(*FAILED, prefetch={"conditions": failed}) | {"fhirServer": fhir.url}
    assert post(patient_app, body).status_code == 200
    assert fhir.seen == []


def test_all_queries_run_at_once(patient_app, fhir):
    """None is answered before all have arrived."""
    together = threading.Barrier(8, timeout=4)

    def meet(exchange):
        together.wait()
        exchange.send(exchange.good)

    fhir.otherwise = meet
    assert shown(post(patient_app, bare(fhir))) == ["FAILED-ESI-NEXT-TIER"]
    assert not together.broken


def test_the_token_goes_along_and_is_kept_nowhere(patient_app, fhir):
    post(patient_app, bare(fhir, token=TOKEN))
    first = {headers.get("authorization") for _, headers in fhir.seen}
    fhir.seen.clear()
    post(patient_app, bare(fhir))
    assert first == {f"Bearer {TOKEN}"}
    assert {headers.get("authorization") for _, headers in fhir.seen} == {None}


def test_tokens_of_requests_at_the_same_time_never_mix(patient_app, fhir):
    def run(number):
        body = bare(fhir, token=f"token-{number}")
        body["context"]["patientId"] = f"p{number}"
        body["context"]["draftOrders"]["entry"][0]["resource"]["subject"] = {"reference": f"Patient/p{number}"}
        post(patient_app, body)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fhir.seen) >= 12 * 8
    for path, headers in fhir.seen:
        number = path.partition("Patient/p")[2] or path.partition("patient=p")[2].partition("&")[0]
        assert headers["authorization"] == f"Bearer token-{number}"


def test_every_page_is_read(patient_app, fhir):
    fhir.page_size = 2
    fhir.chart += [procedure("97110", f"2025-01-{day:02}", f"pt{day}") for day in range(1, 20)]
    response = post(patient_app, bare(fhir))
    assert shown(response) == ["FAILED-ESI-NEXT-TIER"]
    assert "notRead" not in response.get_json()["cards"][0]["extension"]["org.cds-service.decision"]
    assert sum("/Procedure" in path for path, _ in fhir.seen) == 10


def test_the_further_pages_of_what_was_sent_are_read(patient_app, fhir):
    body = hook_request(FAILED[0], *FAILED[2:]) | {"fhirServer": fhir.url}
    next_page = {"relation": "next", "url": f"{fhir.url}/Procedure?page=0"}
    body["prefetch"]["procedures"]["link"] = [next_page]
    assert shown(post(patient_app, body)) == ["FAILED-ESI-NEXT-TIER"]


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://127.0.0.1:1/fhir/Procedure?page=1",
        "{base}.evil.example/Procedure",
        "{base}/../other/Procedure",
        "http://user@{rest}/Procedure",
        "file:///etc/passwd",
        "{base}evil/Procedure",
    ],
)
def test_a_next_page_elsewhere_is_never_asked(patient_app, fhir, elsewhere):
    url = elsewhere.format(base=fhir.url, rest=fhir.url.removeprefix("http://"))

    def lead_away(exchange):
        bundle = orjson.loads(exchange.good)
        exchange.send(orjson.dumps(bundle | {"link": [{"relation": "next", "url": url}]}))

    fhir.faults["Procedure"] = lead_away
    response = post(patient_app, bare(fhir, token=TOKEN))
    decision = response.get_json()["cards"][0]["extension"]["org.cds-service.decision"]
    assert decision["notRead"] == ["procedures"]
    assert all(path.startswith("/fhir/") and ".." not in path for path, _ in fhir.seen)


@pytest.mark.parametrize(
    "base",
    [
        "http://10.0.0.1/fhir",
        "http://169.254.169.254/latest",
        "https://hapi.fhir.org.evil.example/baseR4",
        "https://hapi.fhir.org@evil.example/baseR4",
        "https://hapi.fhir.org/baseR4/../x",
        "http://[::ffff:10.0.0.1]/fhir",
        "http://2130706433/fhir",
        "http://127.0.0.1.evil.example/fhir",
        "ftp://127.0.0.1/fhir",
        "http://127.0.0.1\\@evil.example/",
        "http://127.0.0.1:port/fhir",
        "//127.0.0.1/fhir",
    ],
)
def test_a_server_that_nobody_listed_is_not_asked(base):
    servers = FhirServers(("https://hapi.fhir.org/baseR4",), loopback=True, max_bytes=1000)
    assert servers.search(base, None, Deadline.after(100)) is None


def test_loopback_can_be_switched_off_and_listed_servers_stay():
    servers = FhirServers(("https://hapi.fhir.org/baseR4",), loopback=False, max_bytes=1000)
    assert servers.search("http://127.0.0.1:8080/fhir", None, Deadline.after(100)) is None
    assert servers.search("https://HAPI.fhir.org:443/baseR4/", None, Deadline.after(100)) is not None


def outcome(severity):
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": "exception"}]})


def drip(exchange, data, pause=0.05):
    for byte in data:
        exchange.connection.sendall(bytes([byte]))
        time.sleep(pause)


def head(length, *more):
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {length}", *more, "", ""]).encode()


def loop(exchange):
    bundle = orjson.loads(exchange.good) | {"link": [{"relation": "next", "url": f"{exchange.server.url}/x"}]}
    bundle["link"][0]["url"] = f"{exchange.server.url}{exchange.path.removeprefix('/fhir')}"
    exchange.send(orjson.dumps(bundle))


def endless(exchange):
    exchange.connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        exchange.connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


def wait(_):
    time.sleep(6)


# What a server may do instead of answering; none of it is an answer.
FAULTS = {
    "hang": wait,
    "drip header": lambda e: drip(e, head(len(e.good))),
    "drip body": lambda e: (e.connection.sendall(head(len(e.good))), drip(e, e.good)),
    "drip status": lambda e: drip(e, b"HTTP/1.1 "),
    "reset": lambda e: e.reset(),
    "close": lambda e: e.connection.close(),
    "close within head": lambda e: (e.connection.sendall(b"HTTP/1.1 200 OK\r\nConte"), e.connection.close()),
    "truncated": lambda e: (e.connection.sendall(head(len(e.good)) + e.good[:20]), e.connection.close()),
    "reset within body": lambda e: (e.connection.sendall(head(len(e.good)) + e.good[:20]), e.reset()),
    "shorter than said": lambda e: (e.connection.sendall(head(len(e.good) + 99) + e.good), e.connection.close()),
    "garbage": lambda e: (e.connection.sendall(b"\x00\xff garbage \r\n\r\n"), e.connection.close()),
    "not http": lambda e: (e.connection.sendall(b"SSH-2.0-OpenSSH\r\n"), e.connection.close()),
    "html": lambda e: e.send(b"<html>Tomcat</html>", Content_Type="text/html"),
    "empty body": lambda e: e.send(b""),
    "half json": lambda e: e.send(e.good[: len(e.good) // 2]),
    "not utf-8": lambda e: e.send(b'{"a":"\xff"}'),
    "nan": lambda e: e.send(b'{"resourceType":"Bundle","total":NaN}'),
    "too deep": lambda e: e.send(e.good[:-1] + b',"x":' + b"[" * 300 + b"]" * 300 + b"}"),
    "json text": lambda e: e.send(b'"no"'),
    "json list": lambda e: e.send(b"[]"),
    "empty object": lambda e: e.send(b"{}"),
    "301": lambda e: e.send(b"", "301 Moved", Location=f"{e.server.url}/elsewhere"),
    "302 away": lambda e: e.send(b"", "302 Found", Location="http://127.0.0.1:1/"),
    "400": lambda e: e.send(outcome("error"), "400 Bad Request"),
    "401": lambda e: e.send(b"", "401 Unauthorized"),
    "403": lambda e: e.send(b"", "403 Forbidden"),
    "404": lambda e: e.send(outcome("error"), "404 Not Found"),
    "410": lambda e: e.send(b"", "410 Gone"),
    "429": lambda e: e.send(b"", "429 Too Many Requests", Retry_After="30"),
    "429 with a date": lambda e: e.send(b"", "429 Too Many", Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"),
    "500": lambda e: e.send(outcome("fatal"), "500 Internal Server Error"),
    "503": lambda e: e.send(b"", "503 Service Unavailable"),
    "200 with an outcome": lambda e: e.send(outcome("error")),
    "204": lambda e: e.connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "gzip": lambda e: e.send(gzip.compress(e.good), Content_Encoding="gzip"),
    "bomb": lambda e: e.send(gzip.compress(b" " * 50_000_000), Content_Encoding="gzip"),
    "huge": endless,
    "1xx without end": lambda e: [e.connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n") for _ in range(200)],
    "headers without end": lambda e: e.connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000),
    "another type": lambda e: e.send(orjson.dumps({"resourceType": "Basic", "id": "x"})),
    "bad chunk": lambda e: e.connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
}


@pytest.fixture
def hurried(service):
    """Makes applications with a deadline that a slow machine meets, a limit that a test can reach, no breaker open."""
    settings = Settings(log_level="error", deadline_ms=1200, max_body=1_000_000)
    return lambda: create_app(services=[service], settings=settings, today=lambda: TODAY)


@pytest.mark.parametrize("kind", ["Procedure", "Condition", "Observation"])
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_server_does_the_answer_is_right(hurried, fhir, fault, kind):
    fhir.faults[kind] = FAULTS[fault]
    response = post(hurried(), bare(fhir))
    if kind in REQUIRED:
        assert (response.status_code, response.get_json()["issue"][0]["expression"]) == (412, ["prefetch.procedures"])
        return
    found = response.get_json()["cards"][0]
    named = "conditions" if kind == "Condition" else "observations"
    assert found["extension"]["org.cds-service.decision"]["notRead"] == [named]
    assert "not, or not completely, part of the data sent" in found["detail"].splitlines()[0]


@pytest.mark.parametrize("kind", ["Procedure", "Condition", "Observation"])
def test_a_loop_of_pages_ends_and_is_named(patient_app, fhir, kind):
    fhir.faults[kind] = loop
    found = post(patient_app, bare(fhir)).get_json()["cards"][0]["extension"]["org.cds-service.decision"]
    assert len(found["notRead"]) == 1


@pytest.mark.parametrize("kind", ["Procedure", "Condition", "Observation"])
def test_somebody_else_from_the_server_stops_the_evaluation(patient_app, fhir, kind):
    stranger = next(r for r in FAILED if r["resourceType"] == kind)
    fhir.chart.append({**stranger, "id": "x", "subject": {"reference": "Patient/pat-2"}})
    response = post(patient_app, bare(fhir))
    assert response.status_code == 422
    assert response.get_json()["issue"][0]["expression"][0].startswith("fhirServer.")


@pytest.mark.parametrize("fault", ["drip status", "drip header", "drip body"])
def test_the_deadline_cuts_a_connection_that_drips(hurried, fhir, fault):
    """The server would go on for minutes; it finds its connection closed."""
    was_cut = threading.Event()

    def go_on(exchange):
        try:
            FAULTS[fault](exchange)
            while True:
                drip(exchange, b"X: y\r\n" if fault != "drip body" else b" ")
        except OSError:
            was_cut.set()

    fhir.faults["Procedure"] = go_on
    assert post(hurried(), bare(fhir)).status_code == 412
    assert was_cut.wait(20)


def test_a_transient_failure_is_asked_once_more(patient_app, fhir):
    answers = iter([lambda e: e.send(b"", "503 Service Unavailable"), lambda e: e.send(e.good)])
    fhir.faults["Observation"] = lambda exchange: next(answers)(exchange)
    response = post(patient_app, bare(fhir))
    assert "notRead" not in response.get_json()["cards"][0]["extension"]["org.cds-service.decision"]
    assert sum("/Observation" in path for path, _ in fhir.seen) == 2


def test_a_refusal_is_asked_once(patient_app, fhir):
    fhir.faults["Observation"] = FAULTS["403"]
    post(patient_app, bare(fhir))
    assert sum("/Observation" in path for path, _ in fhir.seen) == 1


def test_nothing_of_this_machine_goes_along(patient_app, fhir, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert shown(post(patient_app, bare(fhir, token=TOKEN))) == ["FAILED-ESI-NEXT-TIER"]
    assert {headers["authorization"] for _, headers in fhir.seen} == {f"Bearer {TOKEN}"}
    assert {headers["accept-encoding"] for _, headers in fhir.seen} == {"identity"}


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_breaker_opens_on_failures_probes_and_closes():
    clock = Clock()
    breaker = Breaker(clock=clock)
    for number in range(20):
        assert breaker.allows()
        breaker.note(is_ok=number % 2 == 0)
    assert not breaker.allows()
    clock.now += 5.1
    assert breaker.allows()
    assert not breaker.allows()
    breaker.note(is_ok=True)
    assert breaker.allows()


def test_a_breaker_stays_closed_below_half():
    breaker = Breaker(clock=Clock())
    for number in range(100):
        assert breaker.allows()
        breaker.note(is_ok=number % 3 != 0)


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def secured(authority):
    """A FHIR server behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(FakeFhirServer(list(FAILED), tls=context)) as server:
        yield server


def trusting(service, bundle):
    settings = Settings(log_level="error", deadline_ms=5000, ca_bundle=bundle)
    return create_app(services=[service], settings=settings, today=lambda: TODAY)


def test_a_server_with_a_certificate_of_the_site_is_asked(service, secured, authority, tmp_path):
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    assert shown(post(trusting(service, bundle), bare(secured, token=TOKEN))) == ["FAILED-ESI-NEXT-TIER"]
    assert {headers["authorization"] for _, headers in secured.seen} == {f"Bearer {TOKEN}"}


def test_a_server_whose_certificate_nobody_vouches_for_never_sees_the_token(service, secured):
    assert post(trusting(service, None), bare(secured, token=TOKEN)).status_code == 412
    assert secured.seen == []


def test_a_certificate_of_another_name_is_not_taken(service, authority, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("ehr.example.org").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with serving(FakeFhirServer(list(FAILED), tls=context)) as server:
        assert post(trusting(service, bundle), bare(server, token=TOKEN)).status_code == 412
        assert server.seen == []


def test_the_deadline_cuts_a_drip_behind_tls(service, secured, authority, tmp_path):
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    was_cut = threading.Event()

    def go_on(exchange):
        try:
            while True:
                drip(exchange, b"HTTP/1.1 200 OK\r\nX: y\r\n")
        except OSError:
            was_cut.set()

    secured.faults["Procedure"] = go_on
    settings = Settings(log_level="error", deadline_ms=450, ca_bundle=bundle)
    app = create_app(services=[service], settings=settings, today=lambda: TODAY)
    assert post(app, bare(secured)).status_code == 412
    assert was_cut.wait(20)


def test_a_server_that_is_not_listed_is_said_to_be_so(patient_app):
    body = bare(FakeFhirServer([], url="https://ehr.example.org/fhir"))
    text = post(patient_app, body).get_json()["issue"][0]["details"]["text"]
    assert "not one this service asks (CDS_FHIR_SERVERS)" in text
    assert "ehr.example.org" not in text
