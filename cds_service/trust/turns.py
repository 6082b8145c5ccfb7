"""Who waits and who computes: calls take turns, and what would wait too long is not begun."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import Lock, local

from cds_service.protocol.errors import Busy

_FIRST_GUESS = 0.01  # seconds of one turn, until turns have been timed
_WEIGHT = 0.1  # of the last turn in their mean


class Turns:
    """A queue in which nobody waits longer than `max_wait_ms`, and one call that computes.

    What waits longer would be answered too late to be of use, and would keep the next from being answered in time.
    Threads share one interpreter: calls that compute side by side only get slower, and so does whoever refuses what
    is too much. A call that waits for others lets the next one compute.
    """

    def __init__(self, max_wait_ms: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Who would probably wait half of `max_wait_ms` is not let in; who has waited all of it is not begun."""
        self._max_wait = max_wait_ms / 1000
        self._clock = clock
        self._turn = Lock()
        self._since: dict[Hashable, float] = {}  # who waits, the oldest first
        self._mean = _FIRST_GUESS
        self._lock = Lock()
        self._thread = local()

    def is_full(self) -> bool:
        """Whether a request that comes now would wait too long."""
        with self._lock:
            oldest = next(iter(self._since.values()), None)
            if oldest is None:
                return False
            return max(len(self._since) * self._mean, self._clock() - oldest) > self._max_wait / 2

    def join(self, request: Hashable) -> None:
        """A request waits from now on."""
        with self._lock:
            self._since[request] = self._clock()

    @contextmanager
    def served(self, request: Hashable) -> Iterator[None]:
        """A request that waits has got a thread, this one. Raises Busy when that took too long."""
        self._thread.request = request
        try:
            if self._patience() <= 0:
                raise Busy
            yield
        finally:
            self._leave()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Compute. Raises Busy when it is not our turn in time."""
        if not self._turn.acquire(timeout=max(self._patience(), 0)):
            raise Busy
        self._leave()
        self._thread.started = self._clock()
        try:
            yield
        finally:
            self._timed(self._clock() - self._thread.started)
            self._turn.release()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Wait for something else during our turn; what was begun is then carried on, however long that takes."""
        computed = self._clock() - self._thread.started
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()
            self._thread.started = self._clock() - computed

    def _patience(self) -> float:
        with self._lock:
            since = self._since.get(getattr(self._thread, "request", None), self._clock())
        return since + self._max_wait - self._clock()

    def _leave(self) -> None:
        with self._lock:
            self._since.pop(getattr(self._thread, "request", None), None)

    def _timed(self, seconds: float) -> None:
        with self._lock:
            self._mean += (seconds - self._mean) * _WEIGHT
