"""Where the ledger lives: SQLite in the data folder, or the database of CDS_DATABASE_URL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from cds_service.ledger.tables import head

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK_HEAD = select(head.c.number, head.c.hash).with_for_update()
_BUSY = 30  # seconds that a writer waits for another one
_ONE_AT_A_TIME = Lock()  # Alembic keeps the migration that runs in a module
_UPGRADING = 0x636473  # "cds": the advisory lock of whoever makes the tables


class LedgerError(Exception):
    """The ledger cannot be opened; the message says where, why and what to do."""


class LedgerUnavailable(Exception):
    """The ledger cannot be written or read right now."""


def open_database(url: str | None, folder: Path) -> Engine:
    """The database, with the tables of this version. Raises LedgerError.

    They are made where there are none. Older ones are brought to this version in SQLite, and not in PostgreSQL, where
    several services may be at work (see decision 11).
    """
    engine, shown = _engine(url, folder)
    with _told(shown):
        if engine.dialect.name == "sqlite" or not _versions(engine):
            _upgrade(engine)
        elif not _is_current(engine):
            raise LedgerError(
                f"{shown}: its tables are not those of this version; first run `cds-service ledger upgrade`"
            )
        engine.dispose()  # no connection is taken along when workers fork
    return engine


def open_beside(url: str | None, folder: Path, file: str, make_table: Callable[[Engine], None]) -> Engine:
    """A table beside the ledger: in the database of the URL, else in a file of SQLite of its own. Raises LedgerError.

    It outlasts the end of a process, and not a power cut.
    """
    engine, shown = _engine(url, folder, file, "NORMAL")
    with _told(shown):
        make_table(engine)
        engine.dispose()
    return engine


def upgrade_database(url: str | None, folder: Path) -> Engine:
    """The database, brought to the tables of this version. Raises LedgerError."""
    engine, shown = _engine(url, folder)
    with _told(shown):
        _upgrade(engine)
    return engine


def _engine(url: str | None, folder: Path, file: str = "ledger.db", synchronous: str = "FULL") -> tuple[Engine, str]:
    """The database and what it may be called in public."""
    address = _address(url) if url else URL.create("sqlite", database=str(folder / file))
    shown = address.render_as_string(hide_password=True)
    with _told(shown):
        if address.get_backend_name() == "sqlite":
            engine = create_engine(address)
            _keep_sqlite_safe(engine, synchronous)
        else:
            engine = create_engine(address, isolation_level="READ COMMITTED", pool_pre_ping=True)
            _keep_postgres_safe(engine)
    return engine, shown


@contextmanager
def _told(shown: str) -> Iterator[None]:
    """Failures of the database as LedgerError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise LedgerError(f"{shown}: {error.name} is not installed; pip install 'cds-service[postgres]'") from None
    except (SQLAlchemyError, CommandError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise LedgerError(f"{shown}: {reason}; see CDS_DATA and CDS_DATABASE_URL") from None


def _upgrade(engine: Engine) -> None:
    """Bring the tables to this version, in one transaction; who comes second finds them made."""
    if _is_current(engine):
        return
    config = _config()
    with _ONE_AT_A_TIME, engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_UPGRADING)))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if connection.execute(select(head.c.number)).first() is None:
            connection.execute(insert(head).values(id=1, number=0, hash=""))


def _is_current(engine: Engine) -> bool:
    return _versions(engine) == set(ScriptDirectory.from_config(_config()).get_heads())


def _versions(engine: Engine) -> set[str]:
    """The migrations that the tables come from; empty when there are none."""
    with engine.connect() as connection:
        return set(MigrationContext.configure(connection).get_current_heads())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


@contextmanager
def connected_to_read(engine: Engine) -> Iterator[Connection]:
    """A connection that only reads, and sees one state from its first query on."""
    with engine.connect() as connection:
        more = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
        yield connection.execution_options(is_reader=True, **more)


def lock_head(connection: Connection) -> tuple[int, str]:
    """Number and hash of the last entry; other writers wait until this transaction ends."""
    found = connection.execute(_LOCK_HEAD).one()
    return found.number, found.hash


def _address(url: str) -> URL:
    try:
        address = make_url(url)
        address.get_dialect()
    except (ArgumentError, NoSuchModuleError):
        raise LedgerError(
            "CDS_DATABASE_URL: not a database URL; write it as postgresql+psycopg://user:password@host/name"
        ) from None
    return address.set(drivername="postgresql+psycopg") if address.drivername == "postgresql" else address


def _keep_sqlite_safe(engine: Engine, synchronous: str) -> None:
    """Commits that outlast what they have to, and transactions that take their lock at once."""

    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the transactions are ours: the driver would begin them too late
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "foreign_keys=ON",
            f"busy_timeout={_BUSY * 1000}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_reader = connection.get_execution_options().get("is_reader", False)
        connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")


def _keep_postgres_safe(engine: Engine) -> None:
    """A server that was told to acknowledge commits before they are on disk does not do so for this ledger."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            if cursor.fetchone() == ("off",):
                cursor.execute("SET synchronous_commit = on")
        connection.commit()
