"""Items about cards, errors, CORS and extensions."""

import re

import pytest

from cds_service.app import create_app
from cds_service.check.response_rules import response_looks
from cds_service.check.rules import RULES
from cds_service.check.samples import draft_references
from cds_service.scenarios import find_scenario, scenarios
from cds_service.settings import Settings
from tests.chart import condition, draft, esi, hook_request, score

SERVICE = "/cds-services/failed-esi"
STORIES = [scenario for scenario in scenarios(["failed-esi"]) if scenario.response()["status"] == 200]
FAILED = (
    esi("2026-03-16", "esi-1"),
    score(8, "2026-03-10", "o1"),
    score(7, "2026-04-20", "o2"),
    condition("M54.16", name="c1"),
)
ORIGIN = {"Origin": "https://ehr.example.org"}


def looks(kinds):
    """Every look at every story under some kinds of rule."""
    assert set(kinds) <= {rule.id.partition(".")[0] for rule in RULES}
    for scenario in STORIES:
        references = draft_references(scenario.request())
        for look in response_looks(scenario.response()["body"], references, scenario.name):
            if look.rule.partition(".")[0] in kinds:
                yield look


def keeps(*kinds):
    found = list(looks(kinds))
    assert {look.rule.partition(".")[0] for look in found} == set(kinds)
    return [look for look in found if not look.kept] == []


def suggestions():
    cards = [card for scenario in STORIES for card in scenario.response()["body"]["cards"]]
    return [suggestion for card in cards for suggestion in card.get("suggestions", ())]


def test_item_46_a_200_holds_the_array_of_cards():
    assert keeps("response")


def test_item_47_nothing_to_say_is_200_and_no_card(call):
    response = call(hook_request(*FAILED, drafts=(draft("83036", side=""),)))
    assert (response.status_code, response.get_json()) == (200, {"cards": []})


def test_item_48_every_card_keeps_the_rules_of_its_members():
    assert keeps("card", "source", "override")


def test_item_48_links_and_addresses_of_a_site_keep_the_rules():
    settings = Settings(log_level="error", public_url="https://cds.example.org", emergency_url="https://er.example.org")
    flagged = find_scenario("red-flag-foot-drop", ["failed-esi"])
    client = create_app(settings=settings, today=lambda: flagged.today).test_client()
    found = list(response_looks(client.post(SERVICE, json=flagged.request()).get_json(), None, flagged.name))
    assert {"link.members", "source.addresses"} <= {look.rule for look in found}
    assert all(look.kept for look in found)


def test_item_49_every_suggestion_has_label_uuid_and_actions():
    assert keeps("suggestion")
    assert all({"label", "uuid", "actions"} <= set(suggestion) for suggestion in suggestions())


def test_item_50_every_action_carries_what_its_type_asks_for():
    assert keeps("action")


def test_item_51_a_suggestion_is_one_action_so_none_can_be_torn_apart():
    assert {len(suggestion["actions"]) for suggestion in suggestions()} == {1}


def test_item_52_a_draft_that_is_removed_keeps_its_id_to_the_letter(call):
    identity = "e" + "Zz0.-" * 38
    response = call(hook_request(*FAILED, drafts=({**draft(), "id": identity},)))
    actions = [s["actions"][0] for card in response.get_json()["cards"] for s in card["suggestions"]]
    assert f"ServiceRequest/{identity}" in [action.get("resourceId") for action in actions]


def test_item_53_nothing_is_changed_without_the_clinician():
    assert [s.name for s in STORIES if "systemActions" in s.response()["body"]] == []


def test_item_55_every_scenario_is_answered_with_a_status_that_means_it():
    assert {scenario.response()["status"] for scenario in scenarios(["failed-esi"])} <= {200, 400, 412, 422}


REFUSALS = [
    ("/cds-services/other", {"json": {}}, 404),
    (SERVICE, {"data": b"{", "content_type": "application/json"}, 400),
    (SERVICE, {"json": {}}, 400),
    (SERVICE, {"data": b"{}", "content_type": "text/plain"}, 415),
    (SERVICE, {"json": {**hook_request(*FAILED), "prefetch": {}}}, 412),
    (SERVICE, {"json": {**hook_request(*FAILED), "fhirServer": 7}}, 400),
    (SERVICE, {"data": b" " * 5000, "content_type": "application/json"}, 413),
]


@pytest.fixture(scope="module")
def narrow():
    """An application that takes small bodies only."""
    return create_app(settings=Settings(log_level="error", max_body=4096)).test_client()


@pytest.mark.parametrize(("path", "arguments", "status"), REFUSALS)
def test_item_56_an_error_names_the_member_and_nobody(narrow, path, arguments, status):
    outcome = narrow.post(path, **arguments).get_json()
    assert outcome["resourceType"] == "OperationOutcome"
    for issue in outcome["issue"]:
        assert {"severity", "code", "details", "expression"} <= set(issue)
    assert "pat-1" not in str(outcome)


@pytest.mark.parametrize(("path", "arguments", "status"), REFUSALS)
def test_item_57_each_kind_of_refusal_has_its_status(narrow, path, arguments, status):
    response = narrow.post(path, headers=ORIGIN, **arguments)
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (status, "*")
    assert narrow.get(SERVICE).status_code == 405


def test_item_58_a_fault_of_ours_is_neither_a_card_nor_silence(monkeypatch):
    def fail(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr("cds_service.app.answer", fail)
    client = create_app(settings=Settings(log_level="error")).test_client()
    response = client.post(SERVICE, json=hook_request(*FAILED))
    assert (response.status_code, "cards" in response.get_json()) == (500, False)


@pytest.mark.parametrize("path", ["/cds-services", SERVICE, f"{SERVICE}/feedback"])
def test_item_78_a_preflight_needs_no_token(client, path):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}
    answer = client.options(path, headers={**ORIGIN, **asked})
    assert answer.status_code == 200
    assert {"GET", "POST", "OPTIONS"} <= set(re.split(r",\s*", answer.headers["Access-Control-Allow-Methods"]))
    assert {"authorization", "content-type"} <= set(
        re.split(r",\s*", answer.headers["Access-Control-Allow-Headers"].lower())
    )
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_item_79_one_id_lets_a_client_replace_old_cards(call):
    selected, signed = (call(hook_request(*FAILED, hook=hook)).get_json() for hook in ("order-select", "order-sign"))
    assert selected == signed


def test_item_80_an_extension_is_an_object_under_a_reversed_domain(call):
    (card,) = call(hook_request(*FAILED)).get_json()["cards"]
    assert list(card["extension"]) == ["org.cds-service.decision"]
    assert isinstance(card["extension"]["org.cds-service.decision"], dict)
    assert {"summary", "indicator", "source", "detail"} <= set(card)
