"""Region, side, level and approach from codes and words."""

import pytest

from cds_service.fhir.codes import Coding
from cds_service.fhir.record import Concept
from hooks.failed_esi.anatomy import Coverage, Place, Region, Side, Site, read_levels

CT, LS = Coverage.CERVICAL_THORACIC, Coverage.LUMBAR_SACRAL
C, T, L, S = Region.CERVICAL, Region.THORACIC, Region.LUMBAR, Region.SACRAL


@pytest.fixture
def anatomy(knowledge):
    return knowledge.anatomy


@pytest.mark.parametrize(
    ("code", "region"),
    [
        ("M54.12", {C}), ("M54.14", {T}), ("M54.16", {L}), ("M54.17", {L}), ("M54.18", {S}), ("M5416", {L}),
        ("M48.02", {C}), ("M48.04", {T}), ("M48.061", {L}), ("M48.062", {L}), ("M51.26", {L}), ("M51.370", {L}),
        ("M51.36", {L}), ("M51.14", {T}), ("M50.121", {C}), ("M47.816", {L}), ("M47.812", {C}), ("M47.817", {L}),
        ("M47.818", {S}), ("M53.2X6", {L}), ("M43.16", {L}), ("M46.46", {L}), ("M46.1", {S}), ("M53.3", {S}),
        ("M54.50", {L}), ("M54.2", {C}), ("M54.6", {T}), ("M54.31", {L}), ("M54.42", {L}), ("M99.23", {L}),
        ("M99.21", {C}),
        ("M54.13", {C, T}), ("M54.15", {T, L}),
        ("M54.10", set()), ("M43.10", set()), ("M96.1", set()), ("G83.4", set()), ("M51.9", set()),
    ],
)  # fmt: skip
def test_an_icd_code_carries_its_region_or_both_of_a_junction(anatomy, code, region):
    assert anatomy.regions_of_code(code) == region


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (Concept(words="left leg"), Site.LIMB),
        (Concept(words="Lower back"), Site.SPINE),
        (Concept(words="L5-S1"), Site.SPINE),
        (Concept(words="Sacroiliac joint"), Site.SPINE),
        (Concept((Coding("snomed", "7771000"),), "Left"), Site.UNSPECIFIED),
        (Concept(words="left"), Site.UNSPECIFIED),
        (Concept(), Site.UNSPECIFIED),
        (Concept(words="right shoulder"), None),
        (Concept((Coding("snomed", "72696002"),)), None),
    ],
)
def test_a_site_is_a_limb_the_spine_unspecified_or_elsewhere(knowledge, site, expected):
    assert knowledge.anatomy.site(site, knowledge.codes) is expected


@pytest.mark.parametrize(("code", "side"), [("M54.31", Side.RIGHT), ("M54.42", Side.LEFT), ("M54.16", None)])
def test_an_icd_code_may_carry_a_side(anatomy, code, side):
    assert anatomy.side_of_code(code) == side


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("l5-s1", (("L5", "L5-S1"),)),
        ("l4-5", (("L4", "L4-5"),)),
        ("l4-l5", (("L4", "L4-5"),)),
        ("c6-7 and c7-t1", (("C6", "C6-7"), ("C7", "C7-T1"))),
        ("t12/l1", (("T12", "T12-L1"),)),
        ("root block s1", (("S1", "S1"),)),
        ("l5 - s1", (("L5", "L5-S1"),)),
        ("l9, t13, s7", ()),
        ("icd m54.16, visit c12345, 10 mg", ()),
    ],
)
def test_a_level_is_named_by_its_upper_vertebra(text, levels):
    assert read_levels(text) == levels


def place(knowledge, code="", words="", sites=(), reasons=()):
    entries = knowledge.codes.find([Coding("cpt", code)]) if code else ()
    return knowledge.anatomy.place(entries, words, sites, reasons, knowledge.codes)


LUMBAR_SITE = Concept((Coding("snomed", "122496007"),))


@pytest.mark.parametrize(
    ("facts", "coverage", "regions"),
    [
        ({"code": "64483"}, LS, set()),
        ({"code": "64483", "words": "L5-S1"}, LS, {L}),
        ({"code": "64483", "words": "S1"}, LS, {S}),
        ({"code": "64479", "words": "C6-7"}, CT, {C}),
        ({"code": "64479", "words": "T12-L1"}, CT, {T}),
        ({"code": "62321", "words": "C7-T1"}, CT, {C}),
        ({"code": "62323", "words": "lumbar"}, LS, {L}),
        ({"code": "62323", "words": "C5-6"}, LS, set()),
        ({"code": "62323", "sites": (LUMBAR_SITE,), "words": "S1"}, LS, {L}),
        ({"code": "62321", "reasons": (Coding("icd-10-cm", "M54.12"),), "words": "thoracic"}, CT, {C}),
        ({"code": "72148"}, LS, {L}),
        ({"words": "cervical"}, CT, {C}),
        ({"words": "L4-5"}, LS, {L}),
        ({"words": "caudal"}, LS, set()),
        ({"words": "caudal, S1"}, LS, {S}),
        ({"words": "cervical and lumbar"}, None, {C, L}),
        ({}, None, set()),
    ],
)
def test_a_region_is_read_from_site_level_reason_words_and_code_in_this_order(knowledge, facts, coverage, regions):
    found = place(knowledge, **facts)
    assert (found.coverage, set(found.regions)) == (coverage, regions)


@pytest.mark.parametrize(
    ("one", "other", "matches", "reaches"),
    [
        (Place(LS, frozenset({L})), Place(LS, frozenset({L})), True, True),
        (Place(LS, frozenset({L})), Place(LS), True, True),
        (Place(LS, frozenset({L})), Place(LS, frozenset({S})), False, True),
        (Place(CT, frozenset({C})), Place(CT, frozenset({T})), False, False),
        (Place(CT, frozenset({C})), Place(LS, frozenset({L})), False, False),
        (Place(), Place(LS, frozenset({L})), True, True),
        (Place(None, frozenset({T, L})), Place(LS, frozenset({L})), True, True),
        (Place(None, frozenset({T, L})), Place(CT, frozenset({C})), False, False),
    ],
)
def test_regions_match_when_coverage_is_equal_and_anatomy_does_not_differ(one, other, matches, reaches):
    assert (one.matches(other), other.matches(one)) == (matches, matches)
    assert (one.reaches(other), other.reaches(one)) == (reaches, reaches)


@pytest.mark.parametrize(
    ("words", "sites", "reasons", "sides"),
    [
        ("left L5", (), (), {"left"}),
        ("RT L5", (), (), {"right"}),
        ("left-sided", (), (), {"left"}),
        ("bilateral", (), (), {"left", "right"}),
        ("left and right", (), (), {"left", "right"}),
        ("", (Concept((Coding("snomed", "7771000"),)),), (), {"left"}),
        ("", (Concept((Coding("snomed", "24028007"),)),), (), {"right"}),
        ("", (Concept((Coding("snomed", "51440002"),)),), (), {"left", "right"}),
        ("left", (Concept((Coding("snomed", "24028007"),)),), (), {"right"}),
        ("", (Concept((), "right L5 foramen"),), (), {"right"}),
        ("", (), (Coding("icd-10-cm", "M54.32"),), {"left"}),
        ("cleft, upright", (), (), set()),
    ],
)
def test_a_side_is_read_from_site_words_and_reason_in_this_order(knowledge, words, sites, reasons, sides):
    assert knowledge.anatomy.sides(words, sites, reasons, knowledge.codes) == sides


@pytest.mark.parametrize(
    ("code", "words", "approach"),
    [
        ("64483", "", ("transforaminal", False)),
        ("62323", "", ("interlaminar", True)),
        ("62323", "interlaminar", ("interlaminar", False)),
        ("62323", "caudal", ("caudal", False)),
        ("64483", "caudal", ("transforaminal", False)),
        ("", "TFESI", ("transforaminal", False)),
        ("", "epidural", (None, False)),
    ],
)
def test_an_approach_is_read_from_the_code_and_the_words(knowledge, code, words, approach):
    assert knowledge.anatomy.approach(knowledge.codes.find([Coding("cpt", code)]), words) == approach


def test_levels_of_one_session_are_named_from_the_neck_down_whatever_came_first():
    upper, lower = Place(LS, frozenset({L}), ("L4",), ("L4-5",)), Place(LS, frozenset({L}), ("L5",), ("L5-S1",))
    assert lower.joined(upper) == upper.joined(lower) == Place(LS, frozenset({L}), ("L4", "L5"), ("L4-5", "L5-S1"))
    assert Place(levels=("T10",)).joined(Place(levels=("T9", "C7"))).levels == ("C7", "T9", "T10")
