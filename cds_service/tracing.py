"""Traces for OpenTelemetry (the extra `otel`): a span for each call, and one for each of its phases.

What a span says of a call is what the metrics say: service, hook and status, from closed sets. Of what a caller sends
only `traceparent` is read, which holds numbers; `tracestate` and `baggage` can hold any text and are not.
"""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OpenTelemetrySpan
    from opentelemetry.trace import Tracer as OpenTelemetryTracer

_NAME = "POST /cds-services/{id}"


class Span(Protocol):
    """One call."""

    def phase(self, name: str, seconds: float) -> None:
        """A phase has just ended, and took so long."""

    def end(self, service: str, hook: str, status: str) -> None:
        """The call was answered."""


class Tracer(Protocol):
    """Begins a span for each call."""

    def begin(self, traceparent: str | None) -> Span:
        """A call has come, perhaps within a trace of the caller (W3C Trace Context)."""


class NoTracer:
    """Tells nobody anything."""

    def begin(self, traceparent: str | None) -> NoTracer:
        """Nothing."""
        return self

    def phase(self, name: str, seconds: float) -> None:
        """Nothing."""

    def end(self, service: str, hook: str, status: str) -> None:
        """Nothing."""


class SendingTracer:
    """Sends spans in the background, as the variables OTEL_* say; a collector out of reach holds up no call."""

    def __init__(self, exporter: SpanExporter) -> None:
        """`exporter` knows the collector."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        name = os.environ.get("OTEL_SERVICE_NAME", "cds-service")
        resource = Resource.create({"service.name": name, "service.version": version("cds-service")})
        self.provider = TracerProvider(resource=resource)
        self.provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self.provider.get_tracer("cds_service")
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, traceparent: str | None) -> Span:
        """Within the trace of the caller, where there is one."""
        from opentelemetry.trace import SpanKind

        context = self._propagator.extract({"traceparent": traceparent} if traceparent else {})
        return _SentSpan(self._tracer, self._tracer.start_span(_NAME, context, SpanKind.SERVER))


class _SentSpan:
    def __init__(self, tracer: OpenTelemetryTracer, span: OpenTelemetrySpan) -> None:
        from opentelemetry.trace import set_span_in_context

        self._tracer = tracer
        self._span = span
        self._within = set_span_in_context(span)

    def phase(self, name: str, seconds: float) -> None:
        now = time.time_ns()
        self._tracer.start_span(name, self._within, start_time=now - round(seconds * 1e9)).end(now)

    def end(self, service: str, hook: str, status: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_attributes({"cds.service": service, "cds.hook": hook, "cds.status": status})
        if status == "5xx":
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def open_tracer(is_wanted: bool) -> Tracer:
    """The tracer of this process."""
    if not is_wanted:
        return NoTracer()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return SendingTracer(OTLPSpanExporter())
