"""What keeps a ledger in order: sealed content deleted when its time is over, a copy that can be restored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, delete
from sqlalchemy.exc import SQLAlchemyError

from cds_service.ledger.chain import last_link
from cds_service.ledger.database import LedgerError
from cds_service.ledger.entry import instant
from cds_service.ledger.tables import sealed

log = structlog.get_logger()


def keep_up(engine: Engine) -> None:
    """Delete what is to go, and tell the last entry in the log as an anchor.

    Done before the first entry of a process, and once a day.
    """
    try:
        with engine.begin() as connection:
            expired = expire(connection, datetime.now(UTC))
            end = last_link(connection)
    except (SQLAlchemyError, OSError) as error:
        log.error("upkeep failed", error=type(error).__name__)
    else:
        log.info("ledger", entry=end.number, anchor=end.hash, expired=expired)


def expire(connection: Connection, now: datetime) -> int:
    """Delete the sealed content whose time is over; how many pieces. The entries themselves stay, with its hashes."""
    return connection.execute(delete(sealed).where(sealed.c.until < instant(now))).rowcount


def back_up(engine: Engine, target: Path) -> None:
    """Copy the database while it is written to, by the online backup of SQLite. Raises LedgerError."""
    if engine.dialect.name != "sqlite":
        raise LedgerError("this ledger is in PostgreSQL; back it up with pg_dump, as the rest of that server")
    try:
        target.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise LedgerError(f"{target}: is there already; name a file that is not") from None
    except OSError as error:
        raise LedgerError(f"{target}: cannot be made: {error.strerror}") from None
    try:
        with closing(sqlite3.connect(str(engine.url.database))) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)  # of one state: whoever reads a WAL holds up no writer
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise LedgerError(f"{target}: cannot be written: {error}") from None
