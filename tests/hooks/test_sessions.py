"""Which procedures are sessions: codes, words and look-alikes, as they come from real systems."""

from datetime import date

import pytest

from cds_service.fhir.dates import day_span
from hooks.failed_esi.sessions import is_after, read_history
from tests.chart import (
    CPT,
    LOINC,
    RXNORM,
    SNOMED,
    coded,
    condition,
    esi,
    hook_request,
    interlaminar,
    medication,
    procedure,
)

TODAY = date(2026, 6, 1)
HCPCS = "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets"
PCS = "http://www.cms.gov/Medicare/Coding/ICD10"


@pytest.fixture
def history(service, knowledge):
    """Read the history of a chart."""
    from cds_service.fhir.evidence import gather
    from cds_service.fhir.reader import read_record
    from cds_service.protocol.hook_request import HookRequest

    def read(*resources):
        request = HookRequest.parse(hook_request(*resources), service.hooks, service.prefetch)
        record = read_record(gather(service, request), service.codes, service.is_relevant)
        return read_history(record, TODAY, knowledge)

    return read


def named(text, **more):
    """A procedure that only its words describe."""
    return {
        **procedure("", "2026-03-16", **more),
        "code": {"coding": [{"system": "urn:local", "code": "9"}], "text": text},
    }


@pytest.mark.parametrize(
    "resource",
    [
        named("Lumbar epidural steroid injection"),
        named("TFESI left L5-S1"),
        named("LESI L4-5, depo-medrol"),
        named("Transforaminal injection with dexamethasone"),
        named("Caudal injection, triamcinolone"),
        named("lumbar ESI"),
        named("ESI L4-5"),
        named("Epidural injection L4-5", usedCode=[{"text": "Kenalog"}]),
        named("Epidural injection L4-5", note=[{"text": "40 mg triamcinolone"}]),
        {**named(""), "code": {"text": "epidural steroid injection"}},
        {**named(""), "code": coded(SNOMED, "999999", "Epidural injection of steroid")},
        {**named(""), "code": coded(PCS, "3E0S33Z")},
        procedure("62323", "2026-03-16", text="LESI L4-5, depo-medrol"),
        procedure("62323", "2026-03-16", reasonReference=[{"reference": "Condition/c1"}]),
        procedure("62323", "2026-03-16", reasonCode=[{"text": "Lumbar radiculopathy"}]),
        procedure("62323", "2026-03-16", usedCode=[coded(RXNORM, "10759")]),
        procedure("62323", "2026-03-16", usedCode=[coded(HCPCS, "J3301")]),
    ],
)
def test_it_is_a_session(history, resource):
    found = history(resource, condition("M54.16", name="c1"))
    assert len(found.sessions) == 1


@pytest.mark.parametrize(
    "resource",
    [
        named("Labor epidural, steroid given for lungs"),
        named("Epidural catheter for analgesia, steroid"),
        named("Epidural blood patch, no steroids"),
        named("Epidural abscess drainage, steroid"),
        named("ESI level 3"),
        named("Emergency severity index (ESI), lumbar strain, triage"),
        named("Epidural injection"),
        named("Steroid injection, knee"),
        {**named(""), "code": coded(CPT, "99213", "ESI follow-up visit, lumbar epidural steroid injection")},
        {**named(""), "code": coded(SNOMED, "18946005", "Epidural anesthesia")},
        {**named(""), "code": coded(PCS, "3E0S3BZ", "epidural steroid injection")},
        {**named(""), "code": coded(PCS, "3E0R33Z")},
        procedure("62323", "2026-03-16", text="intrathecal baclofen trial"),
        procedure("20610", "2026-03-16", text="knee steroid injection"),
        procedure("64493", "2026-03-16", text="facet injection with epidural steroid spread"),
        procedure("62323", "2026-03-16", text="steroid", usedCode=[{"text": "methotrexate"}]),
        procedure("64483", "2026-03-16", note=[{"text": "bupivacaine only"}]),
    ],
)
def test_it_is_no_session(history, resource):
    assert history(resource).sessions == ()


def test_a_possible_code_counts_with_a_second_signal(history):
    possible = {**named(""), "code": coded(PCS, "3E0R33Z", "lumbar"), "usedCode": [{"text": "methylprednisolone"}]}
    assert len(history(possible).sessions) == 1


def test_a_steroid_given_on_the_same_day_is_a_discriminator(history):
    session = procedure("62323", "2026-03-16")
    given = {**medication("triamcinolone 40 mg/ml"), "resourceType": "MedicationAdministration", "status": "completed"}
    assert history(session, {**given, "effectiveDateTime": "2026-03-16T10:00:00Z"}).sessions
    assert not history(session, {**given, "effectiveDateTime": "2026-03-17T10:00:00Z"}).sessions


def test_an_exclusion_code_beside_an_ambiguous_code_speaks_against_it(history):
    both = {
        "coding": [{"system": CPT, "code": "62323"}, {"system": SNOMED, "code": "18946005"}],
        "text": "with steroid",
    }
    foraminal = {"coding": [{"system": CPT, "code": "64483"}, {"system": SNOMED, "code": "18946005"}]}
    assert not history({**named(""), "code": both}).sessions
    assert history({**named(""), "code": foraminal}).sessions


def test_a_local_code_beside_an_inclusion_code_changes_nothing(history):
    both = {"coding": [{"system": "urn:epic:EAP", "code": "1"}, {"system": CPT, "code": "64483"}]}
    assert history({**named(""), "code": both}).sessions


def test_a_delivery_on_the_same_day_makes_an_ambiguous_code_a_look_alike(history):
    session = procedure("62323", "2026-03-16", text="steroid")
    assert not history(session, condition("O80", "2026-03-16", "birth")).sessions
    assert history(session, condition("O80", "2026-03-15", "birth")).sessions


@pytest.mark.parametrize(
    "status", ["not-done", "entered-in-error ", "preparation", "on-hold", "in-progress", "unknown", ""]
)
def test_what_was_not_completed_is_not_counted_and_is_named(history, status):
    found = history(esi("2026-03-16", "p1", status=status))
    assert found.sessions == ()
    assert [(u.reference, u.rule) for u in found.uncounted] == [("Procedure/p1", "DET-5")]


def test_one_day_and_region_is_one_session_with_both_sides_and_all_levels(history):
    (session,) = history(
        esi("2026-03-16", "p1"),
        esi("2026-03-16", "p2", side="right"),
        procedure("64484", "2026-03-16", "p3", side="left", level="L4-5"),
        named("lumbar epidural steroid injection", name="p4"),
    ).sessions
    assert session.target.sides == {"left", "right"}
    assert session.target.place.level_names == ("L4-5", "L5-S1")
    assert [p.reference for p in session.procedures] == ["Procedure/p1", "Procedure/p2", "Procedure/p3", "Procedure/p4"]


def test_a_record_without_a_region_joins_the_only_session_of_its_day(history):
    without = {**named("epidural steroid injection", name="p2")}
    (session,) = history(esi("2026-03-16", "p1"), without).sessions
    assert len(session.procedures) == 2


def test_two_regions_on_one_day_are_two_sessions(history):
    assert len(history(esi("2026-03-16", "p1"), procedure("64479", "2026-03-16", "p2")).sessions) == 2


def test_a_session_in_the_future_is_ignored_and_one_without_a_date_is_named(history):
    undated = esi("", "p2")
    del undated["performedDateTime"]
    found = history(esi("2026-06-02", "p1"), undated)
    assert (found.sessions, found.undated) == ((), ("Procedure/p2",))


def test_a_session_without_guidance_is_flagged(history):
    (session,) = history(procedure("62322", "2026-03-16", text="lumbar epidural steroid injection")).sessions
    assert session.flags == {"no-guidance"}


@pytest.mark.parametrize("status", ["not-done", "entered-in-error", "on-hold", ""])
def test_a_steroid_that_was_not_given_is_no_discriminator(history, status):
    given = {**medication("triamcinolone"), "resourceType": "MedicationAdministration", "status": status}
    assert not history(procedure("62323", "2026-03-16"), {**given, "effectiveDateTime": "2026-03-16"}).sessions


def test_a_steroid_given_over_a_period_of_the_day_is_a_discriminator(history):
    given = {**medication("triamcinolone"), "resourceType": "MedicationAdministration", "status": "completed"}
    period = {"start": "2026-03-16T10:00:00Z", "end": "2026-03-16T10:05:00Z"}
    assert history(procedure("62323", "2026-03-16"), {**given, "effectivePeriod": period}).sessions


def test_a_caudal_injection_is_lumbosacral_at_an_unknown_level(history):
    (session,) = history(named("Caudal epidural steroid injection")).sessions
    assert (session.target.place.coverage, session.target.place.regions) == ("LS", frozenset())


@pytest.mark.parametrize(
    ("resource", "rule"),
    [
        (esi("2026-03-16", status="not-done"), "DET-5"),
        (procedure("62323", "2026-03-16", "p1", text="intrathecal baclofen trial"), "DET-3"),
        (esi("2026-03-16", text="diagnostic nerve root block"), "DET-1"),
        (procedure("62323", "2026-03-16", "p1"), "DET-2"),
    ],
)
def test_what_does_not_count_is_named_with_its_rule(history, resource, rule):
    assert [(u.reference, u.rule) for u in history(resource).uncounted] == [("Procedure/p1", rule)]


def test_what_counts_is_named_with_its_rule(history):
    found = history(esi("2026-03-16", "p1"), interlaminar("2026-04-16", "p2"))
    assert [session.rules for session in found.sessions] == [("DET-1",), ("DET-2",)]


def test_what_may_have_been_an_injection_keeps_its_days(history):
    undated = procedure("62323", "", "p2")
    del undated["performedDateTime"]
    month, unknown = history(procedure("62323", "2026-03", "p1"), undated).uncounted
    assert (str(month.days), unknown.days) == ("2026-03", None)
    assert month.is_possible
    assert unknown.is_possible


def test_a_code_that_needs_a_second_signal_still_says_where(history):
    guided = {**named(""), "code": coded(LOINC, "92925-7"), "usedCode": [{"text": "methylprednisolone"}]}
    (session,) = history(guided).sessions
    assert session.target.place.coverage == "CT"


@pytest.mark.parametrize(
    ("used", "drugs"),
    [
        ([coded(RXNORM, "10759")], {"triamcinolone"}),
        ([{"text": "triamcinolone 40 mg"}], {"triamcinolone"}),
        ([coded(RXNORM, "3264"), coded(RXNORM, "7052")], {"dexamethasone"}),  # with morphine
        ([{"text": "dexamethasone"}, coded(RXNORM, "10759")], {"dexamethasone", "triamcinolone"}),
        ([coded(HCPCS, "J3301")], set()),  # a billing unit is no name that an order could repeat
    ],
)
def test_the_steroid_of_a_session_is_known_by_its_name(history, used, drugs):
    (session,) = history(esi("2026-03-16", usedCode=used)).sessions
    assert session.target.drugs == drugs


@pytest.mark.parametrize(
    ("resource", "is_therapeutic"),
    [
        (procedure("27096", "2026-03-16"), False),
        (procedure("27096", "2026-03-16", usedCode=[{"text": "lidocaine"}]), False),
        (procedure("27096", "2026-03-16", usedCode=[coded(RXNORM, "7052")]), False),
        (procedure("27096", "2026-03-16", text="Therapeutic sacroiliac joint injection"), True),
        (procedure("27096", "2026-03-16", usedCode=[{"text": "lidocaine"}, {"text": "triamcinolone"}]), True),
        (procedure("27096", "2026-03-16", usedCode=[coded(RXNORM, "10759")]), True),
        ({**named("Sacroiliac joint injection"), "code": coded(HCPCS, "G0260")}, True),
    ],
)
def test_an_injection_of_a_joint_is_treatment_by_its_code_its_words_or_a_steroid(history, resource, is_therapeutic):
    (injection,) = history(resource).interventions
    assert injection.is_therapeutic is is_therapeutic


def test_the_same_day_is_not_after():
    monday, tuesday = day_span(date(2026, 6, 1)), day_span(date(2026, 6, 2))
    assert is_after(tuesday, monday)
    assert not is_after(monday, monday)


@pytest.mark.parametrize(
    "other",
    [procedure("01967", "2026-03-16", "a1"), procedure("62323", "2026-03-16", "a1"), named("Colonoscopy", name="a1")],
)
def test_what_is_no_session_does_not_hide_the_next_one(history, other):
    found = history(other, esi("2026-03-16", "p1"))
    assert [p.reference for session in found.sessions for p in session.procedures] == ["Procedure/p1"]
    assert found.interventions == ()


@pytest.mark.parametrize("status", ["not-done", "in-progress", "entered-in-error"])
def test_another_procedure_that_was_not_completed_was_not_done(history, status):
    assert history(procedure("64635", "2026-03-16", status=status)).interventions == ()


def test_a_delivery_without_a_date_says_nothing_about_an_injection(history):
    session = procedure("62323", "2026-03-16", text="steroid")
    assert history(session, condition("O80", "", "birth")).sessions
