"""FHIR dates as intervals: "2024-03" is a month, not the first of it."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime, timedelta


@dataclass(frozen=True, order=True, slots=True)
class DateSpan:
    """The days on which something may have happened, both ends included."""

    first: date
    last: date

    @property
    def day(self) -> date | None:
        """The one day it was, or None while several are possible."""
        return self.first if self.first == self.last else None

    def __str__(self) -> str:
        """Write the date as precisely as it is known: a day, a month, a year, or both ends."""
        if self.day:
            return self.first.isoformat()
        if self == month_span(self.first.year, self.first.month):
            return f"{self.first:%Y-%m}"
        if self == year_span(self.first.year):
            return f"{self.first:%Y}"
        return f"{self.first.isoformat()} to {self.last.isoformat()}"


@dataclass(frozen=True, slots=True)
class Moment:
    """A date-time: the day it is written with, and the clock time when one was written."""

    days: DateSpan
    clock: datetime | None = None

    @property
    def day(self) -> date | None:
        """The one day, or None when only a month or a year was written."""
        return self.days.day

    def is_after(self, other: Moment) -> bool:
        """Whether this is certainly later: by day, or by the clock when both clocks can be compared."""
        if self.days.first > other.days.last:
            return True
        if self.clock is None or other.clock is None:
            return False
        if (self.clock.tzinfo is None) != (other.clock.tzinfo is None):
            return False  # a time without an offset could lie hours either way
        return self.clock > other.clock


def day_span(day: date) -> DateSpan:
    """One day."""
    return DateSpan(day, day)


def month_span(year: int, month: int) -> DateSpan:
    """All days of a month."""
    return DateSpan(date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1]))


def year_span(year: int) -> DateSpan:
    """All days of a year."""
    return DateSpan(date(year, 1, 1), date(year, 12, 31))


def months_before(day: date, months: int) -> date:
    """The same day of the month so many calendar months earlier, or the last day of a shorter month."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def years_before(day: date, years: int) -> date:
    """The same calendar day so many years earlier."""
    return months_before(day, 12 * years)


def read_moment(value: object) -> Moment | None:
    """Read a FHIR date, dateTime or instant; None when no date can be made of it.

    Real servers also send spaces inside the time, hour 24, second 60 and times without an offset: the day
    written is the day meant, and only the clock is given up.
    """
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        if len(text) == 4:
            return Moment(year_span(int(text)))
        if len(text) == 7:
            return Moment(month_span(int(text[:4]), int(text[5:])) if text[4] == "-" else _no_date())
        return Moment(day_span(date.fromisoformat(text[:10])), _read_clock(text))
    except ValueError:
        return None


def read_span(value: object) -> DateSpan | None:
    """Read a FHIR date as the days it may mean."""
    moment = read_moment(value)
    return moment.days if moment else None


def read_year(value: object) -> DateSpan | None:
    """Read the year from free text such as "2018" or "around 2018"; None unless exactly one stands there."""
    if not isinstance(value, str):
        return None
    years = {word for word in value.replace("/", " ").replace("-", " ").split() if _is_year(word)}
    return year_span(int(years.pop())) if len(years) == 1 else None


def days_between(earlier: date, later: date) -> int:
    """Whole calendar days from one date to another."""
    return later.toordinal() - earlier.toordinal()


def days_before(day: date, days: int) -> date:
    """The date so many days earlier."""
    return day - timedelta(days=days)


def _is_year(word: str) -> bool:
    return len(word) == 4 and word.isascii() and word.isdigit() and 1900 <= int(word) <= 2200


def _no_date() -> DateSpan:
    raise ValueError("not a date")


def _read_clock(text: str) -> datetime | None:
    if len(text) == 10:
        return None
    try:
        return datetime.fromisoformat(text.replace(" ", ""))
    except ValueError:
        return None
