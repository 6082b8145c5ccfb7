"""Where the ledger lives: SQLite in the data folder, or the database of CDS_DATABASE_URL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from cds_service.ledger.tables import head

_MIGRATIONS = Path(__file__).with_name("migrations")
_LOCK_HEAD = select(head.c.number, head.c.hash).with_for_update()
_BUSY = 30  # seconds that a writer waits for another one


class LedgerError(Exception):
    """The ledger cannot be opened; the message says where, why and what to do."""


class LedgerUnavailable(Exception):
    """The ledger cannot be written or read right now."""


def open_database(
    url: str | None,
    folder: Path,
    file: str = "ledger.db",
    prepare: Callable[[Engine], None] | None = None,
    synchronous: str = "FULL",
) -> Engine:
    """The database of the URL, else a file of SQLite; `prepare` makes its tables, those of the ledger by default.

    `synchronous` is that of SQLite: FULL outlasts a power cut, NORMAL the end of a process. Raises LedgerError.
    """
    address = _address(url) if url else URL.create("sqlite", database=str(folder / file))
    shown = address.render_as_string(hide_password=True)
    try:
        engine = create_engine(address)
        if engine.dialect.name == "sqlite":
            _keep_sqlite_safe(engine, synchronous)
        (prepare or upgrade)(engine)
    except ModuleNotFoundError as error:
        raise LedgerError(f"{shown}: {error.name} is not installed; pip install 'cds-service[postgres]'") from None
    except (SQLAlchemyError, CommandError, sqlite3.Error) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise LedgerError(f"{shown}: {reason}; see CDS_DATA and CDS_DATABASE_URL") from None
    return engine


def upgrade(engine: Engine) -> None:
    """Bring the tables to this version, in one transaction; who comes second finds them made."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.connect() as connection:
        made = MigrationContext.configure(connection).get_current_heads()
    if set(made) == set(ScriptDirectory.from_config(config).get_heads()):
        return
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if connection.execute(select(head.c.number)).first() is None:
            connection.execute(insert(head).values(id=1, number=0, hash=""))


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
