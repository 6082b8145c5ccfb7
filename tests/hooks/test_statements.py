"""Every statement of the two articles is taken up by the pathway, or says why not."""

import shutil
from dataclasses import replace

import pytest

from cds_service.service import KnowledgeError
from hooks.failed_esi.knowledge import read_knowledge
from hooks.failed_esi.statements import Marker, check_statements, markers, read_statements

STATEMENTS = read_statements(read_knowledge())
IDS = [*(f"A{n}" for n in range(1, 39)), *(f"B{n}" for n in range(1, 18))]


def test_every_statement_has_its_line():
    assert [statement.id for statement in STATEMENTS] == IDS


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.id)
def test_a_statement_is_taken_up_or_says_why_not(statement):
    if statement.is_pending:
        pytest.skip(f"{statement.id} is still to be built")
    assert statement.is_mapped or statement.reason


@pytest.mark.parametrize("statement", [s for s in STATEMENTS if s.rows or s.rules], ids=lambda statement: statement.id)
def test_a_statement_with_rules_has_worked_cases(statement):
    assert statement.cases


def test_a_claim_of_marketing_is_not_adopted():
    assert [statement.id for statement in STATEMENTS if statement.not_adopted] == ["B15"]


def test_a_marker_is_found_wherever_it_stands():
    file = {
        "order": [{"id": "D-1", "states": ["A1"], "when": {"state": ["failed"]}}, {"option": "rfa", "states": ["A2"]}],
        "criteria": {"pt_min": {"value": 42, "states": ["A3", "A4"]}},
    }
    assert list(markers(file)) == [
        Marker("A1", "order", "D-1"),
        Marker("A2", "order", "rfa"),
        Marker("A3", "criteria", "pt_min"),
        Marker("A4", "criteria", "pt_min"),
    ]


def test_a_statement_shows_its_rows_its_words_and_its_cases():
    (imaging,) = [statement for statement in STATEMENTS if statement.id == "A7"]
    assert [row.name for row in imaging.rows] == ["TIER-1"]
    assert [criterion.name for criterion in imaging.criteria] == ["imaging_max_age"]
    assert [words.name for words in imaging.words] == ["repeat-imaging"]
    assert imaging.cases


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('[A1]\nsays = "An', '[A1]\nsay = "An', "[A1]: member 'say' does not exist; did you mean \"says\"?"),
        ('rules = ["DET-1"]', 'rules = ["DET-11"]', "[A1]: rule with a worked case 'DET-11' does not exist"),
        ("context =", "rules = [] #", "[B1]: nothing in the pathway states it"),
        ('rules = ["DET-1"]', 'context = "x"', "[A1]: it is taken up and has a reason why not."),
        ("[A7]", "[A70]", "[criteria] imaging_max_age, states: statement 'A7' does not exist"),
    ],
)
def test_a_mistake_is_refused_by_name(tmp_path, knowledge, before, after, message):
    for name in ("statements.toml", "cases.toml"):
        shutil.copy(knowledge.folder / name, tmp_path)
    path = tmp_path / "statements.toml"
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(KnowledgeError) as error:
        list(check_statements(replace(knowledge, folder=tmp_path)))
    assert message in str(error.value)
