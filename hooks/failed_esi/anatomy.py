"""Where in the spine, on which side, by which approach: REG-1 to REG-5."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cds_service.fhir.codes import CodeEntry, CodeIndex, Coding, normal_code
from cds_service.fhir.record import Concept
from hooks.failed_esi.words import word_pattern

_LEVEL = re.compile(r"(?<![a-z0-9.])([ctls])(\d{1,2})(?:\s?[-/]\s?(?:([ctls])?(\d{1,2})))?(?![\w.])")
_VERTEBRAE = {"c": 8, "t": 12, "l": 6, "s": 5}


class Region(StrEnum):
    """An anatomic region of the spine."""

    CERVICAL = "cervical"
    THORACIC = "thoracic"
    LUMBAR = "lumbar"
    SACRAL = "sacral"


class Coverage(StrEnum):
    """The two regions in which sessions are counted (REG-1)."""

    CERVICAL_THORACIC = "CT"
    LUMBAR_SACRAL = "LS"


class Side(StrEnum):
    """A side of the body."""

    LEFT = "left"
    RIGHT = "right"


class Site(StrEnum):
    """Where it hurts, or what is treated."""

    LIMB = "limb"
    SPINE = "spine"
    UNSPECIFIED = "unspecified"


BOTH_SIDES = frozenset(Side)
MIDLINE = frozenset({"interlaminar", "caudal"})

_LETTERS = {"c": Region.CERVICAL, "t": Region.THORACIC, "l": Region.LUMBAR, "s": Region.SACRAL}
_WITHIN = {
    # T12-L1 is billed with the cervical-thoracic code but lies at the border, so LS may hold a thoracic level too
    Coverage.CERVICAL_THORACIC: frozenset({Region.CERVICAL, Region.THORACIC}),
    Coverage.LUMBAR_SACRAL: frozenset({Region.THORACIC, Region.LUMBAR, Region.SACRAL}),
}
_COVERAGE_OF = {
    Region.CERVICAL: Coverage.CERVICAL_THORACIC,
    Region.THORACIC: Coverage.CERVICAL_THORACIC,
    Region.LUMBAR: Coverage.LUMBAR_SACRAL,
    Region.SACRAL: Coverage.LUMBAR_SACRAL,
}
COVERAGE_NAMES = {
    "cervical-thoracic": Coverage.CERVICAL_THORACIC,
    "lumbar-sacral": Coverage.LUMBAR_SACRAL,
    **{str(region): coverage for region, coverage in _COVERAGE_OF.items()},
}
# Where the anatomic region stays unknown, the coverage region stands for the one that is treated most (REG-2).
_USUAL = {Coverage.CERVICAL_THORACIC: Region.CERVICAL, Coverage.LUMBAR_SACRAL: Region.LUMBAR}


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the spine as far as it is known; `levels` are named by their upper vertebra."""

    coverage: Coverage | None = None
    regions: frozenset[Region] = frozenset()
    levels: tuple[str, ...] = ()
    level_names: tuple[str, ...] = ()

    @property
    def region(self) -> Region | None:
        """The anatomic region, or the usual one of the coverage region."""
        known = sorted(self.regions, key=list(Region).index)
        return known[0] if known else (_USUAL[self.coverage] if self.coverage else None)

    def matches(self, other: Place) -> bool:
        """REG-3: equal coverage regions, and anatomic regions not both known and different; unknown matches any."""
        if self.coverage != other.coverage and None not in (self.coverage, other.coverage):
            return False
        return not (self.regions and other.regions) or bool(self.regions & other.regions)

    def reaches(self, other: Place) -> bool:
        """Whether a finding or an image here concerns the other place: REG-3, but lumbar and sacral are one."""
        if self.coverage == other.coverage == Coverage.LUMBAR_SACRAL:
            return True
        if self.regions and other.regions:
            return bool(self.regions & other.regions)  # a junction belongs to both its regions
        return self.matches(other)

    def concerns(self, other: Place) -> bool:
        """Whether a procedure here is one in the region of the other place (OBS-7); without a region it is."""
        if None in (self.coverage, other.coverage):
            return True
        here, there = self.regions or {self.region}, other.regions or {other.region}
        return self.coverage == other.coverage and bool(here & there)

    def joined(self, other: Place) -> Place:
        """Both places as one, as in two levels of one session, named from the neck down whatever came first."""
        return Place(
            self.coverage or other.coverage,
            self.regions | other.regions,
            tuple(sorted({*self.levels, *other.levels}, key=_from_the_neck_down)),
            tuple(sorted({*self.level_names, *other.level_names}, key=_from_the_neck_down)),
        )


@dataclass(frozen=True, slots=True)
class Anatomy:
    """How codes and words name a place (anatomy.toml)."""

    digits: Mapping[int, tuple[str, ...]]
    digit_regions: Mapping[str, frozenset[Region]]
    canal_prefixes: tuple[str, ...]
    canal_regions: Mapping[str, frozenset[Region]]
    fixed: Mapping[Region, tuple[str, ...]]
    sided: Mapping[Side, tuple[str, ...]]
    anywhere: tuple[str, ...]
    words: Mapping[str, re.Pattern[str]]

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> Anatomy:
        """Read anatomy.toml."""
        digit = table["icd_digit"]
        return cls(
            digits={int(position): _icd(digit[position]) for position in digit if position.isdigit()},
            digit_regions=_regions(digit["regions"]),
            canal_prefixes=_icd(table["icd_canal"]["prefixes"]),
            canal_regions=_regions(table["icd_canal"]["regions"]),
            fixed={Region(region): _icd(prefixes) for region, prefixes in table["icd_fixed"].items()},
            sided={Side(side): _icd(prefixes) for side, prefixes in table["icd_side"].items()},
            anywhere=_icd(table["icd_anywhere"]["prefixes"]),
            words={name: word_pattern(tuple(words)) for name, words in table["words"].items()},
        )

    def regions_of_code(self, code: str) -> frozenset[Region]:
        """The regions that an ICD-10-CM code carries: none, one, or the two of a junction."""
        code = normal_code("icd-10-cm", code)
        for region, prefixes in self.fixed.items():
            if code.startswith(prefixes):
                return frozenset({region})
        if code.startswith(self.canal_prefixes):
            return self.canal_regions.get(code[4:5], frozenset())
        for position, prefixes in self.digits.items():
            if code.startswith(prefixes):
                return self.digit_regions.get(code[position - 1 : position], frozenset())
        return frozenset()

    def side_of_code(self, code: str) -> Side | None:
        """The side that an ICD-10-CM code carries."""
        code = normal_code("icd-10-cm", code)
        return next((side for side, prefixes in self.sided.items() if code.startswith(prefixes)), None)

    def is_anywhere(self, code: str) -> bool:
        """Whether an ICD-10-CM code says nothing about where in the body."""
        return normal_code("icd-10-cm", code).startswith(self.anywhere)

    def site(self, body_site: Concept, codes: CodeIndex) -> Site | None:
        """Where it hurts; None when that is a place that no injection of the spine is for."""
        concepts = codes.concepts(body_site.codings)
        text = body_site.words.lower()
        if "site-limb" in concepts or self.words["limb"].search(text):
            return Site.LIMB
        if any(concept.startswith("site-") for concept in concepts) or self._is_of_the_spine(text):
            return Site.SPINE
        if any(concept.startswith("side-") for concept in concepts):
            return Site.UNSPECIFIED
        for side in ("left", "right", "both"):
            text = self.words[side].sub("", text)
        return None if body_site.codings or text.strip() else Site.UNSPECIFIED

    def _is_of_the_spine(self, text: str) -> bool:
        names = ("spine", *Region)
        return any(self.words[name].search(text) for name in names) or bool(read_levels(text))

    def place(
        self,
        entries: Iterable[CodeEntry],
        words: str,
        body_sites: Iterable[Concept],
        reasons: Iterable[Coding],
        codes: CodeIndex,
    ) -> Place:
        """REG-1 and REG-2: the coverage region of the code, refined by site, level, reason, words and code."""
        body_sites = tuple(body_sites)
        named = [entry.attributes["region"] for entry in entries if "region" in entry.attributes]
        text = "; ".join([words, *(site.words for site in body_sites)]).lower()
        levels = read_levels(text)
        regions = (
            self._sites(body_sites, codes)
            or frozenset(_LETTERS[level[0].lower()] for level, _ in levels)
            or self._regions_of(reasons)
            or frozenset(region for region in Region if self.words[region].search(text))
            or frozenset(Region(name) for name in named if name in Region._value2member_map_)
        )
        coverage = next((COVERAGE_NAMES[name] for name in named), None)
        if coverage is None and not regions and self.words["caudal"].search(text):
            coverage = Coverage.LUMBAR_SACRAL  # by the way of the sacral canal; the level it reaches is not known
        if coverage is None:
            coverages = {_COVERAGE_OF[region] for region in regions}
            coverage = coverages.pop() if len(coverages) == 1 else None
        else:
            regions &= _WITHIN[coverage]
        return Place(coverage, regions, tuple(level for level, _ in levels), tuple(name for _, name in levels))

    def place_of_diagnosis(self, code: Concept, entries: Iterable[CodeEntry]) -> Place:
        """REG-4: the place that a diagnosis concerns; unknown when it names none."""
        regions = self._regions_of(code.codings)
        named = [entry.attributes["region"] for entry in entries if "region" in entry.attributes]
        if not regions:
            regions = frozenset(Region(name) for name in named if name in Region._value2member_map_)
        coverages = {_COVERAGE_OF[region] for region in regions} or {COVERAGE_NAMES[name] for name in named}
        return Place(coverages.pop() if len(coverages) == 1 else None, regions)

    def sides(
        self,
        words: str,
        body_sites: Iterable[Concept],
        reasons: Iterable[Coding],
        codes: CodeIndex,
    ) -> frozenset[Side]:
        """REG-5: body site, then words, then the reason; empty when unknown."""
        body_sites = tuple(body_sites)
        concepts = codes.concepts(coding for site in body_sites for coding in site.codings)
        if "side-both" in concepts or {"side-left", "side-right"} <= concepts:
            return BOTH_SIDES
        for side in Side:
            if f"side-{side}" in concepts:
                return frozenset({side})
        text = "; ".join([words, *(site.words for site in body_sites)]).lower()
        if self.words["both"].search(text):
            return BOTH_SIDES
        spoken = frozenset(side for side in Side if self.words[side].search(text))
        found = {self.side_of_code(c.code) for c in reasons if c.system == "icd-10-cm"}
        return spoken or frozenset(side for side in found if side)

    def approach(self, entries: Iterable[CodeEntry], words: str) -> tuple[str | None, bool]:
        """The approach of the code, else of the words, and whether it leaves interlaminar or caudal open.

        One code stands for both in the low back; only words tell them apart.
        """
        text = words.lower()
        names = ("caudal", "transforaminal", "interlaminar")
        spoken = next((name for name in names if self.words[name].search(text)), None)
        coded = next((entry.attributes["approach"] for entry in entries if "approach" in entry.attributes), None)
        if coded == "interlaminar" and spoken in MIDLINE:
            return spoken, False
        return coded or spoken, coded == "interlaminar"

    def _sites(self, body_sites: Iterable[Concept], codes: CodeIndex) -> frozenset[Region]:
        concepts = codes.concepts(coding for site in body_sites for coding in site.codings)
        return frozenset(region for region in Region if f"site-{region}" in concepts)

    def _regions_of(self, codings: Iterable[Coding]) -> frozenset[Region]:
        found = (self.regions_of_code(coding.code) for coding in codings if coding.system == "icd-10-cm")
        return frozenset[Region]().union(*found)


def _from_the_neck_down(level: str) -> tuple[int, int, str]:
    """The place of a level, or of the name of one, in the column."""
    number = re.match(r"\d+", level[1:])
    return ("CTLS".find(level[:1].upper()), int(number[0]) if number else 0, level)


def read_levels(text: str) -> tuple[tuple[str, str], ...]:
    """Vertebral levels in a lower-case text as (upper vertebra, name): "l5-s1" is ("L5", "L5-S1")."""
    found: dict[str, str] = {}
    for letter, number, next_letter, next_number in _LEVEL.findall(text):
        if not 1 <= int(number) <= _VERTEBRAE[letter]:
            continue
        upper = f"{letter}{int(number)}".upper()
        lower = f"-{(next_letter if next_letter != letter else '').upper()}{int(next_number)}" if next_number else ""
        found.setdefault(upper, upper + lower)
    return tuple(found.items())


def _regions(table: Mapping[str, str | list[str]]) -> dict[str, frozenset[Region]]:
    return {
        key: frozenset(map(Region, regions if isinstance(regions, list) else [regions]))
        for key, regions in table.items()
    }


def _icd(codes: Iterable[str]) -> tuple[str, ...]:
    return tuple(normal_code("icd-10-cm", code) for code in codes)
