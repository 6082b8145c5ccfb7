"""How much one client may ask: calls a second, counted for all workers, and calls at once in each of them."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import structlog
from limits import RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from cds_service.protocol.errors import TooManyCalls
from cds_service.settings import Settings

_REDIS_TIMEOUT = 0.1  # seconds: an answer does not wait longer to be counted
_REDIS_PAUSE = 10.0  # seconds in which a Redis that failed is not asked

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a client may ask at most; None is no limit."""

    rate: int | None = None  # calls in a second
    concurrency: int | None = None  # calls at once in this process

    @classmethod
    def of_client(cls, settings: Settings, rate: int | None = None, concurrency: int | None = None) -> Allowance:
        """What a registered client may ask: its own figures, else those of the settings."""
        share = settings.concurrency or max(settings.threads * 3 // 4, 1)
        return cls(rate or settings.rate, concurrency or share)


class CallLimits:
    """Counts the calls of each client; one client's many calls are no other's problem."""

    def __init__(self, redis_url: str | None = None) -> None:
        """The rate is counted in Redis if there is one, so across instances; while that fails, by each process."""
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared = MovingWindowRateLimiter(_redis(redis_url)) if redis_url else None
        self._shared_again = 0.0
        self._running: defaultdict[str, int] = defaultdict(int)
        self._lock = Lock()

    @contextmanager
    def counted(self, client_id: str, allowance: Allowance) -> Iterator[None]:
        """One call of a client. Raises TooManyCalls."""
        if allowance.rate:
            self._count(client_id, RateLimitItemPerSecond(allowance.rate))
        with self._one_of(client_id, allowance.concurrency or math.inf):
            yield

    def _count(self, client_id: str, rate: RateLimitItemPerSecond) -> None:
        if self._shared and time.monotonic() >= self._shared_again:
            try:
                _hit(self._shared, rate, client_id)
            except StorageError:
                self._shared_again = time.monotonic() + _REDIS_PAUSE
                log.warning("calls are counted by each process", error="StorageError", where="CDS_REDIS_URL")
            else:
                return
        _hit(self._own, rate, client_id)

    @contextmanager
    def _one_of(self, client_id: str, at_most: float) -> Iterator[None]:
        with self._lock:
            if self._running[client_id] >= at_most:
                raise TooManyCalls("at once", retry_after=1)
            self._running[client_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._running[client_id] -= 1


def _redis(url: str) -> RedisStorage:
    return RedisStorage(url, wrap_exceptions=True, socket_timeout=_REDIS_TIMEOUT, socket_connect_timeout=_REDIS_TIMEOUT)


def _hit(limiter: MovingWindowRateLimiter, rate: RateLimitItemPerSecond, client_id: str) -> None:
    if not limiter.hit(rate, client_id):
        seconds = limiter.get_window_stats(rate, client_id).reset_time - time.time()
        raise TooManyCalls("in a second", retry_after=max(math.ceil(seconds), 1))
