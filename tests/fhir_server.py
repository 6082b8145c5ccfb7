"""A FHIR server on a real socket that answers searches from a chart, and fails in every way it is told to."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

Resource = dict[str, Any]
Fault = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request and the connection it came on; `good` is the body that a healthy server would send."""

    connection: socket.socket
    path: str
    headers: Mapping[str, str]
    good: bytes
    server: FakeFhirServer

    def send(self, body: bytes, status: str = "200 OK", **headers: str) -> None:
        """A complete answer."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if "Content_Type" not in headers:
            lines.append("Content-Type: application/fhir+json")
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def reset(self) -> None:
        """Close with an RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@dataclass
class FakeFhirServer:
    """Answers by resource type; `faults` replaces the answer of a type, `seen` keeps what was asked."""

    chart: list[Resource]
    faults: dict[str, Fault] = field(default_factory=dict)
    page_size: int = 1000
    otherwise: Fault = field(default=lambda exchange: exchange.send(exchange.good))
    tls: ssl.SSLContext | None = None
    seen: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str) -> bytes:
        """The body for a path: a read of one resource, or one page of a search."""
        url = urlsplit(path)
        kind, *rest = url.path.strip("/").split("/")[1:] or [""]
        found = [resource for resource in self.chart if resource["resourceType"] == kind]
        if rest:
            return orjson.dumps(next((r for r in found if r.get("id") == rest[0]), {}))
        start = int(parse_qs(url.query).get("page", ["0"])[0])
        entries = [{"resource": r, "search": {"mode": "match"}} for r in found[start : start + self.page_size]]
        bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "entry": entries}
        if start + self.page_size < len(found):
            link = f"{self.url}/{kind}?page={start + self.page_size}"
            bundle["link"] = [{"relation": "next", "url": link}]
        return orjson.dumps(bundle)

    def handle(self, plain: socket.socket) -> None:
        """Serve one connection until it is closed."""
        with (
            plain,
            suppress(OSError),
            self.tls.wrap_socket(plain, server_side=True) if self.tls else plain as connection,
        ):
            while head := _read_head(connection):
                path, headers = _parse(head)
                self.seen.append((path, headers))
                kind = urlsplit(path).path.strip("/").partition("/")[2].partition("/")[0]
                exchange = Exchange(connection, path, headers, self.answer(path), self)
                self.faults.get(kind, self.otherwise)(exchange)


@contextmanager
def serving(server: FakeFhirServer) -> Iterator[FakeFhirServer]:
    """Run the server on a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        scheme = "https" if server.tls else "http"
        server.url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/fhir"
        stop = threading.Event()

        def accept() -> None:
            with suppress(OSError):
                while not stop.is_set():
                    connection, _ = listener.accept()
                    threading.Thread(target=server.handle, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server
        finally:
            stop.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _read_head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        received = connection.recv(4096)
        if not received:
            return b""
        head += received
    return head


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines if ": " in line)
    return first.split(" ")[1], {name.lower(): value for name, _, value in pairs}
