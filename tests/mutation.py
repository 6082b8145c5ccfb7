"""What became of the mutants: python -m tests.mutation prints one table and writes it to docs/mutation.md.

Named as a pytest plugin it makes each mutant's tests run file by file.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.generated import ROOT, replaced

REPORT = ROOT / "docs" / "mutation.md"
RESULTS = ROOT / "mutants"
ENOUGH = 90  # percent
_KILLED = frozenset({1, 3})  # exit codes of pytest: a test failed, or pytest itself did
_NOT_RUN = None


@dataclass(frozen=True)
class Tally:
    """The mutants of one file."""

    name: str
    mutants: int
    killed: int

    @property
    def survived(self) -> int:
        """Those that no test failed for, endless loops included."""
        return self.mutants - self.killed

    @property
    def share(self) -> float:
        """The killed ones in percent."""
        return 100 * self.killed / self.mutants if self.mutants else 0.0

    def row(self) -> str:
        """One line of the table."""
        return f"| {self.name} | {self.mutants} | {self.killed} | {self.survived} | {self.share:.1f} % |"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the tests of a mutant, which come in any order, into the order of their files.

    Otherwise what a file sets up once is set up anew for nearly every test.
    """
    items.sort(key=lambda item: item.nodeid)


def mutated_files() -> list[str]:
    """The files whose code is changed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["tool"]["mutmut"]["only_mutate"])


def tally(name: str) -> Tally:
    """Count the results of one file."""
    results = json.loads((RESULTS / f"{name}.meta").read_text(encoding="utf-8"))["exit_code_by_key"]
    counted = Counter(results.values())
    if counted[_NOT_RUN]:
        sys.exit(f"{name}: {counted[_NOT_RUN]} mutants were not run; start again with: make mutation")
    return Tally(name, len(results), sum(counted[code] for code in _KILLED))


def table(tallies: list[Tally]) -> str:
    """One line for each file, and one for all."""
    total = Tally("all", sum(t.mutants for t in tallies), sum(t.killed for t in tallies))
    head = ["| file | mutants | killed | survived | share |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(t.row() for t in (*tallies, total))])


def main() -> int:
    """Print the table, write it, and tell whether every file has enough."""
    tallies = [tally(name) for name in mutated_files()]
    written = table(tallies)
    sys.stdout.write(f"{written}\n")
    REPORT.write_text(replaced(REPORT.read_text(encoding="utf-8"), "figures", written), encoding="utf-8")
    return int(any(t.share < ENOUGH for t in tallies))


if __name__ == "__main__":
    sys.exit(main())
