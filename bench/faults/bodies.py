"""Hostile bodies: requests of the stories with bytes or members changed, sent to every route that reads a body.

Half are broken as text (bits, cuts, repeats, odd tokens), half as JSON (a member left out, repeated or replaced by
something unwelcome). Whatever is sent, the answer is one of ours and below 500, and no trace of Python is in it.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import orjson

from bench.faults.measure import Measure, main

BODIES = 500_000  # with the half million of fuzz.py: a million
SEED = 20_260_603
TOKENS = (
    b"null", b"NaN", b"-Infinity", b"1e999", b"-0", b"1E400", b'"\\ud800"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"[[[[[[", b"{{",
    b"}" * 9, b"//", b"/*", b",,", b"'", b'"', b"\\", b"\\u0000", b"9" * 400, b'{"a":1,"a":2}', b"true", b"\r\n\r\n", b"<script>",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**15, 1.5, 1e308, "", " ", "\x00", "x" * 3000, "../..", "Patient/", "#", "urn:uuid:", "2026-02-31", "2026-13",
    "0000-00-00", "9999-12-31T23:59:60+14:00", "2026-01-01T00:00:00", "NaN", "é̩‮", "<b>", [], {}, [None], [[]], {"": None},
    [{}], {"coding": []}, {"coding": [{}]}, {"reference": 7}, {"value": "8"}, {"resourceType": "Bundle"}, {"entry": {}},
    {"resourceType": "OperationOutcome"}, {"issue": [None]}, ["a"] * 200,
)  # fmt: skip
Answer = tuple[int, bytes]


def broken_text(body: bytes, rng: random.Random) -> bytes:
    """The body with one to three changes to its bytes."""
    text = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(5):
            case 0 if at < len(text):
                text[at] ^= 1 << rng.randrange(8)
            case 1:
                del text[at : at + rng.choice((1, 2, 20, 10**6))]
            case 2:
                text[at:at] = text[at : at + rng.choice((1, 50, 500))]
            case _:
                text[at:at] = rng.choice(TOKENS)
    return bytes(text)


def broken_json(body: Any, rng: random.Random) -> bytes:
    """The body with one to three members left out, repeated elsewhere or replaced."""
    changed = orjson.loads(orjson.dumps(body))
    for _ in range(rng.randint(1, 3)):
        places = list(_places(changed))
        if not places:
            break
        holder, name = rng.choice(places)
        match rng.randrange(4):
            case 0:
                del holder[name]
            case 1:
                other, its = rng.choice(places)
                holder[name] = orjson.loads(orjson.dumps(other[its])) if _is_there(other, its) else None
            case _:
                holder[name] = deepcopy(rng.choice(VALUES))
    return orjson.dumps(changed)


def run(scale: float = 1.0) -> list[Measure]:
    """Send the bodies from as many processes as there are cores."""
    count, cores = max(500, int(BODIES * scale)), os.cpu_count() or 1
    shares = [(SEED + core, count // cores) for core in range(cores)]
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        seen = sum(pool.starmap(_send, shares), Counter[str]())
    statuses = {status: number for status, number in sorted(seen.items()) if status.isdigit()}
    wrong = sum(number for status, number in statuses.items() if int(status) >= 500) + seen["trace"] + seen["no json"]
    sent = sum(statuses.values())
    return [
        Measure(
            "Hostile bodies",
            f"{BODIES:,} bodies: 0 answers of 500 and above, 0 traces",
            f"{sent:,} bodies: {wrong} wrong; answers {statuses}",
            wrong == 0 and sent >= sum(share for _, share in shares),
            f"seeds {SEED} and following",
        )
    ]


def _send(seed: int, count: int) -> Counter[str]:
    """One process: its own application and ledger; counts the statuses, and what was wrong."""
    rng, seen = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CDS_DATA"] = folder
        post, bodies = application(), _bodies()
        for _ in range(count):
            path, body = rng.choice(bodies)
            sent = broken_text(orjson.dumps(body), rng) if rng.random() < 0.5 else broken_json(body, rng)
            status, answer = post(path, sent)
            seen[str(status)] += 1
            seen["trace"] += b"Traceback" in answer or b"Error(" in answer
            seen["no json"] += bool(answer) and not _is_json(answer)
    return seen


def application() -> Callable[[str, bytes], Answer]:
    """The application without a socket: a way to post to it."""
    from cds_service.app import create_app
    from cds_service.settings import Settings
    from tests.conftest import TODAY

    app = create_app(settings=Settings(log_level="error", fhir_servers=(), fhir_loopback=False), today=lambda: TODAY)

    def post(path: str, body: bytes) -> Answer:
        status: list[str] = []
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": "",
            "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http",
            "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(), "wsgi.version": (1, 0), "wsgi.multithread": True, "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }  # fmt: skip
        answer = b"".join(app(environ, lambda line, *_: status.append(line) or status.append))
        return int(status[0][:3]), answer

    return post


def _bodies() -> list[tuple[str, Any]]:
    """What is broken: the requests of all stories and clients, and feedback."""
    from cds_service.scenarios import scenarios
    from tests.clients import client_scenarios

    calls = [story.request() for story in (*scenarios(["failed-esi"]), *client_scenarios())]
    report = {
        "card": "4e0a3a1e-8ad3-4f0e-9f35-2b1f6c1f6a11",
        "outcome": "overridden",
        "overrideReason": {"reason": {"code": "patient-preference", "system": "urn:x"}, "userComment": "no"},
        "outcomeTimestamp": "2026-06-01T12:00:00Z",
    }
    taken = {**report, "outcome": "accepted", "acceptedSuggestions": [{"id": "1"}]}
    return [
        *(("/cds-services/failed-esi", call) for call in calls),
        *[("/cds-services/failed-esi/feedback", {"feedback": [report, taken]})] * 5,
    ]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in list(children):
        yield value, name
        yield from _places(item)


def _is_there(holder: Any, name: Any) -> bool:
    return name in holder if isinstance(holder, dict) else name < len(holder)


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


if __name__ == "__main__":
    main(run)
