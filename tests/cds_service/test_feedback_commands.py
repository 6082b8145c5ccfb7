"""Reports and exports: counts that add up, no free text, and no cell that a spreadsheet would calculate."""

import csv
import io
import stat
import uuid
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from click.testing import CliRunner

from cds_service.app import create_app
from cds_service.cli import main
from cds_service.scenarios import find_scenario
from cds_service.settings import Settings
from tests.cds_service.test_ledger import alter

PATH = "/cds-services/failed-esi"
NEXT_TIER, TOO_SOON = "failed-and-reordered", "too-soon-day-13"
OURS = "urn:cds-service:failed-esi"
TODAY = datetime.now(UTC).date()


class Site:
    """An installation whose commands are run."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        monkeypatch.setenv("CDS_DATA", str(folder))
        monkeypatch.setenv("CDS_TIMEZONE", "UTC")

    def show(self, story=NEXT_TIER, user="Practitioner/one", instance="", times=1, **more):
        """Fire a story; the cards that it gets."""
        story = find_scenario(story, ["failed-esi"])
        settings = Settings(data=self.folder, log_level="error", **more)
        client = create_app(settings=settings, today=lambda: story.today).test_client()
        body = story.request()
        body["hookInstance"] = instance or str(uuid.uuid4())
        body["context"]["userId"] = user
        for _ in range(times):
            cards = client.post(PATH, json=body).get_json()["cards"]
        return cards

    def tell(self, card, outcome, at="2026-05-01T12:00:00Z", **more):
        client = create_app(settings=Settings(data=self.folder, log_level="error")).test_client()
        told = {"card": card["uuid"], "outcome": outcome, "outcomeTimestamp": at, **more}
        assert client.post(f"{PATH}/feedback", json={"feedback": [told]}).status_code == 200

    def run(self, *arguments):
        return CliRunner().invoke(main, ["feedback", *arguments])

    def report(self, *arguments):
        return orjson.loads(self.run("report", "--json", *arguments).stdout)

    def export(self, *arguments):
        return list(csv.DictReader(io.StringIO(self.run("export", *arguments).stdout)))


def because(code, comment=""):
    return {"overrideReason": {"reason": {"code": code, "system": OURS}, "userComment": comment}}


@pytest.fixture
def site(tmp_path, monkeypatch):
    return Site(tmp_path, monkeypatch)


@pytest.fixture
def told(site):
    """Four cards: accepted, overridden, both, and nothing; one call was repeated; one report is about no card."""
    shown = [site.show(user=f"Practitioner/{name}")[0] for name in ("one", "two", "two")]
    site.show(TOO_SOON, times=2, instance=str(uuid.uuid4()))
    first = shown[0]["suggestions"][0]["uuid"]
    site.tell(shown[0], "accepted", acceptedSuggestions=[{"id": first}, {"id": str(uuid.uuid4())}])
    site.tell(shown[1], "overridden", **because("chart-wrong"))
    site.tell(shown[1], "overridden", "2026-05-02T12:00:00Z", **because("patient-preference", "Mrs Example waits"))
    site.tell(shown[2], "accepted")
    site.tell(shown[2], "overridden", "2026-05-02T12:00:00Z", **because("chart-wrong"))
    site.tell({"uuid": str(uuid.uuid4())}, "overridden")
    return site


def counts(report):
    return {line["name"]: (line["shown"], line["accepted"], line["overridden"]) for line in report["lines"]}


class TestReport:
    def test_each_card_counts_once(self, told):
        report = told.report()
        assert counts(report) == {"FAILED-ESI-NEXT-TIER": (3, 2, 1), "TOO-SOON": (1, 0, 0)}
        assert report["total"] == {
            "shown": 4, "accepted": 2, "overridden": 1, "noReport": 1, "acceptRate": 0.5, "overrideRate": 0.25,
        }  # fmt: skip
        assert report["quarantined"] == 1

    def test_by_user(self, told):
        assert counts(told.report("--by", "user")) == {"Practitioner/one": (2, 1, 0), "Practitioner/two": (2, 1, 1)}

    def test_by_rule(self, told):
        by_rule = counts(told.report("--by", "rule"))
        assert by_rule["TIER-1"] == (3, 2, 1)
        assert by_rule["DET-1"] == (4, 2, 1)

    def test_by_reason_the_last_one_counts(self, told):
        assert counts(told.report("--by", "reason")) == {"patient-preference": (1, 0, 1)}

    def test_without_a_reason(self, site):
        site.tell(site.show()[0], "overridden")
        assert counts(site.report("--by", "reason")) == {"not given": (1, 0, 1)}

    def test_by_month_and_client(self, told):
        assert counts(told.report("--by", "month")) == {f"{TODAY:%Y-%m}": (4, 2, 1)}
        assert counts(told.report("--by", "client")) == {"open": (4, 2, 1)}

    @pytest.mark.parametrize(
        ("arguments", "shown"),
        [
            (["--since", f"{TODAY}"], 4),
            (["--until", f"{TODAY}"], 4),
            (["--since", f"{TODAY + timedelta(days=2)}"], 0),
            (["--until", f"{TODAY - timedelta(days=2)}"], 0),
        ],
    )
    def test_the_day_that_counts_is_the_one_it_was_shown_on(self, told, arguments, shown):
        done = told.run("report", "--json", *arguments)
        assert orjson.loads(done.stdout)["total"]["shown"] == shown
        assert done.exit_code == (0 if shown else 1)

    def test_a_card_that_was_withheld_was_not_shown(self, site):
        site.show(once_per_encounter=True)
        assert site.show(once_per_encounter=True) == []
        assert site.report()["total"]["shown"] == 1

    def test_the_table(self, told):
        lines = told.run("report").stdout.splitlines()
        assert [line.split() for line in lines] == [
            ["card", "shown", "accepted", "overridden", "no", "report"],
            ["FAILED-ESI-NEXT-TIER", "3", "2", "66.7%", "1", "33.3%", "0", "0.0%"],
            ["TOO-SOON", "1", "0", "0.0%", "0", "0.0%", "1", "100.0%"],
            ["all", "4", "2", "50.0%", "1", "25.0%", "1", "25.0%"],
            [],
            ["Not", "counted:", "1", "reports", "on", "cards", "that", "their", "client", "was", "never", "given."],
        ]
        assert len({len(line) for line in lines[:4]}) == 1

    def test_the_table_of_reasons(self, told):
        lines = told.run("report", "--by", "reason").stdout.splitlines()
        assert [line.split() for line in lines[:3]] == [
            ["reason", "overridden"],
            ["patient-preference", "1", "100.0%"],
            ["all", "1", "100.0%"],
        ]

    def test_no_name_can_write_to_the_terminal(self, site):
        site.show(user="Practitioner/\x1b[2J")
        assert "\x1b" not in site.run("report", "--by", "user").stdout

    def test_nothing_shown_ends_with_1(self, site):
        done = site.run("report")
        assert (done.exit_code, done.stdout) == (1, "No card was shown in that time.\n")


class TestExport:
    def test_every_report_is_a_row_with_what_leads_back_to_it(self, told):
        rows = told.export()
        assert [(row["action"], row["reason"]) for row in rows] == [
            ("accepted", ""), ("overridden", "chart-wrong"), ("accepted", ""), ("overridden", "patient-preference"),
            ("overridden", "chart-wrong"),
        ]  # fmt: skip
        assert rows[0] == {
            "intervention": "failed-esi/FAILED-ESI-NEXT-TIER", "action": "accepted", "reason": "",
            "user": "Practitioner/one", "date": "2026-05-01T12:00:00.000000Z", "location": "", "client": "open",
            "service": "failed-esi", "hook": "order-select", "card": "FAILED-ESI-NEXT-TIER", "uuid": rows[0]["uuid"],
            "knowledge": "2026.1", "rules": "DET-1 OBS-2 OUT-10 TIER-1 D-1", "suggestions": "repeat-imaging unknown",
        }  # fmt: skip

    def test_ndjson_holds_the_same(self, told):
        lines = [orjson.loads(line) for line in told.run("export", "--format", "ndjson").stdout.splitlines()]
        assert [{**row, "rules": " ".join(row["rules"]), "suggestions": " ".join(row["suggestions"])} for row in lines] == (
            told.export()
        )  # fmt: skip

    def test_no_free_text_leaves(self, told):
        for form in ("csv", "ndjson"):
            assert "Example" not in told.run("export", "--format", form).stdout

    def test_a_period_is_one_of_whole_days(self, told):
        assert len(told.export("--since", "2026-05-02")) == 2
        assert len(told.export("--until", "2026-05-01")) == 3
        assert len(told.export("--since", "2026-05-01", "--until", "2026-05-01")) == 3

    def test_days_are_those_of_the_site(self, told, monkeypatch):
        monkeypatch.setenv("CDS_TIMEZONE", "Pacific/Auckland")  # 12:00 UTC is the next day there
        assert told.export("--until", "2026-05-01") == []
        assert len(told.export("--since", "2026-05-02", "--until", "2026-05-02")) == 3

    @pytest.mark.parametrize("user", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")'])
    def test_no_cell_is_a_formula(self, site, user):
        site.tell(site.show(user=user)[0], "accepted")
        (row,) = site.export()
        assert row["user"] == f"'{user}"

    def test_a_file_is_its_owners_alone(self, told, tmp_path):
        path = tmp_path / "out.csv"
        done = told.run("export", "--output", str(path))
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", "5 reports\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes().count(b"\r\n") == 6

    def test_nothing_told_is_a_header_and_ends_with_1(self, site):
        site.show()
        done = site.run("export")
        assert (done.exit_code, done.stdout.count("\n"), done.stderr) == (1, 1, "0 reports\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "--since", "2026-13-01"], "--since"),
        (["report", "--since", "2026-05-02", "--until", "2026-05-01"], "--until"),
        (["report", "--by", "patient"], "--by"),
        (["export", "--format", "xml"], "--format"),
        (["export", "--output", "/dev/null/none/out.csv"], "/dev/null/none/out.csv"),
    ],
)
def test_wrong_usage_is_one_line(site, arguments, said):
    done = site.run(*arguments)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_a_ledger_that_cannot_be_read_is_one_line(site, tmp_path):
    site.show()
    alter(tmp_path, "ALTER TABLE cards RENAME TO elsewhere")
    done = site.run("report")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "CDS_DATABASE_URL" in done.stderr
