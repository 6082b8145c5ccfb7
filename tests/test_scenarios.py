"""Every scenario through HTTP in-process: the answer is a contract, and rolling its dates changes nothing else."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.answer import answer
from cds_service.app import create_app
from cds_service.protocol.errors import CdsError
from cds_service.scenarios import Scenario, find_scenario, scenarios
from cds_service.settings import Settings

ALL = scenarios(["failed-esi"])


def outcome_of(service, scenario: Scenario, today: date) -> tuple[object, ...]:
    """What a scenario ends in, without its dates: cards with indicator, or the status of the refusal."""
    try:
        advice = answer(service, scenario.request(today), today).advice
    except CdsError as error:
        return (error.status, error.where)
    return tuple((advised.card.id, advised.card.indicator, advised.decision.rules) for advised in advice.cards)


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_the_answer_is_the_one_on_file(scenario):
    app = create_app(settings=Settings(log_level="error"), today=lambda: scenario.today)
    response = app.test_client().post("/cds-services/failed-esi", json=scenario.request())
    assert {"status": response.status_code, "body": response.get_json()} == scenario.response()


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
@given(days=st.integers(min_value=-2000, max_value=2000))
def test_a_story_ends_the_same_on_any_day(service, scenario, days):
    today = scenario.today + timedelta(days=days)
    assert outcome_of(service, scenario, today) == outcome_of(service, scenario, scenario.today)


def test_there_are_stories_enough_and_each_is_told():
    assert len(ALL) >= 14
    assert all(scenario.story.endswith(".") for scenario in ALL)


def test_rolling_moves_the_last_day_of_the_story_to_today():
    scenario = find_scenario("failed-and-reordered", ["failed-esi"])
    rolled = scenario.request(date(2030, 1, 31))
    session = rolled["prefetch"]["procedures"]["entry"][0]["resource"]
    assert session["performedDateTime"] == "2029-11-15"


def test_rolling_keeps_a_month_a_month_and_a_year_a_year():
    moved = date(2027, 6, 1)
    month = find_scenario("vague-date", ["failed-esi"]).request(moved)
    year = find_scenario("vague-and-long-ago", ["failed-esi"]).request(moved)
    assert month["prefetch"]["procedures"]["entry"][0]["resource"]["performedDateTime"] == "2027-03"
    assert year["prefetch"]["procedures"]["entry"][0]["resource"]["performedDateTime"] == "2023"
