"""Red flags beyond the worked cases: sides, regions, stages of care, and what was not read."""

import pytest

from cds_service.protocol.errors import EvidenceTruncated
from tests.chart import bundle, condition, draft, esi, hook_request, percent_relief, procedure, score, service_request

FAILED = (
    esi("2026-03-23", "p1"),
    score(8, "2026-03-22", "o1"),
    score(8, "2026-05-12", "o2"),
    condition("M51.16", "2025-08-05", "c1"),
)
NEXT = [{"relation": "next", "url": "https://ehr.example/next"}]


def order(cpt, **more):
    return draft(cpt, side="", level="", **more)


def named(text, **more):
    return {**service_request("", "d1", status="draft"), "code": {"text": text}, **more}


@pytest.fixture
def shown(ask):
    """The cards of a request as (id, indicator)."""

    def run(*resources, **more):
        cards = ask(hook_request(*resources, **more)).cards()
        return [(c["extension"]["org.cds-service.decision"]["card"], c["indicator"]) for c in cards]

    return run


@pytest.mark.parametrize(("older", "is_new"), [("M21.372", True), ("M21.371", False)])
def test_foot_drop_of_one_side_is_new_though_the_other_is_old(shown, older, is_new):
    found = shown(*FAILED, condition("M21.371", "2026-05-12", "new"), condition(older, "2025-04-01", "old"))
    assert (found == [("RED-FLAG", "critical")]) is is_new


def test_myelopathy_of_another_region_is_new(shown):
    old = condition("M47.16", "2020-01-01", "old")
    recoded = {**condition("M47.12", "", "new"), "recordedDate": "2026-05-12"}
    assert shown(*FAILED, recoded, old) == [("RED-FLAG", "critical")]
    same = {**condition("M47.16", "", "new"), "recordedDate": "2026-05-12"}
    assert shown(*FAILED, same, old) == [("FAILED-ESI-NEXT-TIER", "warning")]


def test_a_new_onset_of_cauda_equina_counts_though_an_old_one_is_on_file(shown):
    old = condition("G83.4", "2020-01-01", "old")
    assert shown(*FAILED, condition("G83.4", "2026-05-20", "new"), old) == [("RED-FLAG", "critical")]


@pytest.mark.parametrize(
    ("injected", "began"), [("2026", "2026-05-20"), ("2026-05-20", "2026-05"), ("2026-05-20", "2026-05-19")]
)
def test_what_may_have_come_before_the_injection_is_no_complication(ask, injected, began):
    body = hook_request(esi(injected), condition("M54.16"), condition("R33.9", began, "r"))
    assert all("after a spinal injection" not in card["summary"] for card in ask(body).cards())


@pytest.mark.parametrize("code", ["S34.109S", "S34.109D", "G97.51"])
def test_only_a_new_injury_of_the_cord_follows_an_injection(shown, code):
    injury = condition(code, "2026-05-10", "i")
    is_new = code == "G97.51"
    assert (("RED-FLAG", "critical") in shown(esi("2026-05-01"), condition("M54.16"), injury)) is is_new


def test_a_sequela_stays_one_whatever_is_coded_beside_it(shown):
    fracture = condition("S32.010S", "2026-05-12", "f")
    fracture["code"]["coding"].append({"system": "urn:local", "code": "1"})
    assert shown(*FAILED, fracture) == [("FAILED-ESI-NEXT-TIER", "warning")]


def test_silence_needs_the_whole_history_where_an_injection_could_make_a_red_flag(ask):
    cut = {"procedures": bundle(link=NEXT)}
    with pytest.raises(EvidenceTruncated):
        ask(hook_request(condition("G97.51", "2026-05-12"), prefetch=cut, drafts=(order("64493"),)))
    assert ask(hook_request(condition("M54.16"), prefetch=cut, drafts=(order("64493"),))).cards() == []


@pytest.mark.parametrize(
    ("text", "indicator"), [("Referral to pain clinic", "critical"), ("Referral to spine surgery", "info")]
)
def test_only_a_surgical_referral_fits_a_red_flag(shown, text, indicator):
    urgent = named(text, priority="urgent")
    assert shown(*FAILED, condition("G83.4", "2026-05-29", "r"), drafts=(urgent,)) == [("RED-FLAG", indicator)]


def test_the_same_finding_coded_at_every_visit_is_one_line(ask):
    visits = [condition("C79.51", "2026-01-01", f"v{number}") for number in range(40)]
    (card,) = ask(hook_request(*FAILED, *visits)).cards()
    assert card["detail"].count("Bone metastasis") == 1


def test_strength_of_one_day_is_ordered_by_the_clock(shown):
    def grade(value, at, name):
        text = {"text": "Muscle strength left ankle (MRC grade)"}
        return {**score(value, f"2026-05-25T{at}:00Z", name, site="", unit=""), "code": text}

    assert shown(*FAILED, grade(3, "08:00", "b"), grade(4, "16:00", "a")) == [("FAILED-ESI-NEXT-TIER", "warning")]
    assert shown(*FAILED, grade(5, "08:00", "b"), grade(3, "16:00", "a")) == [("RED-FLAG", "critical")]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("MRI lumbar spine w/wo contrast, s/p lumbar fusion", "imaging"),
        ("Referral to spine surgery for lumbar fusion evaluation", "referral"),
        ("Physical therapy after lumbar fusion", "pt"),
        ("Physical therapy post lumbar ESI", "pt"),
        ("Psychological evaluation before spinal cord stimulator trial", "referral"),
        ("Spinal cord stimulator generator interrogation", "unrelated"),
        ("L5-S1 TFESI with dexamethasone", "esi"),
        ("Lumbar fusion L4-5", "fusion"),
        ("Spinal cord stimulator trial", "scs-trial"),
    ],
)
def test_what_was_done_before_is_not_what_is_ordered(decide, text, kind):
    assert decide(hook_request(*FAILED, drafts=(named(text),)))["orderedKind"] == kind


def test_relief_on_a_day_of_the_trial_counts(shown):
    trial = procedure("63650", "", "t", performedPeriod={"start": "2026-05-07", "end": "2026-05-12"})
    relief = percent_relief(60, "2026-05-10", "r", about="t")
    assert shown(*FAILED, trial, relief, drafts=(order("63685"),)) == []


def test_the_level_of_a_lead_is_not_where_it_hurts(shown):
    lead = draft("63685", text="Implant generator, leads T8-T9", side="", level="")
    assert shown(*FAILED, drafts=(lead,)) == [("SCS-NO-TRIAL", "warning")]


def test_two_orders_that_get_the_same_card_get_it_once(shown):
    injected = (esi("2026-05-12"), score(8, "2026-05-11", "o1"), score(8, "2026-05-30", "o2"), FAILED[3])
    drafts = (order("63047"), draft("22612", "d2", side="", level=""))
    assert shown(*injected, drafts=drafts, hook="order-sign") == [
        ("ESI-SURGERY-INTERVAL", "warning"),
        ("FUSION-INDICATION", "warning"),
    ]


def test_diagnoses_read_in_part_raise_no_gap_of_an_indication(shown):
    cut = {"conditions": bundle(FAILED[3], link=NEXT)}
    assert ("SECOND-OPINION", "info") in shown(*FAILED, drafts=(order("22612"),), prefetch=cut)


def test_relief_that_was_not_read_is_not_a_trial_that_failed(shown):
    stated = esi("2026-03-23", outcome={"coding": [{"system": "http://snomed.info/sct", "code": "385671000"}]})
    trial = procedure("63650", "2026-05-12", "t")
    assert shown(stated, trial, FAILED[3], drafts=(order("63685"),), not_sent=["observations"]) == [
        ("SCS-NO-TRIAL", "info")
    ]


def test_a_vague_date_is_never_counted_in_days(ask):
    (first, *_) = ask(hook_request(esi("2026-05"), drafts=(order("22612"),))).cards()
    assert "was in 2026-05." in first["summary"]


def test_an_order_whose_reason_is_a_knee_on_file_is_unrelated(decide):
    knee = condition("M17.11", "2024-01-01", "knee")
    because = {"reasonReference": [{"reference": "Condition/knee"}]}
    opioid = {
        **named("", **because),
        "resourceType": "MedicationRequest",
        "medicationCodeableConcept": {"text": "oxycodone"},
    }
    del opioid["code"]
    assert decide(hook_request(*FAILED, knee, drafts=(opioid,)))["orderedKind"] == "unrelated"


def test_an_opioid_and_a_gabapentinoid_drafted_together_are_seen(shown):
    def drug(text, name):
        return {
            "resourceType": "MedicationRequest",
            "id": name,
            "status": "draft",
            "subject": {"reference": "Patient/pat-1"},
            "medicationCodeableConcept": {"text": text},
        }

    both = (drug("gabapentin 300 mg", "d1"), drug("oxycodone 5 mg", "d2"))
    found = shown(*FAILED, drafts=both, hook="order-sign")
    assert ("GABAPENTINOID-OPIOID", "warning") in found


def strength(value, on, name, site="left ankle", **more):
    return {**score(value, on, name, site=site, **more), "code": {"text": "muscle strength"}}


@pytest.mark.parametrize(
    ("before", "after", "is_fall"),
    [
        (strength(5, "2026-04-01", "z"), strength(3, "2026-05-01", "a"), True),
        (strength(5, "2026-04-01", "z"), strength(0, "2026-05-01", "a"), True),
        (strength(5, "2026-04-01", "z"), strength(3, "2026-06-01", "a"), True),  # measured today
        (strength(5, "2026-04-01", "z"), strength(3, "2026-06-02", "a"), False),
        (strength(5, "2026-04-01", "z"), strength(3, "2026-05-01", "a", "Left  Ankle"), True),
        (strength(5, "2026-04-01", "z"), strength(3, "2026-05-01", "a", "right ankle"), False),
        (strength(40, "2026-04-01", "z"), strength(3, "2026-05-01", "a"), False),  # no grade of that scale
        (strength(5, "2026-04-01", "z"), strength(-1, "2026-05-01", "a"), False),
    ],
)
def test_a_fall_of_strength_is_one_of_one_muscle_on_the_scale_by_its_dates(shown, before, after, is_fall):
    assert (shown(*FAILED, before, after) == [("RED-FLAG", "critical")]) is is_fall


def test_strength_without_a_date_says_nothing(shown):
    undated = strength(3, "", "a")
    del undated["effectiveDateTime"]
    assert shown(*FAILED, strength(5, "2026-04-01", "z"), undated) == [("FAILED-ESI-NEXT-TIER", "warning")]


def test_an_older_record_without_a_side_may_be_of_this_side(shown):
    new, old = condition("M21.371", "2026-05-12", "new"), condition("M21.379", "2025-04-01", "old")
    assert shown(*FAILED, new, old) == [("FAILED-ESI-NEXT-TIER", "warning")]


def test_a_finding_of_today_is_new(shown):
    assert shown(*FAILED, condition("M21.371", "2026-06-01", "r")) == [("RED-FLAG", "critical")]


@pytest.mark.parametrize(
    ("since", "cards"),
    [
        ("2026-05", [("RED-FLAG", "warning")]),  # within 90 days, perhaps within 30
        ("2026", [("FAILED-ESI-NEXT-TIER", "warning")]),  # any age: not known
    ],
)
def test_a_vague_onset_counts_by_the_oldest_day_it_allows(shown, since, cards):
    assert shown(*FAILED, condition("R33.9", since, "r")) == cards


@pytest.mark.parametrize(("ended", "is_shown"), [("2026-05-01", False), ("2026-04-30", True)])
def test_a_delivery_of_the_day_ends_the_pregnancy_coded_then(shown, ended, is_shown):
    found = shown(*FAILED, condition("Z34.90", "2026-05-01", "p"), condition("O80", ended, "d"))
    assert (found == [("OTHER-PATHWAY:pregnancy", "warning")]) is is_shown


def test_a_delivery_ends_nothing_but_a_pregnancy(shown):
    drop, delivery = condition("M21.371", "2026-05-12", "r"), condition("O80", "2026-05-20", "d")
    assert shown(*FAILED, drop, delivery) == [("RED-FLAG", "critical")]


def test_only_what_an_order_exposes_to_waits_for_the_whole_history(ask):
    cut = {"procedures": bundle(link=NEXT)}
    pregnant = condition("Z34.90", "2026-05-01", "p")
    with pytest.raises(EvidenceTruncated):
        ask(hook_request(pregnant, prefetch=cut, drafts=(order("64493"),)))
    assert ask(hook_request(pregnant, prefetch=cut, drafts=(order("72148"),))).cards() == []


@pytest.mark.parametrize(("not_sent", "indicator"), [(["observations"], "info"), ([], "warning")])
def test_relief_of_blocks_that_was_not_read_is_asked_for_as_information(shown, not_sent, indicator):
    stated = esi("2026-03-23", outcome={"coding": [{"system": "http://snomed.info/sct", "code": "385671000"}]})
    blocks = (procedure("64493", "2026-04-10", "b1"), procedure("64493", "2026-04-30", "b2"))
    axial = condition("M47.816", "2024-01-01", "c1")
    found = shown(stated, *blocks, axial, drafts=(order("64635"),), not_sent=not_sent)
    assert found == [("RFA-PREREQ", indicator)]


def test_no_block_on_file_is_no_relief_that_was_not_read(shown):
    stated = esi("2026-03-23", outcome={"coding": [{"system": "http://snomed.info/sct", "code": "385671000"}]})
    axial = condition("M47.816", "2024-01-01", "c1")
    sacroiliac = procedure("27096", "2026-04-10", "b1")
    found = shown(stated, axial, sacroiliac, drafts=(order("64635"),), not_sent=["observations"])
    assert found == [("RFA-PREREQ", "warning")]


def test_care_of_a_recent_fracture_is_still_a_recent_fracture(shown):
    assert shown(*FAILED, condition("S32.010D", "2026-05-12", "f")) == [("OTHER-PATHWAY:fracture", "warning")]


def test_a_finding_without_a_window_is_shown_with_its_date(ask):
    (card,) = ask(hook_request(*FAILED, condition("C79.51", "2026-01-01", "t"))).cards()
    assert card["summary"].startswith("Bone metastasis (2026-01-01):")


def test_a_fracture_is_no_complication_of_an_injection(ask):
    (card,) = ask(
        hook_request(esi("2026-05-10"), condition("M54.16"), condition("S32.010A", "2026-05-12", "f"))
    ).cards()
    assert "after the spinal injection" not in card["detail"]


def test_strength_that_falls_soon_after_an_injection_is_an_emergency(ask):
    def grade(value, on, name):
        text = {"text": "Muscle strength left ankle (MRC grade)"}
        return {**score(value, on, name, site="", unit=""), "code": text}

    body = hook_request(
        esi("2026-05-20"), condition("M54.16"), grade(5, "2026-05-01", "m1"), grade(3, "2026-05-25", "m2")
    )
    (card,) = ask(body).cards()
    assert card["extension"]["org.cds-service.decision"]["tier"] == "5E"
    assert "day 5 after a spinal injection" in card["summary"]


def test_codes_of_other_systems_are_families_of_their_own(shown):
    def coded_as(code, **more):
        return {
            **condition("", "", code, **more),
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": code}]},
        }

    old = coded_as("192971007", onsetDateTime="2020-01-01")
    assert shown(*FAILED, old, coded_as("192970008", recordedDate="2026-05-20")) == [("RED-FLAG", "critical")]
    again = {**coded_as("192971007", recordedDate="2026-05-20"), "id": "again"}
    assert shown(*FAILED, old, again) == [("FAILED-ESI-NEXT-TIER", "warning")]


def test_every_record_of_one_finding_is_evidence(decide):
    visits = [condition("M21.371", "2026-05-12", f"v{number}") for number in range(3)]
    assert {"Condition/v0", "Condition/v1", "Condition/v2"} <= set(decide(hook_request(*FAILED, *visits))["evidence"])


def test_a_root_block_with_anaesthetic_only_is_a_spinal_injection_all_the_same(shown):
    block = procedure("64483", "2026-05-10", "b", text="Selective nerve root block, lidocaine only")
    bleeding = condition("G97.51", "2026-05-20", "r")
    assert shown(block, bleeding, drafts=(order("72148"),)) == [("RED-FLAG", "critical")]


def test_an_injection_that_names_no_region_goes_where_the_last_one_went(shown):
    neck = esi(
        "2026-03-23",
        "p1",
        code={"coding": [{"system": "http://www.ama-assn.org/go/cpt", "code": "64479"}]},
        level="C5-6",
    )
    unplaced = named("Epidural steroid injection")
    assert ("RED-FLAG", "warning") in shown(neck, condition("M47.12", "2010-01-01", "c"), drafts=(unplaced,))


def test_a_grade_dated_at_the_beginning_of_the_calendar_breaks_nothing(shown):
    text = {"text": "Muscle strength left ankle (MRC grade)"}
    grade = {**score(3, "0001-01-01T00:00:00", "m1", site="", unit=""), "code": text}
    assert shown(*FAILED, grade, {**grade, "id": "m2"}) == [("FAILED-ESI-NEXT-TIER", "warning")]
