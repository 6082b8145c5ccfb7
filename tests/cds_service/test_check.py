"""The conformance check: ours keeps every rule, and every rule fails on a service that breaks it."""

import copy
import re
from datetime import date
from functools import partial, reduce
from operator import getitem

import orjson
import pytest
from click.testing import CliRunner
from requests.adapters import HTTPAdapter
from werkzeug import Response

from cds_service.app import create_app
from cds_service.check.client import Client
from cds_service.check.discovery_rules import FIELDS, discovery_looks
from cds_service.check.look import Outcome, results
from cds_service.check.probes import check_service
from cds_service.check.response_rules import empties, response_looks
from cds_service.check.rules import RULES
from cds_service.check.samples import sample
from cds_service.cli import main
from cds_service.settings import Settings
from tests.served import in_a_thread

ORIGIN = "https://ehr.example.org"
TODAY = date(2026, 6, 1)
DRAFT = "ServiceRequest/check-draft"
CARD = "0b0f3f4e-7c1a-4c51-8d53-3f6f0a1d7c11"


def suggestion(number, action, **more):
    described = {"description": "Do it", **action}
    return {"label": "Do it", "uuid": CARD[:-1] + str(number), "actions": [described], **more}


def order(**more):
    return {"resourceType": "ServiceRequest", "status": "draft", "intent": "order", **more}


def answer():
    """An answer that uses every optional member once, as the specification has them."""
    rich = {
        "uuid": CARD,
        "summary": "s" * 139,
        "detail": "More",
        "indicator": "warning",
        "source": {
            "label": "Source",
            "url": "https://source.example.org",
            "icon": "https://source.example.org/icon.png",
            "topic": {"system": "urn:topics", "code": "t1"},
        },
        "suggestions": [
            suggestion(2, {"type": "create", "resource": order()}, isRecommended=True, actionSelectionBehavior="all"),
            suggestion(3, {"type": "update", "resource": order(id="check-draft")}),
            suggestion(4, {"type": "delete", "resourceId": DRAFT}),
        ],
        "selectionBehavior": "at-most-one",
        "overrideReasons": [{"system": "urn:reasons", "code": "r1", "display": "Reason"}],
        "links": [
            {"label": "Page", "url": "https://page.example.org", "type": "absolute"},
            {
                "label": "App",
                "url": "https://app.example.org",
                "type": "smart",
                "appContext": "a",
                "autolaunchable": True,
            },
        ],
        "extension": {"org.example": {"a": 1}},
    }
    plain = {"summary": "Short", "indicator": "info", "source": {"label": "Source"}}
    return {"cards": [rich, plain], "systemActions": [{"type": "create", "resource": order()}]}


class Model:
    """A service that keeps every rule; a defect changes one thing about it."""

    def __init__(self):
        self.discovery = {
            "services": [
                {
                    "hook": "order-select",
                    "id": "model",
                    "title": "Model",
                    "description": "Keeps every rule",
                    "usageRequirements": "None",
                    "prefetch": {
                        "patient": "Patient/{{context.patientId}}",
                        "user": "{{context.userId}}",
                        "conditions": "Condition?patient={{context.patientId}}&code:in=urn:set&_count=50",
                    },
                    "extension": {"org.example": {"a": 1}},
                }
            ]
        }
        self.answer = answer()
        self.statuses = {"json": 400, "members": 400, "hook": 400, "service": 404, "method": 405, "text": 415}
        self.statuses |= {"discovery": 200, "call": 200, "strange": 200, "nulls": 200, "bare": 412}
        self.statuses |= {"accepted": 200, "overridden": 200, "malformed": 400}
        self.outcome = {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "error", "code": "invalid", "diagnostics": "No."}],
        }
        self.headers = {"Access-Control-Allow-Origin": ORIGIN}
        self.allowed = {"/cds-services": "Authorization, Content-Type"}
        self.content_type = "application/json"
        self.hook = "order-select"
        self.required = {"userId", "patientId", "selections", "draftOrders"}
        self.text = None

    def __call__(self, request):
        if request.method == "OPTIONS":
            allowed = self.allowed.get(request.path, self.allowed["/cds-services"])
            return Response(headers={**self.headers, "Access-Control-Allow-Headers": allowed})
        kind = self.kind_of(request)
        status = self.statuses[kind]
        if status >= 400:
            text = self.text(request) if self.text else orjson.dumps(self.outcome)
            return Response(text, status, self.headers, content_type="application/json")
        body = {"discovery": self.discovery, "accepted": {}, "overridden": {}}.get(kind, self.answer)
        return Response(orjson.dumps(body), status, self.headers, content_type=self.content_type)

    def kind_of(self, request):
        """What the check asks here."""
        if request.path == "/cds-services":
            return "discovery"
        if request.path.endswith("/feedback"):
            body = request.get_json()
            return body["feedback"][0]["outcome"] if isinstance(body["feedback"], list) else "malformed"
        if request.path not in {"/cds-services/model", "/cds-services/a/b"}:
            return "service"
        if request.method == "GET":
            return "method"
        return "text" if request.mimetype == "text/plain" else self.call_kind(request.get_data())

    def call_kind(self, sent):
        try:
            body = orjson.loads(sent)
        except orjson.JSONDecodeError:
            return "json"
        if not isinstance(body, dict) or not {"hook", "hookInstance", "context"} <= body.keys():
            return "members"
        if body["hook"] != self.hook:
            return "hook"
        if not self.required <= body["context"].keys():
            return "members"
        if "prefetch" not in body:
            return "bare"
        if "x-check" in body:
            return "strange"
        return "nulls" if not any(body["prefetch"].values()) else "call"


@pytest.fixture
def model():
    return Model()


def found(base, adapter=None):
    client = Client(base, ORIGIN)
    if adapter:
        client.session.mount(base, adapter)
    return {result.rule.id: result for result in results(check_service(client, TODAY))}


def outcome_of(httpserver, model):
    httpserver.expect_request(re.compile(".*")).respond_with_handler(model)
    return found(httpserver.url_for("").rstrip("/"))


def named(found, outcome):
    return {name for name, result in found.items() if result.outcome is outcome}


def put(path, value):
    """A defect: a member of the model gets another value; `...` takes it away."""

    def spoil(model):
        *way, last = path.split(".")
        place = vars(model)
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        if value is ...:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value

    return spoil


ENTRY = "discovery.services.0"
RICH = "answer.cards.0"
CREATE, UPDATE, DELETE = (f"{RICH}.suggestions.{number}.actions.0" for number in range(3))


def listed_twice(model):
    model.discovery["services"].append(copy.deepcopy(model.discovery["services"][0]))


def echo(request):
    return orjson.dumps({"resourceType": "OperationOutcome", "seen": request.get_data(as_text=True) or "nothing", "issue": [
        {"severity": "error", "code": "invalid"}
    ]})  # fmt: skip


def prefetch(template):
    return put(f"{ENTRY}.prefetch.conditions", template)


DEFECTS = [
    ("answer.json", put("content_type", "text/html")),
    ("answer.empty", put(f"{RICH}.extension.empty", None)),
    ("answer.empty", put(f"{RICH}.extension.empty", "")),
    ("answer.empty", put(f"{RICH}.extension.empty", [])),
    ("answer.empty", put(f"{RICH}.extension.empty", {})),
    ("answer.empty", put("outcome.issue.0.diagnostics", None)),
    ("answer.empty", put(f"{ENTRY}.extension.empty", None)),
    ("discovery.answer", put("discovery", ["model"])),
    ("discovery.answer", put("discovery", {"services": "model"})),
    ("discovery.answer", put("statuses.discovery", 500)),
    ("discovery.members", put(f"{ENTRY}.description", ...)),
    ("discovery.members", put(f"{ENTRY}.hook", 7)),
    ("discovery.members", put(f"{ENTRY}.id", "a/b")),
    ("discovery.members", put(ENTRY, "model")),
    ("discovery.optional", put(f"{ENTRY}.title", ["Model"])),
    ("discovery.optional", put(f"{ENTRY}.usageRequirements", 1)),
    ("discovery.optional", put(f"{ENTRY}.extension", "a")),
    ("discovery.optional", put(f"{ENTRY}.prefetch", ["a"])),
    ("discovery.unique", listed_twice),
    ("prefetch.query", prefetch("/Condition?patient={{context.patientId}}")),
    ("prefetch.query", prefetch("https://fhir.example.org/Condition?patient={{context.patientId}}")),
    ("prefetch.query", prefetch("Condition/{{context.patientId}}/_history")),
    ("prefetch.query", prefetch("Patient/{{context.patientId}}/$everything")),
    ("prefetch.query", prefetch(7)),
    ("prefetch.tokens", prefetch("Condition?date={{today()}}")),
    ("prefetch.tokens", prefetch("Condition?patient={{context.selections}}")),
    ("prefetch.tokens", prefetch("Condition?patient={{patientId}}")),
    ("prefetch.tokens", prefetch("Condition?patient={{context.patientId}")),
    ("prefetch.tokens", prefetch("Practitioner/{{context.userId}}")),
    ("prefetch.subset", prefetch("Condition?patient={{context.patientId}}&_include=Condition:encounter")),
    ("prefetch.subset", prefetch("Condition?patient.name=x")),
    ("prefetch.subset", prefetch("Condition?code:below=x")),
    ("prefetch.subset", prefetch("Condition?onset-date=sa2020-01-01")),
    ("prefetch.subset", prefetch("Condition?onset-date=ge2020&onset-date=le2021")),
    ("cors.discovery", put("allowed", {"/cds-services": "Content-Type", "/cds-services/model": "Authorization, Content-Type", "/cds-services/model/feedback": "Authorization, Content-Type"})),
    ("cors.call", put("allowed./cds-services/model", "Authorization")),
    ("cors.feedback", put("allowed./cds-services/model/feedback", "*")),
    ("cors.credentials", put("headers", {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"})),
    ("call.answer", put("statuses.call", 500)),
    ("call.answer", put("statuses.call", 204)),
    ("call.tolerant", put("statuses.strange", 400)),
    ("call.tolerant", put("statuses.strange", 412)),
    ("call.nulls", put("statuses.nulls", 400)),
    ("call.without-prefetch", put("statuses.bare", 500)),
    ("refuse.json", put("statuses.json", 500)),
    ("refuse.members", put("statuses.members", 200)),
    ("refuse.hook", put("statuses.hook", 200)),
    ("refuse.service", put("statuses.service", 400)),
    ("refuse.method", put("statuses.method", 404)),
    ("refuse.content-type", put("statuses.text", 200)),
    ("error.json", put("text", lambda _: "<html>No</html>")),
    ("error.outcome", put("outcome.issue", "none")),
    ("error.outcome", put("outcome.issue.0.severity", "bad")),
    ("error.trace", put("text", lambda _: orjson.dumps({"e": "Traceback (most recent call last): x"}))),
    ("error.echo", put("text", echo)),
    ("response.cards", put("answer", ["card"])),
    ("response.cards", put("answer.cards", ...)),
    ("response.cards", put("answer.cards.1", "card")),
    ("response.system-actions", put("answer.systemActions", {"a": 1})),
    ("response.ids", put("answer.cards.1.uuid", CARD)),
    ("card.uuid", put(f"{RICH}.uuid", CARD.upper())),
    ("card.summary", put(f"{RICH}.summary", "s" * 140)),
    ("card.summary", put(f"{RICH}.summary", ...)),
    ("card.detail", put(f"{RICH}.detail", ["More"])),
    ("card.indicator", put(f"{RICH}.indicator", "hard-stop")),
    ("card.indicator", put(f"{RICH}.indicator", ["info"])),
    ("card.extension", put(f"{RICH}.extension", "a")),
    ("card.selection", put(f"{RICH}.selectionBehavior", ...)),
    ("card.selection", put(f"{RICH}.selectionBehavior", "all")),
    ("card.recommended", put(f"{RICH}.suggestions.1.isRecommended", True)),
    ("source.label", put(f"{RICH}.source.label", ...)),
    ("source.label", put("answer.cards.1.source", "Source")),
    ("source.addresses", put(f"{RICH}.source.url", "/source")),
    ("source.addresses", put(f"{RICH}.source.icon", "icon.png")),
    ("source.topic", put(f"{RICH}.source.topic.system", ...)),
    ("source.topic", put(f"{RICH}.source.topic", "t1")),
    ("override.coding", put(f"{RICH}.overrideReasons.0.display", ...)),
    ("override.coding", put(f"{RICH}.overrideReasons", "r1")),
    ("suggestion.label", put(f"{RICH}.suggestions.0.label", ...)),
    ("suggestion.label", put(f"{RICH}.suggestions.0", "Do it")),
    ("suggestion.uuid", put(f"{RICH}.suggestions.0.uuid", "2")),
    ("suggestion.recommended", put(f"{RICH}.suggestions.0.isRecommended", "true")),
    ("suggestion.actions", put(f"{RICH}.suggestions.0.actions", ...)),
    ("suggestion.behavior", put(f"{RICH}.suggestions.0.actionSelectionBehavior", "one")),
    ("action.type", put(f"{CREATE}.type", "CREATE")),
    ("action.description", put(f"{CREATE}.description", ...)),
    ("action.resource", put(f"{CREATE}.resource", "{}")),
    ("action.resource", put(f"{UPDATE}.resource", ...)),
    ("action.resource", put("answer.systemActions.0.resource", ...)),
    ("action.delete", put(f"{DELETE}.resource", DRAFT)),
    ("action.target", put(f"{UPDATE}.resource.id", "other")),
    ("action.target", put(f"{DELETE}.resourceId", "ServiceRequest/other")),
    ("link.members", put(f"{RICH}.links.0.label", ...)),
    ("link.members", put(f"{RICH}.links.0.url", "/page")),
    ("link.members", put(f"{RICH}.links.0.url", "http://[")),
    ("link.members", put(f"{RICH}.links.0.type", "relative")),
    ("link.app-context", put(f"{RICH}.links.0.appContext", "a")),
    ("link.autolaunchable", put(f"{RICH}.links.1.autolaunchable", "yes")),
    ("feedback.accepted", put("statuses.accepted", 500)),
    ("feedback.overridden", put("statuses.overridden", 400)),
    ("feedback.malformed", put("statuses.malformed", 200)),
]  # fmt: skip

# Defects that are rightly seen in more than one place.
MANY = [
    ({"cors.discovery", "cors.call", "cors.feedback", "cors.answers"}, put("headers", {})),
    (
        {"cors.discovery", "cors.call", "cors.feedback", "cors.answers"},
        put("headers", {"Access-Control-Allow-Origin": "https://other.example.org"}),
    ),
    ({"action.delete", "action.target"}, put(f"{DELETE}.resourceId", ...)),
    ({"action.delete", "action.target"}, put(f"{DELETE}.resourceId", f"https://fhir.example.org/{DRAFT}")),
    ({"link.members", "link.app-context"}, put(f"{RICH}.links.1.type", ...)),
]


def test_a_service_that_keeps_every_rule_passes_every_rule(httpserver, model):
    outcomes = outcome_of(httpserver, model)
    assert named(outcomes, Outcome.FAILED) == set()
    assert named(outcomes, Outcome.SKIPPED) == {"transport.tls"}


@pytest.mark.parametrize(("rule", "spoil"), DEFECTS)
def test_a_rule_fails_on_a_service_that_breaks_it_and_on_no_other(httpserver, model, rule, spoil):
    spoil(model)
    outcomes = outcome_of(httpserver, model)
    assert named(outcomes, Outcome.FAILED) == {rule}
    assert outcomes[rule].line()


@pytest.mark.parametrize(("rules", "spoil"), MANY)
def test_a_defect_that_breaks_several_rules_fails_them_all(httpserver, model, rules, spoil):
    spoil(model)
    assert named(outcome_of(httpserver, model), Outcome.FAILED) == rules


class Redirected(HTTPAdapter):
    """Sends what is meant for a public address to the model."""

    def __init__(self, url):
        super().__init__()
        self.url = url

    def send(self, request, **more):
        request.url = request.url.replace("http://cds.example.org", self.url)
        return super().send(request, **more)


def test_plain_http_on_the_internet_fails(httpserver, model):
    httpserver.expect_request(re.compile(".*")).respond_with_handler(model)
    outcomes = found("http://cds.example.org", Redirected(httpserver.url_for("").rstrip("/")))
    assert named(outcomes, Outcome.FAILED) == {"transport.tls"}


def test_no_rule_is_one_that_cannot_fail():
    shown = {rule for rule, _ in DEFECTS}.union(*(rules for rules, _ in MANY), {"transport.tls"})
    assert shown == {rule.id for rule in RULES}


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_service_without_feedback_is_skipped_and_that_is_said(httpserver, model, status):
    model.statuses["accepted"] = status
    outcomes = outcome_of(httpserver, model)
    rules = {"cors.feedback", "feedback.accepted", "feedback.overridden", "feedback.malformed"}
    assert rules <= named(outcomes, Outcome.SKIPPED)
    assert f"/cds-services/model/feedback: {status}" in outcomes["feedback.accepted"].line()


def test_a_service_that_asks_for_a_token_is_not_judged_by_what_it_did_not_answer(httpserver, model):
    model.statuses |= dict.fromkeys(model.statuses, 401)
    model.statuses["discovery"] = 200
    model.text = lambda _: b""
    outcomes = outcome_of(httpserver, model)
    assert named(outcomes, Outcome.FAILED) == set()
    assert "asks for a token" in outcomes["call.answer"].line()
    model.statuses["discovery"] = 401
    assert "asks for a token" in outcome_of(httpserver, model)["discovery.answer"].line()


def test_a_hook_whose_context_is_not_known_is_skipped_and_that_is_said(httpserver, model):
    model.discovery["services"][0]["hook"] = "some-new-hook"
    outcomes = outcome_of(httpserver, model)
    assert named(outcomes, Outcome.FAILED) == set()
    for rule in ("call.answer", "refuse.members", "refuse.hook", "refuse.content-type"):
        assert "some-new-hook" in outcomes[rule].line() or "no sample" in outcomes[rule].line()


@pytest.mark.parametrize("hook", FIELDS)
def test_every_published_hook_has_a_sample_that_its_service_takes(httpserver, model, hook):
    entry = model.discovery["services"][0]
    model.hook = entry["hook"] = hook
    del entry["prefetch"]["user"]
    model.required = sample(entry)["context"].keys() - {"encounterId"}
    outcomes = outcome_of(httpserver, model)
    assert named(outcomes, Outcome.FAILED) == set()
    without_drafts = set() if hook in {"order-select", "order-sign"} else {"action.target"}
    assert named(outcomes, Outcome.SKIPPED) == {"transport.tls"} | without_drafts


def test_a_service_is_asked_from_the_origin_that_is_named(run):
    settings = Settings(log_level="error", cors_origins=("https://listed.example.org",))
    with in_a_thread(create_app(settings=settings)) as url:
        assert run("check", url, "--origin", "https://listed.example.org").exit_code == 0
        other = run("check", url)
    assert other.exit_code == 1
    assert set(re.findall(r"^fail +(\S+)", other.stdout, re.M)) == {
            "cors.discovery", "cors.call", "cors.feedback", "cors.answers",
        }  # fmt: skip


def places(value, way=()):
    """The way to every value inside a value."""
    for step, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*way, step)
        yield from places(item, (*way, step))


@pytest.mark.parametrize("wrong", [None, "", 7, True, "x", [], [7], [[]], {}, {"a": 1}, ["x"]], ids=repr)
def test_whatever_stands_in_an_answer_is_looked_at_without_breaking(wrong):
    for whole, looks in (
        (answer(), partial(response_looks, drafts={DRAFT}, call="x")),
        (Model().discovery, discovery_looks),
    ):
        assert results(looks(wrong))
        for *way, last in places(whole):
            spoilt = copy.deepcopy(whole)
            reduce(getitem, way, spoilt)[last] = wrong
            found = results(looks(spoilt))
            assert len(found) == len(RULES)
            if wrong in (None, "", [], {}) and last != "cards" and last != "services":
                assert list(empties(spoilt))


def test_an_answer_nested_without_end_is_no_json(httpserver, model):
    model.text = lambda _: b"[" * 900 + b"]" * 900
    assert named(outcome_of(httpserver, model), Outcome.FAILED) == {"error.json"}


def test_a_service_that_hangs_up_has_failed(httpserver, model):
    httpserver.expect_request("/cds-services").respond_with_handler(model)
    assert "call.answer" in named(found(httpserver.url_for("").rstrip("/")), Outcome.FAILED)


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"cards": []}, []),
        ({"cards": [{"links": []}]}, ["$.cards[0].links"]),
        ({"a": [{"b": None}], "c": ""}, ["$.a[0].b", "$.c"]),
        ({"a": {"cards": []}}, ["$.a.cards"]),
        ({"a": 0, "b": False}, []),
    ],
)
def test_what_is_empty_is_named_by_its_path(value, paths):
    assert list(empties(value)) == paths


@pytest.fixture(scope="module")
def ours():
    """Our own service on a real socket."""
    with in_a_thread(create_app(settings=Settings(log_level="error"))) as url:
        yield url


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


# What our answers never hold.
NOT_SEEN = {
    "transport.tls", "response.system-actions", "card.recommended", "source.addresses", "suggestion.recommended",
    "suggestion.behavior", "link.members", "link.app-context", "link.autolaunchable",
}  # fmt: skip


def test_our_own_service_passes_and_nothing_is_skipped_without_a_reason(run, ours):
    done = run("check", ours, "--json")
    report = orjson.loads(done.stdout)
    assert done.exit_code == 0
    assert {r["rule"] for r in report["results"] if r["outcome"] == "skipped"} == NOT_SEEN
    assert report["counts"] == {"pass": len(RULES) - len(NOT_SEEN), "fail": 0, "skipped": len(NOT_SEEN)}
    assert all(r["seen"] and r["seen"][0] and r["section"] and r["says"] for r in report["results"])


def test_the_stories_are_fired_as_well(ours):
    assert sum("failed-and-reordered" in seen for seen in found(ours)["call.answer"].seen) == 1


def test_the_table_names_every_rule_its_section_and_what_was_seen(run, ours):
    text = run("check", f"{ours}/cds-services/").stdout
    for rule in RULES:
        assert re.search(rf"^(pass|skipped) +{rule.id} +{rule.section} +\S", text, re.MULTILINE)
    assert text.endswith(f"{len(RULES) - len(NOT_SEEN)} pass, 0 fail, {len(NOT_SEEN)} skipped\n")


def test_a_broken_service_ends_with_1_and_the_rule_in_words(run, httpserver, model):
    model.answer["cards"][0]["summary"] = "s" * 140
    httpserver.expect_request(re.compile(".*")).respond_with_handler(model)
    done = run("check", httpserver.url_for(""))
    assert done.exit_code == 1
    assert re.search(r"^fail +card.summary +Card Attributes +.*cards\[0\]\.summary: 140 characters", done.stdout, re.M)
    assert "SHALL: `summary` is there and shorter than 140 characters" in done.stdout


def test_no_answer_can_write_to_the_terminal(run, httpserver, model):
    model.discovery["services"][0]["prefetch"]["conditions"] = "\x1b[2J" + "x" * 5000
    httpserver.expect_request(re.compile(".*")).respond_with_handler(model)
    text = run("check", httpserver.url_for("")).stdout
    assert "?[2Jxxx" in text.replace("\n", "")
    assert "\x1b" not in text
    assert "x" * 300 not in re.sub(r"\s+", "", text)


def test_more_broken_places_than_fit_are_counted(run, httpserver, model):
    model.answer["cards"] = [{**model.answer["cards"][1], "indicator": "no"} for _ in range(7)]
    httpserver.expect_request(re.compile(".*")).respond_with_handler(model)
    assert re.search(r"and \d+\s+more", run("check", httpserver.url_for("")).stdout)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://a.example", "http://", "http://127.0.0.1:9", "http://[", "http://a:x", "nonsense"]
)
def test_an_address_that_cannot_be_used_is_one_line(run, url):
    done = run("check", url)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert url in done.stderr
