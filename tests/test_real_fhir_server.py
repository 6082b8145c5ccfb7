"""Against a FHIR server that others wrote: stories loaded into it end as they do when the chart is sent along."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager

import orjson
import pytest
import requests
from click.testing import CliRunner

from cds_service.app import create_app, local_day
from cds_service.cli import main
from cds_service.fhir.evidence import read_answer
from cds_service.sandbox import queries, transaction
from cds_service.scenarios import find_scenario
from cds_service.settings import Settings
from tests import node_server

# Every kind of resource, references between them, silence and cards of each table; more would only take longer.
STORIES = [
    "ablation-after-two-blocks",
    "ablation-without-blocks",
    "bilateral-session",
    "failed-and-reordered",
    "fusion-20-days-after",
    "gabapentinoid-beside-opioid",
    "helped-and-reordered",
    "implant-after-trial",
    "infection-pathway",
    "look-alike-labour",
    "look-alike-with-steroid",
    "pathway-in-progress",
    "prefetch-null",
    "red-flag-foot-drop",
    "too-soon-day-13",
    "vague-date",
]


@pytest.fixture(scope="module")
def fhir():
    """The base URL of the server; skipped, with the reason, where it cannot run."""
    if reason := node_server.why_not():
        pytest.skip(f"no FHIR server of others to test against: {reason}")
    with node_server.running() as base:
        yield base


@pytest.fixture(scope="module")
def load(fhir):
    def run(name):
        done = CliRunner().invoke(main, ["sandbox", "load", "--fhir-server", fhir, "--scenario", name])
        assert done.exit_code == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(scope="module")
def client():
    """The service on the day of this test, with time enough for a slow machine."""
    return create_app(settings=Settings(log_level="error", deadline_ms=20_000)).test_client()


@contextmanager
def served(monkeypatch):
    """The real service in a process of its own."""
    monkeypatch.setenv("CDS_DEADLINE_MS", "20000")
    command = [sys.executable, "-m", "cds_service", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield process.stdout.readline().removeprefix("listening on ").strip()
        process.send_signal(signal.SIGTERM)


def chart(fhir, story):
    """What the server holds of a story, without what it adds itself."""
    found = []
    for query in queries(transaction(story, local_day(None))):
        (entry,) = requests.get(f"{fhir}/{query}", timeout=20).json()["entry"]
        found.append({name: value for name, value in entry["resource"].items() if name != "meta"})
    return found


def about(request, patient_id):
    """The request of a story about the patient that the server knows, with nothing but where to ask."""
    old = request["context"]["patientId"]
    asked = orjson.dumps({name: value for name, value in request.items() if name != "prefetch"})
    body = orjson.loads(asked.replace(f'"Patient/{old}"'.encode(), f'"Patient/{patient_id}"'.encode()))
    body["context"]["patientId"] = patient_id
    return body


def advice(response):
    """The cards without ids: what is said, and which rules say so."""
    assert response.status_code == 200, response.get_data(as_text=True)
    told = []
    for card in response.get_json()["cards"]:
        decision = card["extension"]["org.cds-service.decision"]
        evidence = [reference.partition("/")[0] for reference in decision.pop("evidence", ())]
        labels = [suggestion["label"] for suggestion in card.get("suggestions", ())]
        told.append((card["summary"], card["detail"], card["indicator"], labels, decision, sorted(evidence)))
    return told


@pytest.mark.parametrize("name", STORIES)
def test_asking_the_server_ends_as_sending_the_chart_does(name, fhir, load, client):
    story = find_scenario(name, ["failed-esi"])
    request = story.request(local_day(None))
    asked = client.post("/cds-services/failed-esi", json=about(request, load(name)) | {"fhirServer": fhir})
    sent = client.post("/cds-services/failed-esi", json=request)
    assert advice(asked) == advice(sent)


def test_the_stories_send_every_key_whole(service):
    for name in STORIES:
        sent = find_scenario(name, ["failed-esi"]).request()["prefetch"]
        assert all(read_answer(key, sent[key]).is_available for key in service.prefetch), name


def test_loading_twice_changes_nothing_and_makes_no_second_patient(fhir, load):
    story = find_scenario("failed-and-reordered", ["failed-esi"])
    first = load(story.name), chart(fhir, story)
    count = requests.get(f"{fhir}/Patient?_summary=count", timeout=20).json()["total"]
    assert (load(story.name), chart(fhir, story)) == first
    assert requests.get(f"{fhir}/Patient?_summary=count", timeout=20).json()["total"] == count
    assert b"urn:uuid:" not in orjson.dumps(first[1])


def test_fire_gives_the_same_cards_with_and_without_prefetch(fhir, load, monkeypatch):
    patient_id = load("failed-and-reordered")
    with served(monkeypatch) as url:
        more = ["--fhir-server", fhir, "--patient", patient_id, "--url", url]
        answers = [CliRunner().invoke(main, ["sandbox", "fire", *more, *way]) for way in ([], ["--no-prefetch"])]
    assert [answer.exit_code for answer in answers] == [0, 0], [answer.stderr for answer in answers]
    with_prefetch, without = (answer.stdout.splitlines()[:-1] for answer in answers)
    assert with_prefetch == without
    assert "[WARNING] Prior L5-S1 ESI" in with_prefetch[1]
