"""What a server says it searched for, beside what it was asked."""

import pytest

from cds_service.fhir.self_link import is_narrower

BASE = "https://ehr.example.org/fhir"
ASKED = f"{BASE}/Observation?patient=pat-1&code=1,2"


def narrower(self_link, asked=ASKED):
    return is_narrower({"resourceType": "Bundle", "link": [{"relation": "self", "url": self_link}]}, asked)


@pytest.mark.parametrize(
    "query",
    [
        "patient=pat-1&code=1,2",
        "code=1%2C2&patient=Patient/pat-1&_count=50&_sort=-date",
        "subject:Patient=pat-1&code=http://loinc.org|1,http://loinc.org|2",
        f"subject={BASE}/Patient/pat-1&code=2,1,3",
        "patient=pat-1",
        "code=1,2",
        "",
        "_getpages=5f2c&_getpagesoffset=0&_format=json",
        "patient=pat-1&code=1,2&-pageContext=abc&ct=7",
    ],
)
def test_another_spelling_a_place_in_the_search_or_an_ignored_parameter_hides_nothing(query):
    assert not narrower(f"Observation?{query}")


@pytest.mark.parametrize(
    "query",
    [
        "patient=pat-2&code=1,2",
        "patient=&patient=Patient/pat-10",
        "patient=pat-1&code=1",
        "patient=pat-1&code:in=https://example.org/set",
        "patient=pat-1&code=1,2&date=ge2026-01-01",
        "patient=pat-1&code=1,2&status:not=final",
        "patient=pat-1&code=1,2&code=1",
        "patient=pat-1&_lastUpdated=gt2026",
    ],
)
def test_another_patient_fewer_codes_and_further_conditions_hide_history(query):
    assert narrower(f"{BASE}/Observation?{query}")


@pytest.mark.parametrize("link", [None, 7, "https://[", []])
def test_without_a_link_that_can_be_read_nobody_knows(link):
    assert not narrower(link)
    assert not is_narrower({"resourceType": "Bundle"}, ASKED)


def test_a_page_that_was_asked_by_a_link_of_the_server_is_not_compared():
    assert not narrower(f"{BASE}/Observation?patient=pat-1&date=2026", asked=f"{BASE}?_getpages=5f2c")
