"""The 13 source attributes."""

from dataclasses import replace

import pytest

from cds_service.service import KnowledgeError
from hooks.failed_esi.attributes import check_attributes, source_attributes


def answers(knowledge):
    return {attribute["id"]: attribute["answer"] for attribute in source_attributes(knowledge)["attributes"]}


def test_all_thirteen_are_answered(knowledge):
    assert list(check_attributes(knowledge)) == ["13 source attributes are answered"]
    assert list(answers(knowledge)) == list(range(1, 14))


def test_age_and_health_status_are_used_and_nothing_else_about_a_person(knowledge):
    used = {number for number, answer in answers(knowledge).items() if number >= 5 and answer == "Used"}
    not_used = {number for number, answer in answers(knowledge).items() if answer == "Not used"}
    assert used == {11, 13}
    assert not_used == {5, 6, 7, 8, 9, 10, 12}


def test_what_only_the_site_knows_is_left_to_the_site(knowledge):
    assert answers(knowledge)[3] == "To be filled in by the deploying site"


def test_version_and_sources_are_those_that_are_loaded(knowledge):
    stated = source_attributes(replace(knowledge, version="2031.7"))
    assert stated["knowledgeVersion"] == "2031.7"
    assert "2031.7" in stated["attributes"][3]["answer"]
    assert [source["name"] for source in stated["sources"]] == [s.short for s in knowledge.sources.values()]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("id = 7", "id = 77", "attributes.toml: the ids are not 1 to 13 in order."),
        ('answer = "Stated"', 'answer = ""', "attributes.toml, attribute 1: a name, an answer or details are empty."),
    ],
)
def test_a_mistake_is_refused_by_name(tmp_path, knowledge, before, after, message):
    text = (knowledge.folder / "attributes.toml").read_text(encoding="utf-8")
    assert before in text
    (tmp_path / "attributes.toml").write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(KnowledgeError) as error:
        list(check_attributes(replace(knowledge, folder=tmp_path)))
    assert message in str(error.value)
