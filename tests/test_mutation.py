"""The table of `make mutation`: what counts as killed, and when it fails."""

import json

import pytest

from tests import mutation

KILLED, SURVIVED, NO_TESTS, TIMEOUT = 1, 0, 33, 36


@pytest.fixture
def table(tmp_path, monkeypatch, capsys):
    """Run the command on results of every mutated file; return its exit code and what it printed and wrote."""
    report = tmp_path / "mutation.md"
    report.write_text("Before\n<!-- figures:begin -->\nold\n<!-- figures:end -->\nAfter\n", encoding="utf-8")
    monkeypatch.setattr(mutation, "RESULTS", tmp_path)
    monkeypatch.setattr(mutation, "REPORT", report)

    def run(*exit_codes):
        for name in mutation.mutated_files():
            path = tmp_path / f"{name}.meta"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"exit_code_by_key": dict(enumerate(exit_codes))}), encoding="utf-8")
        return mutation.main(), capsys.readouterr().out, report.read_text(encoding="utf-8")

    return run


def test_ninety_percent_of_every_file_are_enough(table):
    status, printed, written = table(*[KILLED] * 9, SURVIVED)
    assert status == 0
    assert "| hooks/failed_esi/outcome.py | 10 | 9 | 1 | 90.0 % |" in printed
    assert written == f"Before\n<!-- figures:begin -->\n{printed}<!-- figures:end -->\nAfter\n"


@pytest.mark.parametrize("unnoticed", [SURVIVED, NO_TESTS, TIMEOUT])
def test_less_fails_and_only_a_test_that_failed_kills(table, unnoticed):
    status, printed, _ = table(*[KILLED] * 8, unnoticed, unnoticed)
    assert status == 1
    assert "| 10 | 8 | 2 | 80.0 % |" in printed


def test_a_run_that_was_stopped_has_no_table(table):
    with pytest.raises(SystemExit, match="make mutation"):
        table(KILLED, None)


def test_the_mutated_files_exist_and_stand_in_the_report():
    report = mutation.REPORT.read_text(encoding="utf-8")
    for name in mutation.mutated_files():
        assert (mutation.ROOT / name).is_file()
        assert f"| {name} |" in report
