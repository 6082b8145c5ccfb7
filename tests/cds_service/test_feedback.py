"""Feedback: read as clients send it, stored once and durably, and silent about whose card it was."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from cds_service.app import create_app
from cds_service.ledger.chain import verify
from cds_service.ledger.feedback import Inbox
from cds_service.ledger.ledger import open_ledger
from cds_service.ledger.tables import entries, feedback, sealed
from cds_service.protocol.errors import BadRequest
from cds_service.protocol.feedback import read_feedback
from cds_service.scenarios import find_scenario
from cds_service.settings import Settings
from tests.cds_service.test_ledger import alter

STORY = find_scenario("failed-and-reordered", ["failed-esi"])
PATH = "/cds-services/failed-esi"
OURS = "urn:cds-service:failed-esi"
HL7 = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"
CARD = "0b9a7c52-4f43-4c0e-9a5e-6d3c1f4b2a10"
SUGGESTION = "1b0f6f58-0a7c-4c0e-9f52-0a4d8c1e7b11"
AT = "2026-05-01T19:06:41Z"


def entry(card=CARD, outcome="overridden", at=AT, **more):
    return {"card": card, "outcome": outcome, "outcomeTimestamp": at, **more}


def because(code="patient-preference", system=OURS, **more):
    return {"overrideReason": {"reason": {"code": code, "system": system}, **more}}


def read_one(body):
    (report,), skipped = read_feedback(body)
    assert skipped == 0
    return report


def code_of(service, **override):
    return read_one({"feedback": [entry(**override)]}).reason_code(service.override_reasons)


class TestReading:
    def test_an_accepted_suggestion(self):
        report = read_one({"feedback": [entry(outcome="accepted", acceptedSuggestions=[{"id": SUGGESTION}])]})
        assert (report.card, report.outcome, report.suggestions) == (CARD, "accepted", (SUGGESTION,))
        assert report.at == datetime(2026, 5, 1, 19, 6, 41, tzinfo=UTC)

    def test_a_reason_without_display_is_known_by_its_code(self, service):
        assert code_of(service, **because()) == "patient-preference"

    def test_a_reason_of_the_published_list_is_known(self, service):
        assert code_of(service, **because("too-costly-uncovered", HL7)) == "too-costly-uncovered"

    @pytest.mark.parametrize(
        ("code", "system"),
        [("john-smith", HL7), ("john-smith", OURS), ("patient-preference", "urn:else"), ("Anna Example", "")],
    )
    def test_any_other_reason_is_other(self, service, code, system):
        assert code_of(service, **because(code, system)) == "other"

    def test_no_reason_is_none(self, service):
        assert code_of(service) == ""
        assert code_of(service, overrideReason={"userComment": "no"}) == ""

    @pytest.mark.parametrize(
        "override",
        [
            {"overrideReasons": {"reason": {"code": "chart-wrong", "system": OURS, "display": "x"}}},
            {"overrideReasons": [{"reason": {"code": "chart-wrong", "system": OURS}}]},
            {"overrideReason": {"reason": {"code": "chart-wrong", "system": "urn: cds-service:failed-esi "}}},
            {"overrideReason": {"reason": {"code": "chart-wrong"}}},
            {"overrideReason": {"reason": [{"code": "chart-wrong", "system": OURS}]}},
            {"overrideReason": {"code": "chart-wrong", "system": OURS}},
            {"overrideReason": {"reason": "The data in the chart are wrong"}},
            {
                "overrideReasons": {
                    "extension": {
                        "com.epic.cdshooks.feedback.overrideReason.reasonCategory": "45",
                        "com.epic.cdshooks.feedback.overrideReason.reasonTitle": "The data in the chart are wrong",
                    }
                }
            },
            {"extension": {"com.epic.cdshooks.feedback.overrideReason.reasonDisplay": "the data in the chart are wrong"}},
        ],
    )  # fmt: skip
    def test_a_reason_is_found_wherever_clients_put_it(self, service, override):
        assert code_of(service, **override) == "chart-wrong"

    def test_a_reason_of_the_sites_own_keeps_its_words(self):
        extension = {
            "com.epic.cdshooks.feedback.overrideReason.reasonCategory": "45",
            "com.epic.cdshooks.feedback.overrideReason.reasonTitle": "Does not meet criteria",
        }
        report = read_one({"feedback": [entry(overrideReasons={"extension": extension, "userComment": "words"})]})
        assert (report.reason.code, report.reason.display) == ("45", "Does not meet criteria")
        assert report.comment == "words"

    def test_one_entry_may_come_without_its_wrapper(self):
        assert read_one(entry()).card == CARD

    @pytest.mark.parametrize("card", ["123456", "https://ehr.example.org/card?7", "ä"])
    def test_a_card_may_have_any_id(self, card):
        assert read_one({"feedback": [entry(card=card)]}).card == card

    @pytest.mark.parametrize("card", [CARD.upper(), f"urn:uuid:{CARD}", f" {CARD}\n"])
    def test_a_uuid_is_the_same_in_any_spelling(self, card):
        assert read_one({"feedback": [entry(card=card)]}).card == CARD

    @pytest.mark.parametrize(
        "bad",
        [None, 7, "x", [], {}, entry(card=""), entry(card=None), entry(card=7), entry(outcome="ignored"), entry(outcome=None)],
    )  # fmt: skip
    def test_a_bad_entry_is_left_out_and_counted(self, bad):
        reports, skipped = read_feedback({"feedback": [bad, entry(), bad]})
        assert ([report.card for report in reports], skipped) == ([CARD], 2)

    @pytest.mark.parametrize(
        "suggestions", [None, "x", [None], [{}], [{"id": 7}], {"id": SUGGESTION}]
    )  # fmt: skip
    def test_suggestions_that_cannot_be_read_do_not_lose_the_rest(self, suggestions):
        assert read_one({"feedback": [entry(outcome="accepted", acceptedSuggestions=suggestions)]}).suggestions == ()

    @pytest.mark.parametrize(
        "at", ["2026-05-01T21:06:41+02:00", "2026-05-01t19:06:41z", "2026-05-01 19:06:41.000000000Z"]
    )
    def test_a_time_may_be_written_in_every_way_of_rfc_3339(self, at):
        assert read_one({"feedback": [entry(at=at)]}).at == datetime(2026, 5, 1, 19, 6, 41, tzinfo=UTC)

    @pytest.mark.parametrize(
        "at",
        [None, 7, "", "yesterday", "2026-05-01", "2026-05-01T19:06:41", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00",
         "9999-12-31T23:59:59-14:00", "1970-01-01T00:00:00Z", "٢٠٢٦-05-01T19:06:41Z"],
    )  # fmt: skip
    def test_a_time_that_is_none_is_told_apart(self, at):
        assert read_one({"feedback": [entry(at=at)]}).at is None

    @pytest.mark.parametrize(
        "body",
        [None, 7, "x", [], [entry()], {}, {"feedback": None}, {"feedback": "none"}, {"feedback": {}}, {"card": CARD}],
    )
    def test_a_body_without_an_array_is_refused(self, body):
        with pytest.raises(BadRequest):
            read_feedback(body)

    @given(st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from([CARD, "accepted", AT]),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["card", "outcome", "acceptedSuggestions", "id", "overrideReason", "overrideReasons", "reason", "code",
                 "system", "extension", "userComment", "outcomeTimestamp"]
            ),
            inner,
            max_size=5,
        ),
        max_leaves=20,
    ))  # fmt: skip
    def test_nothing_that_is_in_the_array_breaks_anything(self, service, value):
        reports, skipped = read_feedback({"feedback": [value]})
        assert len(reports) + skipped == 1
        for report in reports:
            assert report.outcome in {"accepted", "overridden"}
            assert isinstance(report.reason_code(service.override_reasons), str)
            assert report.at is None or report.at.tzinfo


class Site:
    """An installation with a card that was shown."""

    def __init__(self, folder, **more):
        self.settings = Settings(data=folder, log_level="info", **more)
        self.client = create_app(settings=self.settings, today=lambda: STORY.today).test_client()
        self.ledger = open_ledger(self.settings)
        (self.shown,) = self.client.post(PATH, json=STORY.request()).get_json()["cards"]

    @property
    def card(self):
        return self.shown["uuid"]

    def tell(self, *told):
        return self.client.post(f"{PATH}/feedback", json={"feedback": list(told)})

    def records(self):
        with self.ledger.reading() as connection:
            found = select(entries.c.record).where(entries.c.kind == "feedback").order_by(entries.c.number)
            return [orjson.loads(record) for record in connection.execute(found).scalars()]

    def rows(self):
        with self.ledger.reading() as connection:
            return {tuple(row) for row in connection.execute(select(feedback))}

    def opened(self):
        with self.ledger.reading() as connection:
            contents = connection.execute(select(sealed.c.content).order_by(sealed.c.number)).scalars().all()
        return [orjson.loads(self.ledger.secrets.open("comment", content)) for content in contents]

    def faults(self):
        with self.ledger.reading() as connection:
            return list(verify(connection, {}))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


class TestStoring:
    def test_what_became_of_a_card_is_on_record_before_it_is_confirmed(self, site):
        suggestion = site.shown["suggestions"][0]["uuid"]
        taken = site.tell(entry(site.card, "accepted", acceptedSuggestions=[{"id": suggestion}]))
        assert (taken.status_code, taken.data, taken.content_type) == (200, b"{}", "application/json")
        (record,) = site.records()
        assert {name: record[name] for name in ("client", "service", "card", "outcome", "suggestions", "outcomeAt")} == {
            "client": "open", "service": "failed-esi", "card": site.card, "outcome": "accepted",
            "suggestions": [suggestion], "outcomeAt": "2026-05-01T19:06:41.000000Z",
        }  # fmt: skip
        assert not {"isQuarantined", "isDatedByUs", "reason", "sealed"} & record.keys()
        assert site.faults() == []

    def test_a_reason_is_on_record_and_its_comment_sealed(self, site):
        site.tell(entry(site.card, **because(userComment="Mrs Example prefers to wait")))
        (record,) = site.records()
        assert record["reason"] == "patient-preference"
        assert site.opened() == [{"userComment": "Mrs Example prefers to wait"}]

    def test_a_reason_of_the_clients_own_is_other_and_its_words_are_sealed(self, site):
        site.tell(entry(site.card, **because("Mrs Example", "urn:theirs")))
        (record,) = site.records()
        assert record["reason"] == "other"
        assert site.opened() == [{"reason": {"system": "urn:theirs", "code": "Mrs Example", "display": ""}}]

    @pytest.mark.parametrize("at", ["", "Mrs Example", "2999-01-01T00:00:00Z", "1999-01-01T00:00:00Z"])
    def test_a_time_that_cannot_be_is_ours_and_said_to_be(self, site, at):
        before = datetime.now(UTC)
        site.tell(entry(site.card, at=at), entry(site.card, at=at))
        site.tell(entry(site.card, at=at))
        (record,) = site.records()
        assert record["isDatedByUs"] is True
        assert abs(datetime.fromisoformat(record["outcomeAt"]) - before) < timedelta(hours=1)
        assert site.opened() == ([{"outcomeTimestamp": at}] if at else [])

    def test_ids_of_suggestions_that_are_none_are_sealed(self, site):
        site.tell(entry(site.card, "accepted", acceptedSuggestions=[{"id": "Mrs Example"}, {"id": SUGGESTION}]))
        (record,) = site.records()
        assert record["suggestions"] == [SUGGESTION]
        assert site.opened() == [{"acceptedSuggestions": ["Mrs Example", SUGGESTION]}]

    def test_what_is_sealed_has_an_end(self, tmp_path):
        site = Site(tmp_path, comment_days=10)
        site.tell(entry(site.card, **because(userComment="words")))
        with site.ledger.reading() as connection:
            until = datetime.fromisoformat(connection.execute(select(sealed.c.until)).scalar_one())
        assert abs(until - datetime.now(UTC) - timedelta(days=10)) < timedelta(hours=1)

    def test_a_long_batch_is_stored_whole(self, site):
        minutes = [f"2026-05-01T{n // 60:02}:{n % 60:02}:00Z" for n in range(250)]
        assert site.tell(*(entry(site.card, at=at) for at in minutes)).status_code == 200
        assert len(site.rows()) == 250
        assert site.faults() == []

    @pytest.mark.parametrize("without_ledger", ["refuse", "answer"])
    @pytest.mark.parametrize("table", ["head", "feedback", "cards"])
    def test_what_is_not_stored_is_never_confirmed(self, tmp_path, without_ledger, table):
        site = Site(tmp_path, without_ledger=without_ledger)
        alter(tmp_path, f"ALTER TABLE {table} RENAME TO elsewhere")
        refused = site.tell(entry(site.card))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        alter(tmp_path, f"ALTER TABLE elsewhere RENAME TO {table}")
        assert site.tell(entry(site.card)).status_code == 200
        assert len(site.rows()) == 1


class TestQuarantine:
    STRANGERS = (CARD, "123456", "Mrs Example", "\0")  # PostgreSQL takes no text with the last one

    @pytest.mark.parametrize("card", STRANGERS)
    def test_an_unknown_card_is_answered_like_a_known_one_and_counts_nowhere(self, site, card):
        known, unknown = site.tell(entry(site.card)), site.tell(entry(card))
        assert _bytes(known) == _bytes(unknown)
        ours, theirs = site.records()
        assert "isQuarantined" not in ours
        assert theirs["isQuarantined"] is True
        assert card not in str(theirs)
        assert site.opened() == [{"card": card}]

    def test_a_card_of_another_client_is_none_of_this_ones(self, site, service):
        reports, _ = read_feedback({"feedback": [entry(site.card, **because())]})
        own = Inbox(site.ledger, "open", service, 1).take(reports)
        other = Inbox(site.ledger, "another", service, 1).take(reports)
        assert (own.quarantined, other.quarantined, own.new, other.new) == (0, 1, 1, 1)
        assert [("isQuarantined" in record, record["client"]) for record in site.records()] == [
            (False, "open"), (True, "another"),
        ]  # fmt: skip

    def test_the_same_report_of_two_clients_is_two(self, site, service):
        reports, _ = read_feedback({"feedback": [entry()]})
        for client in ("a", "b"):
            assert Inbox(site.ledger, client, service, 1).take(reports).new == 1


def _bytes(response):
    headers = {name: value for name, value in response.headers.items() if name != "Date"}
    return response.status_code, headers, response.data


REPORTS = [
    entry(outcome=outcome, at=f"2026-05-0{day}T10:00:00Z", **more)
    for outcome, day, more in itertools.product(
        ("accepted", "overridden"),
        (1, 2),
        ({}, because(), because(userComment="words"), {"acceptedSuggestions": [{"id": SUGGESTION}]}),
    )
]


class TestOnce:
    @settings(max_examples=25)
    @given(st.lists(st.lists(st.sampled_from(range(len(REPORTS))), max_size=6), max_size=6), st.booleans())
    def test_however_often_and_in_whatever_order_it_is_told(self, tmp_path_factory, service, batches, restarts):
        folder = Settings(data=tmp_path_factory.mktemp("once"))
        ledger = open_ledger(folder)

        def tell(batch):
            reports, _ = read_feedback({"feedback": [REPORTS[number] for number in batch]})
            return Inbox(ledger, "open", service, 1).take(reports)

        with ThreadPoolExecutor(4) as pool:
            taken = list(pool.map(tell, batches))
        if restarts:
            ledger = open_ledger(folder)
        again = [tell(reversed(batch)) for batch in batches]
        told = {number for batch in batches for number in batch}
        assert sum(each.new for each in taken) == len(told)
        assert sum(each.new for each in again) == 0
        with ledger.reading() as connection:
            assert len(connection.execute(select(feedback.c.key)).all()) == len(told)
            assert list(verify(connection, {})) == []

    @pytest.mark.parametrize(
        "change",
        [{"outcomeTimestamp": "2026-05-01T21:06:41+02:00"}, {"card": CARD.upper()}, {"extra": 1},
         {"acceptedSuggestions": [{"id": SUGGESTION}, {"id": CARD}]}],
    )  # fmt: skip
    def test_the_same_in_other_words_is_the_same(self, site, change):
        plain = entry(acceptedSuggestions=[{"id": CARD}, {"id": SUGGESTION}])
        site.tell(plain)
        site.tell({**plain, **change})
        assert len(site.rows()) == 1

    @pytest.mark.parametrize(
        "change",
        [{"outcomeTimestamp": "2026-05-01T19:06:42Z"}, {"card": SUGGESTION}, {"outcome": "accepted"}, because("chart-wrong"),
         because(userComment="words"), {"acceptedSuggestions": [{"id": SUGGESTION}]}],
    )  # fmt: skip
    def test_anything_else_is_another_report(self, site, change):
        plain = {**entry(), **because()}
        site.tell(plain, {**plain, **change})
        assert len(site.rows()) == 2


CANARIES = (
    "Zaphod-Comment",
    "Zaphod-Reason",
    "Zaphod-System",
    "Zaphod-Display",
    "Zaphod-Card",
    "Zaphod-Suggestion",
    "Zaphod-Time",
)


def test_nothing_that_a_clinician_writes_reaches_a_log_or_the_open_ledger(site, tmp_path, capfd):
    comment, code, system, display, card, suggestion, at = CANARIES
    told = because(code, system, userComment=comment)
    told["overrideReason"]["reason"]["display"] = display
    more = {**told, "acceptedSuggestions": [{"id": suggestion}]}
    answered = [site.tell(entry(site.card, at=at, **more), entry(card, **more), {**entry(card=""), **more})]
    answered.append(site.client.post(f"{PATH}/feedback", json={"feedback": comment, **more}))
    answered.append(
        site.client.post(f"{PATH}/feedback", data=f'{{"{comment}'.encode(), content_type="application/json")
    )
    assert [response.status_code for response in answered] == [200, 400, 400]
    sinks = b"".join(response.data for response in answered) + "".join(capfd.readouterr()).encode()
    sinks += b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b'"event": "feedback"' in sinks
    assert [canary for canary in CANARIES if canary.encode() in sinks] == []
    assert {canary for canary in CANARIES if canary in str(site.opened())} == set(CANARIES)


def test_the_log_counts_and_names_nobody(site, capfd):
    site.tell(entry(site.card), entry(site.card), entry(), {"card": site.card})
    (line,) = [orjson.loads(line) for line in capfd.readouterr().err.splitlines() if '"event": "feedback"' in line]
    told = {name: line[name] for name in ("service", "reports", "repeated", "quarantined", "skipped")}
    assert told == {"service": "failed-esi", "reports": 2, "repeated": 1, "quarantined": 1, "skipped": 1}


@pytest.mark.parametrize(
    ("path", "data", "content_type", "status"),
    [
        (f"{PATH}/feedback", b"{", "application/json", 400),
        (f"{PATH}/feedback", b"[" * 200 + b"]" * 200, "application/json", 400),
        (f"{PATH}/feedback", b" " * 3000, "application/json", 413),
        (f"{PATH}/feedback", b"{}", "text/plain", 415),
        ("/cds-services/none/feedback", b"{}", "application/json", 404),
    ],
)
def test_a_body_is_held_to_the_limits_of_calls(tmp_path, path, data, content_type, status):
    client = create_app(settings=Settings(data=tmp_path, log_level="error", max_body=2048)).test_client()
    refused = client.post(path, data=data, content_type=content_type, headers={"Origin": "https://ehr.example.org"})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (status, "*")
    assert refused.get_json()["resourceType"] == "OperationOutcome"
