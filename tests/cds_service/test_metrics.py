"""What is counted, and that no caller can add a series."""

import random
import string

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cds_service.app import create_app
from cds_service.metrics import PHASES
from cds_service.settings import Settings
from tests.chart import esi, hook_request, score
from tests.conftest import TODAY

FAILED = hook_request(esi("2026-03-16"), score(8, "2026-03-10", "a"), score(7, "2026-04-20", "b"))
SERVICE = "/cds-services/failed-esi"


@pytest.fixture
def counted():
    """A client of an application of its own, and a function that reads its counters."""
    client = create_app(settings=Settings(log_level="error"), today=lambda: TODAY).test_client()

    def read(name):
        text = client.get("/metrics").get_data(as_text=True)
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return {tuple(s.labels.values()): s.value for s in samples if s.name == name}

    return client, read


def test_a_call_is_counted_by_service_hook_and_status(counted):
    client, read = counted
    client.post(SERVICE, json=FAILED)
    client.post(SERVICE, json={})
    client.post("/cds-services/other", json=FAILED)
    client.options(SERVICE)  # a browser asks before it calls
    assert read("cds_calls_total") == {
        ("order-select", "failed-esi", "2xx"): 1,
        ("other", "failed-esi", "4xx"): 1,
        ("other", "other", "4xx"): 1,
    }


def test_every_phase_of_an_answered_call_is_timed_once(counted):
    client, read = counted
    client.post(SERVICE, json=FAILED)
    assert read("cds_phase_seconds_count") == {(phase,): 1 for phase in PHASES}


def test_cards_are_counted_by_kind_and_weight(counted):
    client, read = counted
    client.post(SERVICE, json=FAILED)
    client.post(SERVICE, json=FAILED)
    assert read("cds_cards_total") == {("FAILED-ESI-NEXT-TIER", "warning", "failed-esi"): 2}


def test_refusals_are_counted_by_error_and_missing_evidence_by_key(counted):
    client, read = counted
    client.post(SERVICE, json={**FAILED, "prefetch": {}})
    client.post(SERVICE, data=b"{", content_type="application/json")
    client.get("/nowhere")
    assert read("cds_refused_total") == {("EvidenceNotAvailable",): 1, ("BadRequest",): 1, ("NotFound",): 1}
    assert read("cds_missing_evidence_total") == {("patient", "failed-esi"): 1}


def test_a_fault_of_ours_is_counted_without_its_name(counted, monkeypatch):
    client, read = counted
    monkeypatch.setattr("cds_service.app.answer", lambda *_: 1 / 0)
    client.post(SERVICE, json=FAILED)
    assert read("cds_refused_total") == {("Unexpected",): 1}
    assert read("cds_calls_total") == {("order-select", "failed-esi", "5xx"): 1}


def test_feedback_is_counted_by_outcome_and_card(counted):
    client, read = counted
    (card,) = client.post(SERVICE, json=FAILED).get_json()["cards"]
    for uuid, outcome in ((card["uuid"], "overridden"), (card["uuid"], "overridden"), (card["uuid"], "accepted")):
        report = {"card": uuid, "outcome": outcome, "outcomeTimestamp": "2026-06-01T09:00:00Z"}
        assert client.post(f"{SERVICE}/feedback", json={"feedback": [report]}).status_code == 200
    unknown = {"card": "5e1f0c5e-6d0c-4b53-8c8c-6a7d1f7a3c11", "outcome": "overridden"}
    client.post(f"{SERVICE}/feedback", json={"feedback": [unknown]})
    assert read("cds_feedback_total") == {
        ("FAILED-ESI-NEXT-TIER", "overridden", "failed-esi"): 1,
        ("FAILED-ESI-NEXT-TIER", "accepted", "failed-esi"): 1,
    }


def test_the_age_of_the_knowledge_counts_from_its_oldest_source(counted, service, knowledge):
    _, read = counted
    oldest = min(source.checked_on for source in knowledge.sources.values())
    assert read("cds_knowledge_age_days") == {("failed-esi",): (TODAY - oldest).days}


def test_nothing_is_in_flight_after_a_call(counted):
    client, read = counted
    client.post(SERVICE, json=FAILED)
    client.post(SERVICE, json={})
    assert read("cds_in_flight") == {(): 0}


def test_no_caller_adds_a_series(counted):
    client, _ = counted

    def series():
        text = client.get("/metrics").get_data(as_text=True)
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}

    def junk():
        return "".join(rng.choices(string.ascii_letters + string.digits + "-._~%", k=rng.randint(1, 30)))

    def fire():
        for _ in range(40):
            word = junk()
            client.post(f"/cds-services/{word}", json=FAILED)
            client.post(SERVICE, json={**FAILED, "hook": word})
            client.post(SERVICE, json={**FAILED, "prefetch": {word: None}})
            client.open(f"/{word}", method=rng.choice(["GET", "PUT", "DELETE", "PATCH"]))

    rng = random.Random(5)
    fire()
    first = series()
    fire()
    assert series() == first
    assert len(first) < 150
