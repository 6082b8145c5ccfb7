"""create_app(): the composition root, the routes and the one error handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from functools import cache, lru_cache, partial
from traceback import extract_tb
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import orjson
import structlog
from flask import Flask, Response, g, request
from flask_cors import CORS
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

import hooks
from cds_service.answer import Answer, answer
from cds_service.arrangement import Arrangement, arrange, load_dialect
from cds_service.examples import Example, examples, feedback_examples
from cds_service.fhir.deadline import Deadline
from cds_service.fhir.models import warm_up
from cds_service.fhir.recording import Recorder
from cds_service.health import Readiness, has_room
from cds_service.html_page import SECURITY_HEADERS, html_page
from cds_service.ledger.decisions import Call, decision_entry, refusal_entry
from cds_service.ledger.feedback import Inbox
from cds_service.ledger.ledger import open_ledger
from cds_service.ledger.withhold import withheld
from cds_service.log import configure, safe_id
from cds_service.protocol.dialect import DEFAULT, Dialect
from cds_service.protocol.dialect_input import accept
from cds_service.protocol.dialect_output import refusal, refusal_body, rewrite
from cds_service.protocol.discovery import discovery_json
from cds_service.protocol.errors import (
    BadRequest,
    BodyTooLarge,
    CdsError,
    EvidenceNotAvailable,
    EvidenceTruncated,
    NotJson,
    UnknownService,
    UnusableContent,
    operation_outcome,
)
from cds_service.protocol.feedback import read_feedback
from cds_service.protocol.openapi import openapi_json
from cds_service.service import Service, Site
from cds_service.settings import Settings, read_settings
from cds_service.tracing import open_tracer
from cds_service.trust.admission import admission, read_all_clients
from cds_service.trust.call_limits import Allowance, CallLimits
from cds_service.trust.clients import OPEN, Client
from cds_service.trust.limits import read_json
from cds_service.trust.turns import Turns

if TYPE_CHECKING:
    from cds_service.ledger.entry import Entry
    from cds_service.metrics import Stopwatch

NO_CARDS: dict[str, Any] = {"cards": []}

log = structlog.get_logger()


def create_app(
    services: Sequence[Service] | None = None,
    settings: Settings | None = None,
    today: Callable[[], date] | None = None,
) -> Flask:
    """Compose the application. Refuses to start when the settings or the pathway files do not fit together."""
    from cds_service.metrics import CONTENT_TYPE, Metrics  # not before `serve` has said how many workers there are

    settings = settings or read_settings()
    configure(settings.log_level)
    built = cache(lambda profile: load_services(settings, profile) if services is None else tuple(services))
    listed = {service.id: service for service in built(settings.profile)}
    clients = read_all_clients(settings)
    dialect = load_dialect(settings, listed.values())
    arranged = arrange(settings, clients, built)
    door = admission(settings, clients)
    day = today or (lambda: local_day(settings.timezone))
    ledger = open_ledger(settings)
    turns = Turns(settings.max_wait_ms)
    metrics = Metrics(tuple(listed.values()))
    tracer = open_tracer(settings.traces)
    has_disk = partial(has_room, settings.data_folder, settings.disk_floor_mb)
    readiness = Readiness({"ledger": ledger.is_writable, "disk": has_disk})
    warm_up()

    app = Flask("cds_service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body + 1  # a body without a length is cut there, not refused
    app.url_map.merge_slashes = False  # a wrong address is 404, not a redirect in HTML
    CORS(
        app,
        origins=list(settings.cors_origins),
        methods=["GET", "POST", "OPTIONS"],
        allow_headers=["Authorization", "Content-Type", "Accept"],
        send_wildcard=settings.cors_origins == ("*",),
        max_age=600,
    )
    limits = CallLimits(settings.redis_url if settings.clients else None)
    app.extensions |= {"metrics": metrics, "readiness": readiness, "turns": turns}  # the worker looks at them too

    def let_in(*paths: str) -> Arrangement:
        """What the caller gets, once it is known who that is: before anything it sent is read."""
        caller = door.let_in(request.headers.get("Authorization"), *paths)
        g.client, g.token_id = caller.client, caller.token_id
        return arranged[g.client.id]

    def allowance_of(client: Client) -> Allowance:
        return Allowance() if client is OPEN else Allowance.of_client(settings, client.rate, client.concurrency)

    @cache
    def knowledge_page(service_id: str) -> str:
        service = service_of(listed, service_id)
        return html_page(service.title, service.page())

    @lru_cache(maxsize=1)
    def description(on: date) -> bytes:
        told: dict[str, tuple[Example, ...]] = {}
        for service in listed.values():
            path = f"/cds-services/{service.id}"
            told[path] = tuple(examples(service, on, ledger.card_key(OPEN.id)))
            told[f"{path}/feedback"] = tuple(feedback_examples(told[path], on))
        return orjson.dumps(openapi_json(listed.values(), settings.public_url, told))

    @app.get("/cds-services")
    def discover() -> Response:
        return _json(discovery_json(listed.values()))

    @app.post("/cds-services/<service_id>")
    def call(service_id: str) -> Response:
        g.span = tracer.begin(request.headers.get("traceparent"))
        stopwatch = metrics.stopwatch(g.span.phase)
        deadline = Deadline.after(settings.deadline_ms)
        caller = let_in(f"/cds-services/{service_id}")
        stopwatch.ended("auth")
        service = service_of(caller.services, service_id)
        with limits.counted(caller.client.id, allowance_of(caller.client)), metrics.in_flight.track_inprogress():
            sent = _read_body(settings.max_body)
            stopwatch.ended("read")
            with turns.taken():
                stopwatch.ended("wait")
                return evaluate(caller, service, sent, deadline, stopwatch)

    def evaluate(
        caller: Arrangement, service: Service, sent: bytes, deadline: Deadline, stopwatch: Stopwatch
    ) -> Response:
        body = accept(read_json(sent, settings.max_depth), caller.dialect)
        recorder = Recorder(partial(caller.servers.search, deadline=deadline, waiting=turns.given_up))
        record = Call(caller, service, sent, body, day(), recorder, g.token_id)
        g.hook = record.hook
        try:
            answered = answer(service, body, record.today, recorder.connect, stopwatch.ended)
        except (EvidenceNotAvailable, EvidenceTruncated, UnusableContent) as refused:
            append(refusal_entry(record, refused, refusal_body(refused, caller.dialect), ledger))
            raise
        answered = replace(answered, withheld=withheld(record.client, answered, ledger, settings, turns.given_up))
        response = NO_CARDS if caller.client.silent else answered.response(ledger.card_key(record.client))
        leaving = orjson.dumps(rewrite(response, caller.dialect))
        shown = {card["uuid"] for card in response["cards"]}
        stopwatch.ended("write")
        append(decision_entry(record, answered, shown, leaving, ledger))
        stopwatch.ended("record")
        metrics.shown(service, () if caller.client.silent else answered.shown())
        _log_call(answered, caller.client, stopwatch.total())
        return Response(leaving, content_type="application/json")

    def append(entry: Entry) -> None:
        with turns.given_up():
            ledger.append(entry)

    @app.post("/cds-services/<service_id>/feedback")
    def feedback(service_id: str) -> Response:
        path = f"/cds-services/{service_id}"
        caller = let_in(f"{path}/feedback", path)  # which of them `aud` names is nowhere specified
        service = service_of(caller.services, service_id)
        with limits.counted(caller.client.id, allowance_of(caller.client)):
            reports, skipped = read_feedback(read_json(_read_body(settings.max_body), settings.max_depth))
            taken = Inbox(ledger, caller.client.id, service, settings.comment_days).take(reports)
        metrics.feedback(service, taken.outcomes)
        log.info(
            "feedback",
            client=caller.client.id,
            service=service.id,
            reports=taken.new,
            repeated=taken.repeated,
            quarantined=taken.quarantined,
            skipped=skipped,
        )
        return _json({})

    @app.get("/knowledge/<service_id>")
    def knowledge(service_id: str) -> Response:
        return Response(knowledge_page(service_id), headers=SECURITY_HEADERS, content_type="text/html; charset=utf-8")

    @app.get("/knowledge/<service_id>/source-attributes.json")
    def source_attributes(service_id: str) -> Response:
        return _json(service_of(listed, service_id).source_attributes())

    @app.get("/livez")
    def live() -> Response:
        return _json({"status": "ok"})

    @app.get("/readyz")
    def ready() -> Response:
        readiness.require()
        return _json({"status": "ok", "knowledge": {s.id: s.knowledge_version for s in listed.values()}})

    @app.get("/metrics")
    def count() -> Response:
        return Response(metrics.text(day()), content_type=CONTENT_TYPE)

    @app.get("/openapi.json")
    def describe() -> Response:
        return Response(description(day()), content_type="application/json")

    @app.errorhandler(Exception)
    def fail(error: Exception) -> Response:
        metrics.refused(error, (request.view_args or {}).get("service_id"))
        return _error_response(error, arranged[g.client.id].dialect if "client" in g else dialect)

    @app.after_request
    def called(response: Response) -> Response:
        if "span" in g:
            service_id = (request.view_args or {})["service_id"]
            g.span.end(*metrics.called(service_id, g.get("hook", ""), response.status_code))
        return response

    return app


def load_services(settings: Settings, profile: str | None = None) -> tuple[Service, ...]:
    """Build every service of the medicine for this site; `profile` may be another one than that of the settings."""
    site = Site(settings.value_sets, profile or settings.profile, settings.public_url, settings.emergency_url)
    return tuple(build(site) for build in hooks.SERVICES)


def service_of(services: Mapping[str, Service], service_id: str) -> Service:
    """A service by its id. Raises UnknownService."""
    if service_id not in services:
        raise UnknownService(
            "There is no service of this id.", where="URL", advice="GET /cds-services lists the services."
        )
    return services[service_id]


def local_day(timezone: str | None) -> date:
    """What day it is at this site: in the time zone of the settings, else of the machine."""
    return datetime.now(ZoneInfo(timezone)).date() if timezone else datetime.now().astimezone().date()


def _read_body(limit: int) -> bytes:
    """The raw body, when it is plain JSON within the limit."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise NotJson(
            "Compressed request bodies are not read.",
            where="Content-Encoding",
            advice="Send the body as it is.",
        )
    if not (request.mimetype == "application/json" or request.mimetype.endswith("+json")):
        raise NotJson(
            "The body is not declared as JSON.",
            where="Content-Type",
            advice="Send Content-Type: application/json.",
        )
    try:
        body = request.get_data(cache=False)
    except (OSError, ClientDisconnected):
        raise _broken_body() from None
    if len(body) > limit:
        raise RequestEntityTooLarge
    return body


def _broken_body() -> BadRequest:
    return BadRequest("The body broke off.", where="body", advice="Send it again.")


def answer_broken_body(_: Exception) -> Response:
    """The answer to a body that could not be read; servers have errors of their own for it."""
    return _error_response(_broken_body())


def _json(body: object, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status=status, content_type="application/json")


def _error_response(error: Exception, dialect: Dialect = DEFAULT) -> Response:
    """Turn any exception into an OperationOutcome. The only place that catches everything."""
    if isinstance(error, RequestEntityTooLarge):
        error = BodyTooLarge(
            "The request body is larger than this service takes.",
            where="body",
            advice="Send fewer resources; CDS_MAX_BODY sets the limit.",
        )
    if isinstance(error, CdsError):
        log.warning("refused", status=error.status, error=type(error).__name__, where=error.where)
        response = Response(refusal_body(error, dialect), error.status, content_type="application/json")
        if error.retry_after:
            response.headers["Retry-After"] = str(error.retry_after)
        if error.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, 15.5.2: no 401 without it
        return response
    if isinstance(error, HTTPException):
        return _http_error(error, dialect)
    # The message of an unexpected exception may quote patient data: its type and place are enough to find it.
    frame = extract_tb(error.__traceback__)[-1]
    log.error("failed", status=500, error=type(error).__name__, at=f"{frame.name}:{frame.lineno}")
    outcome = operation_outcome("exception", "The service failed on this request; nothing was evaluated.")
    return _json(refusal(outcome, dialect), 500)


def _http_error(error: HTTPException, dialect: Dialect) -> Response:
    status = error.code or 500
    issue_type = {404: "not-found", 405: "not-supported"}.get(status, "processing")
    advice = "GET /cds-services lists the services." if status == 404 else ""
    outcome = operation_outcome(issue_type, error.name + ".", advice=advice)
    response = _json(refusal(outcome, dialect), status)
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _log_call(answered: Answer, client: Client, seconds: float) -> None:
    """One line per call, without patient data."""
    decisions: list[Any] = [advised.decision for advised in answered.advice.cards]
    cards = [advised.card.id for advised in answered.advice.cards]
    log.info(
        "answered",
        client=client.id,
        silent=client.silent,
        service=answered.service.id,
        hook=answered.request.hook,
        hook_instance=safe_id(answered.request.hook_instance),
        knowledge=answered.service.knowledge_version,
        cards=[card for place, card in enumerate(cards) if place not in answered.withheld],
        withheld=[cards[place] for place in answered.withheld],
        rules=sorted({rule for decision in decisions for rule in decision.rules}),
        silence=[d.silence for d in answered.advice.decisions if d.silence],
        not_read=list(answered.not_read),
        unreadable=len(answered.unreadable),
        nonconforming=len(answered.nonconforming),
        duration_ms=round(seconds * 1000, 2),
    )
    if answered.request.unresolved_selections:
        log.warning("selection names no draft", unresolved_selections=answered.request.unresolved_selections)
