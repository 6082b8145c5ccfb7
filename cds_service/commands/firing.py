"""Asking a running service over HTTP, for a person who looks on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click
import orjson
import requests

from cds_service.commands.shared import fail, pretty
from cds_service.commands.tokens import Tokens
from cds_service.fhir.client import outcome_text
from cds_service.outbound import open_session
from cds_service.service import Service
from cds_service.terminal import cards_text

_TIMEOUT = 30  # seconds; for a tester, not for an EHR


def fire_request(url: str, service: Service, request: Mapping[str, Any], tokens: Tokens, *, as_json: bool) -> None:
    """Post a hook request to a running service, print cards and timing."""
    body, milliseconds = post_json(url.rstrip("/"), service.id, request, tokens)
    if as_json:
        click.echo(pretty(body))
        return
    try:
        text, count = cards_text(body["cards"]), len(body["cards"])
    except (KeyError, TypeError, AttributeError, IndexError):
        fail(f"{url}: the answer is not what CDS Hooks describes; --json prints it as it came.")
    click.echo(f"{text}\n200 in {milliseconds:.1f} ms, {count} card(s)")


def post_json(url: str, service_id: str, request: Mapping[str, Any], tokens: Tokens) -> tuple[dict[str, Any], float]:
    """Post a hook request; ends the command when the service is not there or does not answer 200."""
    return request_json("POST", f"{url}/cds-services/{service_id}", url, tokens, orjson.dumps(request))


def request_json(
    method: str, address: str, url: str, tokens: Tokens, body: bytes | None = None
) -> tuple[dict[str, Any], float]:
    """Body and milliseconds of one exchange; ends the command when the answer is not 200 and JSON."""
    started = time.perf_counter()
    try:
        with open_session(url) as session:
            headers = {"Content-Type": "application/json", **tokens.headers(address)}
            response = session.request(
                method, address, data=body, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            )
        answered = response.json()
    except requests.JSONDecodeError:
        fail(f"{url}: the answer is not JSON; is this a CDS Hooks service?")
    except (requests.RequestException, ValueError) as error:
        fail(f"{url}: no answer ({type(error).__name__}); start one with `cds-service serve` or name it with --url.")
    if response.status_code != 200:
        fail(f"{url}: {response.status_code}: {outcome_text(answered)}")
    if not isinstance(answered, dict):
        fail(f"{url}: the answer is not what CDS Hooks describes.")
    return answered, (time.perf_counter() - started) * 1000
