"""What is counted, as Prometheus reads it. Every label comes from a closed set: no caller can add a series.

Imported when the application is made and not before: the library reads PROMETHEUS_MULTIPROC_DIR as it is imported.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from werkzeug.exceptions import HTTPException

from cds_service.protocol.card import Card
from cds_service.protocol.errors import CdsError, EvidenceNotAvailable, EvidenceTruncated
from cds_service.service import Service

disable_created_metrics()  # type: ignore[no-untyped-call]  # a time of birth for every series would double them

CONTENT_TYPE = CONTENT_TYPE_LATEST
Observe = Callable[[str, float], None]
OTHER = "other"
PHASES = ("auth", "read", "wait", "parse", "gather", "advise", "write", "record", "total")
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)  # seconds


class Metrics:
    """The counters of one application; with several workers, the sum over all of them."""

    def __init__(self, services: Sequence[Service]) -> None:
        """Only these services, their hooks and keys become labels."""
        self._services = {service.id: service for service in services}
        self._registry = own = CollectorRegistry()
        self._calls = Counter("cds_calls", "Calls answered", ["service", "hook", "status"], registry=own)
        seconds = Histogram("cds_phase_seconds", "Time by phase", ["phase"], registry=own, buckets=_BUCKETS)
        self._seconds = {phase: seconds.labels(phase) for phase in PHASES}
        self._missing = Counter("cds_missing_evidence", "Calls refused with 412", ["service", "key"], registry=own)
        self._cards = Counter("cds_cards", "Cards given", ["service", "card", "indicator"], registry=own)
        self._refused = Counter("cds_refused", "Requests refused, by error", ["error"], registry=own)
        self._feedback = Counter("cds_feedback", "Feedback stored", ["service", "card", "outcome"], registry=own)
        self._age = Gauge(
            "cds_knowledge_age_days", "Days since the oldest source of the knowledge was checked", ["service"],
            registry=own, multiprocess_mode="max",
        )  # fmt: skip
        self.in_flight = Gauge("cds_in_flight", "Calls at work", registry=own, multiprocess_mode="livesum")
        self.shed = Counter("cds_shed", "Requests refused unread because too many waited", registry=own)

    def stopwatch(self, also: Observe) -> Stopwatch:
        """For the phases of one call, of which `also` is told as well."""
        return Stopwatch(lambda phase, seconds: self._seconds[phase].observe(seconds), also)

    def called(self, service_id: str, hook: str, status: int) -> tuple[str, str, str]:
        """A call was answered; `hook` as far as it is known. The labels under which it counts."""
        service = self._services.get(service_id)
        known = hook if service and hook in service.hooks else OTHER
        labels = service.id if service else OTHER, known, f"{status // 100}xx"
        self._calls.labels(*labels).inc()
        return labels

    def shown(self, service: Service, cards: Iterable[Card]) -> None:
        """Cards left."""
        for card in cards:
            self._cards.labels(service.id, card.id, card.indicator).inc()

    def refused(self, error: Exception, service_id: str | None = None) -> None:
        """A request got another answer than the one it asked for."""
        is_expected = isinstance(error, CdsError | HTTPException)
        self._refused.labels(type(error).__name__ if is_expected else "Unexpected").inc()
        service = self._services.get(service_id or "")
        if service and isinstance(error, EvidenceNotAvailable | EvidenceTruncated):
            key = error.where.removeprefix("prefetch.")
            self._missing.labels(service.id, key if key in service.prefetch else OTHER).inc()

    def feedback(self, service: Service, outcomes: Mapping[tuple[str, str], int]) -> None:
        """Feedback on our cards was stored: how often for each kind of card and outcome, as the ledger knows them."""
        for (card, outcome), count in outcomes.items():
            self._feedback.labels(service.id, card, outcome).inc(count)

    def text(self, today: date) -> bytes:
        """All of it in the exposition format, as of today."""
        for service in self._services.values():
            self._age.labels(service.id).set((today - service.checked_on).days)
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        summed = CollectorRegistry()
        MultiProcessCollector(summed)  # type: ignore[no-untyped-call]
        return generate_latest(summed)


class Stopwatch:
    """How long each phase took: the time since the one before ended."""

    def __init__(self, observe: Observe, also: Observe) -> None:
        """Both are told phase and seconds; `also` is not told the total."""
        self._observe = observe
        self._also = also
        self._started = self._since = time.perf_counter()

    def ended(self, phase: str) -> None:
        """A phase has ended."""
        now = time.perf_counter()
        self._observe(phase, now - self._since)
        self._also(phase, now - self._since)
        self._since = now

    def total(self) -> float:
        """The whole call ends; its seconds."""
        seconds = time.perf_counter() - self._started
        self._observe("total", seconds)
        return seconds
