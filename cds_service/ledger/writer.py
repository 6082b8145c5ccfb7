"""The one thread of a process that writes: whoever waits meanwhile is committed together with the next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from cds_service.ledger.chain import Link
from cds_service.ledger.database import LedgerUnavailable, lock_head
from cds_service.ledger.entry import Entry, Row, instant
from cds_service.ledger.tables import entries, feedback, head, metadata, sealed
from cds_service.ledger.upkeep import keep_up

_MOST_TOGETHER = 256
_DAY = 86_400.0  # seconds
_INSERT = {name: insert(table) for name, table in metadata.tables.items()}  # made once: making one takes longer than it
_MOVE_HEAD = update(head)


@dataclass(frozen=True)
class _Waiting:
    entries: Sequence[Entry]
    done: Future[list[int | None]] = field(default_factory=Future)


class Writer:
    """Appends entries durably. Threads and connections begin with the first one, so after a worker has forked."""

    def __init__(self, engine: Engine, patience: float = 5.0) -> None:
        """`patience` is how many seconds an answer waits for its entry."""
        self._engine = engine
        self._patience = patience
        self._lock = Lock()
        self._thread: Thread | None = None
        self._queue: SimpleQueue[_Waiting] = SimpleQueue()

    def append(self, *new: Entry) -> list[int | None]:
        """Write entries in one transaction; their numbers, None for what was written before.

        Returns once they are on disk. Raises LedgerUnavailable; they may then still have been written.
        """
        self._begin()
        waiting = _Waiting(new)
        self._queue.put(waiting)
        try:
            return waiting.done.result(self._patience)
        except TimeoutError:
            raise LedgerUnavailable("the ledger takes too long") from None

    def _begin(self) -> None:
        if self._thread and self._thread.is_alive():
            return
        with self._lock:
            if not (self._thread and self._thread.is_alive()):  # the first time, and in a process that was forked
                self._engine.dispose(close=False)  # what the other process opened is not ours to close
                self._queue = SimpleQueue()
                self._thread = Thread(target=self._run, args=(self._queue,), name="ledger", daemon=True)
                self._thread.start()

    def _run(self, queue: SimpleQueue[_Waiting]) -> None:
        next_upkeep = time.monotonic()
        while True:
            waiting = _together(queue, next_upkeep - time.monotonic())
            if time.monotonic() >= next_upkeep:
                keep_up(self._engine)
                next_upkeep += _DAY
            if waiting:
                self._commit(waiting)

    def _commit(self, waiting: list[_Waiting]) -> None:
        """One transaction for all; none of them is on disk before it ends."""
        try:
            with self._engine.begin() as connection:
                numbers = _Batch(connection).write([one.entries for one in waiting])
        except (SQLAlchemyError, OSError) as error:
            for one in waiting:
                one.done.set_exception(LedgerUnavailable(type(error).__name__))
        else:
            for one, written in zip(waiting, numbers, strict=True):
                one.done.set_result(written)


class _Batch:
    """The entries of one transaction, chained one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._link = Link(*lock_head(connection))
        self._rows: dict[str, list[Row]] = {}
        self._keys: set[str] = set()

    def write(self, groups: list[Sequence[Entry]]) -> list[list[int | None]]:
        self._keys = self._written_before([entry.once for group in groups for entry in group if entry.once])
        numbers = [[self._chain(entry) for entry in group] for group in groups]
        for name, rows in self._rows.items():
            if rows:
                self._connection.execute(_INSERT[name], rows)
        if not self._rows:  # a trial whether it can be written: SQLite writes nothing where nothing changes
            self._connection.execute(_MOVE_HEAD, {"number": self._link.number, "hash": ""})
        self._connection.execute(_MOVE_HEAD, {"number": self._link.number, "hash": self._link.hash})
        return numbers

    def _written_before(self, keys: list[str]) -> set[str]:
        if not keys:
            return set()
        return set(self._connection.execute(select(feedback.c.key).where(feedback.c.key.in_(keys))).scalars())

    def _chain(self, entry: Entry) -> int | None:
        if entry.once in self._keys:
            return None
        if entry.once:
            self._keys.add(entry.once)
        self._link, record = self._link.next(entry.record())
        number, digest = self._link.number, self._link.hash
        own = {"number": number, "kind": entry.kind, "at": entry.at, "record": record, "hash": digest}
        self._rows.setdefault(entries.name, []).append(own)
        for name, rows in entry.rows.items():
            self._rows.setdefault(name, []).extend({**row, "number": number} for row in rows)
        self._rows.setdefault(sealed.name, []).extend(
            {"number": number, "purpose": purpose, "content": content, "until": instant(until)}
            for purpose, (content, until) in entry.sealed.items()
        )
        return number


def _together(queue: SimpleQueue[_Waiting], seconds: float) -> list[_Waiting]:
    """The next to be written, and all that wait with it; none when nothing comes for so long."""
    found: list[_Waiting] = []
    with suppress(Empty):
        found.append(queue.get(timeout=max(0.0, seconds)))
        while len(found) < _MOST_TOGETHER:
            found.append(queue.get_nowait())
    return found
