"""Which tokens were used: each counts once, for all workers and instances that share a store."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import structlog
from sqlalchemy import Column, Engine, Float, MetaData, String, Table, delete, insert, inspect
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from cds_service.ledger.database import LedgerError, open_beside
from cds_service.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

_BETWEEN_SWEEPS = 60.0  # seconds after which what is over is deleted again
_MARGIN = 21_600.0  # seconds that a row is kept beyond its end: a clock that was ahead may be set back
_PATIENCE = 1.0  # seconds for an answer of Redis

log = structlog.get_logger()

# No migration: a row is gone within a day, and another form of it would be another table.
used_tokens = Table(
    "used_tokens",
    MetaData(),
    Column("key", String(64), primary_key=True),
    Column("until", Float, nullable=False, index=True),  # seconds since 1970
)


class ReplayStoreError(Exception):
    """The store cannot be opened; the message says what to do."""


class ReplayStoreUnavailable(Exception):
    """What was used cannot be remembered right now."""


class ReplayStore(Protocol):
    """Remembers tokens until they are over."""

    def claim(self, issuer: str, jti: str, until: float) -> bool:
        """Whether this is the first use; `until` is when it may be forgotten, in seconds since 1970.

        Raises ReplayStoreUnavailable.
        """


def token_key(issuer: str, jti: str) -> str:
    """A token by 64 hexadecimal digits: ids are of any length, and may say something."""
    return hashlib.sha256(f"{len(issuer)}:{issuer}{jti}".encode()).hexdigest()


@dataclass
class MemoryReplayStore:
    """Tokens in this process alone: for tests, and for the terminal."""

    clock: Callable[[], float] = time.time
    _used: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def claim(self, issuer: str, jti: str, until: float) -> bool:
        """Whether this is the first use."""
        key, now = token_key(issuer, jti), self.clock()
        with self._lock:
            self._used = {known: end for known, end in self._used.items() if end > now}
            if key in self._used:
                return False
            self._used[key] = until
            return True


@dataclass
class DatabaseReplayStore:
    """Tokens as rows with a unique key, so that of any number of writers one is first."""

    engine: Engine
    clock: Callable[[], float] = time.time
    _sweep_at: float = 0.0

    def claim(self, issuer: str, jti: str, until: float) -> bool:
        """Whether this is the first use. Raises ReplayStoreUnavailable."""
        now = self.clock()
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(used_tokens).values(key=token_key(issuer, jti), until=until))
                if now >= self._sweep_at:
                    self._sweep_at = now + _BETWEEN_SWEEPS
                    connection.execute(delete(used_tokens).where(used_tokens.c.until < now - _MARGIN))
        except IntegrityError:
            return False
        except SQLAlchemyError as error:
            raise ReplayStoreUnavailable(type(error).__name__) from None
        return True


@dataclass(frozen=True)
class RedisReplayStore:
    """Tokens as keys that Redis or Valkey forgets by itself."""

    redis: Redis
    clock: Callable[[], float] = time.time

    def claim(self, issuer: str, jti: str, until: float) -> bool:
        """Whether this is the first use. Raises ReplayStoreUnavailable."""
        from redis import RedisError

        seconds = max(1, math.ceil(until - self.clock()))
        try:
            return bool(self.redis.set(f"cds-service:token:{token_key(issuer, jti)}", b"", nx=True, ex=seconds))
        except RedisError as error:
            raise ReplayStoreUnavailable(type(error).__name__) from None


@dataclass(frozen=True)
class LenientReplayStore:
    """Takes every token while the store is out of reach: the site prefers advice to protection from replay."""

    store: ReplayStore

    def claim(self, issuer: str, jti: str, until: float) -> bool:
        """Whether this is the first use, as far as that can be told."""
        try:
            return self.store.claim(issuer, jti, until)
        except ReplayStoreUnavailable as error:
            log.error("replay store unavailable", error=str(error))
            return True


def open_replay_store(settings: Settings) -> ReplayStore:
    """The store of these settings. Raises ReplayStoreError."""
    store = _redis_store(settings.redis_url) if settings.redis_url else _database_store(settings)
    return LenientReplayStore(store) if settings.without_replay_store == "accept" else store


def _database_store(settings: Settings) -> ReplayStore:
    """A file of SQLite of its own, so that no token waits for the ledger; else the database of the ledger."""
    folder = settings.data_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine = open_beside(settings.database_url, folder, "tokens.db", _make_table)
    except LedgerError as error:
        raise ReplayStoreError(str(error)) from None
    except OSError as error:
        raise ReplayStoreError(f"{folder}: cannot be used: {error.strerror}; name another with CDS_DATA") from None
    return DatabaseReplayStore(engine)


def _make_table(engine: Engine) -> None:
    """Make the table, unless it is there or another instance was faster."""
    try:
        used_tokens.create(engine, checkfirst=True)
    except SQLAlchemyError:
        if not inspect(engine).has_table(used_tokens.name):
            raise


def _redis_store(url: str) -> ReplayStore:
    try:
        from redis import Redis
    except ModuleNotFoundError:
        raise ReplayStoreError("CDS_REDIS_URL: redis is not installed; pip install 'cds-service[redis]'") from None
    try:
        return RedisReplayStore(Redis.from_url(url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE))
    except ValueError:
        raise ReplayStoreError("CDS_REDIS_URL: not an address such as redis://host/0") from None
