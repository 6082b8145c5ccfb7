"""The decision tables in words: when a row holds, what follows, who says so, which cases prove it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from hooks.failed_esi.knowledge import Knowledge, Source
from hooks.failed_esi.markdown import names, table
from hooks.failed_esi.proofs import Proofs
from hooks.failed_esi.tables import Row, Table

_CASES_NAMED = 3  # beyond that they are counted

# Members of a row that are told elsewhere, or that only steer which numbers a card prints.
_NOT_CONCLUSIONS = frozenset({"id", "when", "rules", "cites", "subtype", "indicator", "shows"})


def all_tables(knowledge: Knowledge) -> Iterator[tuple[Table, bool]]:
    """Every table with whether its first row that holds decides alone."""
    first_match = [each for each, _ in knowledge.tables()]
    yield from ((each, True) for each in first_match)
    others = (getattr(knowledge, field.name) for field in fields(knowledge))
    yield from ((each, False) for each in others if isinstance(each, Table) and each not in first_match)


def decision_table(each: Table, is_first_match: bool, knowledge: Knowledge, proofs: Proofs) -> str:
    """One table: When, Then, Why, Cases."""
    rule = "The first row that holds decides." if is_first_match else "Every row that holds applies."
    rows = (
        (
            f"**{row.id}:** {conditions(row)}",
            conclusion(row, knowledge),
            cited(row.cites, knowledge),
            _cases_of(row, proofs),
        )
        for row in each.rows
    )
    return f"{rule}\n\n{table(('When', 'Then', 'Why', 'Cases'), rows)}"


def conditions(row: Row) -> str:
    """The conditions of a row in plain words."""
    stated = (f"{plain(column)} is {' or '.join(sorted(accepted))}" for column, accepted in row.when.items())
    return "; ".join(stated) or "in every other case"


def conclusion(row: Row, knowledge: Knowledge) -> str:
    """What follows from a row: every member that it sets."""
    told = ((field.name, getattr(row, field.name)) for field in fields(row) if field.name not in _NOT_CONCLUSIONS)
    defaults = {field.name: field.default for field in fields(row) if field.default is not MISSING}
    parts = [_member(name, value, row, knowledge) for name, value in told if value != defaults.get(name)]
    return "; ".join(parts) or "nothing"


def _member(name: str, value: Any, row: Row, knowledge: Knowledge) -> str:
    wording = knowledge.wording
    match name:
        case "outcome":
            reason = f" ({wording['subtypes'].get(row.subtype, plain(row.subtype))})" if row.subtype else ""
            return f"*{value}*{reason}"
        case "tier":
            return f"tier {value}, {wording['tiers'][value]['name']}"
        case "card":
            return f"card `{value}` [{row.indicator}]"
        case "silence":
            return f"silence: {wording['silence'][value]}"
        case "softens":
            return "never more than [info]"
    return plain(name) if value is True else f"{plain(name)} {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(key)} {_value(item)}" for key, item in value.items())
    return names(map(str, value)) if isinstance(value, tuple | list | frozenset) else f"`{value}`"


def _cases_of(row: Row, proofs: Proofs) -> str:
    """The cases that name the row, else those of the further rules it stands for, else those of its rule."""
    for rules in ((row.id,), row.rules, (row.rule,)):
        if cases := proofs.of(rules):
            return named(cases) if row.id in rules else f"{', '.join(rules)}: {named(cases)}"
    return ""


def named(cases: tuple[str, ...]) -> str:
    """A few cases by name, many by their number."""
    return f"{len(cases)} cases" if len(cases) > _CASES_NAMED else "; ".join(cases)


def cited(cites: Iterable[str], knowledge: Knowledge) -> str:
    """The short names of sources; a star marks what was not verified at the source."""
    return ", ".join(_short(knowledge.sources[name]) for name in cites)


def _short(source: Source) -> str:
    return source.short if source.is_verified else rf"{source.short}\*"


def plain(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")
