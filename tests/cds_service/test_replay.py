"""An answer given again from its capsule is the one that left, to the letter; and the capsule holds no key to a chart."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given, settings
from sqlalchemy import select, text

from bench.faults.replay import replayed, services_of
from cds_service.app import create_app
from cds_service.ledger.capsule import PURPOSE, without_token
from cds_service.ledger.ledger import open_ledger
from cds_service.ledger.replay import NotReplayable, answer_again, kept_call
from cds_service.ledger.tables import entries, sealed
from cds_service.scenarios import find_scenario, scenarios
from cds_service.settings import Settings
from cds_service.trust.secrets import Secrets
from tests.chart import FAILED, draft, hook_request
from tests.clients import DIALECTS, client_scenarios, name_of
from tests.conftest import TODAY
from tests.fhir_server import FakeFhirServer, serving
from tests.test_properties import mutated

STORIES = scenarios(["failed-esi"])
STORY = find_scenario("failed-and-reordered", ["failed-esi"])
TOKEN = "a-token-that-opens-a-chart"  # noqa: S105 - invented


def kept(folder, **more):
    return Settings(data=folder, ledger="capsule", log_level="error", deadline_ms=5000, **more)


@pytest.fixture
def ledger(tmp_path):
    return open_ledger(kept(tmp_path))


@pytest.fixture
def post(tmp_path):
    """Post to an application that keeps capsules; `day` is its today."""

    def run(body, day=TODAY, **more):
        app = create_app(settings=kept(tmp_path, **more), today=lambda: day)
        return app.test_client().post("/cds-services/failed-esi", json=body)

    return run


def again(ledger, number=1):
    return answer_again(kept_call(ledger, str(number)), services_of, ledger.software)


def bare(server, *drafts):
    body = hook_request(drafts=drafts or (draft(),))
    del body["prefetch"]
    authorization = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 60, "scope": "x"}
    return body | {"fhirServer": server.url, "fhirAuthorization": authorization}


def only(*replays):
    return [(number, again.differences) for number, again in replays if again.differences]


class TestSameAnswer:
    def test_every_story(self, post, ledger):
        answers = [post(story.request(), story.today).get_data() for story in STORIES]
        found = list(replayed(ledger))
        assert only(*found) == []
        assert [again.body for _, again in found] == answers
        assert {len(orjson.loads(body).get("cards", "-")) for body in answers} >= {0, 1}

    @pytest.mark.parametrize("story", client_scenarios(), ids=name_of)
    def test_every_dialect_with_the_terms_of_its_site(self, post, ledger, story):
        client = story.folder.parent
        site = client / "site.toml"
        dialect_file = site if site.exists() else None
        answer = post(
            story.request(), story.today, dialect=DIALECTS[client.name], dialect_file=dialect_file, fhir_loopback=False
        )
        if answer.status_code == 400:  # what could not be read is not on record
            assert list(replayed(ledger)) == []
        else:
            ((_, found),) = replayed(ledger)
            assert (found.body, found.differences) == (answer.get_data(), ())

    @pytest.mark.parametrize("page_size", [1, 1000])
    def test_what_was_fetched_without_a_network(self, post, ledger, page_size):
        with serving(FakeFhirServer(list(FAILED), page_size=page_size)) as server:
            fetched = post(bare(server))
        assert len(fetched.get_json()["cards"]) == 1
        assert (again(ledger).body, again(ledger).differences) == (fetched.get_data(), ())

    def test_further_pages_of_what_was_sent(self, post, ledger):
        with serving(FakeFhirServer(list(FAILED), page_size=1)) as server:
            first = orjson.loads(server.answer("/fhir/Observation?patient=pat-1"))
            body = hook_request(*FAILED, prefetch={"observations": first}) | {"fhirServer": server.url}
            sent = post(body)
        assert len(sent.get_json()["cards"]) == 1
        assert again(ledger).body == sent.get_data()
        with ledger.reading() as connection:
            record = orjson.loads(connection.execute(select(entries.c.record)).scalar_one())
        assert record["asked"] == [
            {"key": "observations", "type": "Observation", "outcome": "found", "isFurtherPages": True}
        ]

    def test_a_refusal_after_a_server_failed(self, post, ledger):
        fail = {"Procedure": lambda exchange: exchange.send(b"{}", "500 Broken")}
        with serving(FakeFhirServer(list(FAILED), faults=fail)) as server:
            refused = post(bare(server))
        assert refused.status_code == 412
        assert (again(ledger).body, again(ledger).differences) == (refused.get_data(), ())
        assert again(ledger).explanation is None

    def test_a_refusal_because_no_server_was_asked(self, post, ledger):
        body = hook_request(not_sent=["procedures"]) | {"fhirServer": "https://elsewhere.example/fhir"}
        refused = post(body)
        assert "CDS_FHIR_SERVERS" in refused.get_data(as_text=True)
        assert again(ledger).body == refused.get_data()

    def test_a_request_about_somebody_else(self, post, ledger):
        with serving(FakeFhirServer([{**r, "subject": {"reference": "Patient/other"}} for r in FAILED])) as server:
            refused = post(bare(server))
        assert refused.status_code == 422
        assert again(ledger).body == refused.get_data()

    def test_a_site_as_it_was_then(self, post, ledger):
        answer = post(STORY.request(), STORY.today, profile="six-a-year", public_url="https://cds.example.org")
        assert b"https://cds.example.org" in answer.get_data()
        assert again(ledger).body == answer.get_data()

    def test_after_the_secret_was_changed(self, post, ledger):
        answer = post(STORY.request(), STORY.today)
        rotated = replace(ledger, secrets=Secrets((bytes(range(32)), *ledger.secrets.values)))
        assert again(rotated).body == answer.get_data()

    def test_cards_that_were_withheld_stay_away(self, post, ledger):
        post(STORY.request(), STORY.today)
        call = kept_call(ledger, "1")
        withheld = [{**card, "isShown": False} for card in call.record["cards"]]
        silent = replace(call, record={**call.record, "cards": withheld})
        assert answer_again(silent, services_of, ledger.software).body == b'{"cards":[]}'

    def test_cards_that_were_snoozed_stay_away(self, tmp_path, ledger):
        app = create_app(settings=kept(tmp_path, snooze_days=30), today=lambda: STORY.today).test_client()
        (card,) = app.post("/cds-services/failed-esi", json=STORY.request()).get_json()["cards"]
        report = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": datetime.now(UTC).isoformat()}
        assert app.post("/cds-services/failed-esi/feedback", json={"feedback": [report]}).status_code == 200
        request = STORY.request() | {"hookInstance": "0b1c1c1e-8f0a-4a53-9d0c-2f6f0a1d7c11"}
        assert app.post("/cds-services/failed-esi", json=request).get_json() == {"cards": []}
        assert (again(ledger, 3).body, again(ledger, 3).differences) == (b'{"cards":[]}', ())

    def test_by_the_uuid_of_a_card(self, post, ledger):
        post(hook_request())
        answer = post(STORY.request(), STORY.today)
        uuid = answer.get_json()["cards"][0]["uuid"]
        assert kept_call(ledger, uuid).record["number"] == 2
        assert kept_call(ledger, uuid.upper()).record["number"] == 2

    @pytest.mark.parametrize(
        "environment",
        [
            {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
            {"PYTHONHASHSEED": "1", "TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8"},
            {"PYTHONHASHSEED": "4242", "TZ": "Pacific/Pago_Pago", "LC_ALL": "tr_TR.UTF-8", "PYTHONUTF8": "0"},
        ],
        ids=["seed 0, UTC", "seed 1, UTC+14", "seed 4242, UTC-11"],
    )
    def test_in_another_process(self, post, tmp_path, environment):
        calls = [story for story in STORIES if story.name in {"two-sides-other", "failed-and-reordered", "vague-date"}]
        for story in calls:
            post(story.request(), story.today)
        with serving(FakeFhirServer(list(FAILED))) as server:
            post(bare(server))
        done = subprocess.run(
            [sys.executable, "-m", "bench.faults.replay", "--child", str(tmp_path)],
            env={**os.environ, **environment}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.splitlines() == [f"{number} identical" for number in range(1, len(calls) + 2)]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """An application for calls that are made up, and its ledger."""
    folder = tmp_path_factory.mktemp("made-up")
    app = create_app(settings=kept(folder, fhir_servers=(), fhir_loopback=False), today=lambda: TODAY)
    return app.test_client(), open_ledger(kept(folder))


@settings(max_examples=150)
@given(body=mutated())
def test_any_call_on_record_is_answered_again_as_it_was(made_up, body):
    client, ledger = made_up
    before = ledger.last().number
    try:
        sent = orjson.dumps(body)
    except TypeError:  # integers beyond 64 bits are no JSON for us
        return
    answer = client.post("/cds-services/failed-esi", data=sent, content_type="application/json")
    for number in range(before + 1, ledger.last().number + 1):
        found = again(ledger, number)
        assert (found.body, found.differences) == (answer.get_data(), ())


class TestDifferences:
    def test_what_changed_is_named(self, post, ledger):
        post(STORY.request(), STORY.today)
        call = kept_call(ledger, "1")
        other = replace(call, record={**call.record, "response": "0" * 64, "knowledgeHash": "of then"})
        found = answer_again(other, services_of, "2.0+next")
        assert found.differences == (
            f"software was {ledger.software} and is 2.0+next",
            f"knowledgeHash was of then and is {call.record['knowledgeHash']}",
        )

    def test_that_nothing_changed_is_said(self, post, ledger):
        post(STORY.request(), STORY.today)
        call = kept_call(ledger, "1")
        other = replace(call, record={**call.record, "response": "0" * 64})
        (difference,) = answer_again(other, services_of, ledger.software).differences
        assert "those of then" in difference


class TestCapsules:
    def content(self, ledger):
        with ledger.reading() as connection:
            return connection.execute(select(sealed)).all()

    def test_the_access_token_never_gets_in(self, post, ledger, tmp_path):
        with serving(FakeFhirServer(list(FAILED))) as server:
            post(bare(server))
            sent = {headers["authorization"] for _, headers in server.seen}
        assert sent == {f"Bearer {TOKEN}"}
        (row,) = self.content(ledger)
        plain = ledger.secrets.open(PURPOSE, row.content)
        assert b"failed-esi" in plain
        assert TOKEN.encode() not in plain
        assert all(TOKEN.encode() not in path.read_bytes() for path in tmp_path.iterdir())

    def test_what_is_no_authorization_at_all_is_not_kept(self):
        assert without_token({"fhirAuthorization": TOKEN}) == {"fhirAuthorization": "not kept"}
        assert without_token({"fhirAuthorization": None}) == {"fhirAuthorization": None}
        assert without_token([TOKEN]) == [TOKEN]

    def test_it_is_sealed(self, post, ledger, tmp_path):
        post(STORY.request(), STORY.today)
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert STORY.request()["context"]["patientId"].encode() not in stored

    def test_it_is_kept_for_so_many_days(self, post, ledger):
        post(STORY.request(), STORY.today, capsule_days=7)
        (row,) = self.content(ledger)
        now = datetime.now(UTC)
        assert row.until[:10] in {(now + timedelta(days=7, minutes=m)).date().isoformat() for m in (-9, 0)}
        assert ledger.expire(now + timedelta(days=6)) == 0
        assert ledger.expire(now + timedelta(days=8)) == 1
        with pytest.raises(NotReplayable, match="time was over"):
            again(ledger)

    def test_the_service_deletes_it_when_it_starts(self, post, ledger):
        post(STORY.request(), STORY.today)
        with ledger.engine.begin() as connection:
            connection.execute(sealed.update().values(until="2020-01-01T00:00:00.000000Z"))
        post(STORY.request(), STORY.today)
        assert [row.number for row in self.content(ledger)] == [2]

    def test_none_is_kept_unless_the_site_says_so(self, tmp_path):
        folder = Settings(data=tmp_path, log_level="error")
        app = create_app(settings=folder, today=lambda: STORY.today)
        app.test_client().post("/cds-services/failed-esi", json=STORY.request())
        ledger = open_ledger(folder)
        assert self.content(ledger) == []
        with pytest.raises(NotReplayable, match="CDS_LEDGER"):
            again(ledger)

    @pytest.mark.parametrize("name", ["9", "0", "9" * 40, "no-such-card", ""])
    def test_an_entry_that_is_not_there_is_named(self, ledger, name):
        with pytest.raises(NotReplayable, match="no such entry"):
            kept_call(ledger, name)

    def test_an_altered_capsule_is_not_opened(self, post, ledger):
        post(STORY.request(), STORY.today)
        with ledger.engine.begin() as connection:
            connection.execute(text("UPDATE sealed SET content = x'00'"))
        with pytest.raises(NotReplayable, match="altered"):
            again(ledger)

    def test_a_lost_secret_is_told(self, post, ledger):
        post(STORY.request(), STORY.today)
        with pytest.raises(NotReplayable, match="not in the file"):
            again(replace(ledger, secrets=Secrets((bytes(range(32)),))))

    def test_a_service_or_dialect_that_is_no_more_is_named(self, post, ledger):
        post(STORY.request(), STORY.today)
        call = kept_call(ledger, "1")
        with pytest.raises(NotReplayable, match="no service 'failed-esi' any more"):
            answer_again(call, lambda _: {}, ledger.software)
        with pytest.raises(NotReplayable, match="dialect 'old'"):
            answer_again(replace(call, capsule=replace(call.capsule, dialect="old")), services_of, ledger.software)
