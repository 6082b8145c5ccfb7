"""The ledger: durable, chained, and silent about who the patient is."""

import multiprocessing
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from sqlalchemy import func, select, text

from cds_service.app import create_app
from cds_service.ledger.chain import verify
from cds_service.ledger.database import LedgerError, LedgerUnavailable, upgrade_database
from cds_service.ledger.entry import Entry
from cds_service.ledger.ledger import open_ledger
from cds_service.ledger.tables import cards, entries, head, metadata, sealed
from cds_service.scenarios import find_scenario
from cds_service.settings import Settings
from tests.conftest import TODAY

STORY = find_scenario("failed-and-reordered", ["failed-esi"])


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request, tmp_path):
    """Of both databases."""
    if request.param == "sqlite":
        return Settings(data=tmp_path, log_level="error")
    url = request.getfixturevalue("postgres_url")
    upgrade_database(url, tmp_path).dispose()
    return Settings(data=tmp_path, database_url=url, log_level="error")


@pytest.fixture
def ledger(settings):
    opened = open_ledger(settings)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def app(settings):
    return create_app(settings=settings, today=lambda: STORY.today)


def faults(ledger, **anchors):
    with ledger.reading() as connection:
        return list(verify(connection, {int(number[1:]): digest for number, digest in anchors.items()}))


def records(ledger):
    with ledger.reading() as connection:
        return [orjson.loads(record) for record in connection.execute(select(entries.c.record)).scalars()]


def plain(number):
    return Entry("decision", {"status": 200, "test": number})


def feedback_row(key):
    return {
        "key": key, "client": "open", "uuid": "u", "outcome": "accepted", "at": "2026-06-01", "is_quarantined": False,
    }  # fmt: skip


def alter(folder, statement):
    """What somebody with the file at hand may do."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        connection.execute(statement)
        connection.commit()


def change(ledger, statement):
    """What somebody with the database at hand may do."""
    with ledger.engine.begin() as connection:
        connection.execute(text(statement))


class TestWriting:
    def test_an_entry_gets_the_next_number_and_names_the_one_before(self, ledger):
        assert ledger.append(plain(1)) == [1]
        assert ledger.append(plain(2), plain(3)) == [2, 3]
        found = records(ledger)
        assert [record["number"] for record in found] == [1, 2, 3]
        assert found[0]["previous"] == ""
        assert ledger.last().number == 3
        assert faults(ledger) == []

    def test_many_writers_at_once_make_one_chain(self, ledger):
        with ThreadPoolExecutor(16) as pool:
            numbers = list(pool.map(lambda n: ledger.append(plain(n))[0], range(300)))
        assert sorted(numbers) == list(range(1, 301))
        assert {record["test"] for record in records(ledger)} == set(range(300))
        assert faults(ledger) == []

    def test_processes_write_one_chain(self, settings, ledger):
        ledger.append(plain(0))
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            pool.starmap(append_some, [(settings, 40), (settings, 40)])
        assert ledger.last().number == 81
        assert faults(ledger) == []

    def test_a_forked_worker_writes_too(self, ledger):
        ledger.append(plain(0))
        child = os.fork()
        if child == 0:
            os._exit(0 if ledger.append(plain(1)) == [2] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert ledger.append(plain(2)) == [3]
        assert faults(ledger) == []

    def test_any_text_can_be_written(self, ledger):
        ledger.append(Entry("decision", {"user": "nul \0, quote ', emoji \U0001f600, line\u2028end"}))
        assert records(ledger)[0]["user"].startswith("nul \0, quote")
        assert faults(ledger) == []

    def test_what_was_reported_before_is_written_once(self, ledger):
        entry = Entry("feedback", {}, rows={"feedback": [feedback_row("k")]}, once="k")
        other = Entry("feedback", {}, rows={"feedback": [feedback_row("l")]}, once="l")
        assert ledger.append(entry, entry, other) == [1, None, 2]
        assert ledger.append(entry) == [None]
        assert faults(ledger) == []

    def test_a_ledger_that_cannot_be_written_is_said_to_be(self, ledger):
        ledger.append(plain(1))
        change(ledger, "ALTER TABLE entries RENAME TO elsewhere")
        with pytest.raises(LedgerUnavailable):
            ledger.writer.append(plain(2))
        change(ledger, "ALTER TABLE elsewhere RENAME TO entries")
        assert ledger.append(plain(2)) == [2]

    def test_a_trial_writes_and_leaves_no_trace(self, tmp_path):
        ledger = open_ledger(Settings(data=tmp_path))
        ledger.append(plain(1))
        end = ledger.last()
        with ledger.engine.connect() as beside:
            before = beside.exec_driver_sql("PRAGMA data_version").scalar()
            beside.rollback()
            assert ledger.is_writable()
            assert beside.exec_driver_sql("PRAGMA data_version").scalar() != before
        assert ledger.last() == end
        assert faults(ledger) == []

    def test_a_second_start_finds_what_was_written(self, settings, ledger):
        ledger.append(plain(1))
        again = open_ledger(settings)
        assert again.append(plain(2)) == [2]
        assert again.secrets == ledger.secrets


def append_some(settings, count):
    ledger = open_ledger(settings)
    for number in range(count):
        ledger.append(plain(number))


class TestOpening:
    def test_commits_outlast_a_power_cut(self, tmp_path):
        with open_ledger(Settings(data=tmp_path)).engine.connect() as connection:
            assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 2

    def test_commits_outlast_a_power_cut_whatever_the_server_was_told(self, tmp_path, postgres_url):
        url = f"{postgres_url}&options=-csynchronous_commit%3Doff"
        with upgrade_database(url, tmp_path).connect() as connection:
            assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
            assert connection.execute(text("SHOW transaction_isolation")).scalar() == "read committed"

    def test_an_empty_postgresql_gets_its_tables_whoever_comes_first(self, tmp_path, postgres_url):
        settings = Settings(data=tmp_path, database_url=postgres_url)
        with ThreadPoolExecutor(4) as pool:
            ledgers = list(pool.map(lambda _: open_ledger(settings), range(4)))
        assert [ledger.append(plain(1)) for ledger in ledgers] == [[1], [2], [3], [4]]
        assert faults(ledgers[0]) == []

    def test_older_tables_in_postgresql_are_changed_by_command_alone(self, tmp_path, postgres_url):
        settings = Settings(data=tmp_path, database_url=postgres_url)
        with open_ledger(settings).engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        with pytest.raises(LedgerError, match="ledger upgrade"):
            open_ledger(settings)

    def test_who_reads_sees_one_state(self, ledger):
        ledger.append(plain(1))
        with ledger.reading() as connection:
            assert connection.execute(select(func.count()).select_from(entries)).scalar() == 1
            ledger.append(plain(2))
            assert connection.execute(select(func.count()).select_from(entries)).scalar() == 1

    def test_a_connection_that_broke_is_made_anew(self, tmp_path, postgres_url):
        upgrade_database(postgres_url, tmp_path)
        ledger = open_ledger(Settings(data=tmp_path, database_url=postgres_url))
        ledger.append(plain(1))
        with open_ledger(Settings(data=tmp_path, database_url=postgres_url)).engine.begin() as connection:
            others = text("pid <> pg_backend_pid() AND datname = current_database()")
            connection.execute(select(text("pg_terminate_backend(pid) FROM pg_stat_activity")).where(others))
        assert ledger.append(plain(2)) == [2]

    def test_a_folder_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(LedgerError, match="CDS_DATA"):
            open_ledger(Settings(data=tmp_path / "file" / "below"))

    def test_a_file_that_is_no_database_is_named(self, tmp_path):
        (tmp_path / "ledger.db").write_text("not a database, and long enough to look like one " * 100)
        with pytest.raises(LedgerError, match="not a database"):
            open_ledger(Settings(data=tmp_path))

    @pytest.mark.parametrize("url", ["nonsense", "postgresql:/", "oracle9://host/name"])
    def test_an_address_that_is_none_is_told(self, tmp_path, url):
        with pytest.raises(LedgerError, match="CDS_DATABASE_URL"):
            open_ledger(Settings(data=tmp_path, database_url=url))

    def test_a_password_is_not_repeated(self, tmp_path):
        pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
        with pytest.raises(LedgerError) as refused:
            open_ledger(Settings(data=tmp_path, database_url="postgresql://user:hunter2@127.0.0.1:1/none"))
        assert "hunter2" not in str(refused.value)


ALTERATIONS = {
    "a record": "UPDATE entries SET record = replace(record, '200', '412') WHERE number = 2",
    "a hash": "UPDATE entries SET hash = substr(hash, 2) || '.' WHERE number = 2",
    "a kind": "UPDATE entries SET kind = 'other' WHERE number = 2",
    "a time": "UPDATE entries SET at = '2020-01-01T00:00:00.000000Z' WHERE number = 2",
    "an entry taken out": "DELETE FROM entries WHERE number = 2",
    "the last entry taken out": "DELETE FROM entries WHERE number = 4",
    "two entries swapped": "UPDATE entries SET number = CASE number WHEN 2 THEN -3 ELSE -2 END WHERE number IN (2, 3)",
    "an entry put in": "INSERT INTO entries SELECT 99, kind, at, record, hash FROM entries WHERE number = 4",
    "a card": "UPDATE cards SET card = 'OTHER'",
    "who a card was shown to": "UPDATE cards SET client = 'other'",
    "a card that was withheld": "UPDATE cards SET is_shown = NOT is_shown",
    "a card taken out": "DELETE FROM cards",
    "a card put in": "INSERT INTO cards SELECT number, 9, client, uuid, card, same, same_encounter, is_shown FROM cards",
    "what became of a card": "UPDATE feedback SET outcome = 'overridden'",
    "feedback taken out": "DELETE FROM feedback",
    "sealed content": "UPDATE sealed SET content = substr(content, 1, 2)",
    "a stray card": "INSERT INTO cards SELECT 77, 0, client, uuid, card, same, same_encounter, is_shown FROM cards",
}


class TestVerifying:
    @pytest.fixture
    def written(self, ledger):
        card = {
            "position": 0, "client": "open", "uuid": "u", "card": "C", "same": "s", "same_encounter": None,
            "is_shown": True,
        }  # fmt: skip
        ledger.append(plain(1))
        ledger.append(Entry("decision", {"status": 200}, rows={"cards": [card]}))
        ledger.append(
            Entry(
                "feedback",
                {},
                rows={"feedback": [feedback_row("k")]},
                sealed={"comment": (b"closed", datetime(2999, 1, 1, tzinfo=UTC))},
                once="k",
            )
        )
        ledger.append(plain(2))
        return ledger

    def test_an_untouched_ledger_has_no_faults(self, written):
        assert faults(written) == []

    @pytest.mark.parametrize("statement", ALTERATIONS.values(), ids=ALTERATIONS)
    def test_what_was_altered_is_found(self, written, statement):
        change(written, statement)
        assert faults(written) != []

    def test_what_was_sealed_may_go_when_its_time_is_over(self, written):
        change(written, "DELETE FROM sealed")
        assert faults(written) == []

    def test_a_ledger_chained_anew_does_not_match_an_anchor(self, written):
        anchor = written.last()
        with written.engine.begin() as connection:
            connection.execute(text("DELETE FROM entries WHERE number = 4"))
            third = connection.execute(select(entries.c.hash).where(entries.c.number == 3)).scalar_one()
            connection.execute(head.update().values(number=3, hash=third))
        assert faults(written) == []
        assert faults(written, _4=anchor.hash) == ["entry 4: is not there, and an anchor names it"]
        written.append(plain(5))
        assert faults(written, _4=anchor.hash) == ["entry 4: is not the one of the anchor"]


class TestCalls:
    def post(self, app, **changes):
        return app.test_client().post("/cds-services/failed-esi", json={**STORY.request(), **changes})

    def test_a_card_is_on_record_before_it_leaves(self, app, ledger):
        answer = self.post(app).get_json()
        (record,) = records(ledger)
        assert record["status"] == 200
        (shown,) = answer["cards"]
        (card,) = record["cards"]
        assert (card["card"], card["uuid"], card["isShown"]) == ("FAILED-ESI-NEXT-TIER", shown["uuid"], True)
        assert card["rules"] == shown["extension"]["org.cds-service.decision"]["rules"]
        assert list(card["suggestions"]) == sorted(suggestion["uuid"] for suggestion in shown["suggestions"])
        assert set(card["suggestions"].values()) == {"repeat-imaging", "remove"}
        assert "TIER-1" in record["rules"]
        assert record["knowledge"] == "2026.1"
        with ledger.reading() as connection:
            assert connection.execute(select(cards.c.uuid)).scalars().all() == [answer["cards"][0]["uuid"]]
        assert faults(ledger) == []

    def test_silence_is_on_record_with_its_reason(self, app, ledger):
        request = STORY.request()
        request["context"]["selections"] = []
        assert self.post(app, **request).get_json() == {"cards": []}
        (record,) = records(ledger)
        assert record["silence"] == ["nothing-selected"]

    def test_a_refusal_is_on_record(self, app, ledger):
        request = STORY.request()
        del request["prefetch"]["procedures"]
        assert self.post(app, **request).status_code == 412
        (record,) = records(ledger)
        assert (record["status"], record["where"]) == (412, "prefetch.procedures")

    def test_no_identifier_of_the_patient_is_on_record(self, app, ledger):
        request = STORY.request()
        self.post(app, **request)
        with ledger.reading() as connection:
            stored = repr([connection.execute(select(table)).all() for table in metadata.sorted_tables])
        ids = {request["context"]["patientId"], request["context"]["encounterId"]}
        ids |= {entry["resource"]["id"] for entry in request["prefetch"]["procedures"]["entry"]}
        assert [one for one in ids if one in stored] == []

    def test_the_same_call_gets_the_same_ids_and_another_installation_others(self, app, tmp_path):
        first = self.post(app).get_json()["cards"][0]["uuid"]
        assert self.post(app).get_json()["cards"][0]["uuid"] == first
        other = create_app(settings=Settings(data=tmp_path / "other", log_level="error"), today=lambda: STORY.today)
        assert self.post(other).get_json()["cards"][0]["uuid"] != first

    def test_nothing_leaves_unrecorded(self, app, ledger):
        self.post(app)
        change(ledger, "ALTER TABLE head RENAME TO elsewhere")
        refused = self.post(app)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "5"
        assert refused.get_json()["issue"][0]["code"] == "transient"
        assert app.test_client().get("/readyz").status_code == 503
        assert app.test_client().get("/livez").status_code == 200

    def test_a_site_may_choose_to_answer_all_the_same(self, settings, ledger):
        lenient = settings.model_copy(update={"without_ledger": "answer"})
        app = create_app(settings=lenient, today=lambda: TODAY)
        change(ledger, "ALTER TABLE head RENAME TO elsewhere")
        answered = self.post(app)
        assert answered.status_code == 200
        assert answered.get_json()["cards"] != []
        assert app.test_client().get("/readyz").status_code == 503


def test_sealed_content_is_stored_beside_the_record(ledger):
    until = datetime(2999, 1, 1, tzinfo=UTC)
    ledger.append(Entry("feedback", {}, sealed={"comment": (b"closed", until)}))
    (record,) = records(ledger)
    with ledger.reading() as connection:
        row = connection.execute(select(sealed)).one()
    assert (row.number, row.purpose, row.content) == (1, "comment", b"closed")
    assert list(record["sealed"]) == ["comment"]


def test_sealed_content_is_deleted_when_its_time_is_over(tmp_path):
    ledger = open_ledger(Settings(data=tmp_path))
    now = datetime.now(UTC)
    ledger.append(*(Entry("feedback", {}, sealed={"comment": (b"closed", now + timedelta(days=d))}) for d in (-1, 1)))
    open_ledger(Settings(data=tmp_path)).append(plain(3))
    with ledger.reading() as connection:
        assert connection.execute(select(sealed.c.number)).scalars().all() == [2]
    assert faults(ledger) == []
