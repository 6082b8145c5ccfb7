"""Requests that are not parsed, and the answers to them."""

from __future__ import annotations

import re
from collections.abc import Collection
from http import HTTPStatus

import orjson
from gunicorn.http import errors

from cds_service.protocol.errors import Busy

_REFUSALS = (
    (errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG),
    (errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    (errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED),
    (errors.ExpectationFailed, HTTPStatus.EXPECTATION_FAILED),
    (errors.ParseException, HTTPStatus.BAD_REQUEST),
)
_PROBES = (b"GET /livez ", b"GET /readyz ", b"GET /metrics ")
_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d{1,9})\r\n")


def status_of(error: BaseException) -> HTTPStatus:
    """The status of an answer to what gunicorn could not read; 500 when that is no fault of the caller."""
    found = (status for kind, status in _REFUSALS if isinstance(error, kind))
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


def raw_refusal(status: int, outcome: object, origins: Collection[str], *, is_last: bool) -> bytes:
    """An answer as it goes over the wire; `is_last` announces that the connection is closed."""
    body = orjson.dumps(outcome)
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        *(["Connection: close"] if is_last else []),
        *([f"Retry-After: {Busy.retry_after}"] if status == Busy.status else []),
        # The origin was perhaps never read, so that only "any" can be answered.
        *(["Access-Control-Allow-Origin: *"] if "*" in origins else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def is_probe(sent: bytes) -> bool:
    """Whether a request asks for health."""
    return sent.startswith(_PROBES)


def is_whole(sent: bytes) -> bool:
    """Whether these bytes are exactly one request, beyond doubt; else nobody knows where the next one begins."""
    end = sent.find(b"\r\n\r\n") + 4
    head = sent[:end].lower()
    lengths = _LENGTH.findall(head)
    is_plain = head.count(b"content-length") == 1 and b"transfer-encoding" not in head and b"\r\nexpect" not in head
    return is_plain and len(lengths) == 1 and end + int(lengths[0]) == len(sent)
