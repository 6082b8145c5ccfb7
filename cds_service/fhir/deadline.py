"""One deadline for all that a request waits for, kept down to each read of a socket.

A timeout of an HTTP library starts anew with every byte: a server that drips its answer outlasts any of them.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

_CHUNK = 65_536
_SHORTEST = 0.001  # seconds; a timeout of 0 would mean "do not wait", not "too late"


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock."""

    at: float

    @classmethod
    def after(cls, milliseconds: float) -> Deadline:
        """So many milliseconds from now."""
        return cls(time.monotonic() + milliseconds / 1000)

    @property
    def remaining(self) -> float:
        """Seconds left; 0 when it has passed."""
        return max(0.0, self.at - time.monotonic())


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def kept(deadline: Deadline) -> Iterator[None]:
    """Within this block, every socket of the sessions made here stops waiting at the deadline."""
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)


def _limit(sock: socket.socket) -> None:
    deadline = _current.get()
    if deadline is not None:
        if not deadline.remaining:
            raise TimeoutError("the deadline has passed")
        sock.settimeout(max(_SHORTEST, deadline.remaining))


class _KeepsDeadline:
    """A socket that waits for each read and write no longer than the deadline allows."""

    def recv_into(self: Any, *arguments: Any, **more: Any) -> int:
        _limit(self)
        received: int = super().recv_into(*arguments, **more)  # type: ignore[misc]
        return received

    def sendall(self: Any, *arguments: Any, **more: Any) -> None:
        _limit(self)
        super().sendall(*arguments, **more)  # type: ignore[misc]


class _Socket(_KeepsDeadline, socket.socket):
    """Plain TCP."""


class _TlsSocket(_KeepsDeadline, ssl.SSLSocket):
    """Above TLS; the handshake takes the timeout of the connection as a whole."""


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        plain = super()._new_conn()
        timeout = plain.gettimeout()
        made = _Socket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        made.settimeout(timeout)
        return made


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class DeadlineAdapter(HTTPAdapter):
    """An HTTP adapter whose connections keep the deadline; certificates are always verified, TLS 1.2 at least."""

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        """Give the pools our sockets."""
        context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
        context.sslsocket_class = _TlsSocket
        super().init_poolmanager(*arguments, **more, ssl_context=context)
        self.poolmanager.pool_classes_by_scheme = {**self.poolmanager.pool_classes_by_scheme, "http": _Pool}


def guarded_session(connections: int, ca_bundle: Path | None) -> requests.Session:
    """Connections that are kept alive; nothing of the environment, no cookies, no credentials of its own."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(ca_bundle) if ca_bundle else True
    session.headers.clear()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, DeadlineAdapter(pool_connections=4, pool_maxsize=connections))
    return session


class TooLong(ValueError):
    """A body exceeds the limit."""


def read_within(response: requests.Response, most: int) -> bytes:
    """The body of a streamed answer, as it was sent. Raises TooLong once it exceeds so many bytes."""
    body = bytearray()
    for chunk in response.raw.stream(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > most:
            raise TooLong
    return bytes(body)
