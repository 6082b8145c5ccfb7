"""`ledger` and `replay` at the command line."""

import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import orjson
import pytest
from click.testing import CliRunner

from cds_service.app import create_app
from cds_service.cli import main
from cds_service.ledger.chain import verify
from cds_service.ledger.entry import Entry
from cds_service.ledger.ledger import open_ledger
from cds_service.scenarios import find_scenario
from cds_service.settings import Settings
from tests.cds_service.test_ledger import alter

PASSWORD = "hunter2"  # noqa: S105 - invented
STORY = find_scenario("failed-and-reordered", ["failed-esi"])


@pytest.fixture
def run(tmp_path):
    environment = {"CDS_DATA": str(tmp_path), "CDS_LEDGER": "capsule", "CDS_LOG_LEVEL": "error"}
    return lambda *arguments, **more: CliRunner().invoke(main, [*map(str, arguments)], env={**environment, **more})


@pytest.fixture
def answered(tmp_path):
    """The bytes of one answer that is on record."""
    settings = Settings(data=tmp_path, ledger="capsule", log_level="error")
    app = create_app(settings=settings, today=lambda: STORY.today)
    return app.test_client().post("/cds-services/failed-esi", json=STORY.request()).get_data()


class TestReplay:
    def test_the_answer_comes_out_to_the_letter(self, run, answered):
        done = run("replay", 1)
        assert (done.exit_code, done.stdout_bytes) == (0, answered)
        assert done.stderr.endswith(": identical\n")

    def test_the_decision_can_be_read(self, run, answered):
        done = run("replay", 1, "--explain")
        assert done.exit_code == 0
        assert "rules: DET-1" in done.stdout

    def test_another_answer_is_told_with_its_reason(self, run, answered, tmp_path):
        terms = tmp_path / "terms"
        terms.mkdir()
        (terms / "site.toml").write_text("")
        alter(tmp_path, 'UPDATE entries SET record = replace(record, \'"response":"\', \'"response":"0\')')
        same_knowledge = run("replay", 1)
        assert same_knowledge.exit_code == 1
        assert "those of then" in same_knowledge.stderr
        other = run("replay", 1, CDS_VALUE_SETS=str(terms))
        assert other.exit_code == 1
        assert "knowledgeHash was " in other.stderr

    @pytest.mark.parametrize("name", ["2", "no-such-card"])
    def test_what_is_not_there_is_wrong_usage(self, run, answered, name):
        done = run("replay", name)
        assert (done.exit_code, done.stdout) == (2, "")
        assert name in done.stderr


class TestVerify:
    def test_a_sound_ledger(self, run, answered):
        anchor = run("ledger", "anchor").stdout.strip()
        done = run("ledger", "verify", "--anchor", anchor)
        assert done.exit_code == 0
        assert "entries: 1\n" in done.stdout
        assert f"anchor: {anchor}\n" in done.stdout
        assert done.stderr == ""

    def test_an_empty_one(self, run):
        done = run("ledger", "verify", "--json")
        found = orjson.loads(done.stdout)
        assert (done.exit_code, found["entries"], found["anchor"], found["first"]) == (0, 0, "0:", None)

    def test_an_altered_record_is_named(self, run, answered, tmp_path):
        alter(tmp_path, "UPDATE entries SET record = replace(record, '200', '412')")
        done = run("ledger", "verify")
        assert done.exit_code == 1
        assert done.stdout.splitlines()[-1] == "entry 1: its record was altered"
        assert orjson.loads(run("ledger", "verify", "--json").stdout)["faults"] == ["entry 1: its record was altered"]

    @pytest.mark.parametrize("record", ["[]", "{}", '{"number": 1}', "7"])
    def test_a_record_that_is_none_is_named(self, run, answered, tmp_path, record):
        digest = sha256(record.encode()).hexdigest()
        alter(tmp_path, f"UPDATE entries SET record = '{record}', hash = '{digest}'")  # noqa: S608
        done = run("ledger", "verify")
        assert done.exit_code == 1
        assert "entry 1: " in done.stdout

    def test_another_anchor_is_told(self, run, answered):
        done = run("ledger", "verify", "--anchor", f"1:{'0' * 64}")
        assert done.exit_code == 1
        assert "entry 1: is not the one of the anchor" in done.stdout

    @pytest.mark.parametrize("anchor", ["1", "x:y", f"-1:{'0' * 64}", f"1:{'0' * 63}"])
    def test_what_is_no_anchor_is_wrong_usage(self, run, anchor):
        done = run("ledger", "verify", f"--anchor={anchor}")
        assert done.exit_code == 2
        assert "ledger anchor" in done.stderr

    def test_a_long_one_tells_how_far_it_is(self, run, tmp_path):
        ledger = open_ledger(Settings(data=tmp_path))
        for _ in range(5):
            ledger.append(*(Entry("decision", {}) for _ in range(4_000)))
        done = run("ledger", "verify")
        assert done.exit_code == 0
        assert "20,000 of 20,000\n" in done.stderr


class TestUpkeep:
    def test_what_was_sealed_goes_when_its_time_is_over(self, run, answered, tmp_path):
        assert run("ledger", "expire").stdout == "0 deleted\n"
        alter(tmp_path, "UPDATE sealed SET until = '2020-01-01T00:00:00.000000Z'")
        assert run("ledger", "expire").stdout == "1 deleted\n"
        assert run("ledger", "verify").exit_code == 0
        assert "time was over" in run("replay", 1).stderr

    def test_sqlite_is_upgraded_too(self, run):
        assert run("ledger", "upgrade").exit_code == 0

    def test_a_database_that_is_not_there_is_told(self, run):
        pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
        for command in ("upgrade", "verify", "anchor", "expire"):
            done = run("ledger", command, CDS_DATABASE_URL=f"postgresql://user:{PASSWORD}@127.0.0.1:1/none")
            assert done.exit_code == 2
            assert PASSWORD not in done.stderr


class TestBackup:
    def test_a_copy_under_load_holds_all_that_was_acknowledged_before(self, run, answered, tmp_path):
        ledger = open_ledger(Settings(data=tmp_path))
        with ThreadPoolExecutor(4) as pool:
            writing = [pool.submit(ledger.append, Entry("decision", {"test": n})) for n in range(600)]
            for one in writing[:200]:
                one.result()
            before = ledger.last().number
            copied = run("ledger", "backup", tmp_path / "copy.db")
        assert copied.exit_code == 0
        restored = tmp_path / "restored"
        restored.mkdir()
        os.rename(tmp_path / "copy.db", restored / "ledger.db")
        os.rename(tmp_path / "secret", restored / "secret")
        again = open_ledger(Settings(data=restored))
        assert again.last().number >= before
        with again.reading() as connection:
            assert list(verify(connection, {})) == []
        assert run("replay", 1, CDS_DATA=str(restored)).stdout_bytes == answered
        assert again.append(Entry("decision", {})) == [again.last().number]

    def test_it_is_for_its_owner_alone(self, run, answered, tmp_path):
        run("ledger", "backup", tmp_path / "copy.db")
        assert (tmp_path / "copy.db").stat().st_mode & 0o077 == 0

    def test_it_writes_over_nothing(self, run, answered, tmp_path):
        done = run("ledger", "backup", tmp_path / "ledger.db")
        assert done.exit_code == 2
        assert "is there already" in done.stderr

    def test_a_place_that_is_none_is_told(self, run, answered, tmp_path):
        done = run("ledger", "backup", tmp_path / "none" / "copy.db")
        assert done.exit_code == 2
        assert "cannot be made" in done.stderr

    def test_postgresql_has_a_program_of_its_own(self, run, postgres_url):
        assert run("ledger", "upgrade", CDS_DATABASE_URL=postgres_url).exit_code == 0
        done = run("ledger", "backup", "copy.db", CDS_DATABASE_URL=postgres_url)
        assert done.exit_code == 2
        assert "pg_dump" in done.stderr
