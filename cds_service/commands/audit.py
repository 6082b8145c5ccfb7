"""The audit trail at the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import IO

import click
import orjson

from cds_service.app import load_services
from cds_service.commands.shared import Day, fail, loaded_services, opened_ledger, read_environment
from cds_service.ledger.audit import Asked, Auditor
from cds_service.ledger.database import LedgerUnavailable
from cds_service.settings import Settings
from cds_service.trust.admission import read_all_clients


@click.group()
def audit() -> None:
    """Who asked about whom, what was read for it and what was answered."""


@audit.command()
@click.option("--since", type=Day(), help="The first day, in UTC.")
@click.option("--until", type=Day(), help="The last day, in UTC.")
@click.option("--patient", metavar="ID", help="Only what was asked about this patient.")
@click.option("--output", type=click.Path(path_type=Path), help="File to write to. [default: stdout]")
def export(since: date | None, until: date | None, patient: str | None, output: Path | None) -> None:
    """Print the ledger as FHIR R4 AuditEvents, one to a line; exits 1 when there is none.

    One event tells of each decision, one of each query to a FHIR server. Patients are named while capsules are kept
    (CDS_LEDGER=capsule), and stand there as digests else.

    Example: cds-service audit export --since 2026-06-01 --patient 1234 --output audit.ndjson
    """
    days = {"since": since.isoformat()} if since else {}
    days |= {"until": (until + timedelta(days=1)).isoformat()} if until else {}
    lines = _lines(read_environment(), Asked(**days, patient=patient.removeprefix("Patient/") if patient else None))
    try:
        count = _write(output, lines)
    except LedgerUnavailable as error:
        fail(f"The ledger cannot be read now ({error}); see CDS_DATA and CDS_DATABASE_URL.")
    except OSError as error:
        fail(f"{output or 'stdout'}: cannot be written: {error.strerror}.")
    click.echo(f"{count} events", err=True)
    sys.exit(not count)


def _lines(settings: Settings, asked: Asked) -> Iterator[bytes]:
    loaded_services(settings)  # ends the command with a line when the files do not fit together
    ledger = opened_ledger(settings)
    profiles = {client.profile for client in read_all_clients(settings)}
    services = [service for profile in profiles for service in load_services(settings, profile)]
    queries = {(s.knowledge_hash, key): template for s in services for key, template in s.prefetch.items()}
    address = settings.public_url or f"http://{settings.host}:{settings.port}"
    with ledger.reading() as connection:
        for event in Auditor(ledger.secrets, address, queries).events(connection, asked):
            yield orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def _write(output: Path | None, lines: Iterator[bytes]) -> int:
    """Write the lines; how many."""
    count = 0
    with _target(output) as file:
        for line in lines:
            file.write(line)
            count += 1
    return count


@contextmanager
def _target(output: Path | None) -> Iterator[IO[bytes]]:
    """A new file for its owner alone, or stdout."""
    if output is None:
        yield sys.stdout.buffer
        return
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
