"""The hazard log: read from docs/hazards.toml, shown in docs/hazards.md, held against the outcomes of a full run.

As a pytest plugin it fails a run of all tests in which a test that a control names did not pass.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
LOG = Path("docs/hazards.toml")
_HIGH, _MEDIUM = 10, 5  # of 25; where a risk is called so


@dataclass(frozen=True)
class Risk:
    """How likely the harm is and how bad, each from 1 to 5."""

    likelihood: int
    severity: int

    @property
    def told(self) -> str:
        """The product, with its name."""
        product = self.likelihood * self.severity
        name = "high" if product >= _HIGH else "medium" if product >= _MEDIUM else "low"
        return f"{self.likelihood} x {self.severity} = {product}, {name}"

    def is_usable(self) -> bool:
        """Whether both numbers are on the scale."""
        return {self.likelihood, self.severity} <= set(range(1, 6))


@dataclass(frozen=True)
class Control:
    """What is done about a hazard: shown by tests, named as file::function or file::class::function, or only planned."""

    says: str
    tests: tuple[str, ...] = ()
    planned: str = ""


@dataclass(frozen=True)
class Hazard:
    """One hazard, with its risk before and after the controls that have tests."""

    id: str
    kind: str
    hazard: str
    cause: str
    effect: str
    before: Risk
    after: Risk
    controls: tuple[Control, ...]
    residual: str

    @property
    def tests(self) -> tuple[str, ...]:
        """Every test that a control names."""
        return tuple(name for control in self.controls for name in control.tests)

    @property
    def planned(self) -> tuple[Control, ...]:
        """The controls that are not there yet."""
        return tuple(control for control in self.controls if control.planned)


def read_hazards(path: Path = ROOT / LOG) -> tuple[Hazard, ...]:
    """All hazards, in the order of the file."""
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["hazards"]
    return tuple(_hazard(name, row) for name, row in rows.items())


def mistakes(hazards: Iterable[Hazard], root: Path = ROOT) -> list[str]:
    """What is wrong with a log, a line each: the scale, the texts, controls without a test, risks lowered by nothing."""
    return [f"{hazard.id}: {wrong}" for hazard in hazards for wrong in _mistakes(hazard, root)]


def _mistakes(hazard: Hazard, root: Path) -> Iterator[str]:
    if not (hazard.before.is_usable() and hazard.after.is_usable()):
        yield "a risk is likelihood and severity, each from 1 to 5"
    if hazard.after.likelihood > hazard.before.likelihood or hazard.after.severity > hazard.before.severity:
        yield "the risk is greater after its controls"
    if not hazard.tests and hazard.after != hazard.before:
        yield "only a control with a test lowers a risk"
    if hazard.kind not in {"clinical", "security"}:
        yield f"kind {hazard.kind!r} is neither clinical nor security"
    if not all((hazard.hazard, hazard.cause, hazard.effect, hazard.residual, hazard.controls)):
        yield "a text or the controls are missing"
    for control in hazard.controls:
        if bool(control.tests) is bool(control.planned):
            yield f"{control.says!r} has either tests or what is planned"
    yield from (f"there is no test {name}" for name in hazard.tests if not _is_there(root, name))


def _hazard(name: str, row: dict[str, Any]) -> Hazard:
    controls = tuple(Control(**{**item, "tests": tuple(item.get("tests", ()))}) for item in row["controls"])
    risks = {when: Risk(*row[when]) for when in ("before", "after")}
    return Hazard(id=name, **{**row, **risks, "controls": controls})


def _is_there(root: Path, name: str) -> bool:
    file, _, function = name.partition("::")
    return function in _functions(root / file)


@cache
def _functions(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return frozenset(_names(body))


def _names(body: Iterable[ast.stmt], within: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield f"{within}{node.name}"
        elif isinstance(node, ast.ClassDef):
            yield from _names(node.body, f"{node.name}::")


def hazards_page() -> str:
    """The whole log, readable: a table of all, then each hazard with its controls and tests."""
    hazards = read_hazards()
    return "\n".join([_counts(hazards), "", *_overview(hazards), *(line for h in hazards for line in _section(h))])


def threats_table() -> str:
    """The hazards of the kind security: threat, controls, tests."""
    rows = ["| threat | control | shown by |", "|---|---|---|"]
    for hazard in read_hazards():
        if hazard.kind == "security":
            rows += [
                f"| {hazard.id} {hazard.hazard if number == 0 else ''} | {control.says} | {_shown(control)} |"
                for number, control in enumerate(hazard.controls)
            ]
    return "\n".join(rows).replace("(../tests/", "(tests/")


def _counts(hazards: tuple[Hazard, ...]) -> str:
    controls = [control for hazard in hazards for control in hazard.controls]
    untested = [hazard.id for hazard in hazards if not hazard.tests]
    count = (
        f"{len(hazards)} hazards, {len(controls)} controls: {sum(bool(c.tests) for c in controls)} shown by "
        f"{len({name for hazard in hazards for name in hazard.tests})} tests, "
        f"{sum(bool(c.planned) for c in controls)} planned."
    )
    return f"{count} Not controlled yet: {', '.join(untested)}." if untested else count


def _overview(hazards: tuple[Hazard, ...]) -> list[str]:
    rows = ["| | hazard | kind | risk before | after | controls | planned |", "|---|---|---|---|---|---|---|"]
    rows += [
        f"| {h.id} | {h.hazard} | {h.kind} | {h.before.told} | {h.after.told} "
        f"| {len(h.controls) - len(h.planned)} | {len(h.planned) or ''} |"
        for h in hazards
    ]
    return rows


def _section(hazard: Hazard) -> list[str]:
    return [
        "",
        f"### {hazard.id} {hazard.hazard}",
        "",
        f"* **Cause**: {hazard.cause}",
        f"* **Effect**: {hazard.effect}",
        f"* **Risk**: before {hazard.before.told}; after {hazard.after.told}",
        *(f"* **Control**: {control.says}: {_shown(control)}" for control in hazard.controls),
        f"* **What remains**: {hazard.residual}",
    ]


def _shown(control: Control) -> str:
    links = []
    for name in control.tests:
        file, _, function = name.partition("::")
        words = function.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        links.append(f"[{words}](../{file})")
    return ", ".join(links) or f"*planned*: {control.planned}"


class NamedTests:
    """Keeps what became of every test; at the end of a full run, a test that a control names must have passed."""

    def __init__(self, hazards: tuple[Hazard, ...]) -> None:
        """Start with nothing seen."""
        self.hazards = hazards
        self.outcomes: dict[str, set[str]] = defaultdict(set)
        self.is_full = True
        self.problems: list[str] = []

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Whoever leaves tests out does not run them all."""
        self.is_full = self.is_full and not items

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a test, all of its parameters under one name."""
        if report.when == "call" or report.outcome != "passed":
            outcome = "expected to fail" if hasattr(report, "wasxfail") else report.outcome
            self.outcomes[report.nodeid.partition("[")[0]].add(outcome)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a full run that does not show what the log says."""
        config = session.config
        chosen = config.option.collectonly or config.option.keyword or config.option.markexpr
        is_whole = list(config.args) == config.getini("testpaths") and not chosen
        if self.is_full and is_whole and not session.shouldfail and not session.shouldstop:
            self.problems = list(self._problems())
            if self.problems and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say which control has lost its test."""
        if self.problems:
            terminalreporter.section("controls of docs/hazards.toml without a passing test", red=True)
            terminalreporter.write("".join(f"{problem}\n" for problem in self.problems))

    def _problems(self) -> Iterator[str]:
        for hazard in self.hazards:
            for name in hazard.tests:
                outcomes = self.outcomes.get(name, {"not collected"}) - {"passed"}
                if outcomes:
                    yield f"{hazard.id}: {name}: {', '.join(sorted(outcomes))}"


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run, where there is a log; of several processes, the one that hears of all tests."""
    if (config.rootpath / LOG).is_file() and not hasattr(config, "workerinput"):
        config.pluginmanager.register(NamedTests(read_hazards(config.rootpath / LOG)), "hazards")
