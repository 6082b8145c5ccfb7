"""What the commands share: reading what they are given, and ending with one line that says what to do."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import click
import orjson

from cds_service.app import load_services, local_day
from cds_service.arrangement import load_dialect
from cds_service.ledger.database import LedgerError
from cds_service.ledger.ledger import Ledger, open_ledger
from cds_service.protocol.dialect import DialectError
from cds_service.scenarios import Scenario, UnknownScenario, find_scenario
from cds_service.service import KnowledgeError, Service
from cds_service.settings import Settings, SettingsError, read_settings

_FIRST_YEAR, _LAST_YEAR = 1900, 2200  # further away, the look-back would leave the calendar


class Day(click.ParamType[date]):
    """A calendar day, YYYY-MM-DD."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Parse the day."""
        try:
            day = value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day; write it as YYYY-MM-DD.", param, ctx)
        if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            self.fail(f"{value!r} is not between {_FIRST_YEAR} and {_LAST_YEAR}.", param, ctx)
        return day


def read_environment() -> Settings:
    """The settings; ends the command when a variable is unusable."""
    try:
        return read_settings()
    except SettingsError as error:
        fail(str(error))


def loaded_services(settings: Settings) -> tuple[Service, ...]:
    """The services of this site; ends the command when its files do not fit together."""
    try:
        services = load_services(settings)
        load_dialect(settings, services)
    except KnowledgeError as error:
        fail(f"{error} `cds-service knowledge check` checks all files.")
    except DialectError as error:
        fail(f"CDS_DIALECT_FILE: {error}.")
    return services


def opened_ledger(settings: Settings) -> Ledger:
    """The ledger; ends the command when it cannot be opened."""
    try:
        return open_ledger(settings)
    except LedgerError as error:
        fail(str(error))


def local_today() -> date:
    """What day it is at this site."""
    return local_day(read_environment().timezone)


def scenario_named(name: str, service: Service) -> Scenario:
    """A story by its name; ends the command when there is none."""
    try:
        return find_scenario(name, [service.id])
    except UnknownScenario:
        fail(f"{name}: there is no scenario of this name; `cds-service fixtures` lists them.")


def read_file(path: Path) -> bytes:
    """The bytes of a file, or of stdin for "-"; ends the command when it cannot be read."""
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        fail(f"{path}: cannot be read: {error.strerror}.")


def pretty(value: Any) -> str:
    """JSON for people."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def fail(message: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    click.echo(f"cds-service: {' '.join(message.split())}", err=True)
    sys.exit(2)
