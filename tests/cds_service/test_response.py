"""What leaves the service: strict CDS Hooks 2.0.1 in every answer of every scenario."""

import re
import uuid

import orjson
import pytest
from markdown_it import MarkdownIt

from cds_service.fhir.models import nonconformities
from cds_service.scenarios import scenarios

ANSWERS = {s.name: s.response()["body"] for s in scenarios(["failed-esi"])}
CARDS = [
    pytest.param(s, c, id=s.name) for s in scenarios(["failed-esi"]) for c in s.response()["body"].get("cards", [])
]


def empties(value, path="$"):
    if value is None or value == "" or value == {} or (value == [] and path != "$.cards"):
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in children:
        yield from empties(item, f"{path}.{name}")


@pytest.mark.parametrize("name", ANSWERS)
def test_nothing_is_null_or_empty_anywhere(name):
    assert list(empties(ANSWERS[name])) == []


@pytest.mark.parametrize(("scenario", "card"), CARDS)
def test_a_card_keeps_the_rules_of_the_standard(scenario, card):
    assert set(card) <= {
        "uuid", "summary", "detail", "indicator", "source", "suggestions", "selectionBehavior", "overrideReasons",
        "extension",
    }  # fmt: skip
    assert str(uuid.UUID(card["uuid"])) == card["uuid"]
    assert 0 < len(card["summary"]) < 140
    assert card["indicator"] in {"info", "warning", "critical"}
    assert card["source"]["label"]
    assert re.fullmatch(r"[A-Za-z0-9]{1,100}", card["source"]["topic"]["code"])
    assert card["source"]["topic"]["system"] == "urn:cds-service:failed-esi"
    assert ("selectionBehavior" in card) is ("suggestions" in card)
    for reason in card["overrideReasons"]:
        assert set(reason) == {"system", "code", "display"}


@pytest.mark.parametrize(("scenario", "card"), CARDS)
def test_a_suggestion_is_one_action_that_every_client_can_take(scenario, card):
    resources = [entry["resource"] for entry in scenario.request()["context"]["draftOrders"]["entry"]]
    drafts = {f"{resource['resourceType']}/{resource['id']}" for resource in resources}
    assert card.get("selectionBehavior", "any") == "any"
    ids = [suggestion["uuid"] for suggestion in card.get("suggestions", [])]
    assert len(ids) == len(set(ids))
    for suggestion in card.get("suggestions", []):
        (action,) = suggestion["actions"]
        assert suggestion["label"]
        assert action["description"]
        assert "isRecommended" not in suggestion
        if action["type"] == "delete":
            assert set(action) == {"type", "description", "resourceId"}
            assert action["resourceId"] in drafts
        else:
            assert (action["type"], set(action)) == ("create", {"type", "description", "resource"})


@pytest.mark.parametrize(("scenario", "card"), CARDS)
def test_a_created_order_is_a_valid_draft_without_a_dose(scenario, card):
    for suggestion in card.get("suggestions", []):
        resource = suggestion["actions"][0].get("resource")
        if resource:
            assert nonconformities(resource) == ()
            assert (resource["status"], resource["intent"]) == ("draft", "proposal")
            assert resource["subject"] == {"reference": "Patient/pat-1"}
            assert not {"dosageInstruction", "dispenseRequest", "id"} & set(resource)


@pytest.mark.parametrize(("scenario", "card"), CARDS)
def test_the_detail_is_plain_markdown(scenario, card):
    tokens = MarkdownIt("commonmark").parse(card["detail"])
    inline = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in (*tokens, *inline)}
    assert not {kind for kind in kinds if kind.startswith(("html", "image", "fence", "code", "heading"))}


@pytest.mark.parametrize(("scenario", "card"), CARDS)
def test_the_decision_stands_on_the_card(scenario, card):
    decision = card["extension"]["org.cds-service.decision"]
    assert decision["service"] == "failed-esi"
    assert card["source"]["topic"]["code"] == decision["card"].replace("-", "").replace(":", "")
    assert decision["order"] == scenario.request()["context"]["selections"]


def test_the_same_call_gives_the_same_bytes_and_another_call_other_ids(call, service, ask):
    from tests.chart import esi, hook_request, score

    body = hook_request(esi("2026-03-16"), score(8, "2026-03-10", "a"), score(7, "2026-04-20", "b"))
    first, second = call(body).get_data(), call(body).get_data()
    assert first == second
    other = call({**body, "hookInstance": "0b0f3f4e-7c1a-4c51-8d53-3f6f0a1d7c12"}).get_data()
    assert orjson.loads(first)["cards"][0]["uuid"] != orjson.loads(other)["cards"][0]["uuid"]
    assert orjson.loads(first)["cards"][0]["source"] == orjson.loads(other)["cards"][0]["source"]
