"""The pathway files: every kind of mistake is refused, with a message that names file, table and row."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from cds_service.service import KnowledgeError
from hooks.failed_esi import knowledge as module
from hooks.failed_esi.checks import check_all
from hooks.failed_esi.codesets import is_loinc_code, is_snomed_code, read_value_sets
from hooks.failed_esi.facts import Facts, vocabulary
from hooks.failed_esi.knowledge import read_knowledge

FOLDER = Path(module.__file__).parent


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A copy of the pathway files that a test may spoil."""
    copy = tmp_path / "failed_esi"
    shutil.copytree(FOLDER, copy)
    monkeypatch.setattr(module, "FOLDER", copy)
    return copy


def spoil(folder, name, before, after):
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def check():
    return list(check_all(read_knowledge()))


def test_the_files_as_they_are_fit_together():
    assert len(check()) == 5


@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        (
            "pathway.toml",
            'when.conservative_care = ["open"]',
            'when.conservativ_care = ["open"]',
            'pathway.toml, [[tier]] row "TIER-2": column \'conservativ_care\' does not exist; did you mean "conservative_care"?',
        ),
        (
            "pathway.toml",
            'when.lesion = ["severe"]\ntier = "5"',
            'when.lesion = ["sever"]\ntier = "5"',
            'pathway.toml, [[tier]] row "TIER-3", when.lesion: value \'sever\' does not exist; did you mean "severe"?',
        ),
        (
            "pathway.toml",
            'id = "TIER-1"\nwhen.diagnosis = ["open"]',
            'id = "TIER-1"\nwhen.state = ["unknown"]',
            'pathway.toml, [[tier]] row "TIER-1": no combination of facts reaches this row.',
        ),
        (
            "pathway.toml",
            '[[interval]]\nid = "interval-clear"',
            '[[interval]]\nid = "interval-clear"\nwhen.ordered = ["esi"]',
            "pathway.toml, [[interval]]: no row decides ordered = mbb, person = adult, interval = too-short.",
        ),
        (
            "pathway.toml",
            'cites = ["seed-article", "nordsten-ds"]',
            'cites = ["seed-article", "nordsten"]',
            "pathway.toml, [[tier]] row \"TIER-3\": source 'nordsten' is not in sources.toml.",
        ),
        (
            "pathway.toml",
            'card = "TOO-SOON"\nindicator = "warning"\ncites = ["lcd-esi", "evicore-cmm-200"]',
            'card = "TOO-SOON"\nindicator = "warning"',
            'pathway.toml, [[interval]] row "D-1b": a row with a card cites no source.',
        ),
        (
            "pathway.toml",
            'card = "TOO-SOON"',
            'card = "TO-SOON"',
            "card 'TO-SOON' has no place in [cards] order.",
        ),
        ("pathway.toml", 'tier = "4"', 'tier = "6"', "row \"TIER-5\": tier '6' is not worded."),
        ("pathway.toml", 'options = ["rfa", "mild"]', 'options = ["rfaa"]', "option 'rfaa' is not worded."),
        ("pathway.toml", 'silence = "child"', 'silence = "kid"', "silence 'kid' is not worded."),
        (
            "pathway.toml",
            "[criteria.pt_min]",
            "[criteria.pt_minimum]",
            "criterion 'pt_minimum' does not exist; did you mean \"pt_min\"?",
        ),
        (
            "pathway.toml",
            'unit = "percent relief"',
            'units = "percent relief"',
            "[criteria.block_relief]: 'unit' is missing.",
        ),
        (
            "pathway.toml",
            "block_relief = 50,",
            "block_releif = 50,",
            "[profiles.guideline]: criterion 'block_releif' does not exist",
        ),
        (
            "wording.toml",
            "was {ago}; another",
            "was {agoo}; another",
            "wording.toml, [cards.TOO-SOON] summary: word {agoo} is not one that a card can fill in.",
        ),
        (
            "wording.toml",
            "the usual limit is {limit}.",
            "the usual limit is {limit}, which is a number that most policies have taken over from one another over time.",
            "wording.toml, [cards.ANNUAL-CAP] summary: ",
        ),
        (
            "wording.toml",
            "Consider waiting until",
            "You must wait until",
            "wording.toml, advice, TOO-SOON: the word 'must' is banned",
        ),
        (
            "wording.toml",
            'cites = ["jospt-2021", "seed-article"]',
            "cites = []",
            "[options.advanced-pt]: cites no source.",
        ),
        ("sources.toml", 'read = "opened"', 'read = "browsed"', "read 'browsed' does not exist."),
        (
            "value_sets/places.toml",
            '"7771000"',
            '"7771001"',
            "places.toml, [side-left.snomed] 7771001: the check digit is wrong.",
        ),
        (
            "value_sets/scores.toml",
            '"72514-3"',
            '"72514-4"',
            "scores.toml, [nrs.loinc] 72514-4: the check digit is wrong.",
        ),
        (
            "value_sets/diagnoses.toml",
            '"M54.1*"',
            '"54.1*"',
            "[radicular.icd-10-cm] 54.1*: is not a code of this system.",
        ),
        (
            "value_sets/cpt.toml",
            '"Hands-on treatment"',
            '"Manual techniques, one or more regions; each fifteen minutes of direct contact"',
            "the label looks like an official descriptor; use a short one of our own.",
        ),
        (
            "value_sets/scores.toml",
            "[nrs.loinc]",
            "[nrs.loink]",
            "scores.toml, [nrs.loink]: code system 'loink' does not exist; did you mean \"loinc\"?",
        ),
        ("pathway.toml", "[about]", "[about", "pathway.toml: cannot be read: "),
    ],
)
def test_a_mistake_is_refused_by_name(files, name, before, after, message):
    spoil(files, name, before, after)
    with pytest.raises(KnowledgeError) as error:
        check()
    assert message in str(error.value)


def test_an_unknown_profile_is_refused():
    with pytest.raises(
        KnowledgeError, match=r"CDS_PROFILE: profile 'guidelines' does not exist; did you mean \"guideline\""
    ):
        read_knowledge(profile="guidelines")


def test_a_profile_changes_only_what_it_names():
    policy, guideline = read_knowledge().criteria, read_knowledge(profile="guideline").criteria
    changed = {f.name for f in dataclasses.fields(policy) if getattr(policy, f.name) != getattr(guideline, f.name)}
    assert changed == {"block_relief", "blocks_needed"}


def test_a_file_of_the_site_replaces_ours_of_the_same_name(tmp_path):
    (tmp_path / "cpt.toml").write_text('[esi.cpt]\n"99999" = { label = "local", region = "lumbar-sacral" }\n')
    codes = read_value_sets(FOLDER / "value_sets", tmp_path)
    assert [entry.code for entry in codes.entries if entry.system == "cpt"] == ["99999"]
    assert [entry.code for entry in codes.entries if entry.concept == "nrs"] == ["72514-3"]


def test_a_file_of_the_site_adds_to_ours(tmp_path):
    (tmp_path / "mine.toml").write_text('[esi.snomed]\n"7771000" = "local code"\n')
    codes = read_value_sets(FOLDER / "value_sets", tmp_path)
    assert {entry.system for entry in codes.entries if entry.concept == "esi"} == {"cpt", "icd-10-pcs", "snomed"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[esii.cpt]\n'99999' = 'local'", "site.toml, [esii]: concept 'esii' does not exist; did you mean \"esi\"?"),
        ("esi = 7", "site.toml, [esi]: must be a table of code systems."),
        ("[esi]\ncpt = ['99999']", "site.toml, [esi.cpt]: must be a table of codes."),
        ("[esi.cpt]\n'99999' = 7", "site.toml, [esi.cpt] 99999: must be a label or a table with one."),
        ("[esi.cpt]\n'99999' = ''", "site.toml, [esi.cpt] 99999: 'label' is missing or empty."),
        ("[esi.cpt]\n'99999' = { region = 'lumbar' }", "'label' is missing or empty."),
        (
            "[esi.cpt]\n'99999' = { label = 'x', region = 'lumber' }",
            "region 'lumber' does not exist; did you mean \"lumbar\"?",
        ),
        ("[esi.cpt]\n'99999' = { label = 'x', regoin = 'lumbar' }", "member 'regoin' does not exist; did you mean"),
        ("[esi.cpt]\n'99999' = { label = 'x', unverified = 'no' }", "'unverified' must be true or false."),
        ("[esi.cpt]\n'9999' = 'x'", "site.toml, [esi.cpt] 9999: is not a code of this system."),
        ("[esi.exclude.snomed]\n'7771001' = 'x'", "site.toml, [esi.exclude.snomed] 7771001: the check digit is wrong."),
        ("[opioid.rxnorm]\n'1' = '10'", "site.toml, [opioid.rxnorm] 1: the label must be the name of the ingredient."),
        ("[opioid.local]\n'a b' = 'x'", "site.toml, [opioid.local] a b: is not a code of this system."),
        ("[esi", "site.toml: cannot be read: "),
    ],
)
def test_a_mistake_in_a_file_of_the_site_is_refused_at_the_start(tmp_path, text, message):
    (tmp_path / "site.toml").write_text(text.replace("'", '"'), encoding="utf-8")
    with pytest.raises(KnowledgeError) as error:
        read_knowledge(tmp_path)
    assert message in str(error.value)


def test_a_drug_class_without_names_of_drugs_names_none(tmp_path):
    (tmp_path / "medications.toml").write_text('[opioid.local]\n"op" = "any opioid"\n')
    assert read_knowledge(tmp_path).ingredients("opioid", "oxycodone 5 mg") == frozenset()


def test_a_code_that_is_not_verified_is_documented_and_not_used():
    text = (FOLDER / "value_sets" / "cpt.toml").read_text(encoding="utf-8")
    assert '"62310" = {' in text
    assert "62310" not in {entry.code for entry in read_value_sets(FOLDER / "value_sets").entries}


def test_no_look_alike_of_a_score_is_a_score():
    entries = read_value_sets(FOLDER / "value_sets").entries
    never = {entry.code for entry in entries if entry.concept == "not-a-score"}
    assert "38227-5" in never
    assert not never & {entry.code for entry in entries if entry.concept != "not-a-score"}


def test_every_number_says_where_it_comes_from(knowledge):
    for criterion in knowledge.criteria_table.values():
        assert criterion["basis"] in {"source", "site choice"}
        assert criterion["means"]


def test_the_vocabulary_is_that_of_the_facts():
    assert vocabulary(Facts)["lesion"] == ("none", "present", "severe")


@pytest.mark.parametrize("code", ["7771000", "24028007", "51440002", "385671000", "128196005", "16846261000119106"])
def test_a_snomed_code_has_a_check_digit(code):
    assert is_snomed_code(code)
    assert not is_snomed_code(code[:-1] + str((int(code[-1]) + 1) % 10))


@pytest.mark.parametrize("code", ["72514-3", "38208-5", "97909-6", "82237-9", "77865-4", "8302-2"])
def test_a_loinc_code_has_a_check_digit(code):
    assert is_loinc_code(code)
    assert not is_loinc_code(code[:-1] + str((int(code[-1]) + 1) % 10))
