"""Addresses that try to lead our calls elsewhere: as `fhirServer`, as a further page, as a redirect.

A canary listens on this machine under the host and port that every address of the corpus means in the end; a single
connection there, or a look-up of a name, is a miss.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any
from unittest import mock

import orjson

from bench.faults.measure import Measure, main
from cds_service.app import create_app
from cds_service.settings import Settings
from tests.chart import hook_request, patient, score
from tests.conftest import TODAY
from tests.fhir_server import Exchange, FakeFhirServer, serving

SEED = 20_260_602
CANARY_TOKEN = "canary-token-3f1b"  # noqa: S105 - made up

# Ways to write this machine; an IP filter that reads text misses most of them.
HOSTS = (
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0",
    "localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127.0.0.1.", "①②⑦.⓪.⓪.①",
    "127。0。0。1", "loc\u00adalhost", "127.0.0.1%00.example.org", "%31%32%37.0.0.1", "xn--localhost", "127.0.0.1.nip.io",
)  # fmt: skip
# {host} is the canary, {listed} the one server that may be asked, {base} its whole base URL.
FORMS = (
    "http://{host}", "http://{host}/fhir", "https://{host}/fhir", "HTTP://{host}/fhir", "http:{host}/fhir", "http:/{host}/fhir",
    "//{host}/fhir", "http:\\\\{host}\\fhir", "http://{listed}@{host}/fhir", "http://{listed}:x@{host}/fhir",
    "http://{host}#@{listed}/fhir", "http://{host}?@{listed}/fhir", "http://{host}\\@{listed}/fhir", "http://{listed}\\@{host}/fhir",
    "http://{listed}%40{host}/fhir", "http://{listed}.{host}/fhir", "{base}@{host}", "{base}/../../../{host}", "{base}\r\nHost: {host}",
    " http://{host}/fhir", "\thttp://{host}/fhir", "http://{host}\t/fhir", "ftp://{host}/fhir", "gopher://{host}/_GET", "ws://{host}/fhir",
    "file://{host}/etc/passwd", "dict://{host}/x", "http://{host}/fhir?base={base}", "http://{host}/{base}", "http://{host};{listed}/fhir",
    "http://{listed} {host}/fhir", "http://{listed},{host}/fhir", "{base}&url=http://{host}/", "jar:http://{host}!/x",
)  # fmt: skip


@dataclass
class Canary:
    """Listens on one port of this machine under both families of addresses, and counts who comes."""

    port: int = 0
    visits: list[str] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator[Canary]:
        """Open the ports; closed at the end."""
        with ExitStack() as stack:
            for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")):
                listener = stack.enter_context(socket.create_server((address, self.port), family=family))
                self.port = listener.getsockname()[1]
                threading.Thread(target=self._count, args=(listener,), daemon=True).start()
            yield self

    def _count(self, listener: socket.socket) -> None:
        while True:
            try:
                visitor, address = listener.accept()
            except OSError:
                return
            visitor.close()
            self.visits.append(address[0])


def corpus(base: str, port: int) -> list[str]:
    """Every form with every way to write the host, and the listed base with a twist: 500 addresses and more."""
    listed = base.split("/")[2]
    made = [form.format(host=f"{host}:{port}", listed=listed, base=base) for form, host in product(FORMS, HOSTS)]
    twisted = [f"{base}{tail}" for tail in ("x", ".evil.test", "%2e%2e", "/../x", ";x", "#", "?x", "//", "%00", " ")]
    return list(dict.fromkeys([*made, *twisted]))


def run(scale: float = 1.0) -> list[Measure]:
    """Send every address in three roles; nobody may come to the canary, and no name be looked up."""
    chart = [patient(), score(7, "2026-03-01")]
    looked_up: list[str] = []
    resolve = socket.getaddrinfo

    def watched(host: Any, *arguments: Any, **more: Any) -> Any:
        if host not in {"127.0.0.1", None}:
            looked_up.append(str(host))
        return resolve(host, *arguments, **more)

    with (
        serving(FakeFhirServer(chart)) as fhir,
        Canary().listening() as canary,
        mock.patch("socket.getaddrinfo", watched),
    ):
        settings = Settings(log_level="error", fhir_servers=(fhir.url,), fhir_loopback=False)
        client = create_app(settings=settings, today=lambda: TODAY).test_client()
        addresses = corpus(fhir.url, canary.port)
        wanted = max(50, int(len(addresses) * scale))
        tried = random.Random(SEED).sample(addresses, min(wanted, len(addresses)))
        statuses = {status for url in tried for status in _in_every_role(client, fhir, url)}
        socket.create_connection(("127.0.0.1", canary.port)).close()
        is_alive = _eventually(lambda: canary.visits)
    visits = len(canary.visits) - 1
    foreign = [path for path, headers in fhir.seen if "evil" in path or CANARY_TOKEN not in str(headers)]
    return [
        Measure(
            "Addresses that lead elsewhere",
            "500 addresses: 0 connections to the canary",
            f"{len(tried)} addresses in 3 roles: {visits} connections, {len(looked_up)} look-ups of names, "
            f"answers {sorted(statuses)}",
            is_alive and visits == 0 and not looked_up and not foreign and statuses <= {200, 400, 412, 422},
            f"seed {SEED}",
        )
    ]


def _in_every_role(client: Any, fhir: FakeFhirServer, url: str) -> Iterator[int]:
    """As the server of the request, as the next page of what was sent, and as where the server points to."""
    token = {"access_token": CANARY_TOKEN, "token_type": "Bearer", "expires_in": 60, "scope": "s", "subject": "c"}
    bare = {**hook_request(), "fhirAuthorization": token}
    bare.pop("prefetch", None)
    yield _post(client, {**bare, "fhirServer": url})
    page = {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "next", "url": url}]}
    yield _post(client, {**bare, "fhirServer": fhir.url, "prefetch": {"procedures": page}})

    def points_elsewhere(exchange: Exchange) -> None:
        exchange.send(b"", "302 Found", Location=url.encode("ascii", "ignore").decode().translate({13: None, 10: None}))

    fhir.faults = {"Procedure": points_elsewhere, "Observation": lambda exchange: exchange.send(orjson.dumps(page))}
    yield _post(client, {**bare, "fhirServer": fhir.url})
    fhir.faults = {}


def _post(client: Any, body: dict[str, Any]) -> int:
    sent = orjson.dumps(body)
    status: int = client.post("/cds-services/failed-esi", data=sent, content_type="application/json").status_code
    return status


def _eventually(condition: Any) -> bool:
    for _ in range(100):
        if condition():
            return True
        threading.Event().wait(0.02)
    return False


if __name__ == "__main__":
    main(run)
