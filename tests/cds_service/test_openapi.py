"""GET /openapi.json: it is valid, it names every route, its examples come true, and no answer departs from it."""

from datetime import date, timedelta
from functools import reduce

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from cds_service.app import create_app
from cds_service.scenarios import scenarios
from cds_service.settings import Settings
from tests.conftest import TODAY

APP = create_app(settings=Settings(log_level="error"), today=lambda: TODAY)
DOCUMENT = APP.test_client().get("/openapi.json").get_json()
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
CALLS = [path for path, method in OPERATIONS if method == "post"]
EXAMPLES = [
    (path, name) for path in CALLS for name in DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"]
]  # fmt: skip


def mistakes(schema, value):
    """Where a value departs from a schema of the document."""
    validator = OAS31Validator({**schema, "components": DOCUMENT["components"]})
    return [f"{error.json_path}: {error.validator}" for error in validator.iter_errors(value)]


def request_of(path, name, document=DOCUMENT):
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["examples"][name]["value"]


def answer_to(path, name, document=DOCUMENT):
    """The status and body that the document gives for an example."""
    for status, response in document["paths"][path]["post"]["responses"].items():
        for each, example in response["content"]["application/json"].get("examples", {}).items():
            if each == name:
                return int(status), example["value"]
    raise AssertionError(f"{name} has no answer")


def test_the_document_is_valid():
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_route_is_described_and_nothing_else():
    address = APP.url_map.bind("localhost")
    described = {address.match(path, method.upper())[0] for path, method in OPERATIONS}
    assert described == {rule.endpoint for rule in APP.url_map.iter_rules()}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_described_answer_allows_browsers_and_every_refusal_is_an_outcome(path, method):
    for status, response in DOCUMENT["paths"][path][method]["responses"].items():
        assert "Access-Control-Allow-Origin" in response["headers"]
        outcome = {"$ref": "#/components/schemas/OperationOutcome"}
        assert status == "200" or response["content"]["application/json"]["schema"] == outcome


def test_the_examples_show_every_kind_of_answer():
    body_issues = {answer_to(*e)[1].get("issue", [{}])[0].get("code") for e in EXAMPLES}
    shown = [[card["indicator"] for card in answer_to(*e)[1].get("cards", ())] for e in EXAMPLES]
    assert {answer_to(*e)[0] for e in EXAMPLES} == {200, 412, 422}
    assert body_issues == {None, "required", "incomplete", "security"}
    assert {indicator for each in shown for indicator in each} == {"info", "warning", "critical"}
    assert [] in shown


@pytest.mark.parametrize(("path", "name"), EXAMPLES)
def test_an_example_comes_true(path, name):
    response = APP.test_client().post(path, json=request_of(path, name))
    assert (response.status_code, response.get_json()) == answer_to(path, name)


@pytest.mark.parametrize(("path", "name"), EXAMPLES)
def test_an_example_conforms_to_its_schema(path, name):
    operation = DOCUMENT["paths"][path]["post"]
    status, body = answer_to(path, name)
    assert mistakes(operation["requestBody"]["content"]["application/json"]["schema"], request_of(path, name)) == []
    assert mistakes(operation["responses"][str(status)]["content"]["application/json"]["schema"], body) == []


@pytest.mark.parametrize("scenario", scenarios(["failed-esi"]), ids=lambda scenario: scenario.name)
def test_every_scenario_conforms_too(scenario):
    answer = scenario.response()
    name = "Cards" if answer["status"] == 200 else "OperationOutcome"
    assert mistakes({"$ref": f"#/components/schemas/{name}"}, answer["body"]) == []
    assert mistakes({"$ref": "#/components/schemas/HookRequest"}, scenario.request()) == []


@pytest.mark.parametrize(("schema", "path"), [("HookRequest", ()), ("Context", ("context",))])
def test_a_member_is_required_in_the_description_as_in_the_service(schema, path):
    for member in DOCUMENT["components"]["schemas"][schema]["required"]:
        body = request_of(*EXAMPLES[0])
        changed = reduce(dict.__getitem__, path, body)
        kept = changed.pop(member)
        response = APP.test_client().post(CALLS[0], json=body)
        changed[member] = kept
        assert (response.status_code, response.get_json()["issue"][0]["expression"]) == (
            400,
            [".".join([*path, member])],
        )


def test_the_examples_move_with_the_day():
    days = iter([date(2031, 3, 1), date(2031, 3, 1), date(2031, 3, 2)])
    client = create_app(settings=Settings(log_level="error"), today=lambda: next(days)).test_client()
    first, same, next_day = (client.get("/openapi.json").get_json() for _ in range(3))
    asked = [request_of(*EXAMPLES[0], each)["prefetch"]["procedures"]["entry"][0] for each in (first, next_day)]
    performed = [date.fromisoformat(entry["resource"]["performedDateTime"]) for entry in asked]
    assert first == same
    assert performed[1] - performed[0] == timedelta(days=1)
    assert answer_to(*EXAMPLES[0], next_day)[1]["cards"]


def test_the_public_address_is_the_server():
    here = create_app(settings=Settings(log_level="error", public_url="https://cds.example.org/esi"))
    assert here.test_client().get("/openapi.json").get_json()["servers"] == [{"url": "https://cds.example.org/esi"}]


def test_a_member_that_is_not_described_is_found():
    body = answer_to(*EXAMPLES[0])[1]
    broken = {"cards": [{**body["cards"][0], "surprise": 1}]}
    assert mistakes({"$ref": "#/components/schemas/Cards"}, broken) == ["$.cards[0]: additionalProperties"]
