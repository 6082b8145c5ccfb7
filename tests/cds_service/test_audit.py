"""The audit trail: every event is FHIR R4, every query follows the patterns of IHE, and no digest is an identifier."""

import re
from base64 import b64decode

import orjson
import pytest
from click.testing import CliRunner
from fhir.resources.R4B.auditevent import AuditEvent

from cds_service.app import create_app
from cds_service.cli import main
from cds_service.ledger.decisions import patient_digest
from cds_service.ledger.entry import Entry
from cds_service.ledger.ledger import open_ledger
from cds_service.scenarios import find_scenario
from cds_service.settings import Settings
from tests.chart import FAILED, draft, hook_request, patient
from tests.conftest import TODAY
from tests.fhir_server import FakeFhirServer, serving

STORY = find_scenario("failed-and-reordered", ["failed-esi"])
TOKEN = "a-token-that-opens-a-chart"  # noqa: S105 - invented
DIGEST = "urn:cds-service:patient-digest"


@pytest.fixture(params=["digest", "capsule"])
def level(request):
    return request.param


@pytest.fixture
def post(tmp_path, level):
    def run(body, day=TODAY):
        settings = Settings(data=tmp_path, ledger=level, log_level="error", deadline_ms=5000)
        app = create_app(settings=settings, today=lambda: day)
        return app.test_client().post("/cds-services/failed-esi", json=body)

    return run


@pytest.fixture
def export(tmp_path):
    """The events of an export, each of them valid."""

    def run(*arguments, code=0):
        environment = {"CDS_DATA": str(tmp_path), "CDS_LOG_LEVEL": "error", "CDS_PUBLIC_URL": "https://cds.example.org"}
        done = CliRunner().invoke(main, ["audit", "export", *map(str, arguments)], env=environment)
        assert done.exit_code == code, done.stderr
        events = [orjson.loads(line) for line in done.stdout_bytes.splitlines()]
        assert done.stderr == f"{len(events)} events\n"
        for event in events:
            AuditEvent.model_validate(event)
        return events

    return run


def bare(server, **more):
    body = hook_request(drafts=(draft(),))
    del body["prefetch"]
    authorization = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 60, "scope": "x"}
    return body | {"fhirServer": server.url, "fhirAuthorization": authorization, **more}


def asked(post, **faults):
    """Have a call answered from a FHIR server."""
    with serving(FakeFhirServer(list(FAILED), faults=faults)) as server:
        return post(bare(server))


def agents(event):
    return {agent["type"]["coding"][0]["code"]: agent for agent in event["agent"]}


def entities(event):
    return {entity["role"]["code"]: entity for entity in event["entity"]}


# IHE BALP 1.1.3, PatientRead and PatientQuery: subtype, action, and which role our service has.
PATTERNS = {"PatientRead": ("read", "R", "110152", "110153"), "PatientQuery": ("search", "E", "110153", "110152")}


def require_pattern(event):
    """Raise AssertionError unless a query has all that its pattern asks for."""
    (profile,) = event["meta"]["profile"]
    base, _, name = profile.rpartition("IHE.BasicAudit.")
    assert base == "https://profiles.ihe.net/ITI/BALP/StructureDefinition/"
    interaction, action, client, server = PATTERNS[name]
    assert (event["type"]["code"], event["action"], event["outcome"]) == ("rest", action, "0")
    assert [subtype["code"] for subtype in event["subtype"]] == [interaction]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", event["recorded"])
    for role in (client, server):
        assert agents(event)[role]["who"]
        assert agents(event)[role]["network"]["address"]
    assert agents(event)["IRCP"]["requestor"] is True
    assert "network" not in agents(event)["IRCP"]
    assert event["source"]["observer"]
    person = entities(event)["1"]
    assert (person["type"]["code"], "what" in person) == ("1", True)
    thing = entities(event)["4" if name == "PatientRead" else "24"]
    assert thing["type"]["code"] == "2"
    assert {"what", "query"} & thing.keys() == {"what" if name == "PatientRead" else "query"}


def test_every_query_and_the_decision_are_told(post, export):
    assert len(asked(post).get_json()["cards"]) == 1
    *queries, decision = export()
    assert len(queries) == 8
    for event in queries:
        require_pattern(event)
    assert [event["meta"]["profile"][0].rpartition(".")[2] for event in queries] == [
        "PatientRead",
        *["PatientQuery"] * 7,
    ]
    assert [event["id"] for event in (*queries, decision)] == [*(f"1-{n}" for n in range(1, 9)), "1"]
    assert agents(queries[1])["110153"]["network"] == {"address": "https://cds.example.org", "type": "5"}
    assert agents(queries[1])["110152"]["network"]["address"].startswith("127.0.0.1:")


def test_the_decision_says_what_was_shown_to_whom(post, export):
    answer = post(STORY.request(), STORY.today).get_json()
    (event,) = export()
    assert (event["outcome"], event["outcomeDesc"]) == ("0", "answered")
    assert agents(event)["IRCP"]["who"] == {"identifier": {"value": STORY.request()["context"]["userId"]}}
    assert agents(event)["110153"]["who"]["identifier"] == {"system": "urn:cds-service:client", "value": "open"}
    card = entities(event)["3"]
    assert card["what"]["identifier"]["value"] == f"urn:uuid:{answer['cards'][0]['uuid']}"
    assert (card["name"], card["detail"]) == ("FAILED-ESI-NEXT-TIER", [{"type": "shown", "valueString": "yes"}])
    details = {detail["type"]: detail["valueString"] for detail in entities(event)["20"]["detail"]}
    assert details["knowledge"] == "2026.1"
    assert "TIER-1" in details["rules"]


def test_a_query_that_failed_is_told_and_claims_no_pattern(post, export):
    assert asked(post, Procedure=lambda e: e.send(b"", "500 Broken")).status_code == 412
    events = export()
    (failed,) = [event for event in events if event["outcomeDesc"] == "not available"]
    assert failed["outcome"] == "8"
    assert "meta" not in failed
    assert b64decode(entities(failed)["24"]["query"]).startswith(b"Procedure?patient=")
    assert (events[-1]["outcome"], events[-1]["outcomeDesc"]) == ("4", "EvidenceNotAvailable prefetch.procedures")
    assert "1" in entities(events[-1])


@pytest.mark.parametrize("level", ["digest"], indirect=True)
def test_a_digest_stands_for_the_patient(post, export, tmp_path):
    asked(post)
    events = export()
    digest = patient_digest(open_ledger(Settings(data=tmp_path)).secrets, "open", "pat-1")
    for event in events:
        assert entities(event)["1"]["what"] == {"type": "Patient", "identifier": {"system": DIGEST, "value": digest}}
    queries = [b64decode(entities(event)["24"]["query"]).decode() for event in events if "24" in entities(event)]
    assert queries[0] == "Procedure?patient={{context.patientId}}"
    assert "pat-1" not in orjson.dumps([events, queries]).decode()


@pytest.mark.parametrize("level", ["capsule"], indirect=True)
def test_a_capsule_names_the_patient_while_it_is_kept(post, export, tmp_path):
    asked(post)
    events = export()
    assert {entities(event)["1"]["what"]["reference"] for event in events} == {"Patient/pat-1"}
    queries = [b64decode(entities(event)["24"]["query"]).decode() for event in events if "24" in entities(event)]
    assert queries[0] == "Procedure?patient=pat-1"
    ledger = open_ledger(Settings(data=tmp_path))
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM sealed")
    assert {entities(event)["1"]["what"]["type"] for event in export()} == {"Patient"}


@pytest.mark.parametrize("level", ["capsule"], indirect=True)
def test_no_token_is_told(post, export):
    asked(post)
    assert TOKEN not in orjson.dumps(export()).decode()


def test_one_patient_is_found_also_after_the_secret_was_changed(post, export, tmp_path):
    post(hook_request())
    other = hook_request(person=patient(patient_id="pat-2"))
    other["context"]["patientId"] = "pat-2"
    post(other)
    assert [event["id"] for event in export("--patient", "pat-1")] == ["1"]
    secret = tmp_path / "secret"
    secret.write_text(f"{'ab' * 32}\n{secret.read_text()}")
    post(hook_request())
    assert [event["id"] for event in export("--patient", "Patient/pat-1")] == ["1", "3"]
    assert export("--patient", "pat-3", code=1) == []


def test_days_are_those_of_utc(post, export, tmp_path):
    post(hook_request())
    post(hook_request())
    with open_ledger(Settings(data=tmp_path)).engine.begin() as connection:
        connection.exec_driver_sql("UPDATE entries SET at = '2026-05-31T23:59:59.999999Z' WHERE number = 1")
        connection.exec_driver_sql("UPDATE entries SET at = '2026-06-01T00:00:00.000000Z' WHERE number = 2")
    assert [event["id"] for event in export("--until", "2026-05-31")] == ["1"]
    assert [event["id"] for event in export("--since", "2026-06-01", "--until", "2026-06-01")] == ["2"]
    assert export("--since", "2026-06-02", code=1) == []


def test_a_patient_who_is_the_user_is_not_named(post, export):
    body = hook_request()
    body["context"]["userId"] = "Patient/pat-1"
    post(body)
    (event,) = export()
    assert re.fullmatch(r"Patient/[0-9a-f]{32}", agents(event)["IRCP"]["who"]["identifier"]["value"])


def test_a_file_is_written_for_its_owner_alone_and_never_over_another(post, tmp_path):
    post(hook_request())
    target = tmp_path / "audit.ndjson"
    command = ["audit", "export", "--output", str(target)]
    done = CliRunner().invoke(main, command, env={"CDS_DATA": str(tmp_path)})
    assert (done.exit_code, done.stdout) == (0, "")
    assert target.stat().st_mode & 0o077 == 0
    assert len(target.read_bytes().splitlines()) == 1
    again = CliRunner().invoke(main, command, env={"CDS_DATA": str(tmp_path)})
    assert again.exit_code == 2
    assert "cannot be written" in again.stderr


def test_many_entries_are_read_page_by_page(post, export, tmp_path):
    post(hook_request())
    ledger = open_ledger(Settings(data=tmp_path))
    with ledger.reading() as connection:
        stored = connection.exec_driver_sql("SELECT record FROM entries").scalar_one()
    record = {name: value for name, value in orjson.loads(stored).items() if name not in {"sealed", "rows"}}
    ledger.append(*(Entry("decision", record) for _ in range(1_100)))
    assert len(export()) == 1_101
