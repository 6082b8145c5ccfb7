"""An open-loop load: calls leave when the clock says so, whatever became of those before."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

REFUSED, BROKEN, LATE = 503, -1, -2  # BROKEN: no answer on an open connection; LATE: none within the patience


@dataclass
class Calls:
    """What became of the calls of one stage: status, when they left and how long they took, in seconds."""

    seconds: float
    done: list[tuple[int, float, float]] = field(default_factory=list)

    def counts(self) -> Counter[int]:
        """How many of each status."""
        return Counter(status for status, _, _ in self.done)

    def rate(self, status: int = 200, within: float = float("inf")) -> float:
        """Answers of this status a second, of those that took no longer than `within` seconds."""
        return sum(found == status and took <= within for found, _, took in self.done) / self.seconds

    def percentile_ms(self, share: float, status: int = 200) -> float:
        """Milliseconds within which this share of the answers of this status came; NaN when there is none."""
        times = sorted(took for found, _, took in self.done if found == status)
        return times[min(len(times) - 1, int(len(times) * share))] * 1000 if times else float("nan")


def http_call(path: str, body: bytes = b"", method: str = "POST") -> bytes:
    """The bytes of one request on a kept-alive connection."""
    head = f"{method} {path} HTTP/1.1\r\nHost: service.example\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """One kept-alive connection that carries one call at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[int] | None = None
        self.received = b""
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio gives for a stream
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if found and self.answer and len(body) >= _length(head):
            self.is_open = self.is_open and b"connection: close" not in head.lower()
            self.received = b""
            if not self.answer.done():
                self.answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self.answer and not self.answer.done():
            self.answer.set_result(BROKEN)


def _length(head: bytes) -> int:
    name = b"\r\ncontent-length:"
    at = head.lower().find(name)
    return int(head[at + len(name) :].partition(b"\r\n")[0]) if at >= 0 else 0


class Pool:
    """Connections to one address; a new one is opened whenever all are busy."""

    def __init__(self, address: tuple[str, int], patience: float = 10) -> None:
        self.address = address
        self.patience = patience
        self.idle: list[_Connection] = []

    async def call(self, message: bytes) -> int:
        """Send a request; its status, BROKEN or LATE."""
        try:
            async with asyncio.timeout(self.patience):
                return await self._call(message)
        except TimeoutError:
            return LATE
        except OSError:
            return BROKEN

    async def _call(self, message: bytes) -> int:
        loop = asyncio.get_running_loop()
        connection = self._take() or (await loop.create_connection(_Connection, *self.address))[1]
        connection.answer = loop.create_future()
        assert connection.transport  # noqa: S101 - set before create_connection returns
        try:
            connection.transport.write(message)
            status = await connection.answer
        except asyncio.CancelledError:
            connection.transport.abort()
            raise
        if connection.is_open:
            self.idle.append(connection)
        else:
            connection.transport.close()
        return status

    def _take(self) -> _Connection | None:
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open:
                return connection
        return None

    def close(self) -> None:
        """Hang up."""
        for connection in self.idle:
            if connection.transport:
                connection.transport.close()


async def closed_loop(pool: Pool, messages: Iterator[bytes], seconds: float, callers: int) -> Calls:
    """So many callers, each with its next call after its last answer: what the service can do at most."""
    calls = Calls(seconds)
    until = time.perf_counter() + seconds

    async def caller() -> None:
        while (left := time.perf_counter()) < until:
            status = await pool.call(next(messages))
            calls.done.append((status, left, time.perf_counter() - left))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return calls


async def open_loop(pool: Pool, message: bytes, seconds: float, rate: float) -> Calls:
    """So many calls a second; the time of a call counts from when it was due, so that a late driver shows."""
    calls = Calls(seconds)
    began = time.perf_counter()
    tasks = []

    async def one(due: float) -> None:
        status = await pool.call(message)
        calls.done.append((status, due - began, time.perf_counter() - due))

    for number in range(int(seconds * rate)):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return calls
