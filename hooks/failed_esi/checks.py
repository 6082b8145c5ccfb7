"""Do the pathway files fit together? Every check names file, table and row, and what is wrong there."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cds_service.protocol.card import MAX_SUMMARY, Indicator
from cds_service.service import KnowledgeError
from hooks.failed_esi.cautions import FOUND
from hooks.failed_esi.facts import FindingKind, OrderKind, Outcome
from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.tables import Row, Table
from hooks.failed_esi.toml_files import require, require_known

_READ = frozenset({"opened", "secondary", "not-read", "own"})

# The longest value of every word that a text of wording.toml may use.
_NUMBER = "99.9"
_LONGEST: Mapping[str, str] = {
    "version": "2026.12",
    "status": "withdrawn",
    "earliest": "14",
    "durability_end": "180",
    "count": "99",
    "limit": "99",
    "months": "12",
    "days": "9999",
    "day": "365",
    "coverage": "cervical/thoracic",
    "region": "cervical",
    "place": "cervical/thoracic",
    "date": "2026-12-31",
    "tier": "5",
    "tier_name": "optimise and retarget non-surgical care",
    "scale": "Roland-Morris",
    "before": _NUMBER,
    "after": _NUMBER,
    "percent": "-100",
    "stated": "partially successful",
    "trial_relief": "50",
    "min_gap": "14",
    "since": "2026-12-31",
}
_BANNED = re.compile(r"\b(must|contraindicated|guaranteed?|regenerat\w*|heals?|cures?|failed patient)\b", re.IGNORECASE)


def require_consistent(knowledge: Knowledge) -> None:
    """The checks that a start-up can afford: every name in one file exists in the other."""
    for table in _all_tables(knowledge):
        for row in table.rows:
            _check_row(table, row, knowledge)
    _check_cards(knowledge)
    _check_options(knowledge)
    _check_cautions(knowledge)
    _check_citations(knowledge)


def check_all(knowledge: Knowledge) -> Iterator[str]:
    """Every check; yields one line for each kind of check that passed. Raises KnowledgeError."""
    require_consistent(knowledge)
    yield f"{sum(len(table.rows) for table in _all_tables(knowledge))} rows name facts, words and sources that exist"
    combinations = 0
    for table, vocabulary in knowledge.tables():
        combinations += _check_complete(table, vocabulary)
    yield f"{combinations} combinations of facts are decided, and every row is reached"
    summaries = _check_summaries(knowledge)
    yield f"{summaries} summaries stay within {MAX_SUMMARY} characters with their longest words"
    _check_words_allowed(knowledge.wording, "wording.toml")
    yield "no text uses a banned word"
    yield f"{len(knowledge.codes.entries)} codes are well-formed and pass their check digits"


def _all_tables(knowledge: Knowledge) -> tuple[Table, ...]:
    return (*(table for table, _ in knowledge.tables()), knowledge.parallel_table, knowledge.checklist_table)


def _check_row(table: Table, row: Row, knowledge: Knowledge) -> None:
    where = f'pathway.toml, [[{table.name}]] row "{row.id}"'
    wording = knowledge.wording
    require(row.outcome is None or row.outcome in set(Outcome), where, f"outcome {row.outcome!r} does not exist")
    require(row.tier is None or row.tier in wording["tiers"], where, f"tier {row.tier!r} is not worded")
    require(row.subtype in {None, "nothing-usable", *wording["subtypes"]}, where, f"{row.subtype!r} is not worded")
    listed = "checklist" if table.name == "checklist" else "options"
    for option in (*row.options, *([row.option] if row.option else [])):
        require(option in wording[listed], where, f"option {option!r} is not worded")
    require(row.line is None or row.line in wording["found"], where, f"line {row.line!r} is not worded")
    if row.card:
        require(row.indicator in set(Indicator), where, f"indicator {row.indicator!r} does not exist")
        require(row.card in knowledge.cards["order"], where, f"card {row.card!r} has no place in [cards] order")
        for section in ("cards", "advice", "changes"):
            require(row.card in wording[section], where, f"card {row.card!r} is not in wording.toml, [{section}]")
        require(bool(row.cites), where, "a row with a card cites no source")
    if row.silence:
        require(row.silence in wording["silence"], where, f"silence {row.silence!r} is not worded")
    for source in row.cites:
        require(source in knowledge.sources, where, f"source {source!r} is not in sources.toml")


def _check_cards(knowledge: Knowledge) -> None:
    for name in (
        *knowledge.cards["order"],
        *knowledge.cards["advise_against_the_order"],
        *knowledge.cards["with_options"],
    ):
        require(name in knowledge.wording["cards"], "pathway.toml, [cards]", f"card {name!r} is not worded")
    known = {*_LONGEST, *_composed(knowledge)}
    for name, card in knowledge.wording["cards"].items():
        for word in _words_in(card["summary"]):
            where = f"wording.toml, [cards.{name}] summary"
            require(word in known, where, f"word {{{word}}} is not one that a card can fill in")


def _check_options(knowledge: Knowledge) -> None:
    for option, row in knowledge.offered.items():
        require(option in knowledge.wording["options"], f"pathway.toml, [offered.{row.id}]", "option is not worded")
    for option, kinds in knowledge.ordered_through.items():
        where = f"pathway.toml, [ordered_through] {option}"
        require(option in knowledge.wording["options"], where, "option is not worded")
        for kind in kinds:
            require(kind in set(OrderKind), where, f"kind of order {kind!r} does not exist")
    for option, texts in knowledge.wording["options"].items():
        where = f"wording.toml, [options.{option}]"
        for source in texts.get("cites", ()):
            require(source in knowledge.sources, where, f"source {source!r} is not in sources.toml")
        require(bool(texts.get("cites")), where, "cites no source")
        for member in ("text", "already", *(("label", "description", "note") if "order" in texts else ())):
            require(member in texts, where, f"{member!r} is missing")


def _check_cautions(knowledge: Knowledge) -> None:
    for caution in knowledge.cautions:
        where = f'pathway.toml, [[caution]] "{caution.id}"'
        require(caution.id in knowledge.wording["cautions"], where, "is not worded")
        require(bool(caution.cites), where, "cites no source")
        for found in caution.found:
            require_known(found, FOUND, where, "found")
        for source in caution.cites:
            require(source in knowledge.sources, where, f"source {source!r} is not in sources.toml")
    known = {*OrderKind, *knowledge.wording["options"]}
    for trait, names in knowledge.traits.items():
        for name in names:
            require_known(name, known, f"pathway.toml, [traits] {trait}", "order or option")
    for kind, criteria in knowledge.windows.items():
        require_known(kind, [*FindingKind], "pathway.toml, [windows]", "finding")
        for name in criteria:
            require_known(name, knowledge.criteria_table, f"pathway.toml, [windows] {kind}", "criterion")
    for name in (*knowledge.red_flags["spine_specific"], *knowledge.red_flags["fits"]):
        require_known(name, [*OrderKind], "pathway.toml, [red_flags]", "kind of order")


def _check_citations(knowledge: Knowledge) -> None:
    for name, criterion in knowledge.criteria_table.items():
        where = f"pathway.toml, [criteria.{name}]"
        for member in ("value", "unit", "means", "cites", "basis", "checked_on"):
            require(member in criterion, where, f"{member!r} is missing")
        for source in criterion["cites"]:
            require(source in knowledge.sources, where, f"source {source!r} is not in sources.toml")
        has_source = bool(criterion["cites"]) or criterion["basis"] == "site choice"
        require(has_source, where, "a criterion whose basis is a source cites none")
    for source in knowledge.sources.values():
        require(source.read in _READ, f"sources.toml, [{source.id}]", f"read {source.read!r} does not exist")


def _check_complete(table: Table, vocabulary: Mapping[str, tuple[str, ...]]) -> int:
    """Every combination is decided and every row is reached; returns the number of combinations."""
    where = f"pathway.toml, [[{table.name}]]"
    reached: set[str] = set()
    count = 0
    for facts in table.combinations(vocabulary):
        count += 1
        try:
            reached.add(table.decide(facts).id)
        except LookupError:
            stated = ", ".join(f"{column} = {value}" for column, value in facts.items())
            raise KnowledgeError(f"{where}: no row decides {stated}.") from None
    for row in table.rows:
        require(row.id in reached, f'{where} row "{row.id}"', "no combination of facts reaches this row")
    return count


def _check_summaries(knowledge: Knowledge) -> int:
    words = {**_LONGEST, **_composed(knowledge)}
    for name, card in knowledge.wording["cards"].items():
        length = len(card["summary"].format_map(words))
        where = f"wording.toml, [cards.{name}] summary"
        require(length <= MAX_SUMMARY, where, f"{length} characters with its longest words, at most {MAX_SUMMARY}")
    return len(knowledge.wording["cards"])


def _composed(knowledge: Knowledge) -> dict[str, str]:
    """The longest form of the parts that a summary is composed of."""
    wording = knowledge.wording

    def longest(texts: Iterable[str]) -> str:
        return max((text.format_map(_LONGEST) for text in texts), key=len)

    return {
        "result": longest(wording["result"].values()),
        "unknown": longest(wording["unknown"].values()),
        "tier_short": longest(tier["short"] for tier in wording["tiers"].values()),
        "outcome": longest(wording["outcomes"].values()),
        "ago": longest(wording["ago"].values()),
        "when": longest([wording["red_flag"]["before"], wording["red_flag"]["with"]]),
        "call": longest(wording["calls"].values()),
        "soon_after": wording["red_flag"]["soon_after"].format(after_days=42),
        "finding": longest(e.label for e in knowledge.codes.entries if e.concept in set(FindingKind)),
    }


def _words_in(text: str) -> Iterator[str]:
    return (name for _, name, _, _ in string.Formatter().parse(text) if name)


def _check_words_allowed(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_words_allowed(item, f"{where}, {name}")
    elif isinstance(value, str):
        banned = _BANNED.search(value)
        require(banned is None, where, f"the word {banned[0]!r} is banned from cards" if banned else "")
