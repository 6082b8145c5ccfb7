"""The completeness facts (F-1 to F-13) at their edges, and what a card says of the work-up."""

from datetime import date, timedelta

import pytest

from tests.chart import (
    PATIENT_ID,
    RXNORM,
    coded,
    condition,
    esi,
    hook_request,
    medication,
    percent_relief,
    procedure,
    score,
    therapy,
)

TODAY = date(2026, 6, 1)
FAILED = (esi("2026-03-16"), score(8, "2026-03-10", "o1"), score(8, "2026-04-20", "o2"))
NERVE = condition("M54.16", name="nerve")
AXIAL = condition("M47.816", name="axial")
IMAGE = procedure("72148", "2026-03-20", "image")


def ago(days):
    return (TODAY - timedelta(days=days)).isoformat()


def named(icd, text, name="other", **more):
    """A diagnosis whose words say more than its code."""
    found = condition(icd, name=name, **more)
    return {**found, "code": {**found["code"], "text": text}}


def block(on, name, percent=None, code="64493"):
    """A diagnostic block, and the relief reported for it on its day."""
    done = procedure(code, on, name)
    return (done,) if percent is None else (done, percent_relief(percent, on, f"{name}-relief", name))


def ablation(on, percent=None, relief_on="", name="ablation"):
    done = procedure("64635", on, name)
    return (done,) if percent is None else (done, percent_relief(percent, relief_on, f"{name}-relief", name))


@pytest.fixture
def fact(decide):
    """One fact of the decision about a chart after a failed injection."""

    def read(name, *resources):
        return decide(hook_request(*FAILED, *resources))["facts"][name]

    return read


@pytest.fixture
def detail(call):
    """The text of the only card."""

    def read(*resources):
        (card,) = call(hook_request(*FAILED, *resources)).json["cards"]
        return card["detail"]

    return read


# F-1


@pytest.mark.parametrize(
    ("change", "imaging"),
    [
        (condition("M21.372", "2026-03-20", "change"), "done"),  # on the day of the image it is no change since
        (condition("M21.372", "2026-03-21", "change"), "open"),
        (named("M62.81", "Weakness of the left leg", onset="2026-03-21"), "open"),
        (named("M62.81", "Muscle weakness, generalized", onset="2026-03-21"), "done"),
    ],
)
def test_an_image_is_current_until_a_neurological_change_after_it(fact, change, imaging):
    assert fact("imaging", NERVE, IMAGE, change) == imaging


def test_the_last_image_is_named_also_when_it_is_too_old(detail):
    assert "2024-05-05" in detail(NERVE, procedure("72148", "2024-05-05", "image"))
    assert "2026-03-20" in detail(NERVE, IMAGE)


# F-2, F-3


def test_a_diagnosis_made_today_counts_and_one_of_tomorrow_does_not(fact):
    assert fact("radicular", condition("M54.16", ago(0))) == "yes"
    assert fact("radicular", condition("M54.16", ago(-1))) == "no"


def test_the_diagnosis_that_asks_for_a_block_is_evidence(decide):
    assert "Condition/axial" in decide(hook_request(*FAILED, AXIAL, IMAGE))["evidence"]


def test_relief_reported_on_the_day_of_a_block_is_that_of_the_block(fact):
    said = percent_relief(85, "2026-05-01", "said")
    first = block("2026-04-10", "first", 85)
    assert fact("ablation", AXIAL, *first, *block("2026-05-01", "second")) == "no"
    assert fact("ablation", AXIAL, *first, *block("2026-05-01", "second"), said) == "yes"


def test_relief_of_something_else_on_the_day_of_a_block_is_not_that_of_the_block(fact):
    said = percent_relief(85, "2026-05-01", "said", "p1")
    assert fact("ablation", AXIAL, *block("2026-04-10", "first", 85), *block("2026-05-01", "second"), said) == "no"


@pytest.mark.parametrize("reported", [(40, 85), (85, 40)])
def test_of_several_reports_about_one_block_the_best_counts(decide, reported):
    more = (percent_relief(percent, f"2026-05-0{n}", f"said{n}", "second") for n, percent in enumerate(reported, 1))
    chart = (AXIAL, *block("2026-04-10", "first", 85), *block("2026-05-01", "second"), *more)
    decision = decide(hook_request(*FAILED, *chart, IMAGE))
    assert decision["facts"]["ablation"] == "yes"
    best = f"Observation/said{reported.index(85) + 1}"
    assert best in decision["evidence"]


@pytest.mark.parametrize(
    ("done", "block_is"),
    [
        (procedure("64493", "2026-03-16", "done"), "due"),  # on the day of the injection it came too early
        (procedure("64493", "2026-03-17", "done"), "no-result"),
        (procedure("64490", "2026-03-17", "done"), "due"),  # of the neck
        (procedure("64493", "2026-03-17", "done", usedCode=[{"text": "triamcinolone"}]), "due"),  # treatment
        (IMAGE, "due"),
    ],
)
def test_a_block_is_done_when_it_was_a_test_of_the_region_after_the_injection(fact, done, block_is):
    assert fact("block", AXIAL, done) == block_is


def test_the_workup_rests_on_image_blocks_therapy_and_medicines(decide):
    chart = (
        NERVE,
        IMAGE,
        therapy("2026-01-15", "2026-03-30", "course"),
        medication("gabapentin", "drug", authored=ago(60)),
    )
    assert {
        "Condition/nerve", "Procedure/image", "Procedure/course", "MedicationRequest/drug",
    } <= set(decide(hook_request(*FAILED, *chart, condition("M51.16", name="lesion")))["evidence"])  # fmt: skip


def test_another_cancer_is_a_fact(fact):
    assert (fact("cancer", NERVE), fact("cancer", NERVE, condition("C50.9", name="cancer"))) == ("no", "yes")


# F-5


@pytest.mark.parametrize(
    ("visits", "rehabilitation"),
    [
        (((151, 151), (61, 61)), "done"),  # 90 days between two visits: one course
        (((152, 152), (61, 61)), "open"),  # 91 days: two
        (((151, 151), (71, 41)), "done"),  # counted to the first day of the second visit
        (((300, 270), (61, 31)), "open"),
        (((500, 450), (61, 31)), "open"),
        (((420, 366),), "open"),
        (((420, 365),), "done"),
    ],
)
def test_visits_within_90_days_of_each_other_are_one_course(fact, visits, rehabilitation):
    courses = (therapy(ago(first), ago(last), f"visit{first}") for first, last in visits)
    assert fact("rehabilitation", NERVE, *courses) == rehabilitation


def test_a_course_of_therapy_is_named_also_when_it_was_too_short(detail):
    assert "2026-04-01 to 2026-04-20" in detail(NERVE, IMAGE, therapy("2026-04-01", "2026-04-20"))
    assert "2026-01-15 to 2026-03-30" in detail(NERVE, IMAGE, therapy("2026-01-15", "2026-03-30"))


def test_a_long_course_counts_before_a_later_short_one(detail):
    courses = (therapy("2025-09-01", "2025-11-30", "long"), therapy("2026-04-01", "2026-04-20", "short"))
    assert "2025-09-01 to 2025-11-30" in detail(NERVE, *courses)


@pytest.mark.parametrize(("first", "last"), [("2026-01", "2026-03-30"), ("2026-01-15", "2026-03")])
def test_therapy_whose_first_or_last_day_is_not_known_is_no_course(fact, first, last):
    assert fact("rehabilitation", NERVE, therapy(first, last)) == "open"


# F-6


def period(first, last):
    return {"dispenseRequest": {"validityPeriod": {"start": first, "end": last}}}


@pytest.mark.parametrize(
    ("medicine", "trial"),
    [
        (medication("gabapentin", authored=ago(28)), "done"),
        (medication("gabapentin", authored=ago(27)), "open"),
        (medication("gabapentin", authored=ago(-1)), "open"),
        (medication("gabapentin"), "open"),
        (medication("gabapentin", status="completed", authored=ago(200)), "open"),  # for how long is not known
        (medication("gabapentin", status="stopped", authored=ago(200), **period(ago(100), ago(72))), "done"),
        (medication("gabapentin", status="stopped", authored=ago(200), **period(ago(100), ago(73))), "open"),
        (medication("gabapentin", authored=ago(200), **period(ago(100), ago(80))), "open"),
        (medication("gabapentin", authored=ago(10), **period(ago(27), ago(-60))), "open"),
        (medication("gabapentin", status="cancelled", **period(ago(100), ago(20))), "open"),
        (medication("gabapentin", status="entered-in-error", **period(ago(100), ago(20))), "open"),
        (medication("ibuprofen", **period(ago(100), ago(20))), "open"),
    ],
)
def test_a_trial_of_a_medicine_is_28_days_of_taking_it(fact, medicine, trial):
    assert fact("drug_trial", NERVE, medicine) == trial


@pytest.mark.parametrize(
    ("status", "trial"),
    [("stopped", "done"), ("active", "done"), ("draft", "open"), ("cancelled", "open"), ("entered-in-error", "open")],
)
def test_intolerance_of_a_medicine_that_was_given_ends_its_trial(fact, status, trial):
    medicine = medication("nortriptyline", status=status, authored=ago(5), statusReason={"text": "side effects"})
    assert fact("drug_trial", NERVE, medicine) == trial


@pytest.mark.parametrize(
    ("code", "trial"),
    [
        (coded(RXNORM, "25480"), "done"),
        ({"text": "gabapentin"}, "done"),
        (coded(RXNORM, "7052"), "open"),
        ({"text": "penicillin"}, "open"),
    ],
)
def test_only_an_allergy_to_such_a_medicine_stands_for_a_trial(fact, code, trial):
    patient = {"reference": f"Patient/{PATIENT_ID}"}
    allergy = {"resourceType": "AllergyIntolerance", "id": "allergy", "patient": patient, "code": code}
    assert fact("drug_trial", NERVE, allergy) == trial


def test_a_medicine_that_was_tried_is_named(detail):
    assert "medicine for neuropathic pain" in detail(NERVE, IMAGE, medication("gabapentin", authored=ago(60)))


@pytest.mark.parametrize(
    ("medicine", "sedative", "opioid"),
    [
        (medication("lorazepam 1 mg"), "taken", "not-found"),
        (medication("oxycodone 5 mg"), "taken", "taken"),
        (medication("ibuprofen 400 mg"), "not-found", "not-found"),
        (medication("oxycodone 5 mg", status="stopped"), "not-found", "not-found"),
        ({**medication("oxycodone 5 mg"), "resourceType": "MedicationStatement"}, "taken", "taken"),
    ],
)
def test_opioids_and_benzodiazepines_are_sedatives(fact, medicine, sedative, opioid):
    assert (fact("sedative", NERVE, medicine), fact("opioid", NERVE, medicine)) == (sedative, opioid)


# F-7


@pytest.mark.parametrize(("days", "target"), [(-1, "outstanding"), (0, "none"), (10, "none")])
def test_a_positive_block_waits_for_its_injection_until_one_is_given(fact, days, target):
    on = (date(2026, 4, 10) + timedelta(days=days)).isoformat()
    given = procedure("27096", on, "given", usedCode=[{"text": "triamcinolone"}])
    assert fact("sacroiliac_target", condition("M53.3"), *block("2026-04-10", "test", 80, "27096"), given) == target


@pytest.mark.parametrize(("percent", "positive"), [(75, "yes"), (74, "no"), (None, "no")])
def test_a_sacroiliac_block_is_positive_from_75_percent(fact, percent, positive):
    assert fact("sacroiliac_block", condition("M53.3"), *block("2026-04-10", "test", percent, "27096")) == positive


def test_a_facet_block_says_nothing_about_the_sacroiliac_joint(fact):
    assert fact("sacroiliac_block", AXIAL, *block("2026-04-10", "test", 90)) == "no"


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ((), "outstanding"),
        ((procedure("64493", "2026-04-20", "given", usedCode=[{"text": "triamcinolone"}]),), "outstanding"),
        ((procedure("64493", "2026-05-05", "given", usedCode=[{"text": "triamcinolone"}]),), "outstanding"),
        ((procedure("64493", "2026-05-20", "given", usedCode=[{"text": "triamcinolone"}]),), "none"),
        ((procedure("64490", "2026-05-20", "given", usedCode=[{"text": "triamcinolone"}]),), "outstanding"),
        ((procedure("27096", "2026-05-20", "given", usedCode=[{"text": "triamcinolone"}]),), "outstanding"),
    ],
)
def test_where_ablation_is_unsuitable_positive_blocks_wait_for_an_injection_after_the_last(fact, given, target):
    blocks = (*BLOCKS, *block("2026-05-10", "third", 80))
    assert fact("facet_target", AXIAL, condition("Z95.0", name="device"), *blocks, *given) == target


# F-8

BLOCKS = (*block("2026-04-10", "first", 80), *block("2026-05-01", "second", 80))


def test_a_pacemaker_makes_ablation_unsuitable(fact):
    device = condition("Z95.0", name="device")
    assert (fact("cardiac_device", AXIAL), fact("cardiac_device", AXIAL, device)) == ("no", "yes")
    assert (fact("ablation", AXIAL, *BLOCKS), fact("ablation", AXIAL, *BLOCKS, device)) == ("yes", "no")


def test_two_positive_blocks_are_what_an_ablation_asks_for(fact):
    assert fact("facet_blocks", AXIAL, *BLOCKS[:2]) == "no"
    assert fact("facet_blocks", AXIAL, *block("2026-04-10", "first", 80), *block("2026-05-01", "second", 79)) == "no"
    assert fact("facet_blocks", AXIAL, *BLOCKS) == "yes"


def test_untreated_nerve_pain_excludes_ablation(fact):
    assert fact("ablation", AXIAL, NERVE, *BLOCKS) == "no"


def test_without_the_diagnoses_nobody_knows_what_is_eligible(decide):
    lasting = condition("M54.16", ago(400), "nerve")
    facts = decide(hook_request(*FAILED, *BLOCKS, lasting, not_sent=["conditions"]))["facts"]
    assert {facts[name] for name in ("ablation", "mild", "stimulation_indicated", "block")} == {"unknown"}
    assert facts["secondary_stimulation"] == "no"


def test_a_block_on_the_day_of_an_ablation_belongs_to_that_ablation(fact):
    chart = (*ablation("2025-09-01"), *block("2025-09-01", "before", 90), *block("2026-04-10", "new", 90))
    assert fact("ablation", AXIAL, *chart) == "no"
    assert fact("ablation", AXIAL, *chart, *block("2026-05-01", "second", 80)) == "yes"


def test_an_ablation_of_the_sacroiliac_joint_is_none_of_the_facets(fact):
    assert fact("ablation", AXIAL, *BLOCKS, procedure("64625", "2026-04-01", "other")) == "yes"


@pytest.mark.parametrize(("days", "recent"), [((181,), "yes"), ((182,), "no"), ((300, 200), "yes"), ((), "no")])
def test_an_ablation_within_182_days_or_two_within_a_year_are_recent(fact, days, recent):
    done = (part for day in days for part in ablation(ago(day), name=f"ablation{day}"))
    assert fact("recent_ablation", AXIAL, *done) == recent


@pytest.mark.parametrize(("days", "eligible"), [(181, "no"), (182, "yes"), (730, "yes"), (731, "no")])
def test_an_ablation_that_helped_is_repeated_after_182_to_730_days(fact, days, eligible):
    done = ablation(ago(days), 50, ago(max(0, days - 182)))
    assert fact("ablation", AXIAL, *done) == eligible


@pytest.mark.parametrize(
    ("earlier", "eligible"),
    [("2025-06-02", "no"), ("2025-06-01", "yes"), ("2025-05-15", "yes")],
)
def test_two_ablations_in_twelve_months_are_enough(fact, earlier, eligible):
    last = ablation("2025-11-20", 60, "2026-05-25", "last")
    assert fact("ablation", AXIAL, *ablation(earlier, name="earlier"), *last) == eligible


def test_an_ablation_known_by_its_month_is_not_repeated(fact):
    assert fact("ablation", AXIAL, *ablation("2025-06", 60, "2026-05-25")) == "no"


# F-9

CLAUDICANT = condition("M48.062", name="claudicant")


@pytest.mark.parametrize(
    ("ligament", "eligible"),
    [
        (condition("M24.28", name="ligament"), "yes"),
        (named("M24.20", "Hypertrophy of ligamentum flavum"), "yes"),
        (named("M48.02", "Cervical stenosis, thickened ligamentum flavum"), "no"),
        (named("M24.28", "Thickened ligamentum flavum", clinicalStatus={"coding": [{"code": "resolved"}]}), "no"),
        (condition("M25.78", name="ligament"), "no"),
    ],
)
def test_a_thick_ligament_is_a_code_or_words_of_the_place(fact, ligament, eligible):
    assert fact("mild", CLAUDICANT, ligament) == eligible


@pytest.mark.parametrize(
    "reason",
    [
        condition("M48.062", name="severe", severity={"text": "severe"}),
        condition("M48.061", name="severe", severity={"text": "severe"}),
        named("M43.16", "Spondylolisthesis grade 3"),
        condition("M96.1", name="surgery"),
        condition("Z98.1", name="fused"),
        procedure("63030", "2020-03-16", "operation"),
        procedure("0275T", "2020-03-16", "done"),
    ],
)
def test_a_severe_or_operated_spine_is_not_for_percutaneous_decompression(fact, reason):
    assert fact("mild", CLAUDICANT, condition("M24.28", name="ligament"), reason) == "no"


def test_what_percutaneous_decompression_asks_for_is_found_one_by_one(fact):
    ligament = condition("M24.28", name="ligament")
    severe = condition("M48.061", name="severe", severity={"text": "severe"})
    names = ("claudication", "thick_ligament", "mild_barrier")
    assert [fact(name, CLAUDICANT) for name in names] == ["yes", "no", "no"]
    assert [fact(name, ligament) for name in names] == ["no", "yes", "no"]
    assert [fact(name, severe) for name in names] == ["no", "no", "yes"]


def test_percutaneous_decompression_is_for_claudication(fact):
    assert fact("mild", condition("M24.28", name="ligament")) == "no"


# F-10, F-11


@pytest.mark.parametrize(
    ("days", "pain", "stimulation"),
    [
        (180, (), "scs"),
        (179, (), "none"),
        (180, (named("M79.672", "Pain in left foot"),), "drg"),
        (180, (named("M79.672", "Pain in left foot", clinicalStatus={"coding": [{"code": "resolved"}]}),), "scs"),
        (180, (named("M79.605", "Pain in left leg"),), "scs"),
    ],
)
def test_the_stimulation_considered_follows_the_focus_of_the_pain(fact, days, pain, stimulation):
    assert fact("stimulation", condition("M96.1", ago(days), "surgery"), *pain) == stimulation


@pytest.mark.parametrize(
    ("more", "indicated"),
    [((), "yes"), ((condition("M96.1", ago(100), "surgery"),), "no"), ((procedure("63030", ago(600), "op"),), "no")],
)
def test_nerve_pain_of_a_year_indicates_stimulation_unless_operated(fact, more, indicated):
    lasting = condition("M54.16", ago(365), "nerve")
    assert fact("stimulation_indicated", lasting, *more) == indicated
    assert fact("secondary_stimulation", lasting, *more) == indicated


def test_after_a_trial_stimulation_is_still_indicated_and_not_named_beside_surgery(fact):
    chart = (condition("M54.16", ago(365), "nerve"), procedure("63650", "2025-05-01", "trial"))
    assert fact("stimulation_indicated", *chart) == "yes"
    assert fact("secondary_stimulation", *chart) == "no"


def test_relief_of_something_else_is_no_trial_of_stimulation(fact):
    assert fact("stimulation_trial", AXIAL, *BLOCKS) == "not-found"


def test_relief_reported_on_the_day_of_a_trial_is_that_of_the_trial(fact):
    said = percent_relief(60, "2026-05-01", "said")
    assert fact("stimulation_trial", NERVE, procedure("63650", "2026-05-01", "trial"), said) == "met"


@pytest.mark.parametrize(("percent", "trial"), [(50, "met"), (49, "not-found"), (None, "not-found")])
def test_a_trial_of_stimulation_is_met_at_half_the_pain(fact, percent, trial):
    done = procedure("63650", "2026-05-01", "trial")
    said = () if percent is None else (percent_relief(percent, "2026-05-06", "said", "trial"),)
    assert fact("stimulation_trial", NERVE, done, *said) == trial


# F-12, F-13


@pytest.mark.parametrize(
    ("diagnosis", "lesion"),
    [
        (condition("M43.16", name="slip"), "present"),
        (condition("M43.16", name="slip", severity={"text": "Severe"}), "severe"),
        (named("M43.16", "Spondylolisthesis, grade III"), "severe"),
        (named("M43.16", "Spondylolisthesis, grade II"), "present"),
        (named("M48.061", "Stenosis, facet arthropathy grade 3"), "present"),
        (named("M51.16", "Severe disc disorder"), "present"),  # severity counts of a stenosis or a slip
        (condition("M53.2X6", name="instability"), "severe"),
        (condition("M48.061", name="stenosis", severity={"text": "severe"}), "severe"),
    ],
)
def test_a_stenosis_or_a_slip_is_severe_by_code_words_or_grade(fact, diagnosis, lesion):
    assert fact("lesion", diagnosis) == lesion


@pytest.mark.parametrize("code", ["M21.372", "G83.14"])
def test_lasting_weakness_of_a_leg_beside_a_lesion_is_severe(fact, code):
    weakness = condition(code, "2020-01-15", "weakness")
    assert fact("lesion", condition("M51.16", name="disc"), weakness) == "severe"
    assert fact("lesion", NERVE, weakness) == "none"
