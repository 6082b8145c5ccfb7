"""Stories as transactions, and orders for real patients: what is sent, and how refusals are told."""

from datetime import date

import orjson
import pytest
from click.testing import CliRunner
from werkzeug import Response

from cds_service.cli import main
from cds_service.fhir.client import FhirClient, FhirError
from cds_service.sandbox import IDENTIFIER_SYSTEM, filled_in, patient_id_in, queries, transaction, without_conditions
from cds_service.scenarios import find_scenario, scenarios
from tests.chart import bundle, condition, esi, patient, score

SCENARIO = "failed-and-reordered"
DAY = date(2030, 1, 31)
ALL = scenarios(["failed-esi"])
JSON = "application/fhir+json"


def story(name=SCENARIO):
    return find_scenario(name, ["failed-esi"])


def resources(sent):
    return [entry["resource"] for entry in sent["entry"]]


def references(value):
    """Every reference in a resource, wherever it stands."""
    if isinstance(value, dict):
        yield from [value["reference"]] if isinstance(value.get("reference"), str) else []
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from references(item)


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(main, ["sandbox", *map(str, arguments)])


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_a_transaction_is_conditional_on_our_identifier_and_the_ids_are_left_to_the_server(scenario):
    sent = transaction(scenario, DAY)
    assert sent["type"] == "transaction"
    for entry in sent["entry"]:
        resource = entry["resource"]
        mine = next(i["value"] for i in resource["identifier"] if i["system"] == IDENTIFIER_SYSTEM)
        assert entry["request"] == {
            "method": "PUT",
            "url": f"{resource['resourceType']}?identifier={IDENTIFIER_SYSTEM}%7C{mine}",
        }
        assert "id" not in resource
        assert mine.startswith(f"{scenario.name}.")
    assert len(set(queries(sent))) == len(sent["entry"])
    assert [r["resourceType"] for r in resources(sent)].count("Patient") == 1


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_every_reference_of_a_transaction_is_to_an_entry_of_it(scenario):
    sent = transaction(scenario, DAY)
    assert set(references(resources(sent))) <= {entry["fullUrl"] for entry in sent["entry"]}


def test_stories_share_nothing_and_loading_again_sends_the_same():
    names = [name for scenario in ALL for name in queries(transaction(scenario, DAY))]
    assert len(names) == len(set(names))
    assert transaction(story(), DAY) == transaction(story(), DAY)


def test_dates_are_rolled_so_that_the_story_ends_on_the_day():
    session = next(r for r in resources(transaction(story(), DAY)) if r["resourceType"] == "Procedure")
    assert session["performedDateTime"] == "2029-11-15"


def test_what_is_about_somebody_else_stays_out():
    sent = orjson.dumps(transaction(story("foreign-patient"), DAY))
    assert b"pat-2" in (story("foreign-patient").folder / "request.json").read_bytes()
    assert b"pat-2" not in sent


def test_the_patient_is_marked_as_a_test_and_has_a_name_to_be_found_by():
    person = resources(transaction(story(), DAY))[0]
    assert person["name"] == [{"family": "Sandbox", "given": [SCENARIO]}]
    assert {tag["code"] for resource in resources(transaction(story(), DAY)) for tag in resource["meta"]["tag"]} == {
        "HTEST"
    }


def test_without_conditions_what_is_there_is_named_by_its_id_and_the_rest_is_new():
    sent = transaction(story(), DAY)
    first, second, *_ = without_conditions(sent, {queries(sent)[0]: "7"})["entry"]
    assert first["request"] == {"method": "PUT", "url": "Patient/7"}
    assert first["resource"]["id"] == "7"
    assert second["request"] == {"method": "POST", "url": second["resource"]["resourceType"]}
    assert "id" not in second["resource"]


@pytest.mark.parametrize(
    "entry",
    [
        {"response": {"status": "201", "location": "Patient/7/_history/1"}},
        {"response": {"status": "200 OK", "location": "https://ehr.example.org/fhir/Patient/7"}},
        {"resource": {"resourceType": "Patient", "id": "7"}},
    ],
)
def test_the_id_of_the_patient_is_read_from_any_form_of_answer(entry):
    others = {"response": {"status": "201", "location": "Procedure/8/_history/1"}}
    assert patient_id_in({"entry": [others, entry]}) == "7"
    assert patient_id_in({"entry": [others]}) is None


def answer_with(httpserver, *ids):
    """A server that takes any transaction and finds these patients."""
    entries = [{"resource": {"resourceType": "Patient", "id": identity}} for identity in ids]
    httpserver.expect_request("/fhir", method="POST").respond_with_json({"resourceType": "Bundle", "entry": []})
    httpserver.expect_request("/fhir/Patient").respond_with_json({"resourceType": "Bundle", "entry": entries})
    return httpserver.url_for("/fhir")


def test_load_prints_the_patient_id_alone_so_that_a_script_can_use_it(run, httpserver):
    done = run("load", "--fhir-server", answer_with(httpserver, "7"), "--scenario", SCENARIO)
    assert (done.exit_code, done.stdout) == (0, "7\n")
    assert done.stderr == f"{SCENARIO}: 9 resources\n"


def test_load_takes_all_stories_when_none_is_named(run, httpserver):
    done = run("load", "--fhir-server", answer_with(httpserver, "7"))
    assert [line.split() for line in done.stdout.splitlines()] == [[scenario.name, "7"] for scenario in ALL]


def test_load_waits_for_a_server_that_is_starting(run, httpserver):
    base = answer_with(httpserver, "7")
    httpserver.expect_oneshot_request("/fhir/metadata").respond_with_json({"resourceType": "CapabilityStatement"})
    assert run("load", "--fhir-server", base, "--scenario", SCENARIO, "--wait", "5").exit_code == 0


@pytest.mark.parametrize(("ids", "message"), [((), "does not find its patient"), (("7", "8"), "2 resources carry")])
def test_a_patient_that_is_not_there_once_is_told(run, httpserver, ids, message):
    done = run("load", "--fhir-server", answer_with(httpserver, *ids), "--scenario", SCENARIO)
    assert done.exit_code == 1
    assert message in done.stderr


def test_a_refusal_is_told_in_the_words_of_the_server_and_the_next_story_follows(run, httpserver):
    outcome = {"resourceType": "OperationOutcome", "issue": [{"diagnostics": "No writing here."}]}
    httpserver.expect_request("/fhir", method="POST").respond_with_json(outcome, status=403)
    done = run("load", "--fhir-server", httpserver.url_for("/fhir"))
    assert done.exit_code == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("cds-service: ")]
    assert lines[0] == f"cds-service: {ALL[0].name}: POST /: 403: No writing here."
    assert len(lines) == len(ALL)


def test_a_transaction_with_too_many_conditions_is_sent_again_with_the_ids_that_are_found(run, httpserver):
    base = answer_with(httpserver, "7")
    outcome = {"resourceType": "OperationOutcome", "issue": [{"details": {"text": "Too many entries."}}]}
    httpserver.expect_oneshot_request("/fhir", method="POST").respond_with_json(outcome, status=400)
    for kind in ("Procedure", "Condition", "Observation"):
        httpserver.expect_request(f"/fhir/{kind}").respond_with_json({"resourceType": "Bundle"})
    done = run("load", "--fhir-server", base, "--scenario", SCENARIO)
    assert (done.exit_code, done.stdout) == (0, "7\n")
    assert "400: Too many entries." in done.stderr
    sent = [request.get_json() for request, _ in httpserver.log if request.method == "POST"][-1]
    assert [entry["request"] for entry in sent["entry"]][:2] == [
        {"method": "PUT", "url": "Patient/7"},
        {"method": "POST", "url": "Procedure"},
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["load"], "--fhir-server"),
        (["load", "--fhir-server", "http://127.0.0.1:9/fhir"], "no answer (ConnectionError); is the server running?"),
        (["load", "--fhir-server", "ftp://example.org"], "not a FHIR base URL"),
        (["load", "--fhir-server", "http://user@example.org/fhir"], "not a FHIR base URL"),
        (["load", "--fhir-server", "http://127.0.0.1:9/fhir", "--scenario", "x"], "there is no scenario of this name"),
        (["fire", "--fhir-server", "http://127.0.0.1:9/fhir", "--patient", "1", "--order", "x"], "there are: esi, mbb"),
        (["fire", "--fhir-server", "nothing", "--patient", "1"], "not a FHIR base URL"),
        (
            ["fire", "--fhir-server", "http://127.0.0.1:9/fhir", "--patient", "1", "--url", "http://127.0.0.1:9"],
            "serve",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run, arguments, message):
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr


@pytest.fixture
def ehr(httpserver, app):
    """One address for both: a FHIR server that knows a patient of a failed session, and the service."""

    def call(request):
        answered = app.test_client().open(request.path, method=request.method, data=request.data, json=None,
                                          content_type="application/json")  # fmt: skip
        return Response(answered.data, answered.status_code, content_type="application/json")

    base = httpserver.url_for("/fhir")
    next_page = {"link": [{"relation": "next", "url": f"{base}/Procedure?page=2"}]}
    chart = {
        "Condition": bundle(condition("M54.16")),
        "Observation": bundle(score(8, "2026-03-10", "o1"), score(7, "2026-04-20", "o2")),
        "MedicationRequest": bundle(),
        "ServiceRequest": bundle(),
        "AllergyIntolerance": bundle(),
    }
    httpserver.expect_request("/fhir/Patient/pat-1").respond_with_json(patient())
    httpserver.expect_request("/fhir/Procedure", query_string="patient=pat-1").respond_with_json(
        bundle() | next_page, content_type=JSON
    )
    httpserver.expect_request("/fhir/Procedure", query_string="page=2").respond_with_json(bundle(esi("2026-03-16")))
    for kind, found in chart.items():
        httpserver.expect_request(f"/fhir/{kind}").respond_with_json(found)
    httpserver.expect_request("/cds-services").respond_with_handler(call)
    httpserver.expect_request("/cds-services/failed-esi").respond_with_handler(call)
    return ["--fhir-server", base, "--patient", "pat-1", "--url", httpserver.url_for("").rstrip("/")]


def sent_to_the_service(httpserver):
    return next(r.get_json() for r, _ in httpserver.log if r.path == "/cds-services/failed-esi")


def test_fire_reads_the_prefetch_by_the_templates_of_discovery_to_the_last_page(run, ehr, httpserver):
    done = run("fire", *ehr)
    assert done.exit_code == 0, done.stderr
    assert "[WARNING] Prior L5-S1 ESI (2026-03-16)" in done.stdout
    assert "1 card(s)" in done.stdout
    assert "7 of 8 prefetch keys read" in done.stderr
    assert "coverage is not sent: GET /Coverage: 500" in done.stderr
    prefetch = sent_to_the_service(httpserver)["prefetch"]
    assert [entry["resource"]["id"] for entry in prefetch["procedures"]["entry"]] == ["p1"]
    assert "link" not in prefetch["procedures"]


def test_fire_without_prefetch_sends_only_where_to_ask(run, ehr, httpserver):
    httpserver.expect_oneshot_request("/cds-services/failed-esi").respond_with_json({"cards": []})
    done = run("fire", *ehr, "--no-prefetch", "--json")
    assert done.exit_code == 0, done.stderr
    assert orjson.loads(done.stdout) == {"cards": []}
    sent = sent_to_the_service(httpserver)
    assert "prefetch" not in sent
    assert sent["fhirServer"] == ehr[1]


def test_fire_drafts_the_kind_of_order_that_is_named(run, ehr, httpserver):
    assert run("fire", *ehr, "--order", "opioid").exit_code == 0
    context = sent_to_the_service(httpserver)["context"]
    assert context["selections"] == ["MedicationRequest/sandbox-order"]
    assert context["draftOrders"]["entry"][0]["resource"]["subject"] == {"reference": "Patient/pat-1"}


def test_a_patient_whom_the_server_does_not_know_is_named(run, ehr):
    done = run("fire", *ehr[:2], "--patient", "nobody", *ehr[4:])
    assert done.exit_code == 2
    assert "GET /Patient/nobody: 500" in done.stderr


def test_a_service_that_is_another_one_is_told(run, httpserver):
    httpserver.expect_request("/cds-services").respond_with_json({"services": [{"id": "other"}]})
    url = httpserver.url_for("").rstrip("/")
    done = run("fire", "--fhir-server", url, "--patient", "1", "--url", url)
    assert done.exit_code == 2
    assert "discovery shows no service 'failed-esi' for order-select" in done.stderr


def test_a_next_page_elsewhere_is_not_read(httpserver):
    link = [{"relation": "next", "url": "https://other.example.org/fhir/Procedure?page=2"}]
    httpserver.expect_request("/fhir/Procedure").respond_with_json({"resourceType": "Bundle", "link": link})
    with pytest.raises(FhirError, match="not below the base URL"):
        FhirClient(httpserver.url_for("/fhir")).read("Procedure")


def test_what_is_no_json_is_no_fhir_server(httpserver):
    httpserver.expect_request("/fhir/metadata").respond_with_data("<html>")
    with pytest.raises(FhirError, match="is this the base URL of FHIR"):
        FhirClient(httpserver.url_for("/fhir")).read("metadata")


def test_a_template_that_asks_for_what_is_not_there_is_no_query():
    assert filled_in("Condition?patient={{context.patientId}}", "7") == "Condition?patient=7"
    assert filled_in("Encounter/{{ context.encounterId }}", "7") is None
