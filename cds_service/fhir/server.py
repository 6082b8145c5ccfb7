"""Asking the EHR's FHIR server for what was not sent along: all queries at once, one deadline, nothing followed."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urljoin

import orjson
import requests
from urllib3.exceptions import HTTPError

from cds_service.fhir.deadline import Deadline, TooLong, guarded_session, kept, read_within
from cds_service.fhir.evidence import NOT_AVAILABLE, Answer, joined, read_answer
from cds_service.fhir.self_link import is_narrower
from cds_service.trust.fhir_servers import is_allowed, is_below
from cds_service.trust.limits import is_deeper_than

_HEADERS = {
    "Accept": "application/fhir+json",
    "Accept-Encoding": "identity",
    "Cache-Control": "no-cache",
    "User-Agent": "cds-service",
}
_MOST_PAGES = 40
_DEEPEST = 64  # levels of an answer, as of a request (CDS_MAX_DEPTH); FHIR needs far fewer
_WORTH_ANOTHER_TRY = frozenset({429, 502, 503, 504})
_FAILURES = (requests.RequestException, HTTPError, OSError, ValueError)


Waiting = Callable[[], AbstractContextManager[object]]


class _NoAnswer(Exception):
    """A query got no answer that can be read; `is_transient` when asking again may help."""

    def __init__(self, *, is_transient: bool = False, wait: float = 0.0) -> None:
        super().__init__()
        self.is_transient = is_transient
        self.wait = wait


@dataclass
class Breaker:
    """Stops asking a server that fails: open when half of the last 20 and more calls in 10 seconds failed."""

    clock: Callable[[], float] = time.monotonic
    span: float = 10.0
    fewest: int = 20
    share: float = 0.5
    pause: float = 5.0
    _calls: deque[tuple[float, bool]] = field(default_factory=deque)
    _probe_at: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def allows(self) -> bool:
        """Whether to ask now; while open, one probe is let through after each pause."""
        with self._lock:
            now = self.clock()
            self._forget(now)
            failed = sum(not is_ok for _, is_ok in self._calls)
            if len(self._calls) < self.fewest or failed < self.share * len(self._calls):
                return True
            if now < self._probe_at:
                return False
            self._probe_at = now + self.pause
            return True

    def note(self, *, is_ok: bool) -> None:
        """Remember how a call went; one that went well closes the breaker."""
        with self._lock:
            now = self.clock()
            if is_ok and self._probe_at > now:
                self._calls.clear()
            self._calls.append((now, is_ok))
            if not is_ok and len(self._calls) >= self.fewest:
                self._probe_at = max(self._probe_at, now + self.pause)

    def _forget(self, now: float) -> None:
        while self._calls and self._calls[0][0] < now - self.span:
            self._calls.popleft()


@dataclass(frozen=True)
class FhirServers:
    """The FHIR servers this installation may ask, with their connections; made once, shared by all requests."""

    listed: tuple[str, ...]
    loopback: bool
    max_bytes: int
    ca_bundle: Path | None = None
    threads: int = 32
    _sessions: dict[str, tuple[requests.Session, Breaker]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        """Make the threads that wait for answers."""
        object.__setattr__(self, "_pool", ThreadPoolExecutor(self.threads, "fhir"))

    def search(
        self, base: str | None, token: str | None, deadline: Deadline, waiting: Waiting = nullcontext
    ) -> Search | None:
        """What can be asked for one request; None when the request names no server, or one we do not ask.

        `waiting` surrounds the time in which the answers are waited for.
        """
        if base is None or not is_allowed(base, self.listed, loopback=self.loopback):
            return None
        base = base.rstrip("/")
        with self._lock:
            if base not in self._sessions:
                self._sessions[base] = (guarded_session(self.threads, self.ca_bundle), Breaker())
            session, breaker = self._sessions[base]
        pool: ThreadPoolExecutor = self._pool  # type: ignore[attr-defined]
        return Search(base, token, deadline, session, breaker, pool, self.max_bytes, waiting)


@dataclass(frozen=True)
class Search:
    """The queries of one request; its token is sent with each of them and kept nowhere."""

    base: str
    token: str | None = field(repr=False)
    deadline: Deadline
    session: requests.Session
    breaker: Breaker
    pool: ThreadPoolExecutor
    max_bytes: int
    waiting: Waiting = nullcontext

    def ask(self, queries: Mapping[str, str]) -> dict[str, Answer]:
        """Ask all queries at once, by prefetch key; what is not answered in time is not available."""
        return self._all({key: (f"{self.base}/{query}", Answer()) for key, query in queries.items()})

    def complete(self, answers: Mapping[str, Answer]) -> dict[str, Answer]:
        """Fetch the further pages of answers that were sent with a link to them."""
        more = {key: (answer.next_page or "", answer) for key, answer in answers.items()}
        return self._all({key: (url, answer) for key, (url, answer) in more.items() if is_below(url, self.base)})

    def _all(self, starts: Mapping[str, tuple[str, Answer]]) -> dict[str, Answer]:
        asked: dict[str, Future[Answer]] = {
            key: self.pool.submit(copy_context().run, self._pages, key, url, so_far)
            for key, (url, so_far) in starts.items()
        }
        with self.waiting() if asked else nullcontext():
            return {key: self._result(future, starts[key][1]) for key, future in asked.items()}

    def _result(self, future: Future[Answer], so_far: Answer) -> Answer:
        try:
            return future.result(timeout=self.deadline.remaining)
        except TimeoutError:
            future.cancel()
            return so_far if so_far.is_truncated else NOT_AVAILABLE

    def _pages(self, key: str, url: str, so_far: Answer) -> Answer:
        """Read page after page; what cannot be read to its end is what it was, cut short."""
        answer, asked, seen = so_far, url, set[str]()
        with kept(self.deadline):
            while url not in seen and len(seen) < _MOST_PAGES:
                seen.add(url)
                page = self._page(key, url, asked)
                if not page.is_available:
                    return replace(answer, is_truncated=True) if answer.by_type or so_far.is_truncated else page
                answer = joined(answer, page)
                if page.next_page is None:
                    return answer
                url = urljoin(f"{self.base}/", page.next_page)
                if not is_below(url, self.base):
                    break
        return replace(answer, is_truncated=True)

    def _page(self, key: str, url: str, asked: str) -> Answer:
        """One page; one of a search for less than was asked is the last, and cut short."""
        try:
            body = self._get(url)
        except _NoAnswer:
            return NOT_AVAILABLE
        page = read_answer(key, body)
        is_less = isinstance(body, dict) and is_narrower(body, asked)
        return replace(page, is_truncated=True, next_page=None) if is_less else page

    def _get(self, url: str) -> object:
        """One GET, asked a second time when that may help and there is time for it. Raises _NoAnswer."""
        try:
            return self._get_once(url)
        except _NoAnswer as failure:
            pause = max(failure.wait, random.uniform(0, 0.02))  # noqa: S311 - jitter, no secret
            if not failure.is_transient or pause >= self.deadline.remaining / 2:
                raise
        time.sleep(pause)
        return self._get_once(url)

    def _get_once(self, url: str) -> object:
        if not self.breaker.allows():
            raise _NoAnswer
        try:
            body = self._read(url)
        except _NoAnswer as failure:
            self.breaker.note(is_ok=not failure.is_transient)
            raise
        except _FAILURES:
            self.breaker.note(is_ok=False)
            raise _NoAnswer(is_transient=True) from None
        self.breaker.note(is_ok=True)
        return body

    def _read(self, url: str) -> object:
        headers = {**_HEADERS, "Authorization": f"Bearer {self.token}"} if self.token else _HEADERS
        timeout = max(0.001, self.deadline.remaining)
        with self.session.get(url, headers=headers, timeout=timeout, allow_redirects=False, stream=True) as response:
            status = response.status_code
            if status != HTTPStatus.OK:
                raise _NoAnswer(is_transient=status in _WORTH_ANOTHER_TRY, wait=_retry_after(response))
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise _NoAnswer
            return self._json(response)

    def _json(self, response: requests.Response) -> object:
        """The body, read up to the limit; an answer that is cut short is no answer."""
        try:
            body = read_within(response, self.max_bytes)
            answer = orjson.loads(body)
        except (TooLong, orjson.JSONDecodeError):
            raise _NoAnswer from None
        if is_deeper_than(bytes(body), _DEEPEST):
            raise _NoAnswer
        return answer


def _retry_after(response: Any) -> float:
    """The seconds that the server asks for; a date is too far away to wait for."""
    value = response.headers.get("Retry-After", "0")
    return float(value) if value.isdigit() else float("inf")
