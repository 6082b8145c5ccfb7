"""The clinician's page: README.md of this folder, its generated parts written from the knowledge that is loaded.

The parts walk over whatever tables and members of rows there are, so that a new one appears without a line here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from enum import StrEnum
from typing import get_type_hints

from hooks.failed_esi import facts as facts_module
from hooks.failed_esi.attributes import source_attributes
from hooks.failed_esi.codesets import LOCAL_SYSTEM
from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.markdown import names, table
from hooks.failed_esi.proofs import Proofs
from hooks.failed_esi.statements import Marker, Statement, read_statements
from hooks.failed_esi.table_text import (
    all_tables,
    cited,
    columns,
    conditions,
    decision_table,
    named,
    other_lists,
    plain,
    plain_list,
    row_text,
)
from hooks.failed_esi.toml_files import Toml, read_toml

_PART = re.compile(r"<!-- ([\w-]+):begin -->\n.*?<!-- \1:end -->", re.DOTALL)


def write_page(knowledge: Knowledge) -> str:
    """The whole page as Markdown."""
    frame = (knowledge.folder / "README.md").read_text(encoding="utf-8")
    return _PART.sub(lambda part: PARTS[part[1]](knowledge), frame)


def about(knowledge: Knowledge) -> str:
    """Version, review status and profile."""
    about = knowledge.pathway["about"]
    reviewers = ", ".join(about["reviewed_by"])
    reviewed = f"{reviewers} on {about['reviewed_on']}" if reviewers else "nobody yet: no clinician has signed it"
    rows = [
        ("Question", about["question"]),
        ("Knowledge version", f"{knowledge.version}, status *{knowledge.status}*"),
        ("Reviewed by", reviewed),
        ("Profile in force", _profile(knowledge, knowledge.profile)),
        *(("Other profile", _profile(knowledge, name)) for name in _other_profiles(knowledge)),
    ]
    return "\n".join(f"* **{name}**: {value}" for name, value in rows)


def criteria(knowledge: Knowledge) -> str:
    """Every number, as it is in force."""
    rows = (
        (
            f"`{name}`",
            str(getattr(knowledge.criteria, name)),
            criterion["unit"],
            criterion["means"],
            criterion["basis"],
            cited(criterion["cites"], knowledge),
            str(criterion["checked_on"]),
            _in_other_profiles(name, knowledge),
        )
        for name, criterion in knowledge.criteria_table.items()
    )
    header = ("Criterion", "Value", "Unit", "Meaning", "Basis", "Sources", "Checked on", "Other profiles")
    return table(header, rows)


def scales(knowledge: Knowledge) -> str:
    """How scores are compared."""
    rows = (
        (
            f"{scale['name']} (`{name}`)",
            scale["measures"],
            f"{scale['range'][0]} to {scale['range'][1]}",
            str(scale.get("floor", "")),
            str(scale.get("change", "")),
            cited(scale.get("cites", ()), knowledge),
        )
        for name, scale in knowledge.pathway["scales"].items()
    )
    header = ("Scale", "Measures", "Range", "Lowest usable baseline", "Smallest change that matters", "Sources")
    return table(header, rows)


def facts(knowledge: Knowledge) -> str:
    """What the columns of the tables can say."""
    kinds, meanings = _kinds_of_facts(), _page_words(knowledge)["facts"]
    looked_at = [column for each, _ in all_tables(knowledge) for column in columns(each)]
    looked_at += [column for row in knowledge.offered.values() for column in row.when]
    rows = (
        (plain(column), ", ".join(kinds[column]), meanings.get(column, _first_line(kinds[column])))
        for column in dict.fromkeys(looked_at)
        if column in kinds
    )
    return table(("Fact", "Can be", "Says"), rows)


def tables(knowledge: Knowledge) -> str:
    """The first-match tables, those of which every row that holds applies, and the other lists of the pathway."""
    words, proofs = _page_words(knowledge)["tables"], Proofs.read(knowledge.folder / "cases.toml")
    shown = {
        each.name: decision_table(each, is_first_match, knowledge, proofs)
        for each, is_first_match in all_tables(knowledge)
    }
    shown |= {name: plain_list(name, rows, knowledge, proofs) for name, rows in other_lists(knowledge).items()}
    return "\n\n".join(f"{_heading(name, words)}\n\n{content}" for name, content in shown.items())


def options(knowledge: Knowledge) -> str:
    """Every option, when it stands open and what is said of it."""
    rows = (
        (
            f"`{name}`",
            conditions(knowledge.offered[name]) if name in knowledge.offered else "always",
            option["text"],
            cited(option.get("cites", ()), knowledge),
        )
        for name, option in knowledge.wording["options"].items()
    )
    return table(("Option", "Offered when", "What the card says", "Sources"), rows)


def cards(knowledge: Knowledge) -> str:
    """Every card in the order in which several are shown."""
    wording = knowledge.wording
    order = [*knowledge.cards["order"], *(name for name in wording["cards"] if name not in knowledge.cards["order"])]
    rows = (
        (
            f"`{name}`",
            wording["cards"][name].get("title", ""),
            wording["cards"][name]["summary"],
            wording["advice"].get(name, ""),
            wording["changes"].get(name, ""),
        )
        for name in order
    )
    return table(("Card", "Title", "Summary", "Advice", "What would change it"), rows)


def sources(knowledge: Knowledge) -> str:
    """Every source and how it was checked."""
    verified = _page_words(knowledge)["verified"]
    rows = (
        (
            source.short,
            f"[{source.title}]({source.url})" if source.url else source.title,
            ", ".join(part for part in (source.publisher, source.published) if part),
            verified[source.read],
            source.checked_on.isoformat(),
        )
        for source in knowledge.sources.values()
    )
    return table(("Source", "Title", "Publisher, date", "Verified", "Checked on"), rows)


def statements(knowledge: Knowledge) -> str:
    """What the articles state, and where the pathway takes it up."""
    rows = (
        (
            statement.id,
            statement.says,
            _places(statement, knowledge),
            " ".join(filter(None, _words_of(statement, knowledge))),
            named(statement.cases),
        )
        for statement in read_statements(knowledge)
    )
    return table(("No.", "Statement", "Rules and criteria", "Said on the card", "Cases"), rows)


def attributes(knowledge: Knowledge) -> str:
    """The source attributes."""
    stated = source_attributes(knowledge)
    rows = ((str(each["id"]), each["name"], f"**{each['answer']}**", each["details"]) for each in stated["attributes"])
    return f"{stated['kind']} {stated['note']}\n\n{table(('No.', 'Attribute', 'Answer', 'Details'), rows)}"


def value_sets(knowledge: Knowledge) -> str:
    """How many codes of which system each concept has, with what the site adds or replaces."""
    counts: dict[str, dict[str, int]] = {}
    for entry in knowledge.codes.entries:
        system = "our own" if entry.system == LOCAL_SYSTEM else entry.system
        systems = counts.setdefault(entry.concept, {})
        systems[system] = systems.get(system, 0) + 1
    rows = (
        (f"`{concept}`", ", ".join(f"{system}: {count}" for system, count in systems.items()))
        for concept, systems in counts.items()
    )
    return table(("Concept", "Codes by system"), rows)


PARTS: Mapping[str, Callable[[Knowledge], str]] = {
    "about": about,
    "criteria": criteria,
    "scales": scales,
    "facts": facts,
    "tables": tables,
    "options": options,
    "cards": cards,
    "sources": sources,
    "statements": statements,
    "attributes": attributes,
    "value-sets": value_sets,
}


def _page_words(knowledge: Knowledge) -> Toml:
    return read_toml(knowledge.folder / "page.toml")


def _other_profiles(knowledge: Knowledge) -> list[str]:
    return [name for name in knowledge.pathway["profiles"] if name != knowledge.profile]


def _profile(knowledge: Knowledge, name: str) -> str:
    return f"*{name}*: {knowledge.pathway['profiles'][name]['means']}"


def _in_other_profiles(name: str, knowledge: Knowledge) -> str:
    """The value under each other profile, where it differs from the one in force."""
    in_force = getattr(knowledge.criteria, name)
    values = {
        profile: knowledge.pathway["profiles"][profile]
        .get("criteria", {})
        .get(name, knowledge.criteria_table[name]["value"])
        for profile in _other_profiles(knowledge)
    }
    return ", ".join(f"*{profile}*: {value}" for profile, value in values.items() if value != in_force)


def _kinds_of_facts() -> dict[str, type[StrEnum]]:
    """Every column that the facts have, with the kind of its values."""
    records = [record for record in vars(facts_module).values() if isinstance(record, type) and is_dataclass(record)]
    return {name: kind for record in records for name, kind in get_type_hints(record).items()}


def _first_line(kind: type[StrEnum]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


def _heading(name: str, words: Mapping[str, Mapping[str, str]]) -> str:
    title = words.get(name, {}).get("title", plain(name).capitalize())
    says = words.get(name, {}).get("says", "")
    return f"### {title}\n\n{says}" if says else f"### {title}"


def _places(statement: Statement, knowledge: Knowledge) -> str:
    """The rows, facts and criteria that take a statement up, or why none does."""
    is_option = knowledge.wording["options"].__contains__
    places = (f"{m.section} {m.name}" if is_option(m.name) else m.name for m in statement.rows)
    rows = dict.fromkeys((*places, *statement.rules))
    if statement.not_adopted:
        return f"**not adopted**: {statement.not_adopted}"
    if statement.context:
        return f"context only: {statement.context}"
    listed = ["; ".join(rows), names(marker.name for marker in statement.criteria)]
    return "; ".join([*filter(None, listed), *(["*in preparation*"] if statement.is_pending else [])])


def _words_of(statement: Statement, knowledge: Knowledge) -> Iterator[str]:
    yield from (_said(marker, knowledge) for marker in statement.words)
    yield from (row_text(marker.section, marker.name, knowledge) for marker in statement.rows)


def _said(marker: Marker, knowledge: Knowledge) -> str:
    """The words of an option or a card."""
    entry = knowledge.wording[marker.section][marker.name]
    advice = knowledge.wording["advice"].get(marker.name, "") if marker.section == "cards" else ""
    text = " ".join(part for part in (entry.get("text", entry.get("summary", "")), advice) if part)
    return f"`{marker.name}`: {text}"
