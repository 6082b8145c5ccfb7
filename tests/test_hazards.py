"""The hazard log is complete and honest, and a full run really compares it with what the tests did."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.hazards import ROOT, Control, Hazard, Risk, mistakes, read_hazards

HAZARDS = read_hazards()
TEST = "tests/test_hazards.py::test_the_log_has_no_mistakes"
SOUND = Hazard(
    "HAZ-1", "clinical", "a", "b", "c", Risk(3, 4), Risk(1, 4), (Control("d", (TEST,)),), "e"
)  # fmt: skip

# Not one control that can be tested yet. Whoever builds one takes its hazard out of this list.
OPEN: set[str] = set()


def test_the_log_has_no_mistakes():
    assert mistakes(HAZARDS) == []
    assert [hazard.id for hazard in HAZARDS] == [f"HAZ-{number}" for number in range(1, len(HAZARDS) + 1)]


def test_every_hazard_has_a_control_with_a_test_or_is_said_to_be_open():
    assert {hazard.id for hazard in HAZARDS if not hazard.tests} == OPEN


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"after": Risk(1, 6)}, "from 1 to 5"),
        ({"before": Risk(0, 4)}, "from 1 to 5"),
        ({"after": Risk(4, 4)}, "greater after"),
        ({"after": Risk(3, 5)}, "greater after"),
        ({"controls": (Control("d", planned="soon"),)}, "only a control with a test"),
        ({"controls": (Control("d"),)}, "either tests or what is planned"),
        ({"controls": (Control("d", (TEST,), "soon"),)}, "either tests or what is planned"),
        ({"controls": ()}, "missing"),
        ({"residual": ""}, "missing"),
        ({"kind": "other"}, "neither clinical nor security"),
        ({"controls": (Control("d", ("tests/test_hazards.py::test_gone",)),)}, "there is no test"),
        ({"controls": (Control("d", ("tests/test_gone.py::test_gone",)),)}, "there is no test"),
        ({"controls": (Control("d", ("tests/test_hazards.py::Gone::test_gone",)),)}, "there is no test"),
    ],
)
def test_a_mistake_is_found(changed, told):
    assert mistakes([SOUND]) == []
    assert any(told in line for line in mistakes([replace(SOUND, **changed)]))


@pytest.fixture
def project(tmp_path):
    """A project of one hazard, one control and two tests, and how to run them."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/hazards.toml").write_text(
        '[hazards.HAZ-1]\nkind = "clinical"\nhazard = "a"\ncause = "b"\neffect = "c"\nresidual = "d"\n'
        'before = [3, 4]\nafter = [1, 4]\ncontrols = [{ says = "e", tests = ["checks/test_a.py::test_named"] }]\n'
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = checks\naddopts = --import-mode=importlib\n")
    (tmp_path / "checks").mkdir()

    def run(source, *arguments):
        (tmp_path / "checks/test_a.py").write_text(f"import pytest\n\ndef test_other(): pass\n\n{source}\n")
        command = [sys.executable, "-m", "pytest", "-p", "tests.hazards", "-p", "no:cacheprovider", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
        return done.returncode, done.stdout

    return run


def test_a_full_run_in_which_the_named_test_passed_is_well(project):
    code, said = project("@pytest.mark.parametrize('n', [1, 2])\ndef test_named(n): pass")
    assert (code, "docs/hazards.toml" in said) == (0, False), said


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        ("def test_named(): assert False", "failed"),
        ("@pytest.mark.skip\ndef test_named(): pass", "skipped"),
        (
            "@pytest.mark.parametrize('n', [1, pytest.param(2, marks=pytest.mark.skip)])\ndef test_named(n): pass",
            "skipped",
        ),
        ("@pytest.mark.xfail\ndef test_named(): assert False", "expected to fail"),
        ("@pytest.fixture\ndef after():\n    yield\n    assert False\ndef test_named(after): pass", "failed"),
        ("def test_renamed(): pass", "not collected"),
    ],
)
def test_a_full_run_fails_unless_the_named_test_passed(project, source, outcome):
    code, said = project(source)
    assert code == 1
    assert f"HAZ-1: checks/test_a.py::test_named: {outcome}" in said


@pytest.mark.parametrize("arguments", [("checks/test_a.py",), ("-k", "other"), ("--collect-only",)])
def test_a_run_of_some_tests_is_not_judged(project, arguments):
    code, said = project("@pytest.mark.skip\ndef test_named(): pass", *arguments)
    assert (code, "docs/hazards.toml" in said) == (0, False), said


def test_tests_that_run_side_by_side_are_judged_together(project):
    assert project("def test_named(): pass", "-p", "xdist", "--numprocesses", "2")[0] == 0
    code, said = project("@pytest.mark.skip\ndef test_named(): pass", "-p", "xdist", "--numprocesses", "2")
    assert code == 1
    assert said.count("HAZ-1: checks/test_a.py::test_named: skipped") == 1
