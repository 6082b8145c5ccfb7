"""The scenarios in fixtures/: a story, a hook request and the answer it must get; dates can be rolled to any day."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson

from cds_service.fhir.dates import month_span, year_span

_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(T.*)?")
_MONTH = re.compile(r"(\d{4})-(\d{2})")
_YEAR = re.compile(r"\d{4}")
# Only members that FHIR defines as dates are rolled, so that a code or an id that looks like a year stays.
_DATE_MEMBERS = re.compile(r"(.*(Date|DateTime|Instant|On|Timestamp)|birthDate|start|end|issued|event|recorded\w*)")


class UnknownScenario(Exception):
    """No scenario of that name."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One story: what happened, what day it is, and what the EHR asks."""

    name: str
    story: str
    today: date
    folder: Path

    def request(self, today: date | None = None) -> dict[str, Any]:
        """The hook request, its dates rolled so that the story ends on the given day."""
        body: dict[str, Any] = orjson.loads((self.folder / "request.json").read_bytes())
        return body if today is None else roll(body, today - self.today)

    def response(self) -> dict[str, Any]:
        """The status and body that the request must be answered with, on the day of the story."""
        expected: dict[str, Any] = orjson.loads((self.folder / "response.json").read_bytes())
        return expected


def scenarios(services: Iterable[str]) -> tuple[Scenario, ...]:
    """All scenarios of these services, by name."""
    folders = (_root() / service.replace("-", "_") for service in services)
    return tuple(_read(file.parent) for folder in folders for file in sorted(folder.glob("*/scenario.toml")))


def find_scenario(name: str, services: Iterable[str]) -> Scenario:
    """The scenario of that name. Raises UnknownScenario."""
    for scenario in scenarios(services):
        if scenario.name == name:
            return scenario
    raise UnknownScenario(name)


def roll(value: Any, by: timedelta, member: str = "") -> Any:
    """Move every date of a request by some days; a month or a year stays a month or a year."""
    if isinstance(value, dict):
        return {name: roll(item, by, name) for name, item in value.items()}
    if isinstance(value, list):
        return [roll(item, by, member) for item in value]
    if isinstance(value, str) and _DATE_MEMBERS.fullmatch(member):
        return _roll_date(value, by)
    return value


def _roll_date(text: str, by: timedelta) -> str:
    if match := _DAY.fullmatch(text):
        return (date.fromisoformat(match[1]) + by).isoformat() + (match[2] or "")
    if match := _MONTH.fullmatch(text):
        return f"{_middle(month_span(int(match[1]), int(match[2])).first, 14) + by:%Y-%m}"
    if _YEAR.fullmatch(text):
        return f"{_middle(year_span(int(text)).first, 182) + by:%Y}"
    return text


def _middle(first: date, days: int) -> date:
    return first + timedelta(days=days)


def _root() -> Path:
    """The fixtures: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "fixtures"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "fixtures"


def _read(folder: Path) -> Scenario:
    table = tomllib.loads((folder / "scenario.toml").read_text(encoding="utf-8"))
    return Scenario(folder.name, table["story"], table["today"], folder)
