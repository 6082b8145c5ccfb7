"""What is asked of a service, in which order, and what each answer must be."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from cds_service.check.client import Client, NoAnswer, Reply, service_path
from cds_service.check.discovery_rules import discovery_looks, entries, templates
from cds_service.check.look import Look
from cds_service.check.response_rules import empties, objects, response_looks
from cds_service.check.samples import PATIENT_ID, Request, draft_references, sample, stories
from cds_service.trust.fhir_servers import is_loopback

_NEEDS_A_TOKEN = frozenset({401, 403})
_NO_ROUTE = frozenset({404, 405, 501})
_TRACES = ("Traceback (most recent call last)", "\n\tat ", "\n    at ", "<br> &nbsp; &nbsp;at ")

Entry = Mapping[str, Any]


def check_service(client: Client, today: date) -> Iterator[Look]:
    """Ask everything. Raises NoAnswer when nobody is there."""
    yield _transport_look(client.base)
    discovery = client.get("/cds-services", "discovery")
    if not discovery.status:
        raise NoAnswer(discovery.text)
    listed = entries(discovery.body)
    yield from _discovery_looks(discovery)
    yield from _preflight_looks("cors.discovery", client, "/cds-services", "GET")
    for entry in listed:
        yield from _call_looks(client, entry, today)
    for service_id, entry in {entry["id"]: entry for entry in reversed(listed)}.items():
        yield from _preflight_looks("cors.call", client, service_path(service_id), "POST")
        yield from _refusal_looks(client, entry)
        yield from _feedback_looks(client, service_id)
    for reply in client.replies:
        yield from _reply_looks(reply, client.origin)


def _transport_look(base: str) -> Look:
    parts = urlsplit(base)
    if parts.scheme != "https" and (is_loopback(base) or "." not in (parts.hostname or "")):
        return Look("transport.tls", None, "http, within this machine or its network; production needs https")
    return Look("transport.tls", parts.scheme == "https", parts.scheme)


def _discovery_looks(reply: Reply) -> Iterator[Look]:
    if reply.status in _NEEDS_A_TOKEN:
        yield Look("discovery.answer", None, f"{reply.said()}; it asks for a token, which this check does not have")
    elif reply.status != 200 or not reply.is_json:
        yield Look("discovery.answer", False, f"{reply.said()}{'' if reply.is_json else ', not JSON'}")
    else:
        yield from discovery_looks(reply.body)


def _call_looks(client: Client, entry: Entry, today: date) -> Iterator[Look]:
    """Call with a made-up patient, in the forms that a client may use, and with the stories that are known."""
    path, place = service_path(entry["id"]), f"{entry['id']} on {entry['hook']}"
    request = sample(entry)
    if request is None:
        yield Look("call.answer", None, f"{place}: no sample of this hook's context is known here")
        return
    plain = client.post(path, request, place)
    yield from _answer_looks(plain, request)
    strange = {**request, "x-check": {"a": 1}, "extension": {"org.example.check": {"a": 1}}}
    strange["context"] = {**request["context"], "x-check": "unknown"}
    tolerated = client.post(path, strange, f"{place}, unknown members")
    if plain.status in (200, 412):
        yield from _status_look("call.tolerant", tolerated, {plain.status})
    if templates(entry):
        nulls = {**request, "prefetch": dict.fromkeys(templates(entry))}
        yield from _status_look("call.nulls", client.post(path, nulls, f"{place}, nulls"), {200, 412, 422})
        bare = {name: value for name, value in request.items() if name != "prefetch"}
        yield from _status_look("call.without-prefetch", client.post(path, bare, f"{place}, bare"), {200, 412})
    for name, story in stories(entry, today):
        yield from _answer_looks(client.post(path, story, f"{place}, {name}"), story)


def _answer_looks(reply: Reply, request: Request) -> Iterator[Look]:
    yield from _status_look("call.answer", reply, {200, 412})
    if reply.status == 200:
        yield from response_looks(reply.body, draft_references(request), reply.asked)


def _refusal_looks(client: Client, entry: Entry) -> Iterator[Look]:
    """Send what a service must not answer with cards."""
    path, refused = service_path(entry["id"]), range(400, 500)
    request = sample(entry)
    yield from _status_look("refuse.json", client.post(path, b'{"hook": ', "broken JSON"), refused)
    yield from _status_look("refuse.method", client.get(path, f"GET {path}"), {405})
    nowhere = service_path(f"no-such-service-{uuid.uuid4()}")
    yield from _status_look("refuse.service", client.post(nowhere, request or {}, "an unknown service id"), {404})
    if request is None:
        for rule in ("refuse.members", "refuse.hook", "refuse.content-type"):
            yield Look(rule, None, f"no sample of the context of {entry['hook']} is known here")
        return
    for asked, body in _mutilated(request):
        yield from _status_look("refuse.members", client.post(path, body, asked), refused)
    wrong = {**request, "hook": "no-such-hook"}
    yield from _status_look("refuse.hook", client.post(path, wrong, "a hook that is not listed"), refused)
    plain = client.post(path, request, "a body declared as text", "text/plain")
    yield from _status_look("refuse.content-type", plain, refused)


def _mutilated(request: Request) -> Iterator[tuple[str, object]]:
    """The request without one required member at a time."""
    yield "an array for a body", [request]
    for name in ("hook", "hookInstance", "context"):
        yield f"without {name}", {key: value for key, value in request.items() if key != name}
    for name in request["context"].keys() - {"encounterId"}:
        context = {key: value for key, value in request["context"].items() if key != name}
        yield f"without context.{name}", {**request, "context": context}


def _feedback_looks(client: Client, service_id: str) -> Iterator[Look]:
    """Report on a card that came, else on a made-up one; a service may do without the route, but that is said."""
    path = f"{service_path(service_id)}/feedback"
    card, suggestion = _card_and_suggestion(client, service_path(service_id))
    taken = _feedback(card, "accepted", acceptedSuggestions=[{"id": suggestion}])
    accepted = client.post(path, taken, "feedback accepted")
    if accepted.status in _NO_ROUTE:
        reason = f"{service_id} has no feedback route (POST {path}: {accepted.status}); it may do without one"
        for rule in ("cors.feedback", "feedback.accepted", "feedback.overridden", "feedback.malformed"):
            yield Look(rule, None, reason)
        return
    reason_given = {"reason": {"system": "urn:check", "code": "other", "display": "Other"}, "userComment": "A check."}
    overridden = client.post(path, _feedback(card, "overridden", overrideReason=reason_given), "feedback overridden")
    yield from _status_look("feedback.accepted", accepted, range(200, 300))
    yield from _status_look("feedback.overridden", overridden, range(200, 300))
    malformed = client.post(path, {"feedback": "none"}, "feedback that is no array")
    yield from _status_look("feedback.malformed", malformed, range(400, 500))
    yield from _preflight_looks("cors.feedback", client, path, "POST")


def _card_and_suggestion(client: Client, path: str) -> tuple[str, str]:
    """The ids of a card that came with a suggestion; made-up ones when none did."""
    for reply in client.replies:
        cards = reply.body.get("cards") if reply.path == path and isinstance(reply.body, dict) else None
        for card in objects(cards):
            for suggestion in objects(card.get("suggestions")):
                if isinstance(card.get("uuid"), str) and isinstance(suggestion.get("uuid"), str):
                    return card["uuid"], suggestion["uuid"]
    return str(uuid.uuid4()), str(uuid.uuid4())


def _feedback(card: str, outcome: str, **more: object) -> Request:
    entry = {"card": card, "outcome": outcome, "outcomeTimestamp": "2020-01-01T00:00:00Z", **more}
    return {"feedback": [entry]}


def _status_look(rule: str, reply: Reply, wanted: Collection[int]) -> Iterator[Look]:
    if reply.status in _NEEDS_A_TOKEN:
        yield Look(rule, None, f"{reply.said()}; it asks for a token, which this check does not have")
    else:
        yield Look(rule, reply.status in wanted, reply.said())


def _preflight_looks(rule: str, client: Client, path: str, method: str) -> Iterator[Look]:
    reply = client.preflight(path, method)
    allowed = {name.strip().lower() for name in reply.headers.get("Access-Control-Allow-Headers", "").split(",")}
    missing = sorted({"authorization", "content-type"} - allowed)
    kept = reply.status in range(200, 300) and _allows(reply, client.origin) and not missing
    yield Look(rule, kept, f"{reply.said()}, allows {', '.join(sorted(allowed - {''})) or 'nothing'}")


def _allows(reply: Reply, origin: str) -> bool:
    return reply.headers.get("Access-Control-Allow-Origin") in ("*", origin)


def _reply_looks(reply: Reply, origin: str) -> Iterator[Look]:
    """What holds for every answer, whatever was asked."""
    if "Access-Control-Allow-Origin" in reply.headers:
        is_both = (
            reply.headers["Access-Control-Allow-Origin"] == "*"
            and reply.headers.get("Access-Control-Allow-Credentials", "").lower() == "true"
        )
        yield Look("cors.credentials", not is_both, reply.said())
    if reply.is_preflight or not reply.status:
        return
    yield Look("cors.answers", _allows(reply, origin), reply.said())
    is_feedback = reply.path.endswith("/feedback")  # what answers feedback is nowhere specified
    if reply.is_json and not is_feedback:
        empty = list(empties(reply.body))
        yield Look("answer.empty", not empty, f"{reply.asked}: {', '.join(empty) or 'none'}")
    if reply.status == 200 and not is_feedback:
        declared = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        kept = reply.is_json and (declared == "application/json" or declared.endswith("+json"))
        yield Look("answer.json", kept, f"{reply.asked}: {declared or 'no Content-Type'}")
    if reply.status >= 400:
        yield from _error_looks(reply)


def _error_looks(reply: Reply) -> Iterator[Look]:
    is_bare = reply.status in _NEEDS_A_TOKEN and not reply.text  # a refused token is told no reason
    outcome = reply.body if isinstance(reply.body, dict) else {}
    is_outcome = outcome.get("resourceType") == "OperationOutcome"
    kind = "OperationOutcome" if is_outcome else "JSON" if reply.is_json else "not JSON"
    yield Look("error.json", reply.is_json or is_bare, f"{reply.said()}, {kind}")
    if is_outcome:
        issues = outcome.get("issue")
        kept = isinstance(issues, list) and bool(issues) and all(_is_issue(issue) for issue in issues)
        yield Look("error.outcome", kept, reply.said())
    yield Look("error.trace", not any(trace in reply.text for trace in _TRACES), reply.said())
    yield Look("error.echo", PATIENT_ID not in reply.text, reply.said())


def _is_issue(issue: object) -> bool:
    return (
        isinstance(issue, dict)
        and issue.get("severity") in ("fatal", "error", "warning", "information")
        and isinstance(issue.get("code"), str)
    )
