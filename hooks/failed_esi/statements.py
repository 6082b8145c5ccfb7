"""What the two articles behind the pathway state, statement by statement, and where the pathway takes each one up.

A row, criterion, option or card takes a statement up by naming it: `states = ["A7"]`. statements.toml lists them all;
a statement that nothing names says there why not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.proofs import Proofs
from hooks.failed_esi.toml_files import Toml, read_toml, require, require_known

_MEMBERS = ("says", "rules", "pending", "not_adopted", "context")


@dataclass(frozen=True, slots=True)
class Marker:
    """One place that names a statement: a table of a file, and the row or entry in it."""

    statement: str
    section: str
    name: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement with the places that take it up; `rules` are those that Python establishes as facts."""

    id: str
    says: str
    rules: tuple[str, ...]
    is_pending: bool
    not_adopted: str
    context: str
    rows: tuple[Marker, ...]
    criteria: tuple[Marker, ...]
    words: tuple[Marker, ...]
    cases: tuple[str, ...]

    @property
    def is_mapped(self) -> bool:
        """Whether something in the pathway files names it."""
        return bool(self.rows or self.criteria or self.words)

    @property
    def reason(self) -> str:
        """Why nothing names it."""
        return self.not_adopted or self.context


def read_statements(knowledge: Knowledge) -> tuple[Statement, ...]:
    """Every statement of statements.toml with its places and cases. Raises KnowledgeError."""
    proofs = Proofs.read(knowledge.folder / "cases.toml")
    pathway, wording = tuple(markers(knowledge.pathway)), tuple(markers(knowledge.wording))
    tables = read_toml(knowledge.folder / "statements.toml")
    for marker in (*pathway, *wording):
        require_known(marker.statement, tables, f"[{marker.section}] {marker.name}, states", "statement")
    return tuple(_read_statement(name, table, pathway, wording, proofs) for name, table in tables.items())


def check_statements(knowledge: Knowledge) -> Iterator[str]:
    """Every statement is taken up, or says why not; yields one line. Raises KnowledgeError."""
    statements = read_statements(knowledge)
    proven = Proofs.read(knowledge.folder / "cases.toml").by_rule
    for statement in statements:
        where = f"statements.toml, [{statement.id}]"
        for rule in statement.rules:
            require_known(rule, proven, where, "rule with a worked case")
        require(
            statement.is_mapped or statement.is_pending or bool(statement.reason),
            where,
            "nothing in the pathway states it; name it there, or say `not_adopted` or `context`",
        )
        require(not (statement.is_mapped and statement.reason), where, "it is taken up and has a reason why not")
    pending = sum(statement.is_pending for statement in statements)
    yield f"{len(statements)} statements of the articles are taken up or say why not, {pending} pending"


def markers(file: Toml) -> Iterator[Marker]:
    """Every `states` of a file, wherever it stands."""
    for section, content in file.items():
        yield from _markers_within(section, section, content)


def _markers_within(section: str, name: str, value: Any) -> Iterator[Marker]:
    if isinstance(value, Mapping):
        own = str(value.get("id", value.get("option", name)))
        yield from (Marker(statement, section, own) for statement in value.get("states", ()))
        for key, item in value.items():
            yield from _markers_within(section, key, item)
    elif isinstance(value, list):
        for item in value:
            yield from _markers_within(section, name, item)


def _read_statement(
    name: str, table: Toml, pathway: tuple[Marker, ...], wording: tuple[Marker, ...], proofs: Proofs
) -> Statement:
    where = f"statements.toml, [{name}]"
    for member in table:
        require_known(member, _MEMBERS, where, "member")
    require(bool(table.get("says")), where, "'says' is missing")
    rules = tuple(table.get("rules", ()))
    rows = tuple(m for m in pathway if m.statement == name and m.section != "criteria")
    return Statement(
        id=name,
        says=table["says"],
        rules=rules,
        is_pending=table.get("pending", False),
        not_adopted=table.get("not_adopted", ""),
        context=table.get("context", ""),
        rows=rows,
        criteria=tuple(m for m in pathway if m.statement == name and m.section == "criteria"),
        words=tuple(m for m in wording if m.statement == name),
        cases=proofs.of((*(row.name for row in rows), *(row.name.partition(" ")[0] for row in rows), *rules)),
    )
