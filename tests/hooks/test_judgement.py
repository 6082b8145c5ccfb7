"""What a judgement says beside the outcome: the numbers shown, the resources and rules it rests on, its flags."""

from datetime import date, timedelta

import pytest

from tests.chart import condition, esi, hook_request, interlaminar, oswestry, percent_relief, procedure, score

DAY = date(2026, 1, 16)


@pytest.fixture
def judged(decide):
    """The decision about an injection on a day of January and what was measured so many days later."""

    def run(*measured, today=date(2026, 6, 1)):
        return decide(hook_request(esi(DAY.isoformat()), condition("M54.16"), *measured), today)

    return run


def on(day):
    return (DAY + timedelta(days=day)).isoformat()


def pain(value, day, **more):
    return score(value, on(day), f"pain{day}", **more)


def function(value, day):
    return oswestry(value, on(day), f"function{day}")


def interference(value, day):
    return score(value, on(day), f"interference{day}", site="", code="77865-4")


def visual(value, day):
    return score(value, on(day), f"visual{day}", code="38214-3", unit="mm")


def shown(decision):
    """The scale, the two values and the percentage that stand for the outcome."""
    session = decision["sessions"][0]
    before, after = session["baseline"], session["followUp"]
    return before["scale"], before["value"], after["value"], session.get("reliefPercent")


def test_the_greater_relief_is_shown(judged):
    pain_first = judged(pain(8, -1), pain(3, 40), function(60, -1), function(30, 40))
    function_first = judged(pain(8, -1), pain(4, 40), function(60, -1), function(20, 40))
    assert shown(pain_first)[1:] == (8, 3, 62.5)
    assert shown(function_first)[1:] == (60, 20, 66.7)


def test_of_equal_relief_that_of_pain_is_shown(judged):
    assert shown(judged(visual(80, -1), visual(40, 40), function(60, -1), function(30, 40)))[1:] == (80, 40, 50)


def test_a_percentage_is_shown_before_a_score_that_has_none(judged):
    assert shown(judged(interference(70, -1), interference(60, 40), pain(8, -1), pain(5, 40)))[1:] == (8, 5, 37.5)


def test_a_score_without_a_percentage_is_shown_alone(judged):
    assert shown(judged(interference(70, -1), interference(60, 40)))[1:] == (70, 60, None)


@pytest.mark.parametrize(
    ("values", "shows"),
    [
        ({20: 3, 60: 8}, 8),  # lost early: the last one
        ({20: 3, 60: 2}, 2),  # early relief that may last: the last one
        ({20: 3, 100: 8, 130: 7}, 7),  # lost later on: the last one
        ({100: 2, 130: 8}, 2),  # sustained: the best grade, also when it was lost again
        ({100: 5, 130: 8}, 5),
        ({100: 2, 130: 4}, 4),  # twice the best grade: the later one
        ({20: 3, 200: 3, 260: 2}, 2),
        ({200: 3, 260: 6.5}, 3),  # late success: the best grade
        ({200: 6.5, 260: 5.5}, 5.5),
    ],
)
def test_a_success_is_shown_at_its_best_and_a_loss_at_its_end(judged, values, shows):
    follow_ups = (pain(value, day) for day, value in values.items())
    assert shown(judged(pain(8, -1), *follow_ups, today=date(2027, 1, 10)))[2] == shows


def test_the_evidence_is_the_injection_and_what_was_measured_at_the_point_shown(judged):
    decision = judged(pain(8, -1), pain(8, 20), pain(8, 40), function(60, -1), function(60, 40))
    (imaging, *_) = decision["options"]
    assert imaging == "repeat-imaging"
    assert set(decision["evidence"]) >= {
        "Procedure/p1",
        "Observation/pain-1",
        "Observation/pain40",
        "Observation/function-1",
        "Observation/function40",
    }
    assert "Observation/pain20" not in decision["evidence"]


def test_reported_relief_is_shown_and_named_as_evidence(judged):
    decision = judged(percent_relief(20, on(40), "said"))
    assert decision["sessions"][0]["reliefPercent"] == 20
    assert {"Procedure/p1", "Observation/said"} <= set(decision["evidence"])


def test_a_contradiction_names_both_sides_and_is_no_evidence_of_anything(call):
    measured = (pain(8, -1), pain(8, 40), percent_relief(60, on(42), "said"))
    (card,) = call(hook_request(esi(on(0)), condition("M54.16"), *measured)).json["cards"]
    decision = card["extension"]["org.cds-service.decision"]
    assert (decision["outcome"], decision["subtype"], decision["evidenceGrade"]) == ("unknown", "conflict", "D")
    assert {"Observation/pain-1", "Observation/pain40", "Observation/said"} <= set(decision["evidence"])
    assert shown(decision)[1:3] == (8, 8)
    assert "60" in card["detail"]
    assert on(40) in card["detail"]
    assert on(42) in card["detail"]


@pytest.mark.parametrize(
    ("chart", "named"),
    [
        ((), set()),
        ((pain(8, -1), pain(8, 40)), {"OBS-2"}),
        ((percent_relief(20, on(40)),), {"OBS-8"}),
        ((pain(8, -1), pain(8, 40), percent_relief(20, on(42))), {"OBS-2"}),
        (
            (pain(8, -1), pain(8, 40), score(8, on(-1), "b1", site="back"), score(8, on(40), "b2", site="back")),
            {"OBS-2", "OBS-5"},
        ),
    ],
)
def test_the_trace_names_the_rules_by_which_values_were_chosen(judged, chart, named):
    assert {rule for rule in judged(*chart)["rules"] if rule.startswith("OBS-")} == named


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({41: 8}, ["early-window"]),
        ({42: 8}, []),
        ({20: 8, 42: 8}, []),
        ({30: 5}, []),  # partial
        ({60: 3, 91: 8}, ["late-loss"]),
        ({60: 3, 80: 8, 91: 8}, []),  # the loss was seen before day 90
        ({91: 3}, []),
        ({91: 3, 130: 8}, ["recurrence"]),
        ({91: 8}, []),
        ({200: 8}, []),
    ],
)
def test_flags_say_what_qualifies_an_outcome(judged, values, flags):
    decision = judged(pain(8, -1), *(pain(value, day) for day, value in values.items()), today=date(2026, 12, 31))
    assert decision["sessions"][0].get("flags", []) == flags


@pytest.mark.parametrize(("after", "flags"), [((5, 45), []), ((4, 45), []), ((8, 45), []), ((4, 60), ["discordant"])])
def test_only_two_grades_between_pain_and_function_are_flagged(judged, after, flags):
    decision = judged(pain(8, -1), function(60, -1), pain(after[0], 50), function(after[1], 50))
    assert [flag.removeprefix("pain-function-") for flag in decision["sessions"][0].get("flags", [])] == flags


def test_two_levels_of_one_day_are_both_of_the_session(decide):
    second = procedure("64484", on(0), "p2", side="left", level="L4-5")
    assert decide(hook_request(esi(on(0)), second))["sessions"][0]["levels"] == ["L4-5", "L5-S1"]


def test_an_injection_between_the_laminae_for_axial_pain_is_judged_by_pain_of_the_back_too(decide):
    back = (score(8, on(-1), "b1", site="back"), score(2, on(40), "b2", site="back"))
    decision = decide(hook_request(interlaminar(on(0)), condition("M47.816"), pain(8, -1), pain(8, 40), *back))
    assert decision["outcome"] == "success"
