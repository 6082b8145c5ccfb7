from datetime import date, datetime, timedelta, timezone

import pytest

from cds_service.fhir.dates import (
    DateSpan,
    day_span,
    days_between,
    month_span,
    months_before,
    read_moment,
    read_span,
    read_year,
    year_span,
    years_before,
)


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("2024", date(2024, 1, 1), date(2024, 12, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2024-02-29", date(2024, 2, 29), date(2024, 2, 29)),
        ("2024-03-05T09:30:00Z", date(2024, 3, 5), date(2024, 3, 5)),
        ("2024-03-05T23:59:59.123-05:00", date(2024, 3, 5), date(2024, 3, 5)),
        ("2024-03-05T09:30", date(2024, 3, 5), date(2024, 3, 5)),
        ("2024-03-05T24:00:00Z", date(2024, 3, 5), date(2024, 3, 5)),
        ("2016-12-31T23:59:60Z", date(2016, 12, 31), date(2016, 12, 31)),
        ("2023-08-01T16: 09: 08.000Z", date(2023, 8, 1), date(2023, 8, 1)),
        (" 2024-03-05 ", date(2024, 3, 5), date(2024, 3, 5)),
    ],
)
def test_a_date_is_the_days_it_may_mean(written, first, last):
    assert read_span(written) == DateSpan(first, last)


@pytest.mark.parametrize("written", ["", "yesterday", "2024-13", "2024-02-30", "24-02-01", "2024/02", 2024, None, {}])
def test_what_is_no_date_is_none(written):
    assert read_span(written) is None


def test_a_date_time_belongs_to_the_day_it_is_written_with():
    assert read_moment("2024-03-05T23:30:00-08:00").day == date(2024, 3, 5)


def test_a_clock_is_read_where_one_is_written():
    moment = read_moment("2024-03-05T09:30:00-05:00")
    assert moment.clock == datetime(2024, 3, 5, 9, 30, tzinfo=timezone(timedelta(hours=-5)))


@pytest.mark.parametrize("written", ["2024-03-05", "2024-03-05T24:00:00Z", "2024-03-05T25:61:00Z"])
def test_an_unreadable_clock_leaves_the_day(written):
    moment = read_moment(written)
    assert (moment.day, moment.clock) == (date(2024, 3, 5), None)


def test_later_on_the_same_day_is_told_by_comparable_clocks_only():
    morning, noon = read_moment("2024-03-05T09:00:00Z"), read_moment("2024-03-05T12:00:00Z")
    without_offset = read_moment("2024-03-05T12:00:00")
    assert noon.is_after(morning)
    assert not morning.is_after(noon)
    assert not without_offset.is_after(morning)
    assert not read_moment("2024-03-05").is_after(morning)


def test_a_month_is_after_a_day_only_when_all_of_it_is():
    assert read_moment("2024-04").is_after(read_moment("2024-03-31"))
    assert not read_moment("2024-03").is_after(read_moment("2024-03-05"))


def test_an_imprecise_span_has_no_day():
    assert month_span(2024, 3).day is None
    assert day_span(date(2024, 3, 5)).day == date(2024, 3, 5)


@pytest.mark.parametrize(
    ("span", "written"),
    [
        (day_span(date(2024, 3, 5)), "2024-03-05"),
        (month_span(2024, 2), "2024-02"),
        (year_span(2024), "2024"),
        (DateSpan(date(2024, 3, 5), date(2024, 4, 1)), "2024-03-05 to 2024-04-01"),
    ],
)
def test_a_span_is_written_as_precisely_as_it_is_known(span, written):
    assert str(span) == written


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2018", year_span(2018)), ("around 2018", year_span(2018)), ("2017 or 2018", None), ("L4", None), (2018, None)],
)
def test_a_year_is_read_from_text_when_exactly_one_stands_there(text, expected):
    assert read_year(text) == expected


def test_months_are_calendar_months():
    assert months_before(date(2026, 6, 1), 12) == date(2025, 6, 1)
    assert months_before(date(2024, 2, 29), 12) == date(2023, 2, 28)
    assert months_before(date(2026, 3, 31), 1) == date(2026, 2, 28)
    assert years_before(date(2026, 6, 1), 18) == date(2008, 6, 1)


def test_days_are_whole_calendar_days():
    assert days_between(date(2026, 2, 21), date(2026, 5, 22)) == 90
    assert days_between(date(2026, 5, 22), date(2026, 2, 21)) == -90
