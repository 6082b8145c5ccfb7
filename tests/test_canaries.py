"""Canaries: a text of its own in every field of every kind of request, and none of them in any place that is kept or shown.

SINKS are the places that are looked through. DOCUMENTED is what may be found there, by the field that the text was in.
"""

from __future__ import annotations

import base64
import copy
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text

from cds_service import app as composition
from cds_service.app import create_app
from cds_service.cli import main
from cds_service.ledger.ledger import open_ledger
from cds_service.settings import Settings
from cds_service.tracing import SendingTracer
from tests.chart import ICD, coded, condition, draft, esi, hook_request, medication, patient, score, service_request
from tests.fhir_server import FakeFhirServer, serving

TODAY = date(2026, 6, 1)
CANARY = re.compile(rb"[Cc]anary-(\d+)-x")
EXPORTS = (
    ("export",), ("export", "--format", "ndjson"), *(("report", "--by", by) for by in ("card", "reason", "user", "client")),
)  # fmt: skip
NUMBER = 770_000_000_000_000  # a number that is a canary: this, and its own number

SINKS = ("log", "ledger", "audit", "exports", "errors", "metrics", "traces", "cards")
# A sink, and the fields of which it may hold the text, as patterns. All else is a leak.
ID = r"(context\.draftOrders|prefetch|chart)\..*resource\.id"
DOCUMENTED: Mapping[str, tuple[str, ...]] = {
    "log": (),
    # Who asked is on record (45 CFR 170.315(b)(11)), as the client names them.
    "ledger": (r"context\.userId",),
    "audit": (r"context\.userId",),
    "exports": (r"context\.userId",),
    "errors": (),
    "metrics": (),
    "traces": (),
    # A card goes back to who sent the data: it names the resources it rests on, and orders for this patient.
    "cards": (
        r"context\.(patientId|userId|encounterId)",
        ID,
    ),
}

CHART = (
    {**patient(), "name": [{"family": "Invented", "given": ["Name"]}], "identifier": [{"system": "urn:x", "value": "1"}]},
    esi("2026-03-16", "esi-1", note=[{"text": "with steroid"}], reasonCode=[coded(ICD, "M54.16", "radiculopathy")]),
    score(8, "2026-03-10", "o1", note=[{"text": "before"}]),
    score(7, "2026-04-20", "o2", performer=[{"display": "a nurse"}]),
    condition("M54.16", name="c1", note=[{"text": "left leg"}]),
    medication("gabapentin 300 mg", "m1", authored="2026-02-01", requester={"display": "a doctor"}),
    service_request("72148", "s1", authored="2026-02-02", note=[{"text": "soon"}]),
    {"resourceType": "AllergyIntolerance", "id": "a1", "patient": {"reference": "Patient/pat-1"}, "code": {"text": "latex"}},
    {
        "resourceType": "Coverage", "id": "v1", "beneficiary": {"reference": "Patient/pat-1"},
        "payor": [{"display": "Medicare"}], "subscriberId": "1EG4",
    },
)  # fmt: skip


class Canaries:
    """Hands out texts that are found again, and knows which field each was in."""

    def __init__(self) -> None:
        self.fields: list[str] = []

    def text(self, field: str) -> str:
        self.fields.append(field)
        return f"Canary-{len(self.fields) - 1}-x"

    def number(self, field: str) -> int:
        self.fields.append(field)
        return NUMBER + len(self.fields) - 1

    def found_in(self, content: bytes) -> set[str]:
        """The fields whose texts are there, also when they were base64 there."""
        for coded_part in re.findall(rb'"query":"([A-Za-z0-9+/=]+)"', content):
            content += base64.b64decode(coded_part)
        texts = {int(number) for number in CANARY.findall(content)}
        numbers = {int(found) - NUMBER for found in re.findall(rb"77000000\d{7}", content)}
        return {self.fields[number] for number in texts | numbers if number < len(self.fields)}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every field of a request, objects and lists included."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in children:
        yield (*path, name)
        yield from places(item, (*path, name))


def field_of(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path if not isinstance(part, int))


def one_at_a_time(body: Any, canaries: Canaries, root: str = "") -> Iterator[Any]:
    """The body again and again, each time with another field replaced, or with a member that nobody knows beside it."""
    for path in [(), *places(body)]:
        changed = copy.deepcopy(body)
        target, field = changed, f"{root}{field_of(path)}"
        for part in path[:-1]:
            target = target[part]
        own = target[path[-1]] if path else changed
        if isinstance(own, dict):
            own[canaries.text(f"{field}.(unknown name)")] = canaries.text(f"{field}.(unknown)")
        elif isinstance(own, int | float) and not isinstance(own, bool):
            target[path[-1]] = canaries.number(field)
        elif not isinstance(own, list):
            target[path[-1]] = canaries.text(field)
        else:
            own.append(canaries.text(f"{field}[]"))
        yield changed


def sent_along(hook: str) -> Any:
    body = hook_request(*CHART[1:], drafts=(draft(text="left L5-S1 injection"),), person=CHART[0], hook=hook)
    return body | {"extension": {"vendor": "x"}}


def to_be_fetched(url: str) -> Any:
    body = hook_request(drafts=(draft(),))
    del body["prefetch"]
    authorization = {
        "access_token": "opens-the-chart", "token_type": "Bearer", "expires_in": 60, "scope": "patient/*.read",
        "subject": "service", "patient": "pat-1",
    }  # fmt: skip
    return body | {"fhirServer": url, "fhirAuthorization": authorization}


class Watch:
    """An application, all that was done to it, and what it left behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(data=folder, log_level="debug", deadline_ms=5000)
        self.spans = InMemorySpanExporter()
        tracer = SendingTracer(InMemorySpanExporter())
        tracer.provider.add_span_processor(SimpleSpanProcessor(self.spans))
        with patch.object(composition, "open_tracer", lambda is_wanted: tracer):
            self.app = create_app(settings=self.settings, today=lambda: TODAY)
        self.app.testing = False
        self.client = self.app.test_client()
        self.canaries = Canaries()
        self.errors = b""
        self.cards = b""
        self.statuses: dict[int, int] = defaultdict(int)

    def post(self, body: Any, path: str = "/cds-services/failed-esi", **more: Any) -> None:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        self.keep(self.client.post(path, data=data, **{"content_type": "application/json", **more}))

    def keep(self, response: Any) -> None:
        self.statuses[response.status_code] += 1
        content = response.get_data() + repr(response.headers).encode()
        if response.status_code == 200:
            self.cards += content
        else:
            self.errors += content

    def printed(self, *command: str) -> bytes:
        """What a command prints, also as an error; exit code 1 is nothing to print."""
        environment = {"CDS_DATA": str(self.folder), "CDS_DATABASE_URL": "", "CDS_LEDGER": "digest"}
        done = CliRunner().invoke(main, command, env=environment)
        assert done.exit_code in {0, 1}, done.stderr
        return done.stdout_bytes + done.stderr_bytes

    def sinks(self, log: str) -> dict[str, bytes]:
        stored = [path.read_bytes() for path in self.folder.iterdir() if path.name != "secret"]
        return {
            "log": log.encode(),
            "ledger": b"".join(stored),
            "audit": self.printed("audit", "export"),
            "exports": b"".join(self.printed("feedback", *command) for command in EXPORTS),
            "errors": self.errors,
            "metrics": self.client.get("/metrics").get_data(),
            "traces": "".join(span.to_json() for span in self.spans.get_finished_spans()).encode(),
            "cards": self.cards,
        }

    def leaks(self, log: str) -> dict[str, list[str]]:
        """By sink, the fields whose texts should not be there."""
        sinks = self.sinks(log)
        assert tuple(sinks) == SINKS
        found = {name: self.canaries.found_in(content) for name, content in sinks.items()}
        return {
            name: sorted(field for field in fields if not any(re.fullmatch(p, field) for p in DOCUMENTED[name]))
            for name, fields in found.items()
        }


NOTHING: dict[str, list[str]] = {name: [] for name in SINKS}


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path)


@pytest.mark.parametrize("hook", ["order-select", "order-sign"])
def test_no_field_of_a_request_leaks(watch, capsys, hook):
    for body in one_at_a_time(sent_along(hook), watch.canaries):
        watch.post(body)
    log = capsys.readouterr().err
    assert watch.statuses.keys() == {200, 400, 412, 422}
    assert watch.leaks(log) == NOTHING
    sinks = watch.sinks(log)
    for name in ("ledger", "audit"):  # that the texts are found where they are
        assert watch.canaries.found_in(sinks[name]) == {"context.userId"}
    assert "context.encounterId" in watch.canaries.found_in(sinks["cards"])


def test_no_field_of_a_request_that_names_a_server_leaks(watch, capsys):
    with serving(FakeFhirServer(list(CHART))) as server:
        for body in one_at_a_time(to_be_fetched(server.url), watch.canaries):
            watch.post(body)
        elsewhere = watch.canaries.text("fhirServer")
        watch.post(to_be_fetched(f"{server.url}/{elsewhere}"))
        watch.post(to_be_fetched(f"https://{elsewhere}.example.org/fhir"))
    log = capsys.readouterr().err
    assert watch.statuses.keys() == {200, 400, 412, 422}
    assert watch.leaks(log) == NOTHING


def test_no_field_of_what_a_server_answers_leaks(watch, capsys):
    for number, resource in enumerate(CHART):
        for changed in one_at_a_time(resource, watch.canaries, "chart.resource."):
            with serving(FakeFhirServer([*CHART[:number], changed, *CHART[number + 1 :]])) as server:
                watch.post(to_be_fetched(server.url))
    log = capsys.readouterr().err
    assert watch.statuses.keys() == {200, 412, 422}
    assert watch.leaks(log) == NOTHING


def test_who_is_named_everywhere_leaks_nowhere(watch, capsys):
    """Ids and dates of a valid form, so that the call is answered with a card."""
    body = orjson.dumps(sent_along("order-select")).decode()
    names = {
        name: watch.canaries.text(f"context.{name}") for name in ("patientId", "encounterId", "hookInstance", "userId")
    }
    body = body.replace("pat-1", names["patientId"]).replace("enc-1", names["encounterId"])
    body = body.replace("3f6a1c1e-8f0a-4a53-9d0c-2f6f0a1d7c11", names["hookInstance"])
    body = body.replace("Practitioner/doc-1", f"Patient/{names['userId']}").replace("1972-03-04", "1917-11-29")
    watch.post(body.encode())
    log = capsys.readouterr().err
    assert watch.statuses == {200: 1}
    assert b"summary" in watch.cards
    sinks = watch.sinks(log)
    assert {name: watch.canaries.found_in(sinks[name]) for name in SINKS if name != "cards"} == {
        name: set() for name in SINKS if name != "cards"
    }
    assert [name for name in SINKS if b"1917-11-29" in sinks[name]] == []


@pytest.mark.parametrize(
    "kind", [ValueError, KeyError, OSError, UnicodeError, RuntimeError, RecursionError, AssertionError, StopIteration]
)
@pytest.mark.parametrize("place", ["answer", "decision_entry", "rewrite"])
def test_no_exception_leaks(watch, capsys, monkeypatch, kind, place):
    def fail(*_: Any, **__: Any) -> Any:
        try:
            raise LookupError(watch.canaries.text("cause"))
        except LookupError as cause:
            raise kind(watch.canaries.text("exception")) from cause

    monkeypatch.setattr(composition, place, fail)
    watch.post(sent_along("order-select"))
    log = capsys.readouterr().err
    assert watch.statuses == {500: 1}
    assert len(watch.canaries.fields) == 2
    assert '"event": "failed"' in log
    assert "Traceback" not in log
    assert watch.leaks(log) == NOTHING


@pytest.mark.parametrize("table", ["head", "entries", "cards"])
def test_no_error_of_the_database_leaks(watch, capsys, table):
    with open_ledger(watch.settings).engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO elsewhere"))
    body = sent_along("order-select")
    body["context"]["userId"] = watch.canaries.text("userId")  # stands in the row that cannot be written
    watch.post(body)
    log = capsys.readouterr().err
    with open_ledger(watch.settings).engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE elsewhere RENAME TO {table}"))
    assert watch.statuses == {503: 1}
    assert '"event": "not recorded"' in log
    assert watch.leaks(log) == NOTHING


def test_nothing_around_a_request_leaks(watch, capsys):
    def text_of(name: str) -> str:
        return watch.canaries.text(name)

    body = sent_along("order-select")
    for name in ("Authorization", "Origin", "User-Agent", "X-Request-Id", "Content-Encoding", "Referer", "Cookie"):
        watch.post(body, headers={name: text_of(name)})
    watch.post(body, content_type=f"text/{text_of('Content-Type')}")
    watch.post(body, f"/cds-services/{text_of('service')}")
    watch.post(body, f"/cds-services/failed-esi?{text_of('query')}={text_of('query')}")
    for broken in (b"%s", b'{"a": "%s', b'{"a": %s}', b'["%s"]', b'"%s"', b'{"hook": "%s\\ud800"}', b"\xff%s"):
        watch.post(broken % text_of("body").encode())
    watch.post(b"[" * 300 + text_of("deep").encode())
    for method, path in (("get", "/%s"), ("get", "/knowledge/%s"), ("put", "/cds-services/%s"), ("get", "/readyz?%s")):
        watch.keep(getattr(watch.client, method)(path % text_of("path")))
    log = capsys.readouterr().err
    assert watch.statuses.keys() == {200, 400, 404, 405, 415}
    assert watch.leaks(log) == NOTHING


@pytest.mark.parametrize("is_known", [True, False], ids=["on a card that was shown", "on another card"])
def test_no_field_of_feedback_leaks(watch, capsys, is_known):
    watch.post(sent_along("order-select"))
    (card,) = orjson.loads(watch.cards.partition(b"Headers(")[0])["cards"]
    report = {
        "card": card["uuid"] if is_known else "4f7d1c1e-8f0a-4a53-9d0c-2f6f0a1d7c11",
        "outcome": "overridden",
        "outcomeTimestamp": "2026-06-01T00:00:00Z",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "overrideReason": {"reason": {**card["overrideReasons"][0], "display": "y"}, "userComment": "z"},
        "extension": {"vendor": "x"},
    }
    for outcome in ("overridden", "accepted"):
        for body in one_at_a_time({"feedback": [report | {"outcome": outcome}]}, watch.canaries):
            watch.post(body, "/cds-services/failed-esi/feedback")
    log = capsys.readouterr().err
    assert watch.statuses.keys() == {200}
    assert watch.leaks(log) == NOTHING
    assert (card["uuid"].encode() in watch.sinks(log)["exports"]) is is_known
