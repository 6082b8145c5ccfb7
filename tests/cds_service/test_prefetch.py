"""The prefetch table of CDS Hooks ("Providing FHIR Resources"), one test for each of its rows."""

import pytest

from tests.chart import bundle, condition, esi, hook_request, patient, procedure, score

FAILED = (
    esi("2026-03-16", "esi-1"),
    score(8, "2026-03-10", "before"),
    score(7, "2026-04-20", "after"),
    condition("M54.16"),
)


def outcome(severity, code="processing"):
    return {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code}]}


def sent(key, value):
    """The failed story with another value under one key; the sentinel `...` leaves the key out."""
    body = hook_request(*FAILED)
    if value is ...:
        del body["prefetch"][key]
    else:
        body["prefetch"][key] = value
    return body


def refused(response, status, where):
    body = response.get_json()
    return (response.status_code, body["resourceType"], body["issue"][0]["expression"]) == (
        status,
        "OperationOutcome",
        [where],
    )


def card(response):
    assert response.status_code == 200
    (found,) = response.get_json()["cards"]
    return found


def not_read(response):
    return card(response)["extension"]["org.cds-service.decision"].get("notRead", [])


@pytest.mark.parametrize("prefetch", [..., None, {}], ids=["absent", "null", "empty"])
def test_no_prefetch_at_all_is_412_naming_the_key(call, prefetch):
    body = hook_request(*FAILED)
    del body["prefetch"]
    if prefetch is not ...:
        body["prefetch"] = prefetch
    assert refused(call(body), 412, "prefetch.patient")


@pytest.mark.parametrize("key", ["patient", "procedures"])
def test_an_absent_required_key_is_412_naming_it(call, key):
    assert refused(call(sent(key, ...)), 412, f"prefetch.{key}")


@pytest.mark.parametrize("key", ["conditions", "medications", "serviceRequests", "allergies", "coverage"])
def test_an_absent_optional_key_degrades_and_is_named(call, key):
    assert not_read(call(sent(key, ...))) == [key]


def test_absent_scores_leave_the_outcome_unknown(call):
    found = card(call(sent("observations", ...)))
    assert "the scores were not part of the data sent" in found["summary"]
    assert found["detail"].startswith("**Scores: not, or not completely, part of the data sent.")


def test_null_is_searched_and_nothing_found(call):
    response = call(sent("procedures", None))
    assert (response.status_code, response.get_json()) == (200, {"cards": []})


def test_a_null_patient_has_no_known_age_and_gets_no_card(call):
    response = call(sent("patient", None))
    assert (response.status_code, response.get_json()) == (200, {"cards": []})


@pytest.mark.parametrize(
    "empty",
    [
        {"resourceType": "Bundle", "type": "searchset", "total": 0},
        {"resourceType": "Bundle", "type": "searchset", "entry": []},
        {"resourceType": "Bundle", "type": "searchset", "entry": None},
    ],
    ids=["total 0", "entry []", "entry null"],
)
def test_a_bundle_without_entries_is_an_empty_result(call, empty):
    assert call(sent("procedures", empty)).get_json() == {"cards": []}
    assert not_read(call(sent("conditions", empty))) == []


@pytest.mark.parametrize("severity", ["warning", "information"])
def test_a_lone_warning_is_how_some_servers_say_no_results(call, severity):
    bundled = bundle()
    bundled["entry"] = [{"resource": outcome(severity, "not-found"), "search": {"mode": "outcome"}}]
    assert call(sent("procedures", bundled)).get_json() == {"cards": []}


def test_a_warning_beside_matches_marks_the_evidence_incomplete(call):
    bundled = bundle(FAILED[0])
    bundled["entry"].append({"resource": outcome("warning"), "search": {"mode": "outcome"}})
    found = card(call(sent("procedures", bundled)))
    assert found["detail"].startswith("**Procedures: not, or not completely, part of the data sent.")


def test_a_warning_beside_matches_does_not_turn_silence_into_a_refusal(call):
    bundled = bundle(procedure("72148", "2026-01-01"))
    bundled["entry"].append({"resource": outcome("warning"), "search": {"mode": "outcome"}})
    assert call(sent("procedures", bundled)).get_json() == {"cards": []}


@pytest.mark.parametrize("severity", ["error", "fatal"])
def test_an_error_entry_makes_the_key_unavailable(call, severity):
    bundled = bundle(FAILED[0])
    bundled["entry"].append({"resource": outcome(severity), "search": {"mode": "outcome"}})
    assert refused(call(sent("procedures", bundled)), 412, "prefetch.procedures")
    assert not_read(call(sent("medications", bundled | {"entry": bundled["entry"][1:]}))) == ["medications"]


@pytest.mark.parametrize("severity", ["error", "fatal", "warning", "information"])
def test_an_operation_outcome_as_the_value_is_a_failed_query(call, severity):
    assert refused(call(sent("procedures", outcome(severity))), 412, "prefetch.procedures")
    assert not_read(call(sent("allergies", outcome(severity)))) == ["allergies"]


NEXT = [{"relation": "self", "url": "https://x.example"}, {"relation": "next", "url": "https://x.example?page=2"}]


def test_a_truncated_history_with_a_finding_says_so_first(call):
    found = card(call(sent("procedures", bundle(FAILED[0], link=NEXT))))
    assert found["detail"].startswith("**Procedures: not, or not completely, part of the data sent.")
    assert found["extension"]["org.cds-service.decision"]["notRead"] == ["procedures"]


def test_a_truncated_history_without_a_finding_is_412(call):
    assert refused(call(sent("procedures", bundle(link=NEXT))), 412, "prefetch.procedures")
    assert refused(
        call(sent("procedures", bundle(procedure("72148", "2026-01-01"), link=NEXT))), 412, "prefetch.procedures"
    )


def test_a_truncated_history_does_not_matter_to_an_unrelated_order(call):
    from tests.chart import draft

    body = hook_request(drafts=(draft("83036", side="", level=""),), prefetch={"procedures": bundle(link=NEXT)})
    assert call(body).get_json() == {"cards": []}


@pytest.mark.parametrize("kind", ["collection", "batch-response", None])
def test_a_bundle_of_another_type_is_read(call, kind):
    bundled = bundle(FAILED[0])
    bundled.pop("type")
    if kind:
        bundled["type"] = kind
    assert card(call(sent("procedures", bundled)))["indicator"] == "warning"


def test_a_single_resource_is_read_where_a_search_was_asked(call):
    assert card(call(sent("procedures", FAILED[0])))["indicator"] == "warning"


def test_a_bundle_is_read_where_a_single_resource_was_asked(call):
    assert card(call(sent("patient", bundle(patient()))))["indicator"] == "warning"


def test_another_patients_resource_stops_the_evaluation(call):
    body = sent("conditions", bundle({**condition("M54.16"), "subject": {"reference": "Patient/pat-2"}}))
    assert refused(call(body), 422, "prefetch.conditions")


@pytest.mark.parametrize("value", ["<html>Tomcat</html>", 7, True, [], {}, {"resourceType": 7}, [FAILED[0]]])
def test_a_value_that_is_no_resource_is_not_reasoned_on(call, value):
    assert refused(call(sent("procedures", value)), 412, "prefetch.procedures")
    assert not_read(call(sent("coverage", value))) == ["coverage"]


def test_an_entry_without_a_resource_is_named_and_the_rest_is_read(call):
    bundled = bundle(FAILED[0])
    bundled["entry"] += [None, 7, {}, {"resource": None}, {"resource": {"id": "x"}}]
    decision = card(call(sent("procedures", bundled)))["extension"]["org.cds-service.decision"]
    assert decision["unreadable"] == ["procedures: 5 entries without a resource"]


def test_keys_that_were_not_asked_for_are_ignored(call):
    body = sent("conditions", bundle(FAILED[3]))
    body["prefetch"]["painScores"] = bundle(score(1, "2026-04-21", "other"))
    assert "pain 8 -> 7" in card(call(body))["summary"]


def test_a_filter_in_a_template_is_checked_again(call):
    """The template asks for active orders; what arrives is filtered by status all the same."""
    from tests.chart import service_request

    done = service_request("72148", "s1", authored="2026-05-01", status="completed")
    body = hook_request(*FAILED, done)
    assert card(call(body))["extension"]["org.cds-service.decision"]["options"] == ["repeat-imaging", "re-evaluate"]


NOT_FOUND = {"status": "404 Not Found", "outcome": outcome("error", "not-found")}


@pytest.mark.parametrize(
    "no_answer",
    [
        {"resourceType": "Bundle", "entry": "none"},
        {"resourceType": "Bundle", "entry": [None]},
        {"resourceType": "Bundle", "entry": [{}, {"resource": 7}]},
        {"resourceType": "Bundle", "total": 3},
        {"resourceType": "Bundle", "total": 3, "entry": []},
        {"resourceType": "Bundle", "total": "three"},
        {"resourceType": "Bundle", "type": "batch-response", "entry": [{"response": NOT_FOUND}]},
        {"resourceType": "Bundle", "type": "batch-response", "entry": [{"resource": bundle(), "response": NOT_FOUND}]},
        {"resourceType": "Bundle", "entry": {"resource": {"resourceType": "OperationOutcome"}}},
        bundle({"resourceType": "OperationOutcome", "issue": "bad"}),
        bundle({"resourceType": "OperationOutcome", "issue": [{"severity": 7}]}),
        bundle(patient()),
        condition("M54.16"),
    ],
    ids=repr,
)
def test_what_is_no_answer_is_never_taken_for_an_empty_one(call, no_answer):
    assert refused(call(sent("procedures", no_answer)), 412, "prefetch.procedures")


def test_the_answers_of_a_batch_are_unwrapped(call):
    batch = {"resourceType": "Bundle", "type": "batch-response", "entry": []}
    batch["entry"] += [{"resource": bundle(FAILED[0]), "response": {"status": "200 OK"}}]
    assert card(call(sent("procedures", batch)))["indicator"] == "warning"
    batch["entry"][0]["resource"]["link"] = NEXT
    assert not_read(call(sent("procedures", batch))) == ["procedures"]


def test_a_single_entry_and_a_single_link_count_as_lists_of_one(call):
    alone = {"resourceType": "Bundle", "entry": {"resource": FAILED[0]}}
    assert not_read(call(sent("procedures", alone))) == []
    assert not_read(call(sent("procedures", {**alone, "link": NEXT[1]}))) == ["procedures"]


def test_a_total_above_what_was_sent_marks_the_evidence_incomplete(call):
    assert not_read(call(sent("procedures", bundle(FAILED[0], total=4)))) == ["procedures"]
    assert not_read(call(sent("procedures", bundle(FAILED[0], total=1)))) == []


def test_a_key_for_medicines_is_answered_by_any_kind_of_them(call):
    statement = {"resourceType": "MedicationStatement", "id": "m", "status": "active"}
    statement["medicationCodeableConcept"] = {"text": "ibuprofen"}
    assert not_read(call(sent("medications", bundle(statement)))) == []
    assert not_read(call(sent("medications", bundle(condition("M54.16"))))) == ["medications"]
