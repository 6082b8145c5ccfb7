"""The ledger of this installation, opened once: the database, its writer, and the secret behind its digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from cds_service.ledger.chain import Link, last_link
from cds_service.ledger.database import LedgerError, LedgerUnavailable, connected_to_read, open_database
from cds_service.ledger.entry import Entry
from cds_service.ledger.upkeep import expire
from cds_service.ledger.writer import Writer
from cds_service.protocol.errors import NotRecorded
from cds_service.settings import Settings
from cds_service.trust.secrets import SecretError, Secrets, make_secret, read_secrets

log = structlog.get_logger()


@dataclass(frozen=True)
class Ledger:
    """What was decided and what became of it."""

    engine: Engine
    writer: Writer
    secrets: Secrets
    software: str
    is_required: bool
    capsule_days: int | None = None  # how long a call can be replayed; None: not at all

    def append(self, *entries: Entry) -> list[int | None]:
        """Write durably. Raises NotRecorded, unless the site chose to answer without a ledger."""
        try:
            return self.keep(*entries)
        except NotRecorded:
            if self.is_required:
                raise
            return [None] * len(entries)

    def keep(self, *entries: Entry) -> list[int | None]:
        """Write durably what must not be lost, whatever the site chose. Raises NotRecorded."""
        try:
            return self.writer.append(*entries)
        except LedgerUnavailable as error:
            log.error("not recorded", error=str(error))
            raise NotRecorded from None

    def card_key(self, client: str) -> bytes:
        """The key behind the ids of the cards that a client gets."""
        return card_key(self.secrets, client)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that only reads, and sees one state. Raises LedgerUnavailable."""
        try:
            with connected_to_read(self.engine) as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LedgerUnavailable(type(error).__name__) from None

    def expire(self, now: datetime) -> int:
        """Delete the sealed content whose time is over; how many pieces. Raises LedgerUnavailable."""
        try:
            with self.engine.begin() as connection:
                return expire(connection, now)
        except SQLAlchemyError as error:
            raise LedgerUnavailable(type(error).__name__) from None

    def last(self) -> Link:
        """The last entry, an anchor to be kept elsewhere."""
        with self.reading() as connection:
            return last_link(connection)

    def is_writable(self) -> bool:
        """Whether a transaction can be written to its end."""
        try:
            self.writer.append()
        except LedgerUnavailable:
            return False
        return True


def open_ledger(settings: Settings) -> Ledger:
    """Open or make the ledger and its secret. Raises LedgerError that says where, why and what to do."""
    folder = settings.data_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = settings.secret_file or folder / "secret"
        if settings.secret_file is None:
            make_secret(secret)
        secrets = read_secrets(secret)
    except OSError as error:
        raise LedgerError(f"{folder}: cannot be used: {error.strerror}; name another folder with CDS_DATA") from None
    except SecretError as error:
        raise LedgerError(str(error)) from None
    engine = open_database(settings.database_url, folder)
    days = settings.capsule_days if settings.ledger == "capsule" else None
    return Ledger(engine, Writer(engine), secrets, software(), settings.without_ledger == "refuse", days)


def card_key(secrets: Secrets, client: str) -> bytes:
    """The key behind the ids of the cards that a client gets."""
    return secrets.key(f"card/{client}")


@cache
def software() -> str:
    """Version of the package, and a hash of the source that runs."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        found.update(path.read_bytes())
    return f"{version('cds-service')}+{found.hexdigest()[:12]}"
