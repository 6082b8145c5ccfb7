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

from bench.chart import noise
from cds_service.app import create_app, local_day
from cds_service.cli import main
from cds_service.fhir.evidence import read_answer
from cds_service.sandbox import queries, transaction
from cds_service.scenarios import scenarios
from cds_service.settings import Settings
from tests import node_server
from tests.chart import bundle

SERVICE = "/cds-services/failed-esi"
STORIES = {story.name: story for story in scenarios(["failed-esi"])}
# Stories about a prefetch that is not whole, or not of one patient; the server knows what there is, and of whom.
MENDED = {"foreign-patient", "history-cut-short", "prefetch-failed", "prefetch-missing", "prefetch-partly-failed"}
IN_LARGE_CHARTS = ["ablation-after-two-blocks", "failed-and-reordered", "helped-and-reordered", "red-flag-foot-drop"]


@pytest.fixture(scope="module")
def server():
    """The base URL of the server; skipped, with the reason, where it cannot run."""
    if reason := node_server.why_not():
        pytest.skip(f"no FHIR server of others to test against: {reason}")
    with node_server.running() as base:
        yield base


@pytest.fixture
def fhir(server):
    """The server with nothing in it."""
    requests.delete(server, timeout=20).raise_for_status()
    return server


@pytest.fixture
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


def write(fhir, resources):
    """New resources on the server, all in one transaction; it gives them ids of its own."""
    entries = [{"resource": r, "request": {"method": "POST", "url": r["resourceType"]}} for r in resources]
    body = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    answer = requests.post(fhir, json=body, timeout=60).json()
    assert {entry["response"]["status"][:3] for entry in answer["entry"]} == {"201"}


def chart_of(fhir, kind, patient_id):
    return requests.get(f"{fhir}/{kind}?patient={patient_id}", timeout=20).json()["entry"]


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


def whole(request, keys):
    """The request with every key sent to its end and about its patient only, as the server holds the chart."""
    names = {f"Patient/{request['context']['patientId']}", None}
    sent = {key: read_answer(key, request["prefetch"].get(key)).by_type for key in keys}
    ours = {
        key: [r for found in by_type.values() for r in found if r.get("subject", {}).get("reference") in names]
        for key, by_type in sent.items()
    }
    return request | {"prefetch": {key: bundle(*resources) for key, resources in ours.items()}}


@pytest.mark.parametrize("name", STORIES)
def test_asking_the_server_ends_as_sending_the_chart_does(name, fhir, load, client, service):
    request = STORIES[name].request(local_day(None))
    asked = client.post(SERVICE, json=about(request, load(name)) | {"fhirServer": fhir})
    sent = client.post(SERVICE, json=whole(request, service.prefetch) if name in MENDED else request)
    assert advice(asked) == advice(sent)


def test_a_story_is_mended_when_what_it_sends_is_not_the_chart(client, service):
    for name, story in STORIES.items():
        request = story.request(local_day(None))
        answers = [client.post(SERVICE, json=body) for body in (request, whole(request, service.prefetch))]
        is_same = answers[0].status_code == 200 and advice(answers[0]) == advice(answers[1])
        assert is_same == (name not in MENDED), name


@pytest.mark.parametrize("name", IN_LARGE_CHARTS)
def test_a_large_chart_is_read_from_the_server_as_when_it_is_sent(name, fhir, load, client, service):
    request = whole(STORIES[name].request(local_day(None)), service.prefetch)
    patient_id = load(name)
    write(fhir, [resource for _, resource in noise(600, patient_id)])
    for key, resource in noise(600, request["context"]["patientId"]):
        request["prefetch"][key]["entry"].append({"resource": resource})
    asked = client.post(SERVICE, json=about(request, patient_id) | {"fhirServer": fhir})
    assert len(chart_of(fhir, "Condition", patient_id)) > 60
    assert advice(asked) == advice(client.post(SERVICE, json=request))


def test_loading_twice_changes_nothing_and_makes_no_second_patient(fhir, load):
    story = STORIES["failed-and-reordered"]
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
