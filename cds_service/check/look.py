"""A look at one place of an answer, and the result of all looks that one rule took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from cds_service.check.rules import RULES, Rule

_SHOWN = 3  # broken places that a line names; --json names all
_LONGEST = 200  # characters of one place in a line


class Outcome(StrEnum):
    """What became of a rule."""

    PASSED = "pass"
    FAILED = "fail"
    SKIPPED = "skipped"


class Look(NamedTuple):
    """One look: the rule it is about, whether that was kept (None: it could not be looked at), and what was seen."""

    rule: str
    kept: bool | None
    seen: str


@dataclass(frozen=True, slots=True)
class Result:
    """A rule, what became of it, and what was seen."""

    rule: Rule
    outcome: Outcome
    seen: tuple[str, ...]

    def line(self) -> str:
        """What was seen, in one line that no answer can make unreadable."""
        if self.outcome is Outcome.PASSED and len(self.seen) > 1:
            return f"{len(self.seen)} places looked at"
        more = len(self.seen) - _SHOWN
        return "; ".join(_plain(seen) for seen in self.seen[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def results(looks: Iterable[Look]) -> tuple[Result, ...]:
    """One result for every rule of the list, also for a rule that nothing was seen for."""
    by_rule: dict[str, list[Look]] = {rule.id: [] for rule in RULES}
    for look in looks:
        by_rule[look.rule].append(look)
    return tuple(_result(rule, by_rule[rule.id]) for rule in RULES)


def _plain(text: str) -> str:
    """Text of a stranger for a terminal: no control characters, and an end."""
    printable = "".join(sign if sign.isprintable() else "?" for sign in text[:_LONGEST])
    return f"{printable}..." if len(text) > _LONGEST else printable


def _result(rule: Rule, looks: Sequence[Look]) -> Result:
    """A rule that was broken once has failed; one that was never looked at is skipped, with the reason."""
    for outcome, kept in ((Outcome.FAILED, False), (Outcome.PASSED, True), (Outcome.SKIPPED, None)):
        seen = tuple(dict.fromkeys(look.seen for look in looks if look.kept is kept))
        if seen:
            return Result(rule, outcome, seen)
    return Result(rule, Outcome.SKIPPED, (f"no {rule.about} in any answer",))
