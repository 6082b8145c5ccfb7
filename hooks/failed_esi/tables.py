"""Decision tables without operators: the first row whose every condition holds decides."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: `when` names the accepted values of each column it looks at."""

    id: str
    when: Mapping[str, frozenset[str]]
    outcome: str | None = None
    subtype: str | None = None
    shows: str | None = None
    softens: bool = False
    tier: str | None = None
    options: tuple[str, ...] = ()
    option: str | None = None
    card: str | None = None
    indicator: str | None = None
    silence: str | None = None
    line: str | None = None
    rules: tuple[str, ...] = ()
    cites: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """The id of the rule in the specification: the first word of the row's id."""
        return self.id.partition(" ")[0]

    def holds(self, facts: Mapping[str, str]) -> bool:
        """Whether every condition holds."""
        for column, accepted in self.when.items():  # noqa: SIM110 - half of the time of all(), for each row of each table
            if facts[column] not in accepted:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Table:
    """Rows read from the top."""

    name: str
    rows: tuple[Row, ...]

    def decide(self, facts: Mapping[str, str]) -> Row:
        """The first row that holds. Raises LookupError when none does, which the tests rule out."""
        for row in self.rows:
            if row.holds(facts):
                return row
        raise LookupError(f"table {self.name!r} does not decide {dict(facts)!r}")

    def all_that_hold(self, facts: Mapping[str, str]) -> tuple[Row, ...]:
        """Every row that holds, for tables in which all of them apply."""
        return tuple(row for row in self.rows if row.holds(facts))

    def combinations(self, vocabulary: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
        """Every combination of facts that this table can tell apart.

        Most rows are about one value of one column, such as one kind of order: for each value of that column only
        the rows that accept it can hold, so only their columns are varied; the rest stay at their first value.
        """
        columns = Counter(column for row in self.rows for column in row.when)
        if not columns:
            yield {}
            return
        ((pivot, _),) = columns.most_common(1)
        for value in vocabulary[pivot]:
            rows = [row for row in self.rows if value in row.when.get(pivot, {value})]
            names = sorted({column for row in rows for column in row.when} - {pivot})
            rest = {name: vocabulary[name][0] for name in columns}
            for values in itertools.product(*(vocabulary[name] for name in names)):
                yield {**rest, pivot: value, **dict(zip(names, values, strict=True))}
