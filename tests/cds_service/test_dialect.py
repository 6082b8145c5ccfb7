"""Dialects: what a client's request is brought to, what becomes of the answer, and that the default changes nothing."""

from datetime import date

import pytest

from cds_service.app import create_app
from cds_service.protocol.dialect import DEFAULT, DialectError, read_dialect, read_site_terms
from cds_service.protocol.dialect_input import accept
from cds_service.protocol.dialect_output import refusal, rewrite
from cds_service.settings import Settings
from tests.chart import bundle, condition, draft, esi, hook_request, score

FAILED = (esi("2026-03-16"), score(8, "2026-03-10", "a"), score(7, "2026-04-20", "b"))
NAMES = ("default", "epic", "v1", "cerner", "bahmni", "sandbox", "crd-generator")


@pytest.fixture
def answer_in(tmp_path):
    """Post a request to a service that speaks a dialect."""

    def post(name, body, site=""):
        file = None
        if site:
            file = tmp_path / "site.toml"
            file.write_text(site, encoding="utf-8")
        settings = Settings(dialect=name, dialect_file=file, log_level="error")
        client = create_app(settings=settings, today=lambda: date(2026, 6, 1)).test_client()
        return client.post("/cds-services/failed-esi", json=body)

    return post


def card_of(response):
    assert response.status_code == 200
    (card,) = response.get_json()["cards"]
    return card


def actions_of(card):
    return [action for suggestion in card.get("suggestions", ()) for action in suggestion["actions"]]


def access(body):
    """The request with access to a FHIR server, as an EHR sends it."""
    token = {"access_token": "t", "token_type": "Bearer", "expires_in": 300, "scope": "x", "subject": "y"}
    return {**body, "fhirServer": "https://ehr.example.org/fhir/R4", "fhirAuthorization": token}


@pytest.mark.parametrize("name", NAMES)
def test_every_dialect_of_the_table_is_read(name):
    assert read_dialect(name).name == name


def test_the_default_changes_nothing():
    body, response, outcome = hook_request(*FAILED), {"cards": []}, {"issue": []}
    assert read_dialect("default") == DEFAULT
    assert accept(body, DEFAULT) is body
    assert rewrite(response, DEFAULT) is response
    assert refusal(outcome, DEFAULT) is outcome


def test_what_a_request_says_of_itself_chooses_no_dialect(call):
    body = {**hook_request(*FAILED), "extension": {"com.epic.cdshooks.request.epic-version": "11.4"}}
    assert call(body, headers={"User-Agent": "Epic"}).get_json() == call(hook_request(*FAILED)).get_json()


@pytest.mark.parametrize("name", NAMES)
def test_every_dialect_says_the_same(answer_in, name):
    plain = card_of(answer_in("default", hook_request(*FAILED)))
    card = card_of(answer_in(name, access(hook_request(*FAILED))))
    for member in ("summary", "detail", "indicator", "extension"):
        assert card[member] == plain[member]
    assert ("selectionBehavior" in card) == ("suggestions" in card)
    assert all(len(suggestion["actions"]) == 1 for suggestion in card.get("suggestions", ()))


def test_epic_gets_orders_only_with_a_code_of_the_site(answer_in):
    site = '[codes]\nrepeat-imaging = "MRI-77"\n'
    card = card_of(answer_in("epic", access(hook_request(*FAILED)), site))
    create, delete = actions_of(card)
    assert create["resource"]["code"]["coding"] == [
        {"system": "urn:com.epic.cdshooks.action.code.system.preference-list-item", "code": "MRI-77"}
    ]
    assert delete == {**delete, "type": "delete", "resourceId": "ServiceRequest/d1"}
    assert card["selectionBehavior"] == "any"
    assert "isRecommended" not in card["suggestions"][0]
    assert card["source"]["topic"]["code"].isalnum()


def test_a_tier_that_the_site_has_not_mapped_stays_words(answer_in):
    card = card_of(answer_in("epic", access(hook_request(*FAILED))))
    assert [action["type"] for action in actions_of(card)] == ["delete"]
    assert "Updated imaging" in card["detail"]


def test_a_site_may_name_another_system(answer_in):
    system = "urn:com.epic.cdshooks.action.code.system.orderset-item"
    site = f'[codes]\nrepeat-imaging = {{ system = "{system}", code = "OS-1" }}\n'
    create, _ = actions_of(card_of(answer_in("epic", access(hook_request(*FAILED)), site)))
    assert create["resource"]["code"]["coding"] == [{"system": system, "code": "OS-1"}]


def test_a_draft_that_epic_cannot_remove_is_not_suggested_for_removal():
    remove = {"type": "delete", "description": "Remove it", "resourceId": "DeviceRequest/d1"}
    suggestions = [{"label": "Remove it", "uuid": "u", "actions": [remove]}]
    card = {"summary": "s", "source": {"label": "l"}, "suggestions": suggestions, "selectionBehavior": "any"}
    assert rewrite({"cards": [card]}, read_dialect("v1"))["cards"][0]["suggestions"]
    assert rewrite({"cards": [card]}, read_dialect("epic")) == {"cards": [{"summary": "s", "source": {"label": "l"}}]}


@pytest.mark.parametrize(("missing", "where"), [("prefetch", "prefetch"), ("draftOrders", "context.draftOrders")])
def test_a_stripped_call_is_named_as_a_mistake_in_the_set_up(answer_in, missing, where):
    body = hook_request(*FAILED)
    (body if missing == "prefetch" else body["context"]).pop(missing)
    response = answer_in("epic", body)
    (issue,) = response.get_json()["issue"]
    assert (response.status_code, issue["code"], issue["expression"]) == (400, "required", [where])
    assert "set-up" in issue["details"]["text"]
    assert "letter by letter" in issue["diagnostics"]


def test_a_stripped_call_is_logged_as_one(capfd):
    client = create_app(settings=Settings(dialect="epic")).test_client()
    body = hook_request(*FAILED)
    client.post("/cds-services/failed-esi", json={**body, "prefetch": {}})
    assert '"error":"StrippedRequest"' in capfd.readouterr().err.replace(" ", "")


def test_version_1_gets_only_what_it_knows(answer_in):
    card = card_of(answer_in("v1", hook_request(*FAILED)))
    assert set(card) == {
        "summary", "detail", "indicator", "source", "suggestions", "selectionBehavior", "extension",
    }  # fmt: skip
    assert set(card["source"]) == {"label"}
    assert card["selectionBehavior"] == "at-most-one"
    (delete,) = [action for action in actions_of(card) if action["type"] == "delete"]
    assert delete == {"type": "delete", "description": delete["description"], "resource": "ServiceRequest/d1"}


def test_cerner_and_bahmni_get_no_suggestions(answer_in):
    for name in ("cerner", "bahmni"):
        assert not {"suggestions", "selectionBehavior"} & set(card_of(answer_in(name, hook_request(*FAILED))))


def test_the_sandbox_gets_alternatives_and_the_generator_a_resource_to_remove(answer_in):
    sandbox = card_of(answer_in("sandbox", hook_request(*FAILED)))
    generator = card_of(answer_in("crd-generator", hook_request(*FAILED)))
    assert {sandbox["selectionBehavior"], generator["selectionBehavior"]} == {"at-most-one"}
    assert actions_of(sandbox)[-1]["resourceId"] == "ServiceRequest/d1"
    assert actions_of(generator)[-1]["resource"] == {"resourceType": "ServiceRequest", "id": "d1"}


def bare(*drafts, **prefetch):
    """A call as Bahmni makes it: its own name for the hook, and prefetch alone."""
    body = hook_request(*FAILED)["prefetch"]
    return {
        "hook": "medication-order-select",
        "prefetch": {**body, "draftMedicationRequests": bundle(*drafts), **prefetch},
    }


def test_a_bare_call_is_completed(answer_in):
    response = answer_in("bahmni", bare(draft()))
    assert set(card_of(response)) == {"uuid", "summary", "detail", "indicator", "source", "extension"}
    assert response.get_data() == answer_in("bahmni", bare(draft())).get_data()
    in_bundle = bare(draft(), patient=bundle(hook_request()["prefetch"]["patient"]))
    assert card_of(answer_in("bahmni", in_bundle))["summary"] == card_of(response)["summary"]


def test_a_bare_call_is_refused_without_the_switch(answer_in):
    assert answer_in("default", bare(draft())).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"hook": "x", "prefetch": {}},
        {"hook": "x", "prefetch": None},
        bare(patient=None),
        bare(patient=bundle()),
        bare(draftMedicationRequests=None),
        bare(draftMedicationRequests="text"),
        [],
        "text",
    ],
)
def test_what_cannot_be_completed_is_400_with_a_message(answer_in, body):
    response = answer_in("bahmni", body)
    outcome = response.get_json()
    assert (response.status_code, outcome["resourceType"]) == (400, "OperationOutcome")
    assert outcome["message"].startswith(outcome["issue"][0]["details"]["text"])


def test_an_unknown_address_has_a_message_too():
    client = create_app(settings=Settings(dialect="bahmni", log_level="error")).test_client()
    assert client.get("/nowhere").get_json()["message"] == "Not Found. GET /cds-services lists the services."


@pytest.mark.parametrize(
    ("user", "requester"),
    [
        ("Practitioner/doc-1", {"reference": "Practitioner/doc-1"}),
        ("https://ehr.example.org/fhir/R4/PractitionerRole/doc-1", {"reference": "PractitionerRole/doc-1"}),
        ("https://ehr.example.org/fhir/R4/Practitioner/doc-1/_history/2", {"reference": "Practitioner/doc-1"}),
        ("https://other.example.org/fhir/R4/Practitioner/doc-1", None),
        ("doc-1", None),
    ],
)
def test_the_user_is_read_in_every_form_and_never_guessed(answer_in, user, requester):
    body = access(hook_request(*FAILED))
    body["context"]["userId"] = user
    created = actions_of(card_of(answer_in("v1", body)))[0]["resource"]
    assert created.get("requester") == requester


SITE = """
[prefetch]
procedures = "px"
conditions = ["problems", "encounterDiagnoses"]
"""
RENAMED = ("procedures", "conditions")


def renamed(**prefetch):
    """A request under the keys of the site."""
    body = hook_request(*FAILED, not_sent=RENAMED)
    return {**body, "prefetch": {**body["prefetch"], "px": bundle(*FAILED[:1]), **prefetch}}


def not_read(response):
    return card_of(response)["extension"]["org.cds-service.decision"].get("notRead", [])


def test_keys_of_the_site_are_read_as_ours(answer_in):
    plain = card_of(answer_in("default", hook_request(*FAILED, condition("M54.16"))))
    body = renamed(problems=bundle(condition("M54.16")), encounterDiagnoses=None)
    assert card_of(answer_in("epic", body, SITE))["detail"] == plain["detail"]
    assert not_read(answer_in("epic", body, SITE)) == []


@pytest.mark.parametrize(
    "prefetch",
    [
        {"problems": bundle(condition("M54.16"))},
        {"problems": bundle(condition("M54.16")), "encounterDiagnoses": {"resourceType": "OperationOutcome"}},
        {"problems": {"resourceType": "OperationOutcome"}, "encounterDiagnoses": bundle()},
        {"problems": "text", "encounterDiagnoses": "text"},
        {},
    ],
)
def test_a_part_that_was_not_sent_or_failed_is_not_read(answer_in, prefetch):
    assert not_read(answer_in("epic", renamed(**prefetch), SITE)) == ["conditions"]


def test_our_own_key_is_read_beside_those_of_the_site(answer_in):
    body = renamed(conditions={"entry": [{"resource": condition("M54.16")}]}, problems=bundle())
    assert not_read(answer_in("default", body, SITE)) == []


def test_a_required_key_that_failed_is_refused_under_every_name(answer_in):
    body = renamed(px={"resourceType": "OperationOutcome"})
    assert answer_in("epic", body, SITE).status_code == 412


def test_a_resource_of_somebody_else_is_found_under_every_name(answer_in):
    other = condition("M54.16", subject={"reference": "Patient/somebody-else"})
    assert answer_in("epic", renamed(problems=bundle(other)), SITE).status_code == 422


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[prefetch", "cannot be read as TOML"),
        ("[keys]", "'keys' is not one of the tables prefetch, codes"),
        ("prefetch = 1", "'prefetch' is not one of the tables"),
        ("[prefetch]\nconditions = 1", "conditions is not a key of the client"),
        ("[prefetch]\nconditions = []", "conditions is not a key of the client"),
        ('[prefetch]\nconditions = "a"\nprocedures = ["b", "a"]', "procedures names a key that another one names"),
        ('[prefetch]\nproblems = "a"', "problems is not one of our keys: conditions"),
        ("[codes]\nx = 1", "x is not a code"),
        ('[codes]\nx = ""', "x is not a code"),
        ('[codes]\nx = { code = "1" }', "x is not a code"),
    ],
)
def test_a_mistake_in_a_site_file_is_named(tmp_path, text, message):
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DialectError, match=message):
        read_site_terms(path, keys=["conditions"] if "problems" in text else None)
