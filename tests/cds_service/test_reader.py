"""Reading real, ugly R4 data: facts are kept, and what cannot be read is named."""

from datetime import date
from decimal import Decimal

import pytest

from cds_service.fhir.codes import CodeEntry, CodeIndex, Coding
from cds_service.fhir.dates import day_span
from cds_service.fhir.evidence import Evidence
from cds_service.fhir.reader import read_concept, read_number, read_record
from cds_service.fhir.record import Concept
from tests.chart import coded, condition, esi, medication, procedure, score

CODES = CodeIndex(
    [
        CodeEntry("esi", "cpt", "64483", "a session"),
        CodeEntry("nrs", "loinc", "72514-3", "a score"),
        CodeEntry("radicular", "icd-10-cm", "M54.1", "a diagnosis", is_prefix=True),
    ]
)


def read(*resources, words=("epidural", "gabapentin", "triamcinolone", "nortriptyline")):
    by_type = {}
    for resource in resources:
        by_type.setdefault(resource["resourceType"], []).append(resource)
    return read_record(Evidence(by_type), CODES, lambda _, text: any(word in text.lower() for word in words))


def only(record, member):
    (found,) = getattr(record, member)
    return found


def test_only_what_matters_is_read():
    record = read(esi("2026-03-16"), procedure("99213", "2026-03-16", "visit"), condition("E11.9"))
    assert [p.reference for p in record.procedures] == ["Procedure/p1"]
    assert record.conditions == ()


def test_what_a_code_does_not_tell_the_words_may():
    local = {
        **procedure("", "2026-03-16"),
        "code": {"coding": [{"system": "urn:local", "code": "EAP1"}], "text": "Epidural"},
    }
    assert only(read(local), "procedures").code == Concept((Coding("urn:local", "EAP1"),), "Epidural")


@pytest.mark.parametrize(
    ("written", "performed", "started"),
    [
        ({"performedDateTime": "2026-03-16"}, date(2026, 3, 16), date(2026, 3, 16)),
        ({"performedPeriod": {"start": "2026-03-16", "end": "2026-03-17"}}, date(2026, 3, 17), date(2026, 3, 16)),
        ({"performedPeriod": {"start": "2026-03-16"}}, date(2026, 3, 16), date(2026, 3, 16)),
        ({"performedPeriod": {"end": "2026-03-17"}}, date(2026, 3, 17), date(2026, 3, 17)),
        (
            {"performedDateTime": "2026-01-01", "performedPeriod": {"start": "2026-03-16", "end": "2026-03-16"}},
            date(2026, 3, 16),
            date(2026, 3, 16),
        ),
    ],
)
def test_the_end_of_a_period_comes_first_then_its_start_then_a_date(written, performed, started):
    resource = {**esi(""), **written}
    if "performedDateTime" not in written:
        del resource["performedDateTime"]
    found = only(read(resource), "procedures")
    assert (found.performed.day, found.started.day) == (performed, started)


def test_a_year_in_words_is_a_year_and_no_date_is_none():
    resource = esi("")
    del resource["performedDateTime"]
    assert only(read(resource), "procedures").performed is None
    assert str(only(read({**resource, "performedString": "around 2024"}), "procedures").performed.days) == "2024"


def test_an_unreadable_date_is_named_and_the_procedure_kept():
    record = read(esi("last spring"))
    assert only(record, "procedures").performed is None
    assert record.unreadable == ("Procedure/p1: performedDateTime",)


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ({"status": "completed"}, "completed"),
        ({"status": "entered-in-error "}, "entered-in-error"),
        ({"status": "Completed"}, "completed"),
        ({"status": "completed", "notPerformed": True}, "not-done"),
        ({"status": "completed", "notDone": True}, "not-done"),
        ({"status": "completed", "notDone": False}, "completed"),
        ({"status": "completed", "notPerformed": "true"}, "not-done"),
        ({"status": None}, ""),
    ],
)
def test_a_status_is_compared_trimmed_and_a_not_done_flag_counts(written, status):
    assert only(read({**esi("2026-03-16"), **written}), "procedures").status == status


@pytest.mark.parametrize(
    ("value", "number", "out_of"),
    [
        ({"valueQuantity": {"value": 7, "unit": "{score}"}}, "7", None),
        ({"valueQuantity": {"value": 3.5}}, "3.5", None),
        ({"valueQuantity": {"value": "7"}}, "7", None),
        ({"valueInteger": 7}, "7", None),
        ({"valueString": "7"}, "7", None),
        ({"valueString": " 7/10 "}, "7", "10"),
        ({"valueString": "7 out of 10"}, "7", "10"),
        ({"valueString": "40%"}, "40", None),
        ({"valueRatio": {"numerator": {"value": 7}, "denominator": {"value": 10}}}, "7", "10"),
        ({"valueCodeableConcept": {"text": "7"}}, "7", None),
        (
            {"valueCodeableConcept": {"coding": [{"system": "http://loinc.org", "code": "LA1", "display": "8"}]}},
            "8",
            None,
        ),
    ],
)
def test_a_number_is_read_from_any_value(value, number, out_of):
    found = only(read(score(0, "2026-03-10", **value)), "observations")
    assert (found.value, found.out_of) == (Decimal(number), Decimal(out_of) if out_of else None)


@pytest.mark.parametrize(
    "value",
    [
        {"valueString": "unable"},
        {"valueString": "7-8"},
        {"valueQuantity": {"value": 7, "comparator": "<"}},
        {"valueQuantity": {"value": True}},
        {"valueQuantity": {"value": "NaN"}},
        {"valueRatio": {"numerator": {}}},
        {"valueInteger": "many"},
    ],
)
def test_a_value_that_is_no_exact_number_is_named_and_left_out(value):
    record = read(score(0, "2026-03-10", **value))
    assert (record.observations, record.unreadable) == ((), ("Observation/o1: value",))


@pytest.mark.parametrize(
    "value", [{"valueQuantity": {"value": None}}, {"dataAbsentReason": {"text": "masked"}, "valueString": ""}]
)
def test_an_absent_value_is_neither_read_nor_unreadable(value):
    record = read(score(0, "2026-03-10", **value))
    assert (record.observations, record.unreadable) == ((), ())


@pytest.mark.parametrize(
    ("status", "is_read"),
    [
        ("final", True),
        ("amended", True),
        ("corrected", True),
        ("preliminary", False),
        ("registered", False),
        ("cancelled", False),
        ("entered-in-error ", False),
        ("unknown", False),
    ],
)
def test_only_reported_observations_count(status, is_read):
    assert bool(read(score(7, "2026-03-10", status=status)).observations) is is_read


@pytest.mark.parametrize(
    "effective",
    [
        {"effectiveDateTime": "2026-03-10"},
        {"effectivePeriod": {"start": "2026-03-09", "end": "2026-03-10"}},
        {"effectivePeriod": {"start": "2026-03-10"}},
        {"effectiveInstant": "2026-03-10T08:00:00Z"},
        {"effectiveTiming": {"event": ["2026-03-10"]}},
        {"issued": "2026-03-10T08:00:00Z"},
    ],
)
def test_the_time_of_an_observation_is_found_wherever_it_stands(effective):
    resource = score(7, "")
    del resource["effectiveDateTime"]
    assert only(read({**resource, **effective}), "observations").measured.day == date(2026, 3, 10)


def test_a_component_of_a_panel_is_read_with_the_date_of_the_panel():
    panel = {
        **score(0, "2026-03-10", code="85353-1", valueString=""),
        "component": [
            {"code": coded("http://loinc.org", "8867-4"), "valueQuantity": {"value": 72}},
            {"code": coded("http://loinc.org", "72514-3"), "valueInteger": 7},
        ],
    }
    found = only(read(panel), "observations")
    assert (found.value, found.reference, found.measured.day) == (Decimal(7), "Observation/o1", date(2026, 3, 10))


@pytest.mark.parametrize(
    ("written", "active"),
    [
        ({}, True),
        ({"clinicalStatus": None}, True),
        ({"clinicalStatus": "active"}, True),
        ({"clinicalStatus": {"coding": [{"code": "recurrence"}]}}, True),
        ({"clinicalStatus": {"coding": [{"code": "relapse"}]}}, True),
        ({"clinicalStatus": {"coding": [{"extension": [{"url": "x", "valueCode": "unknown"}]}]}}, True),
        ({"clinicalStatus": {"coding": [{"code": "resolved"}]}}, False),
        ({"clinicalStatus": {"coding": [{"code": "remission"}]}}, False),
        ({"abatementDateTime": "2026-01-01"}, False),
        ({"abatementBoolean": True}, False),
        ({"abatementBoolean": False}, True),
    ],
)
def test_a_condition_without_a_status_is_active_unless_it_has_abated(written, active):
    assert only(read({**condition("M54.16"), **written}), "conditions").active is active


@pytest.mark.parametrize(
    ("verification", "is_read"),
    [
        ("confirmed", True),
        ("unconfirmed", True),
        ("provisional", True),
        ("refuted", False),
        ("entered-in-error", False),
    ],
)
def test_a_refuted_condition_is_none(verification, is_read):
    resource = {**condition("M54.16"), "verificationStatus": {"coding": [{"code": verification}]}}
    assert bool(read(resource).conditions) is is_read


def test_an_onset_is_read_as_date_period_age_or_year():
    def onset(**written):
        person = {"resourceType": "Patient", "id": "pat-1", "birthDate": "1980-05-01"}
        return only(read({**condition("M54.16", ""), **written}, person), "conditions").onset

    assert onset(onsetDateTime="2025-08-05") == day_span(date(2025, 8, 5))
    assert onset(onsetPeriod={"start": "2025-08-05"}) == day_span(date(2025, 8, 5))
    assert str(onset(onsetString="since 2019")) == "2019"
    assert str(onset(onsetAge={"value": 44, "code": "a"})) == "2024-05-01 to 2025-05-01"
    assert onset(onsetRange={"low": {"value": 1}}) is None


def test_a_drug_may_be_coded_contained_beside_it_or_only_named():
    def words(**written):
        drug = {"resourceType": "Medication", "id": "med-1", "code": {"text": "nortriptyline"}}
        order = {**medication("", "m1"), **written}
        del order["medicationCodeableConcept"]
        return only(read(order, drug), "medications").code.words

    contained = [{"resourceType": "Medication", "id": "c1", "code": {"text": "gabapentin"}}]
    assert words(medicationReference={"reference": "#c1"}, contained=contained) == "gabapentin"
    assert words(medicationReference={"reference": "Medication/med-1"}) == "nortriptyline"
    assert words(medicationReference={"reference": "https://x/Medication/med-1/_history/1"}) == "nortriptyline"
    assert words(medicationReference={"reference": "Medication/gone", "display": "gabapentin"}) == "gabapentin"


def test_a_substance_used_may_be_referenced():
    drug = {"resourceType": "Medication", "id": "med-1", "code": {"text": "triamcinolone"}}
    session = esi("2026-03-16", usedReference=[{"reference": "Medication/med-1"}])
    assert only(read(session, drug), "procedures").used[0].words == "triamcinolone"


def test_a_course_of_medicine_is_read_from_any_period():
    course = {"start": "2026-01-01", "end": "2026-02-01"}
    by_dispense = medication("gabapentin", dispenseRequest={"validityPeriod": course})
    statement = {**medication("gabapentin"), "resourceType": "MedicationStatement", "effectivePeriod": course}
    for resource in (by_dispense, statement):
        found = only(read(resource), "medications")
        assert (found.first, found.last) == (day_span(date(2026, 1, 1)), day_span(date(2026, 2, 1)))


@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        ("MedicationStatement", {"wasNotTaken": True}),
        ("MedicationStatement", {"taken": "n"}),
        ("MedicationAdministration", {"wasNotGiven": True}),
        ("MedicationAdministration", {"notGiven": True}),
    ],
)
def test_a_medicine_that_was_not_taken_or_given_is_no_course(kind, flag):
    resource = {**medication("gabapentin"), "resourceType": kind, "status": "completed"}
    assert len(read(resource).medications) == 1
    assert read({**resource, **flag}).medications == ()


def test_of_two_versions_of_a_resource_the_later_one_counts():
    old = {**score(8, "2026-03-10"), "meta": {"lastUpdated": "2026-03-10T08:00:00Z"}}
    new = {**score(5, "2026-03-10"), "meta": {"lastUpdated": "2026-03-11T08:00:00Z"}}
    assert only(read(old, new), "observations").value == only(read(new, old), "observations").value == 5


def test_a_concept_survives_wrong_cardinality_and_empty_codings():
    assert read_concept({"coding": {"system": "http://loinc.org", "code": "1-8"}}).codings == (Coding("loinc", "1-8"),)
    assert read_concept([{"text": "a"}, {"text": "b"}]).words == "a; b"
    assert read_concept({"coding": [{}, None, 7, {"code": 7}, {"code": ""}]}) == Concept()
    assert read_concept("text") == Concept()


@pytest.mark.parametrize("value", [None, True, "", "x", "inf", [], {}])
def test_what_is_no_number_is_none(value):
    assert read_number(value) is None


def test_a_number_keeps_its_exact_decimals():
    assert read_number(3.1) == Decimal("3.1")
    assert read_number(" 12.50 ") == Decimal("12.5")


def test_resources_without_id_or_with_garbage_never_raise():
    record = read(
        {"resourceType": "Procedure", "code": coded("http://www.ama-assn.org/go/cpt", "64483"), "performedPeriod": 7},
        {"resourceType": "Observation", "code": [{"coding": {"code": 7}}], "component": [None, {}]},
        {"resourceType": "Condition", "code": {"coding": "M54.16"}, "stage": None},
        {"resourceType": "MedicationRequest", "medicationReference": 7, "dispenseRequest": []},
        {"resourceType": "AllergyIntolerance", "code": None},
        {"resourceType": "Coverage", "payor": [{}]},
        {"resourceType": "Patient", "birthDate": 1972},
    )
    assert only(record, "procedures").reference == "Procedure without id"
    assert "Patient without id: birthDate" in record.unreadable


def test_what_is_not_to_be_done_or_only_proposed_is_neither_taken_nor_ordered():
    for member in ({"doNotPerform": True}, {"intent": "proposal"}, {"intent": "option"}):
        record = read(medication("gabapentin", **member))
        assert record.medications == ()
        assert all(order.is_prohibition for order in record.orders)


def test_a_reason_may_be_contained_or_only_named():
    contained = [{"resourceType": "Condition", "id": "r", "code": {"text": "sciatica"}}]
    inside = esi("2026-03-16", contained=contained, reasonReference=[{"reference": "#r"}])
    named = esi("2026-03-16", reasonReference=[{"reference": "Condition/gone", "display": "sciatica"}])
    for resource in (inside, named):
        assert [reason.words for reason in only(read(resource), "procedures").reasons] == ["sciatica"]


@pytest.mark.parametrize("identity", ["", "a b", "x" * 256, "<b>", 7, None])
def test_an_id_that_is_none_is_not_repeated(identity):
    (found,) = read({**esi("2026-03-16"), "id": identity}).procedures
    assert found.reference == "Procedure without id"


@pytest.mark.parametrize("written", ["1e99999999", "1e13", "1e-13", "0" * 25, "9" * 5000, "7/0", "7/" + "0" * 20])
def test_a_number_beyond_any_measurement_is_named_and_left_out(written):
    record = read(score(0, "2026-03-10", valueString=written))
    assert (record.observations, record.unreadable) == ((), ("Observation/o1: value",))


def test_a_ratio_over_nothing_is_no_number():
    nothing = {"numerator": {"value": 7}, "denominator": {"value": 0}}
    assert read(score(0, "2026-03-10", valueRatio=nothing)).observations == ()


@pytest.mark.parametrize("age", [-1, 151, 1e12, "1e12"])
def test_an_onset_at_an_impossible_age_is_not_known(age):
    onset = condition("M54.16", "", onsetAge={"value": age, "code": "a"})
    assert only(read(onset), "conditions").onset is None


def test_a_text_is_read_only_as_far_as_a_text_of_its_kind_can_reach():
    found = only(read(esi("2026-03-16", note=[{"text": "x" * 20_000}], text="nerve root " * 999)), "procedures")
    assert (len(found.notes), len(found.code.words)) == (10_000, 1_000)
