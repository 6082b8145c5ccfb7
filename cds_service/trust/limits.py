"""How much of a request we take: size is the server's setting, depth and number form are checked here."""

from __future__ import annotations

import re
from itertools import accumulate

import orjson

from cds_service.protocol.errors import BadRequest

_ALL_BUT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_STRING = re.compile(rb'"[^"]*"')
_STEP = [1 if byte in b"[{" else -1 for byte in range(256)]
_CHEAP_PASSES = 8  # enough for any FHIR; what is deeper is counted bracket by bracket


def read_json(body: bytes, max_depth: int) -> object:
    """Parse a request body; 400 when it is not JSON, holds NaN, infinity or a lone surrogate, or is too deep.

    Of duplicate member names the last one counts, as in every common JSON parser.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(
            f"The body is not JSON: it breaks at line {error.lineno}, column {error.colno}.",
            where="body",
            advice="Send one JSON object, UTF-8, with finite numbers.",
        ) from None
    if is_deeper_than(body, max_depth):
        raise BadRequest(
            f"The body is nested more than {max_depth} levels deep.",
            where="body",
            advice="Send the hook request as CDS Hooks defines it; CDS_MAX_DEPTH sets the limit.",
        )
    return parsed


def is_deeper_than(body: bytes, max_depth: int) -> bool:
    """Whether valid JSON nests deeper; works on brackets alone, which costs far less than walking the values."""
    without_escapes = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    # Taking out two adjacent quotes keeps what is inside a string and what is outside; few strings are left then.
    brackets = without_escapes.translate(None, _ALL_BUT_STRUCTURE).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _STRING.sub(b"", brackets)
    remaining = brackets
    for _ in range(min(_CHEAP_PASSES, max_depth // 2)):  # a pass takes out one level, or two of different kind
        remaining = remaining.replace(b"[]", b"").replace(b"{}", b"")
        if not remaining:
            return False
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > max_depth
