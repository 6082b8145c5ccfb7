"""Reports and exports of feedback."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TextIO
from zoneinfo import ZoneInfo

import click
import orjson
from sqlalchemy import Connection

from cds_service.commands.rates import rates_json, rates_text
from cds_service.commands.shared import Day, fail, opened_ledger, pretty, read_environment
from cds_service.ledger.database import LedgerUnavailable
from cds_service.ledger.entry import instant
from cds_service.ledger.reports import BY, Period, exported, rates
from cds_service.settings import Settings

COLUMNS = (
    "intervention", "action", "reason", "user", "date", "location", "client", "service", "hook", "card", "uuid",
    "knowledge", "rules", "suggestions",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for one (OWASP on CSV files)

_since = click.option("--since", type=Day(), help="First day, in the time zone of the site.")
_until = click.option("--until", type=Day(), help="Last day.")


@click.group()
def feedback() -> None:
    """What became of the cards that were shown."""


@feedback.command()
@_since
@_until
@click.option("--by", type=click.Choice(BY), default="card", show_default=True, help="What to count by.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(since: date | None, until: date | None, by: str, *, as_json: bool) -> None:
    """Count how often cards were accepted and overridden; exits 1 when none was shown in that time.

    A card counts once, on the day it was first shown: as accepted if ever a suggestion was, else as overridden.

    Example: cds-service feedback report --since 2026-01-01 --by rule
    """
    settings = read_environment()
    zone = ZoneInfo(settings.timezone) if settings.timezone else None
    with _reading(settings) as connection:
        found = rates(connection, by, _period(since, until, zone), zone)
    click.echo(pretty(rates_json(found, since, until)) if as_json else rates_text(found))
    sys.exit(0 if found.total.shown else 1)


@feedback.command()
@_since
@_until
@click.option("--format", "form", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="File to write. [default: stdout]")
def export(since: date | None, until: date | None, form: str, output: Path | None) -> None:
    """Write every report on a card, without free text; exits 1 when there is none in that time.

    The columns are those of 45 CFR 170.315(b)(11)(ii)(C) (intervention, action, reason, user, date, location), and what
    leads back to the record: client, service, hook, card, uuid, knowledge, rules, suggestions.

    Example: cds-service feedback export --since 2026-01-01 --output feedback.csv
    """
    settings = read_environment()
    zone = ZoneInfo(settings.timezone) if settings.timezone else None
    with _reading(settings) as connection, _writing(output) as file:
        rows = exported(connection, _period(since, until, zone))
        count = _write_csv(rows, file) if form == "csv" else _write_ndjson(rows, file)
    click.echo(f"{count} reports", err=True)
    sys.exit(0 if count else 1)


@contextmanager
def _reading(settings: Settings) -> Iterator[Connection]:
    try:
        with opened_ledger(settings).reading() as connection:
            yield connection
    except LedgerUnavailable as error:
        fail(f"The ledger cannot be read ({error}); see CDS_DATA and CDS_DATABASE_URL.")


@contextmanager
def _writing(path: Path | None) -> Iterator[TextIO]:
    """The file, for its owner alone: it names users."""
    if path is None:
        yield sys.stdout
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        fail(f"{path}: cannot be written: {error.strerror}.")


def _period(since: date | None, until: date | None, zone: ZoneInfo | None) -> Period:
    """Whole days of the site."""
    if since and until and until < since:
        fail(f"--until {until}: that is before --since {since}.")
    return Period(
        _start_of(since, zone) if since else None, _start_of(until + timedelta(days=1), zone) if until else None
    )


def _start_of(day: date, zone: ZoneInfo | None) -> str:
    return instant(datetime.combine(day, time.min, zone).astimezone(UTC))


def _write_csv(rows: Iterator[Mapping[str, Any]], file: TextIO) -> int:
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    return sum(writer.writerow([_cell(row[name]) for name in COLUMNS]) > 0 for row in rows)


def _cell(value: str | list[str]) -> str:
    """A cell that no spreadsheet calculates."""
    text = value if isinstance(value, str) else " ".join(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _write_ndjson(rows: Iterator[Mapping[str, Any]], file: TextIO) -> int:
    return sum(file.write(f"{orjson.dumps(row).decode()}\n") > 0 for row in rows)
