"""The chain: every record holds the hash of the one before, so that none can be altered or taken out unseen.

Whoever can write the whole database can chain it anew: keep the anchors that the log shows (number and hash) elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Row, Table, func, select

from cds_service.ledger.tables import cards, entries, feedback, head, sealed

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Link:
    """The last entry of a chain."""

    number: int
    hash: str

    def __str__(self) -> str:
        """As an anchor, to be kept elsewhere."""
        return f"{self.number}:{self.hash}"

    def next(self, members: Mapping[str, Any]) -> tuple[Link, str]:
        """The link of the next record, and the record as it is stored."""
        record = orjson.dumps(
            {**members, "number": self.number + 1, "previous": self.hash}, option=orjson.OPT_SORT_KEYS
        )
        return Link(self.number + 1, hash_of(record)), record.decode()


def hash_of(record: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(record).hexdigest()


@dataclass(frozen=True, slots=True)
class Span:
    """How much a ledger holds: the number of entries, the times of the first and the last one, and its end."""

    entries: int
    first: str | None
    last: str | None
    end: Link

    @classmethod
    def read(cls, connection: Connection) -> Span:
        """What there is now."""
        counted = select(func.count(), func.min(entries.c.at), func.max(entries.c.at)).select_from(entries)
        count, first, last = connection.execute(counted).one()
        return cls(count, first, last, last_link(connection))


def last_link(connection: Connection) -> Link:
    """The last entry that was written."""
    return Link(*connection.execute(select(head.c.number, head.c.hash)).one())


def verify(
    connection: Connection, anchors: Mapping[int, str], come_to: Callable[[int], object] = lambda number: None
) -> Iterator[str]:
    """Walk the whole ledger; what was altered, one line each.

    `anchors` are hashes known from elsewhere, by number; `come_to` is told the last entry of each thousand.
    """
    last = Link(0, "")
    missing = dict(anchors)
    for page in _pages(connection):
        beside = _Beside.read(connection, page[0].number, page[-1].number)
        for row in page:
            yield from _faults(row, last, beside)
            if missing.pop(row.number, row.hash) != row.hash:
                yield f"entry {row.number}: is not the one of the anchor"
            last = Link(row.number, row.hash)
        come_to(last.number)
    stored = last_link(connection)
    if stored != last:
        yield f"the last entry is {last.number}, and entry {stored.number} was the last one written"
    yield from (f"entry {number}: is not there, and an anchor names it" for number in sorted(missing))
    yield from _strays(connection)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is stored beside some entries, by table and number."""

    rows: Mapping[str, Mapping[int, list[Row[Any]]]]

    @classmethod
    def read(cls, connection: Connection, first: int, last: int) -> _Beside:
        rows: dict[str, dict[int, list[Row[Any]]]] = {}
        for table in (cards, feedback, sealed):
            found = rows.setdefault(table.name, {})
            for row in connection.execute(select(table).where(table.c.number.between(first, last))):
                found.setdefault(row.number, []).append(row)
        return cls(rows)

    def of(self, table: Table, number: int) -> list[Row[Any]]:
        return self.rows[table.name].get(number, [])


def _pages(connection: Connection) -> Iterator[Sequence[Row[Any]]]:
    after = 0
    while page := connection.execute(
        select(entries).where(entries.c.number > after).order_by(entries.c.number).limit(_PAGE)
    ).all():
        yield page
        after = page[-1].number


def _faults(row: Row[Any], last: Link, beside: _Beside) -> Iterator[str]:
    where = f"entry {row.number}"
    if row.number != last.number + 1:
        yield f"{where}: follows entry {last.number}; what was between them is gone"
    if hash_of(row.record.encode()) != row.hash:
        yield f"{where}: its record was altered"
        return
    record = orjson.loads(row.record)
    if not isinstance(record, dict):
        yield f"{where}: its record was replaced"
        return
    if record.get("previous") != last.hash and row.number == last.number + 1:
        yield f"{where}: does not follow entry {last.number} as it is stored"
    if (record.get("number"), record.get("kind"), record.get("at")) != (row.number, row.kind, row.at):
        yield f"{where}: its number, kind or time was altered"
    yield from _altered_rows(row.number, record, beside, where)


def _altered_rows(number: int, record: Mapping[str, Any], beside: _Beside, where: str) -> Iterator[str]:
    """What is stored beside an entry must be what the record says of it; sealed data may be gone, not changed."""
    for table in (cards, feedback):
        stored = [dict(row._mapping) for row in beside.of(table, number)]
        if sorted(map(_digest, stored)) != sorted(record.get("rows", {}).get(table.name, [])):
            yield f"{where}: its row in the table {table.name} was altered"
    digests = record.get("sealed", {})
    for row in beside.of(sealed, number):
        if hash_of(row.content) != digests.get(row.purpose):
            yield f"{where}: what was sealed with it was altered"


def _strays(connection: Connection) -> Iterator[str]:
    for table in (cards, feedback, sealed):
        count = connection.execute(
            select(func.count()).select_from(table).where(table.c.number.not_in(select(entries.c.number)))
        ).scalar_one()
        if count:
            yield f"the table {table.name} has {count} rows of no entry"


def _digest(row: Mapping[str, Any]) -> str:
    """A row without its number, which it gets when it is written."""
    members = {str(name): value for name, value in row.items() if name != "number"}
    return hash_of(orjson.dumps(members, option=orjson.OPT_SORT_KEYS))


def digests_of(rows: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, list[str]]:
    """What a record holds about the rows beside it, by table."""
    return {table: sorted(map(_digest, found)) for table, found in rows.items() if found}
