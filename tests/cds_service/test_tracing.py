"""Traces: what a collector is sent about a call, and what it is not."""

import re
from itertools import pairwise
from queue import SimpleQueue

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from werkzeug.wrappers import Response

from bench.faults.running import PATH, service
from cds_service import app as composition
from cds_service import settings as environment
from cds_service.app import create_app
from cds_service.settings import Settings, SettingsError, read_settings
from cds_service.tracing import NoTracer, SendingTracer, open_tracer
from tests.chart import FAILED, hook_request
from tests.conftest import TODAY

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PHASES = ["auth", "read", "wait", "parse", "gather", "advise", "write", "record"]


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def client(exporter, monkeypatch, tmp_path):
    tracer = SendingTracer(InMemorySpanExporter())
    tracer.provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(composition, "open_tracer", lambda is_wanted: tracer)
    settings = Settings(data=tmp_path, log_level="error", traces=True)
    return create_app(settings=settings, today=lambda: TODAY).test_client()


def test_a_call_is_a_span_and_each_phase_one_within(client, exporter):
    assert client.post(PATH, json=hook_request(*FAILED)).status_code == 200
    *phases, call = exporter.get_finished_spans()
    assert [span.name for span in phases] == PHASES
    assert {span.parent.span_id for span in phases} == {call.context.span_id}
    assert all(call.start_time <= span.end_time <= call.end_time for span in phases)
    assert all(one.end_time <= two.end_time for one, two in pairwise(phases))
    assert (call.name, call.kind, call.parent) == ("POST /cds-services/{id}", SpanKind.SERVER, None)
    assert dict(call.attributes) == {"cds.service": "failed-esi", "cds.hook": "order-select", "cds.status": "2xx"}
    assert call.resource.attributes["service.name"] == "cds-service"


def test_a_call_continues_the_trace_of_the_caller_and_takes_no_text_from_it(client, exporter):
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "patient=jane-doe", "baggage": "name=jane-doe"}
    client.post(PATH, json=hook_request(), headers=headers)
    call = exporter.get_finished_spans()[-1]
    assert f"{call.context.trace_id:032x}" == TRACE
    assert f"{call.parent.span_id:016x}" == PARENT
    assert "jane-doe" not in "".join(span.to_json() for span in exporter.get_finished_spans())


@pytest.mark.parametrize(
    "header", ["", "jane-doe", f"00-{TRACE}-{PARENT}-01-jane-doe", "00-" + "0" * 32 + f"-{PARENT}-01"]
)
def test_a_header_that_is_none_begins_a_trace(client, exporter, header):
    client.post(PATH, json=hook_request(), headers={"traceparent": header})
    call = exporter.get_finished_spans()[-1]
    assert call.parent is None
    assert "jane-doe" not in call.to_json()


def test_what_is_refused_is_a_span_without_a_word_of_the_caller(client, exporter):
    client.post("/cds-services/jane-doe", json={"hook": "jane-doe"})
    client.post(PATH, json={"hook": "jane-doe"})
    calls = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    assert [dict(span.attributes) for span in calls] == [
        {"cds.service": "other", "cds.hook": "other", "cds.status": "4xx"},
        {"cds.service": "failed-esi", "cds.hook": "other", "cds.status": "4xx"},
    ]
    assert "jane-doe" not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_a_fault_of_ours_is_marked_as_one(client, exporter, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("jane-doe")

    monkeypatch.setattr(composition, "answer", fail)
    client.application.testing = False
    assert client.post(PATH, json=hook_request()).status_code == 500
    call = exporter.get_finished_spans()[-1]
    assert (call.status.status_code, call.attributes["cds.status"]) == (StatusCode.ERROR, "5xx")
    assert "jane-doe" not in call.to_json()


def test_only_calls_are_told(client, exporter):
    for path in ("/livez", "/readyz", "/metrics", "/cds-services"):
        client.get(path)
    client.options(PATH)
    assert exporter.get_finished_spans() == ()


def test_a_running_service_sends_them_to_the_collector(httpserver, monkeypatch):
    received = SimpleQueue()

    def take(request):
        received.put(request.get_data())
        return Response(status=200)

    httpserver.expect_request("/v1/traces", method="POST").respond_with_handler(take)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", httpserver.url_for(""))
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # milliseconds; 5 seconds else
    with service(traces=True, workers=2) as running:
        assert requests.post(f"{running.url}{PATH}", json=hook_request(*FAILED), timeout=30).status_code == 200
        sent = ExportTraceServiceRequest.FromString(received.get(timeout=30))
    assert PHASES[0] in [span.name for span in sent.resource_spans[0].scope_spans[0].spans]


def test_without_the_setting_nothing_is_made():
    assert isinstance(open_tracer(False), NoTracer)


def test_without_the_extra_the_setting_is_refused(monkeypatch):
    monkeypatch.setenv("CDS_TRACES", "1")
    assert read_settings().traces is True
    monkeypatch.setattr(environment, "distributions", lambda **of: iter(()))
    with pytest.raises(
        SettingsError, match=re.escape("CDS_TRACES: Value error, OpenTelemetry is not installed; pip install")
    ):
        read_settings()
