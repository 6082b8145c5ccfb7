"""Every silence has a reason, and says it."""

import pytest

from tests.chart import condition, draft, esi, hook_request, interlaminar, medication, patient, procedure, score

FAILED = (esi("2026-03-16"), score(8, "2026-03-10", "o1"), score(7, "2026-04-20", "o2"), condition("M54.16"))
HELPED = (esi("2026-01-16"), score(8, "2026-01-10", "o1"), score(2, "2026-04-20", "o2"), condition("M54.16"))
UNDATED = {key: value for key, value in FAILED[0].items() if key != "performedDateTime"}

SILENT = {
    "nothing-selected": hook_request(*FAILED, selections=["ServiceRequest/gone"]),
    "unrelated-order": hook_request(*FAILED, drafts=(draft("83036", side="", level=""),)),
    "child": hook_request(*FAILED, prefetch={"patient": patient("2010-01-01")}),
    "age-unknown": hook_request(*FAILED, prefetch={"patient": None}),
    "no-session": hook_request(*FAILED[1:]),
    "possible-only": hook_request(interlaminar("2026-03-16", usedCode=[]), *FAILED[1:]),
    "undated-only": hook_request(UNDATED, *FAILED[1:]),
    "palliative": hook_request(*FAILED, condition("Z51.5", "", "care")),
    "cancer": hook_request(
        *FAILED, condition("C50.9", "", "ca"), drafts=(medication("oxycodone", "d1", status="draft"),)
    ),
    "success": hook_request(*HELPED),
    "aligned-order": hook_request(*FAILED, drafts=(draft("97110", side="", level=""),)),
}


@pytest.mark.parametrize("reason", SILENT)
def test_the_reason_of_a_silence_is_named(ask, knowledge, reason):
    answered = ask(SILENT[reason])
    assert answered.cards() == []
    assert answered.advice.decisions[0].silence == reason
    assert knowledge.wording["silence"][reason]


def test_no_other_silence_is_worded(knowledge):
    """The table must decide "too early" too, where the card that an injection is too soon always speaks first."""
    assert set(knowledge.wording["silence"]) == {*SILENT, "too-early"}


def test_what_might_have_been_an_injection_is_named_with_its_rule(ask):
    (note, *_) = ask(SILENT["possible-only"]).advice.decisions[0].notes
    assert note.startswith("Procedure/p1 may be an epidural steroid injection, nothing shows it (DET-")


def test_another_injection_leaves_no_trace_in_a_silence(ask):
    knee = procedure("20610", "2026-03-16")
    assert ask(hook_request(knee)).advice.decisions[0].silence == "no-session"
