"""GET /openapi.json: every route, what it takes and answers, and examples that hold on the day they are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from cds_service.examples import Example
from cds_service.protocol import errors
from cds_service.protocol.schemas import schemas
from cds_service.service import Service

Json = dict[str, Any]
Examples = Mapping[str, Sequence[Example]]  # by path

_DESCRIPTION = """\
A [CDS Hooks](https://cds-hooks.org) 2.0 service over FHIR R4.

Every answer that is not 200 is a FHIR OperationOutcome that names the member at fault and never its value. An address
that is not listed here is answered with 404, another method with 405.

**Clients.** A site that has registered its clients asks for a token of one of them with every call of a service;
discovery and all that is only read needs none.

**CORS.** Browsers may call every route, by preflight with `OPTIONS`, from the origins that the site lists; `*` when it
lists none and has registered no clients. The headers `Authorization`, `Content-Type` and `Accept` are allowed,
credentials are not.

**Examples.** They are stories about invented people. Their dates move, so that each story ends on the day on which
this description is read, and each answer is the one that the service gives on that day.
"""
_REFUSALS = (
    errors.BadRequest,
    errors.Unauthorized,
    errors.EvidenceNotAvailable,
    errors.EvidenceTruncated,
    errors.BodyTooLarge,
    errors.NotJson,
    errors.UnusableContent,
    errors.ForeignPatient,
    errors.TooManyCalls,
    errors.Busy,
    errors.NotRecorded,
    errors.NotRemembered,
)
_FEEDBACK_REFUSALS = (
    errors.BadRequest,
    errors.Unauthorized,
    errors.BodyTooLarge,
    errors.NotJson,
    errors.TooManyCalls,
    errors.Busy,
    errors.NotRecorded,
    errors.NotRemembered,
)
_FAILURE = ("The service failed on this request; nothing was evaluated.",)
_CORS = {"Access-Control-Allow-Origin": {"$ref": "#/components/headers/AllowOrigin"}}


def openapi_json(services: Iterable[Service], base_url: str | None, examples: Examples) -> Json:
    """Describe the service as OpenAPI 3.1."""
    paths: Json = {"/cds-services": {"get": _get("discover", "Discovery", "CDS Hooks", _ref("Discovery"))}}
    for service in services:
        paths |= _paths_of(service, examples)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cds-service",
            "version": version("cds-service"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base_url or "/"}],
        "tags": [{"name": name} for name in ("CDS Hooks", "Knowledge", "Operation")],
        "paths": paths | _operation_paths(),
        "components": {
            "schemas": schemas(),
            "headers": {"AllowOrigin": _allow_origin()},
            "securitySchemes": _schemes(),
        },
    }


def _paths_of(service: Service, examples: Examples) -> Json:
    path = f"/cds-services/{service.id}"
    page = f"/knowledge/{service.id}"
    attributes = _get(f"source-attributes-{service.id}", "Source attributes", "Knowledge", {"type": "object"})
    html = _get(f"knowledge-{service.id}", "What the advice rests on", "Knowledge", {"type": "string"}, "text/html")
    return {
        path: {"post": _call(service, examples.get(path, ()))},
        f"{path}/feedback": {"post": _feedback(service, examples.get(f"{path}/feedback", ()))},
        page: {"get": html},
        f"{page}/source-attributes.json": {"get": attributes},
    }


def _operation_paths() -> Json:
    return {
        "/livez": {"get": _get("live", "Is the process up?", "Operation", _ref("Live"))},
        "/readyz": {"get": _ready()},
        "/metrics": {"get": _get("count", "Counters", "Operation", {"type": "string"}, "text/plain")},
        "/openapi.json": {"get": _get("describe", "This description", "Operation", {"type": "object"})},
    }


def _ready() -> Json:
    described = _get("ready", "Is the service able to answer?", "Operation", _ref("Ready"))
    described["responses"]["503"] = _refusal([str(errors.NotReady.__doc__)])
    return described


def _get(operation_id: str, summary: str, tag: str, schema: Json, content_type: str = "application/json") -> Json:
    answered = {"200": _response("OK", {content_type: {"schema": schema}}), "500": _refusal(_FAILURE)}
    return {"operationId": operation_id, "summary": summary, "tags": [tag], "responses": answered}


def _call(service: Service, examples: Sequence[Example]) -> Json:
    """Describe the call of a service, each request example beside the answer of the same name."""
    schema = {"allOf": [_ref("HookRequest"), {"type": "object", "properties": _members(service)}]}
    return {
        "operationId": f"call-{service.id}",
        "summary": service.title,
        "description": "\n".join(f"* `{hook}`: {text}" for hook, text in service.hooks.items()),
        "tags": ["CDS Hooks"],
        "security": [{}, {"client": []}],
        "requestBody": _sent(schema, examples),
        "responses": _answers("Cards, or none", "Cards", _REFUSALS, examples),
    }


def _feedback(service: Service, examples: Sequence[Example]) -> Json:
    """Describe where feedback on the cards of a service is sent."""
    return {
        "operationId": f"feedback-{service.id}",
        "summary": "What became of cards",
        "description": "Stored durably before it is answered, and once however often it is sent.",
        "tags": ["CDS Hooks"],
        "security": [{}, {"client": []}],
        "requestBody": _sent(_ref("Feedback"), examples),
        "responses": _answers("Stored", "Stored", _FEEDBACK_REFUSALS, examples),
    }


def _sent(schema: Json, examples: Sequence[Example]) -> Json:
    values = {e.name: {"summary": e.story, "value": e.request} for e in examples}
    return {"required": True, "content": {"application/json": _content(schema, values)}}


def _members(service: Service) -> Json:
    """Describe the members of a request that are a service's own."""
    keys = {key: {"description": f"`{query}`{_need(service, key)}"} for key, query in service.prefetch.items()}
    return {"hook": {"enum": list(service.hooks)}, "prefetch": {"type": "object", "properties": keys}}


def _need(service: Service, key: str) -> str:
    return ", required: here or from `fhirServer`" if key in service.required else ""


def _answers(words: str, message: str, refusals: Iterable[type[errors.CdsError]], examples: Sequence[Example]) -> Json:
    given: dict[int, Json] = {}
    for example in examples:
        shown = {"summary": example.story, "value": example.body}
        given.setdefault(example.status, {})[example.name] = shown
    causes: dict[int, list[str]] = {}
    for error in refusals:
        causes.setdefault(error.status, []).append(str(error.__doc__).partition("\n")[0])
    refused = {str(status): _refusal(texts, given.get(status)) for status, texts in causes.items()}
    taken = {"application/json": _content(_ref(message), given.get(200))}
    return {"200": _response(words, taken), **refused, "500": _refusal(_FAILURE)}


def _refusal(texts: Iterable[str], examples: Json | None = None) -> Json:
    return _response(" ".join(texts), {"application/json": _content(_ref("OperationOutcome"), examples)})


def _response(description: str, content: Json) -> Json:
    return {"description": description, "headers": _CORS, "content": content}


def _content(schema: Json, examples: Json | None = None) -> Json:
    return {"schema": schema, "examples": examples} if examples else {"schema": schema}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _allow_origin() -> Json:
    return {"description": "The origin that may read the answer, or `*`", "schema": {"type": "string"}}


def _schemes() -> Json:
    described = "A JWT of a registered client, fresh for each call; its `aud` is the address that is called"
    return {"client": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": described}}
