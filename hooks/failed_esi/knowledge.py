"""The pathway files as frozen values; refuses to start when anything in them does not fit together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal

from cds_service.fhir.codes import CodeIndex, Coding
from cds_service.service import KnowledgeError
from hooks.failed_esi.anatomy import Anatomy
from hooks.failed_esi.codesets import LOCAL_SYSTEM, read_value_sets
from hooks.failed_esi.facts import Facts, FindingFacts, OrderKind, SessionFacts, vocabulary
from hooks.failed_esi.tables import Row, Table
from hooks.failed_esi.toml_files import Toml, read_toml, require_known
from hooks.failed_esi.words import Words, first_tokens, word_pattern

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Criteria:
    """Every number of the pathway (pathway.toml, [criteria]); units and sources stand there."""

    adult_age: int
    esi_lookback: int
    earliest_evaluation: int
    early_window_end: int
    early_window_flag: int
    durability_start: int
    durability_end: int
    durability_grace: int
    late_window_end: int
    baseline_window: int
    strong_baseline: int
    substantial_relief: int
    meaningful_relief: int
    conflict_window: int
    cap_sessions: int
    cap_months: int
    episode_gap: int
    imaging_max_age: int
    pt_min: int
    pt_max_age: int
    pt_gap: int
    drug_trial_min: int
    block_relief: int
    blocks_needed: int
    block_indeterminate: int
    sacroiliac_block_relief: int
    ablation_relief: int
    ablation_lasted: int
    ablation_max_age: int
    ablations_per_year: int
    stimulation_primary: int
    stimulation_secondary: int
    min_gap: int
    second_cap_sessions: int
    second_cap_months: int
    red_flag_cord: int
    red_flag_bladder: int
    red_flag_bladder_late: int
    red_flag_motor: int
    strength_fall: int
    strength_at_most: int
    injury_after_injection: int
    deficit_after_injection: int
    infection_max_age: int
    procedure_infection_max_age: int
    fracture_max_age: int
    pregnancy_max_age: int
    stimulation_trial_relief: int
    surgery_gap_short: int
    surgery_gap_long: int
    glucose_high: int
    older_age: int
    source_max_age: int


@dataclass(frozen=True, slots=True)
class Scale:
    """How the scores of one instrument are read and compared."""

    id: str
    name: str
    short: str
    measures: Literal["pain", "function"]
    lowest: Decimal
    highest: Decimal
    units: Mapping[str, Decimal | str]
    floor: Decimal | None = None
    change: Decimal | None = None
    is_t_score: bool = False
    higher_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Caution:
    """What to bear in mind when something found on file meets what an order or option brings with it."""

    id: str
    found: frozenset[str]
    brings: str
    cites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A citation and how its statement was checked."""

    id: str
    short: str
    title: str
    publisher: str
    read: str
    checked_on: date
    url: str = ""
    published: str = ""

    @property
    def is_verified(self) -> bool:
        """Whether the statement was read in the source itself."""
        return self.read in {"opened", "own"}


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All of it."""

    folder: Path
    profile: str
    pathway: Toml
    version: str
    status: str
    criteria: Criteria
    criteria_table: Toml
    scales: Mapping[str, Scale]
    codes: CodeIndex
    words: Words
    anatomy: Anatomy
    sources: Mapping[str, Source]
    wording: Toml
    outcome_table: Table
    tier_table: Table
    parallel_table: Table
    finding_table: Table
    order_tables: tuple[Table, ...]
    checklist_table: Table
    cautions: tuple[Caution, ...]
    traits: Mapping[str, frozenset[str]]
    windows: Mapping[str, tuple[str, ...]]
    red_flags: Mapping[str, frozenset[str]]
    has_payer_checks: bool
    offered: Mapping[str, Row]
    ordered_through: Mapping[str, frozenset[str]]
    cards: Toml
    service: Toml
    triggers: frozenset[str]
    _ingredients: Mapping[str, tuple[tuple[str, re.Pattern[str]], ...]]

    def ingredients(self, concept: str, text: str) -> frozenset[str]:
        """The ingredients of a drug class that a text names, as whole words."""
        lower = text.lower()
        return frozenset(name for name, word in self._ingredients.get(concept, ()) if word.search(lower))

    def kinds_with_cards(self) -> frozenset[str]:
        """The kinds of order that some row has a card for."""
        rows = [row for table in self.order_tables for row in table.rows if row.card]
        return frozenset(kind for row in rows for kind in row.when.get("ordered", frozenset(OrderKind)))

    def tables(self) -> tuple[tuple[Table, Mapping[str, tuple[str, ...]]], ...]:
        """The first-match tables, each with the vocabulary of its columns."""
        pathway = vocabulary(Facts)
        return (
            (self.outcome_table, vocabulary(SessionFacts)),
            (self.finding_table, vocabulary(FindingFacts)),
            (self.tier_table, pathway),
            *((table, pathway) for table in self.order_tables),
        )


# What a row of each table may say besides its conditions.
_OUTCOME_MEMBERS = frozenset({"outcome", "subtype", "shows", "softens", "cites"})
_TIER_MEMBERS = frozenset({"tier", "options", "cites"})
_FINDING_MEMBERS = frozenset({"card", "tier", "indicator", "silence", "line", "cites"})
_ORDER_MEMBERS = frozenset({"card", "indicator", "silence", "rules", "cites"})


def read_knowledge(site_value_sets: Path | None = None, profile: str = "policy") -> Knowledge:
    """Read and cross-check all files. Raises KnowledgeError."""
    pathway = read_toml(FOLDER / "pathway.toml")
    wording = read_toml(FOLDER / "wording.toml")
    sources = _read_sources(read_toml(FOLDER / "sources.toml"))
    words = Words.read(read_toml(FOLDER / "words.toml"))
    tier_table = _read_table(pathway, "tier", vocabulary(Facts), _TIER_MEMBERS)
    order_tables = tuple(
        _read_table(pathway, name, vocabulary(Facts), _ORDER_MEMBERS) for name in pathway["cards"]["tables"]
    )
    codes = read_value_sets(FOLDER / "value_sets", site_value_sets)
    return Knowledge(
        folder=FOLDER,
        profile=profile,
        pathway=pathway,
        version=pathway["about"]["version"],
        status=pathway["about"]["status"],
        criteria=_read_criteria(pathway, profile),
        criteria_table=pathway["criteria"],
        scales={name: _read_scale(name, table) for name, table in pathway["scales"].items()},
        codes=codes,
        words=words,
        anatomy=Anatomy.read(read_toml(FOLDER / "anatomy.toml")),
        sources=sources,
        wording=wording,
        outcome_table=_read_table(pathway, "outcome", vocabulary(SessionFacts), _OUTCOME_MEMBERS),
        tier_table=tier_table,
        parallel_table=_read_list(pathway, "parallel", (tier_table,)),
        finding_table=_read_table(pathway, "finding", vocabulary(FindingFacts), _FINDING_MEMBERS),
        order_tables=order_tables,
        checklist_table=_read_list(pathway, "checklist", order_tables),
        cautions=tuple(_read_caution(caution, pathway["traits"]) for caution in pathway["caution"]),
        traits={trait: frozenset(names) for trait, names in pathway["traits"].items()},
        windows={kind: tuple(names) for kind, names in pathway["windows"].items()},
        red_flags={name: frozenset(values) for name, values in pathway["red_flags"].items()},
        has_payer_checks=pathway["profiles"][profile].get("payer_checks", True),
        offered={
            option: Row(option, _conditions(f"offered.{option}", when, vocabulary(Facts)))
            for option, when in pathway["offered"].items()
        },
        ordered_through={option: frozenset(kinds) for option, kinds in pathway["ordered_through"].items()},
        cards=pathway["cards"],
        service=read_toml(FOLDER / "service.toml"),
        triggers=words.triggers | first_tokens(e.label for e in codes.entries if e.system == "rxnorm"),
        _ingredients=_read_ingredients(codes),
    )


def local(code: str, display: str = "") -> Coding:
    """A code of our own system."""
    return Coding(LOCAL_SYSTEM, code, display)


def _read_ingredients(codes: CodeIndex) -> dict[str, tuple[tuple[str, re.Pattern[str]], ...]]:
    """Ingredient names by drug class: the labels of the RxNorm entries."""
    names: dict[str, list[str]] = {}
    for entry in codes.entries:
        if entry.system == "rxnorm":
            names.setdefault(entry.concept, []).append(entry.label.lower())
    return {
        concept: tuple((name, word_pattern((name,))) for name in sorted(labels)) for concept, labels in names.items()
    }


def _read_criteria(pathway: Toml, profile: str) -> Criteria:
    given = {name: table["value"] for name, table in pathway["criteria"].items()}
    names = [field.name for field in fields(Criteria)]
    for name in given:
        require_known(name, names, f"pathway.toml, [criteria.{name}]", "criterion")
    missing = [name for name in names if name not in given]
    if missing:
        raise KnowledgeError(f"pathway.toml, [criteria]: {missing[0]!r} is missing; the code reads it.")
    require_known(profile, pathway["profiles"], "CDS_PROFILE", "profile")
    for profile_name, table in pathway["profiles"].items():
        for name in table.get("criteria", {}):
            require_known(name, names, f"pathway.toml, [profiles.{profile_name}]", "criterion")
    return Criteria(**{**given, **pathway["profiles"][profile].get("criteria", {})})


def _read_scale(name: str, table: Toml) -> Scale:
    low, high = table["range"]
    return Scale(
        id=table.get("same_as", name),
        name=table["name"],
        short=table.get("short", table["name"]),
        measures=table["measures"],
        lowest=Decimal(low),
        highest=Decimal(high),
        units={unit: f if isinstance(f, str) else Decimal(f) for unit, f in table["units"].items()},
        floor=_decimal(table.get("floor")),
        change=_decimal(table.get("change")),
        is_t_score=table.get("t_score", False),
        higher_is_better=table.get("higher_is_better", False),
    )


def _decimal(value: int | Decimal | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _read_sources(table: Toml) -> dict[str, Source]:
    return {
        name: Source(
            id=name,
            short=source["short"],
            title=source["title"],
            publisher=source["publisher"],
            read=source["read"],
            checked_on=source["checked_on"],
            url=source.get("url", ""),
            published=str(source.get("published", "")),
        )
        for name, source in table.items()
    }


def _read_table(
    pathway: Toml,
    name: str,
    columns: Mapping[str, Collection[str]],
    members: Collection[str],
    id_member: str = "id",
) -> Table:
    return Table(
        name,
        tuple(_read_row(name, row, columns, {*members, "id", "when", "states"}, id_member) for row in pathway[name]),
    )


def _read_list(pathway: Toml, name: str, of: Iterable[Table]) -> Table:
    """A table in which every row that holds applies; its rows may ask which row of other tables decided."""
    rows = tuple(row.id for table in of for row in table.rows)
    return _read_table(pathway, name, {**vocabulary(Facts), "row": rows}, frozenset({"option"}), id_member="option")


def _read_caution(table: Toml, traits: Toml) -> Caution:
    require_known(table["brings"], traits, f'pathway.toml, [[caution]] "{table["id"]}"', "trait")
    return Caution(table["id"], frozenset(table["found"]), table["brings"], tuple(table["cites"]))


def _read_row(
    table: str, row: Toml, columns: Mapping[str, Collection[str]], members: Collection[str], id_member: str
) -> Row:
    where = f'pathway.toml, [[{table}]] row "{row.get(id_member, "?")}"'
    for member in row:
        require_known(member, members, where, "member")
    values = {key: value for key, value in row.items() if key not in {"id", "when", "states"}}
    for key in ("options", "rules", "cites"):
        if key in values:
            values[key] = tuple(values[key])
    return Row(id=row[id_member], when=_conditions(where, row.get("when", {}), columns), **values)


def _conditions(where: str, when: Toml, columns: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    for column, values in when.items():
        require_known(column, columns, where, "column")
        for value in values:
            require_known(value, columns[column], f"{where}, when.{column}", "value")
    return {column: frozenset(values) for column, values in when.items()}
