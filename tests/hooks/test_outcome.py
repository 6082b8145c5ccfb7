"""Relief arithmetic: exact at every boundary, whatever the numbers."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.failed_esi.facts import Relief
from hooks.failed_esi.scores import Score, Site, relief_between
from hooks.failed_esi.sessions import History
from tests.chart import esi, hook_request, percent_relief, score

TENTHS = st.integers(1, 1000).map(lambda n: Decimal(n) / 10)


def measured(scale, value):
    return Score(scale, Site.LIMB, date(2026, 1, 1), None, Decimal(value), "Observation/x", ("", ""), False, ())


def relief(knowledge, scale, before, after):
    scale = knowledge.scales[scale]
    return relief_between(measured(scale, before), measured(scale, after), knowledge.criteria)


@given(before=TENTHS)
def test_exactly_half_is_substantial_and_a_hair_less_is_not(knowledge, before):
    half, hair = before / 2, Decimal("0.000001")
    assert relief(knowledge, "peg", before, half) is Relief.SUBSTANTIAL
    assert relief(knowledge, "peg", before, half + hair) is Relief.MCID


@given(before=TENTHS)
def test_exactly_thirty_percent_is_meaningful_and_a_hair_less_is_not(knowledge, before):
    limit, hair = before * Decimal("0.7"), Decimal("0.000001")
    assert relief(knowledge, "peg", before, limit) is Relief.MCID
    assert relief(knowledge, "peg", before, limit + hair) is Relief.NONE


def test_the_truth_table_of_the_specification(knowledge):
    expected = {8: "none", 7: "none", 6: "mcid", 5: "mcid", 4: "substantial", 3: "substantial"}
    assert {after: relief(knowledge, "nrs", 8, after).value for after in expected} == expected
    assert relief(knowledge, "nrs", 10, 7) is Relief.MCID
    assert relief(knowledge, "nrs", 3, 2) is Relief.MCID


def test_an_absolute_change_counts_at_its_threshold(knowledge):
    for scale, before, at in (("vas", 90, 70), ("odi", 60, 50), ("ndi", 60, 45), ("roland-morris", 20, 15)):
        assert relief(knowledge, scale, before, at) is Relief.MCID
        assert relief(knowledge, scale, before, at + Decimal("0.1")) is Relief.NONE


def test_a_scale_without_an_absolute_threshold_needs_the_percentage(knowledge):
    assert relief(knowledge, "peg", 9, Decimal("6.4")) is Relief.NONE


def test_worse_is_none(knowledge):
    assert relief(knowledge, "nrs", 5, 9) is Relief.NONE


def test_a_baseline_of_zero_has_no_ratio(knowledge):
    assert relief(knowledge, "bpi-interference", 0, 0) is Relief.NONE


def outcomes(decide, *scores, **more):
    return decide(hook_request(esi("2026-02-01", "p1", **more), *scores))


def test_pain_and_function_two_grades_apart_are_flagged(decide):
    from tests.chart import oswestry

    decision = outcomes(
        decide, score(8, "2026-01-30", "a"), score(8, "2026-03-30", "b"), oswestry(60, "2026-01-30", "c"),
        oswestry(20, "2026-03-30", "d"),
    )  # fmt: skip
    assert decision["sessions"][0]["flags"] == ["pain-function-discordant"]
    assert decision["outcome"] == "success"


def test_a_relapse_after_confirmed_success_is_flagged(decide):
    decision = outcomes(decide, score(8, "2026-01-30", "a"), score(3, "2026-05-03", "b"), score(8, "2026-05-30", "c"))
    assert (decision["outcome"], decision["sessions"][0]["flags"]) == ("success", ["recurrence"])


def test_an_amended_value_replaces_the_first_of_the_same_time(decide):
    first = score(2, "2026-03-30T09:00:00Z", "b", issued="2026-03-30T09:05:00Z")
    amended = score(8, "2026-03-30T09:00:00Z", "c", issued="2026-03-30T10:00:00Z", status="amended")
    assert outcomes(decide, score(8, "2026-01-30", "a"), amended, first)["outcome"] == "failed"


def test_of_several_values_in_one_day_the_last_counts(decide):
    morning = score(8, "2026-03-30T09:00:00Z", "b")
    evening = score(2, "2026-03-30T19:00:00Z", "a2")
    assert outcomes(decide, score(8, "2026-01-30", "a"), evening, morning)["outcome"] == "success"


def test_the_braden_total_is_never_a_pain_score(decide):
    decision = outcomes(
        decide, score(18, "2026-01-30", "a", code="38227-5"), score(18, "2026-03-30", "b", code="38227-5")
    )
    assert (decision["outcome"], decision["subtype"]) == ("unknown", "no-data")


def test_reported_severity_is_read_as_numeric_only_with_its_unit(decide):
    def with_unit(unit):
        pair = [
            score(8, "2026-01-30", "a", code="38208-5", unit=unit),
            score(8, "2026-03-30", "b", code="38208-5", unit=unit),
        ]
        return outcomes(decide, *pair)["outcome"]

    assert (with_unit("{score}"), with_unit(""), with_unit("mm")) == ("failed", "unknown", "unknown")


def test_reported_severity_and_the_numeric_scale_are_one_scale(decide):
    pair = [score(8, "2026-01-30", "a"), score(8, "2026-03-30", "b", code="38208-5")]
    assert outcomes(decide, *pair)["outcome"] == "failed"


def test_a_score_over_ten_is_no_numeric_rating(decide):
    assert outcomes(decide, score(80, "2026-01-30", "a"), score(80, "2026-03-30", "b"))["outcome"] == "unknown"


def test_raw_and_percent_forms_of_one_index_are_one_scale(decide):
    raw = score(0, "2026-01-30", "a", site="", code="97909-6", valueString="23/50")
    percent = score(46, "2026-03-30", "b", site="", code="97909-6", unit="%")
    assert outcomes(decide, raw, percent)["sessions"][0]["reliefPercent"] == 0


def test_relief_reported_without_naming_a_procedure_belongs_to_the_latest_session_before_it(decide):
    from tests.chart import percent_relief

    decision = decide(
        hook_request(esi("2025-10-01", "p1"), esi("2026-02-01", "p2"), percent_relief(10, "2026-03-30", "r"))
    )
    assert [session["outcome"] for session in decision["sessions"]] == ["unknown", "failed"]


def test_relief_that_names_another_procedure_says_nothing_here(decide):
    from tests.chart import percent_relief, procedure

    block = procedure("64493", "2026-03-15", "block")
    assert (
        decide(hook_request(esi("2026-02-01", "p1"), block, percent_relief(90, "2026-03-30", "r", "block")))["outcome"]
        == "unknown"
    )


def test_contradicting_coded_outcomes_of_one_session_state_nothing(decide):
    from tests.chart import SNOMED, coded

    left = esi("2026-02-01", "p1", outcome=coded(SNOMED, "385669000"))
    right = esi("2026-02-01", "p2", side="right", outcome=coded(SNOMED, "385671000"))
    assert decide(hook_request(left, right))["subtype"] == "no-data"


def test_an_empty_history_is_a_history():
    assert History((), (), (), ()).sessions == ()


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ({"valueString": "8/10"}, "success"),
        ({"valueString": "80 %"}, "success"),
        ({"valueRatio": {"numerator": {"value": 4}, "denominator": {"value": 5}}}, "success"),
        ({"valueQuantity": {"value": 80}}, "success"),
        ({"valueQuantity": {"value": 8, "unit": "%"}}, "failed"),
        ({"valueQuantity": {"value": 0}}, "failed"),
        ({"valueQuantity": {"value": 0.8}}, "unknown"),
        ({"valueQuantity": {"value": 1}}, "unknown"),
        ({"valueQuantity": {"value": 8, "unit": "points"}}, "unknown"),
        ({"valueQuantity": {"value": 180, "unit": "%"}}, "unknown"),
    ],
)
def test_reported_relief_is_a_percentage_or_says_nothing(decide, value, outcome):
    report = percent_relief(0, "2026-04-20", **value)
    assert decide(hook_request(esi("2026-03-16"), report))["outcome"] == outcome


def test_interference_near_zero_proves_nothing(decide):
    before, after = (score(0.5, on, on, site="", code="77565-0") for on in ("2026-03-10", "2026-04-20"))
    decision = decide(hook_request(esi("2026-03-16"), before, after))
    assert (decision["outcome"], decision["subtype"]) == ("unknown", "floor")
