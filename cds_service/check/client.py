"""The HTTP side of a check: every answer is kept, and a failure to answer is an answer too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
import requests

from cds_service.outbound import open_session
from cds_service.protocol.errors import CdsError
from cds_service.trust.limits import read_json

_TIMEOUT = 10  # seconds; what answers later helps no clinician
_JSON = "application/json"
_MAX_DEPTH = 250


class NoAnswer(Exception):
    """Nothing answers at the address."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: what was asked, the status (0: none came), and the body when it is JSON."""

    asked: str
    path: str
    status: int
    headers: Mapping[str, str]
    text: str
    body: Any = None
    is_json: bool = False
    is_preflight: bool = False

    def said(self) -> str:
        """The status, in words for a report."""
        return f"{self.asked}: {self.status or self.text}"


@dataclass(slots=True)
class Client:
    """Asks one service, without a browser's or a proxy's help, and keeps what came back."""

    base: str
    origin: str
    authorization: Callable[[str], Mapping[str, str]] = lambda _: {}  # the headers that an address asks for
    replies: list[Reply] = field(default_factory=list)
    session: requests.Session = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Open the session."""
        self.session = open_session(self.base)

    def get(self, path: str, asked: str) -> Reply:
        """GET a path below the base address."""
        return self._ask("GET", path, asked, {})

    def post(self, path: str, body: object, asked: str, content_type: str = _JSON) -> Reply:
        """POST JSON, or bytes as they are."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return self._ask("POST", path, asked, {"Content-Type": content_type}, data)

    def preflight(self, path: str, method: str) -> Reply:
        """Ask what a browser asks before it sends a request with a token."""
        headers = {
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization, content-type",
        }
        return self._ask("OPTIONS", path, f"preflight of {method} {path}", headers)

    def _ask(self, method: str, path: str, asked: str, headers: Mapping[str, str], data: bytes | None = None) -> Reply:
        shown = {} if method == "OPTIONS" else self.authorization(f"{self.base}{path}")
        try:
            response = self.session.request(
                method,
                f"{self.base}{path}",
                data=data,
                headers={"Accept": _JSON, "Origin": self.origin, **shown, **headers},
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
        except (requests.RequestException, ValueError) as error:
            reply = Reply(asked, path, 0, {}, f"no answer ({type(error).__name__})")
        else:
            reply = _read(response, asked, path, is_preflight=method == "OPTIONS")
        self.replies.append(reply)
        return reply


def service_path(service_id: str) -> str:
    """The path of a service."""
    return f"/cds-services/{quote(service_id, safe='')}"


def _read(response: requests.Response, asked: str, path: str, *, is_preflight: bool) -> Reply:
    text = response.content.decode("utf-8", errors="replace")
    try:
        body, is_json = read_json(response.content, _MAX_DEPTH), True
    except CdsError:
        body, is_json = None, False
    return Reply(asked, path, response.status_code, response.headers, text, body, is_json, is_preflight)
