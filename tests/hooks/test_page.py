"""The clinician's page says all that the knowledge holds, whatever tables and members of rows there are."""

import re
from dataclasses import replace

import pytest

from hooks.failed_esi.knowledge import read_knowledge
from hooks.failed_esi.page import PARTS, write_page
from hooks.failed_esi.table_text import all_tables, conclusion, conditions, named
from hooks.failed_esi.tables import Row, Table


@pytest.fixture(scope="module")
def text(knowledge):
    return write_page(knowledge)


def test_every_part_has_its_place_in_the_frame(knowledge):
    frame = (knowledge.folder / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"<!-- ([\w-]+):begin -->", frame) == list(PARTS)


def test_no_marker_is_left(text):
    assert "<!--" not in text


def test_every_row_of_every_table_stands_on_the_page(text, knowledge):
    missing = [row.id for table, _ in all_tables(knowledge) for row in table.rows if f"| **{row.id}:** " not in text]
    assert missing == []


def test_every_name_that_a_committee_may_ask_for_stands_on_the_page(text, knowledge):
    wording = knowledge.wording
    names = {*knowledge.criteria_table, *wording["options"], *wording["cards"]}
    assert {name for name in names if f"| `{name}` |" not in text} == set()
    assert {source.short for source in knowledge.sources.values() if f"| {source.short} |" not in text} == set()


def test_a_table_that_nobody_told_the_page_of_is_shown(knowledge):
    row = Row("NEW-1", {"lesion": frozenset({"severe"})}, option="rfa")
    more = replace(knowledge, parallel_table=Table("brand_new", (row,)))
    shown = PARTS["tables"](more)
    assert "### Brand new" in shown
    assert "| **NEW-1:** lesion is severe | option `rfa` |" in shown


def test_a_list_that_is_no_table_is_shown_with_its_words(knowledge):
    caution = {"id": "SAFE-9", "found": ["a", "b"], "brings": "needle", "cites": ["lcd-esi"], "states": ["B6"]}
    more = replace(
        knowledge,
        pathway={**knowledge.pathway, "caution": [caution]},
        wording={**knowledge.wording, "cautions": {"SAFE-9": "Consider it."}},
    )
    line = r"| **SAFE-9:** found a or b; brings needle | Consider it. | Medicare LCD on ESI (L39240 family)\* |  |"
    assert line in PARTS["tables"](more)
    assert re.search(r"\| B6 \|.*\bSAFE-9\b.*\| Consider it\. \|", PARTS["statements"](more))


def test_a_row_of_a_list_with_words_of_its_own_says_them(knowledge):
    table = Table("worklist", (Row("blocks", {}, option="blocks"),))
    more = replace(knowledge, wording={**knowledge.wording, "worklist": {"blocks": "Two blocks."}})
    assert "| **blocks:** in every other case | Two blocks. |" in PARTS["tables"](replace(more, parallel_table=table))


def test_conditions_read_as_words():
    row = Row("X", {"early_last": frozenset({"mcid", "none"}), "imaging": frozenset({"open"})})
    assert conditions(row) == "early last is mcid or none; imaging is open"
    assert conditions(Row("X", {})) == "in every other case"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("X", {}, outcome="failed", subtype="transient"), "*failed* (relief did not last)"),
        (Row("X", {}, outcome="unknown", subtype="nothing-usable"), "*unknown* (nothing-usable)"),
        (
            Row("X", {}, tier="3", options=("rfa", "mild")),
            "tier 3, Advanced minimally invasive procedures; options `rfa`, `mild`",
        ),
        (Row("X", {}, card="TOO-SOON", indicator="warning", cites=("lcd-esi",)), "card `TOO-SOON` [warning]"),
        (Row("X", {}, silence="child"), "silence: The pathway is for adults."),
        (Row("X", {}), "nothing"),
    ],
)
def test_what_follows_reads_as_words(knowledge, row, expected):
    assert conclusion(row, knowledge) == expected


def test_a_profile_shows_its_own_values_and_where_the_other_differs():
    def shown(profile):
        (line,) = [
            each for each in write_page(read_knowledge(profile=profile)).splitlines() if "| `block_relief` |" in each
        ]
        return line

    assert shown("policy").startswith("| `block_relief` | 80 |")
    assert "*guideline*: 50" in shown("policy")
    assert shown("guideline").startswith("| `block_relief` | 50 |")
    assert "*policy*: 80" in shown("guideline")


def test_value_sets_of_the_site_are_the_ones_shown(tmp_path):
    (tmp_path / "cpt.toml").write_text('[esi.cpt]\n"99999" = { label = "local", region = "lumbar-sacral" }\n')
    assert "| `esi` | cpt: 1, icd-10-pcs: 1 |" in write_page(read_knowledge(tmp_path))


def test_a_source_that_was_not_read_itself_says_so(text, knowledge):
    for source in knowledge.sources.values():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {source.short} |")]
        assert ("not verified at the source" in line) == (source.read in {"secondary", "not-read"})


def test_many_cases_are_counted_and_few_are_named():
    assert named(("a", "b", "c")) == "a; b; c"
    assert named(("a", "b", "c", "d")) == "4 cases"


def test_cases_that_name_only_the_rule_say_so(knowledge):
    shown = PARTS["tables"](knowledge)
    assert re.search(r"\| \*\*D-1 failed:\*\* .* \| D-1: \d+ cases \|", shown)
    assert re.search(r"\| \*\*D-1 in progress:\*\* .* \| SUP-2: \d+ cases \|", shown)
    assert re.search(r"\| \*\*OUT-3:\*\* .* \| \d+ cases \|", shown)


def test_every_fact_of_a_condition_is_explained(knowledge):
    explained = set(re.findall(r"^\| ([a-z ]+) \|", PARTS["facts"](knowledge), re.MULTILINE))
    rows = [row for table, _ in all_tables(knowledge) for row in table.rows] + [*knowledge.offered.values()]
    assert {column.replace("_", " ") for row in rows for column in row.when} - explained == {"row"}


def test_no_cell_breaks_its_table(text):
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block.splitlines()[0]


def test_no_claim_of_marketing_is_on_a_card(text):
    said = text[text.index("## Options") : text.index("## Sources")]
    assert not re.search(r"own cells|regenerat|stem cell|risk[- ]free", said, re.IGNORECASE)
