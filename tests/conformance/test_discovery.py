"""Items about JSON, discovery and prefetch templates."""

import re
from dataclasses import replace

import orjson
import pytest

from cds_service.app import create_app
from cds_service.check.discovery_rules import discovery_looks
from cds_service.check.response_rules import empties
from cds_service.scenarios import scenarios
from cds_service.settings import Settings
from tests.chart import hook_request

SERVICE = "/cds-services/failed-esi"
ANSWERS = [scenario.response()["body"] for scenario in scenarios(["failed-esi"])]


@pytest.fixture
def entries(client):
    return client.get("/cds-services").get_json()["services"]


@pytest.fixture
def templates(entries):
    return [template for entry in entries for template in entry["prefetch"].values()]


def broken(entries, rule):
    return [look.seen for look in discovery_looks({"services": entries}) if look.rule == rule and not look.kept]


def test_item_01_json_comes_in_and_goes_out(call):
    assert call(hook_request()).mimetype == "application/json"


def test_item_02_nothing_is_null_or_empty(client):
    errors = [client.post(SERVICE, json={}).get_json(), client.get("/nowhere").get_json()]
    for answer in (*ANSWERS, *errors, client.get("/cds-services").get_json()):
        assert list(empties(answer)) == []


def test_item_03_a_created_resource_is_an_object():
    cards = [card for answer in ANSWERS for card in answer.get("cards", ())]
    actions = [action for card in cards for s in card.get("suggestions", ()) for action in s["actions"]]
    created = [action["resource"] for action in actions if action["type"] == "create"]
    assert created
    assert all(isinstance(resource, dict) for resource in created)


@pytest.mark.parametrize("slip", [b'{"hook": "order-select",}', b'{"hook": "order-select"} // why', b"/* */ {}"])
def test_item_04_comments_and_trailing_commas_are_refused(client, slip):
    assert client.post(SERVICE, data=slip, content_type="application/json").status_code == 400


def test_item_05_the_time_for_what_is_asked_is_under_half_a_second():
    assert Settings().deadline_ms < 500


def test_item_07_discovery_has_a_stable_address(client):
    assert client.get("/cds-services").status_code == 200


def test_item_08_services_are_an_array_and_may_be_none(client):
    assert isinstance(client.get("/cds-services").get_json()["services"], list)
    none = create_app([], Settings(log_level="error")).test_client().get("/cds-services")
    assert (none.status_code, none.get_json()) == (200, {"services": []})


def test_item_09_every_entry_has_hook_description_and_id(entries):
    assert broken(entries, "discovery.members") == []


def test_item_10_every_entry_has_a_title(entries):
    assert all(entry["title"] for entry in entries)


def test_item_11_prefetch_maps_keys_to_templates_or_is_left_out(entries, service):
    plain = create_app([replace(service, prefetch={})], Settings(log_level="error")).test_client()
    assert "prefetch" not in plain.get("/cds-services").get_json()["services"][0]
    assert all(isinstance(template, str) for entry in entries for template in entry["prefetch"].values())
    assert broken(entries, "discovery.optional") == []


def test_item_12_usage_requirements_say_what_must_be_known(entries):
    assert all("FHIR R4" in entry["usageRequirements"] for entry in entries)


def test_item_13_one_id_serves_two_hooks_by_the_hook_of_the_request(call, entries):
    assert [(e["id"], e["hook"]) for e in entries] == [("failed-esi", "order-select"), ("failed-esi", "order-sign")]
    without_selections = hook_request(hook="order-sign")
    assert call(without_selections).status_code == 200
    assert call({**without_selections, "hook": "order-select"}).status_code == 400


def test_item_16_the_first_entry_of_a_hook_is_the_service(client, entries):
    assert client.get("/cds-services").mimetype == "application/json"
    assert {hook: next(e["id"] for e in entries if e["hook"] == hook) for hook in ("order-select", "order-sign")} == {
        "order-select": "failed-esi",
        "order-sign": "failed-esi",
    }


def test_item_17_there_is_a_page_in_plain_words_and_no_unasked_behaviour(client):
    assert client.get("/knowledge/failed-esi").mimetype == "text/html"
    assert b"actionSelectionBehavior" not in orjson.dumps(ANSWERS)


def test_item_34_a_template_is_one_relative_read_or_search(entries):
    assert broken(entries, "prefetch.query") == []


def test_item_35_tokens_are_first_level_fields_of_the_context(entries):
    assert broken(entries, "prefetch.tokens") == []


def test_item_36_the_type_of_the_user_is_not_written_twice(templates):
    assert not [template for template in templates if re.search(r"\w/\{\{context\.userId", template)]


def test_item_37_templates_stay_inside_the_portable_subset(entries):
    assert broken(entries, "prefetch.subset") == []


def test_item_38_no_template_sorts_in_old_syntax(templates):
    assert not [template for template in templates if "sort:" in template]


def test_item_39_no_parameter_is_repeated_included_or_chained(templates):
    for template in templates:
        names = re.findall(r"[?&]([^=&]+)=", template)
        assert len(names) == len(set(names))
        assert not [name for name in names if name.startswith(("_include", "_rev", "_has")) or "." in name]


def test_item_40_codes_stand_without_their_system(templates):
    assert not [template for template in templates if "|" in template]


def test_item_41_no_token_computes_a_date(templates):
    assert not [template for template in templates if "today" in template]


def test_item_42_no_template_needs_an_encounter(templates):
    assert not [template for template in templates if "encounterId" in template]
