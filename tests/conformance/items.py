"""What CDS Hooks asks of a service, and the tests that show it: docs/conformance.md is written from here."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
_TEST = re.compile(r"test_item_(\d\d)_(\w+)")


@dataclass(frozen=True)
class Item:
    """One thing that is asked; `later` is what is missing, `not_ours` why nothing is needed."""

    number: int
    level: str
    section: str
    says: str
    tests: tuple[tuple[str, str], ...]  # file, name
    later: str = ""
    not_ours: str = ""

    @property
    def state(self) -> str:
        """What became of it."""
        if self.not_ours:
            return "nothing to do"
        if self.later:
            return "in part" if self.tests else "not yet"
        return "kept"

    @property
    def told(self) -> str:
        """The state with its reason."""
        reason = self.not_ours or self.later
        return f"{self.state}: {reason}" if reason else self.state


def items() -> tuple[Item, ...]:
    """All items with their tests."""
    table = tomllib.loads((FOLDER / "items.toml").read_text(encoding="utf-8"))["items"]
    found = _tests()
    return tuple(Item(int(n), tests=tuple(t for at, t in found if at == int(n)), **row) for n, row in table.items())


def numbers_of_tests() -> set[int]:
    """The items that tests name."""
    return {number for number, _ in _tests()}


def items_table() -> str:
    """The table of the documentation."""
    counts = Counter(item.state for item in items())
    rows = [", ".join(f"{count} {state}" for state, count in counts.items()) + ".", ""]
    rows += ["| item | level | section | what a service does | state | tests |", "|---|---|---|---|---|---|"]
    for item in items():
        tests = "<br>".join(f"[{name}](../tests/conformance/{file})" for file, name in item.tests)
        rows.append(f"| {item.number} | {item.level} | {item.section} | {item.says} | {item.told} | {tests} |")
    return "\n".join(rows)


def _tests() -> list[tuple[int, tuple[str, str]]]:
    return [
        (int(match[1]), (path.name, match[2].replace("_", " ")))
        for path in sorted(FOLDER.glob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and (match := _TEST.fullmatch(node.name))
    ]
