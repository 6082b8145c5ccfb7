"""The decision tables in words: when a row holds, what follows, who says so, which cases prove it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from hooks.failed_esi.knowledge import Knowledge, Source
from hooks.failed_esi.markdown import names, table
from hooks.failed_esi.proofs import Proofs
from hooks.failed_esi.tables import Row, Table
from hooks.failed_esi.toml_files import Toml

_CASES_NAMED = 3  # beyond that they are counted

# Members of a row that are told elsewhere, or that only steer which numbers a card prints.
_NOT_CONCLUSIONS = frozenset({"id", "when", "rules", "cites", "subtype", "indicator", "shows"})


def all_tables(knowledge: Knowledge) -> Iterator[tuple[Table, bool]]:
    """Every table with whether its first row that holds decides alone."""
    first_match = [each for each, _ in knowledge.tables()]
    yield from ((each, True) for each in first_match)
    others = (getattr(knowledge, field.name) for field in fields(knowledge))
    yield from ((each, False) for each in others if isinstance(each, Table) and each not in first_match)


def columns(each: Table) -> tuple[str, ...]:
    """What the rows of a table look at."""
    return tuple(dict.fromkeys(column for row in each.rows for column in row.when))


def other_lists(knowledge: Knowledge) -> Mapping[str, Sequence[Toml]]:
    """The lists of pathway.toml that are no decision tables, such as cautions."""
    tables = {each.name for each, _ in all_tables(knowledge)}
    lists = {name: content for name, content in knowledge.pathway.items() if isinstance(content, list)}
    return {name: content for name, content in lists.items() if name not in tables}


def plain_list(name: str, rows: Sequence[Toml], knowledge: Knowledge, proofs: Proofs) -> str:
    """A list that is no decision table: what each entry names, what it says, who says so."""
    lines = (
        (
            f"**{entry}:** {'; '.join(_named_members(row))}",
            row_text(name, entry, knowledge),
            cited(row.get("cites", ()), knowledge),
            named(proofs.of((entry, entry.partition(" ")[0]))),
        )
        for entry, row in ((row.get("id", row.get("option", "")), row) for row in rows)
    )
    return table(("When", "Then", "Why", "Cases"), lines)


def row_text(section: str, name: str, knowledge: Knowledge) -> str:
    """What is said of an entry: its words stand in the section of the same name, or of its plural."""
    texts = {**knowledge.wording.get(section, {}), **knowledge.wording.get(f"{section}s", {})}
    text = texts.get(name, "")
    return text if isinstance(text, str) else ""


def _named_members(row: Toml) -> Iterator[str]:
    for name, value in row.items():
        if name not in {"id", "cites", "states"}:
            yield f"{plain(name)} {' or '.join(value) if isinstance(value, list) else value}"


def decision_table(each: Table, is_first_match: bool, knowledge: Knowledge, proofs: Proofs) -> str:
    """One table: When, Then, Why, Cases."""
    rule = "The first row that holds decides." if is_first_match else "Every row that holds applies."
    rows = (
        (
            f"**{row.id}:** {conditions(row)}",
            conclusion(row, knowledge, each.name),
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


def conclusion(row: Row, knowledge: Knowledge, section: str = "") -> str:
    """What follows from a row of a table: every member that it sets."""
    told = ((field.name, getattr(row, field.name)) for field in fields(row) if field.name not in _NOT_CONCLUSIONS)
    defaults = {field.name: field.default for field in fields(row) if field.default is not MISSING}
    set_members = ((name, value) for name, value in told if value != defaults.get(name))
    parts = [
        _words_of_item(section, name, value, knowledge) or _member(name, value, row, knowledge)
        for name, value in set_members
    ]
    return "; ".join(parts) or "nothing"


def _words_of_item(section: str, name: str, value: Any, knowledge: Knowledge) -> str:
    """The words of what a list names as an option though it is none, such as an item of a checklist."""
    is_item = name == "option" and value not in knowledge.wording["options"]
    return row_text(section, value, knowledge) if is_item else ""


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
