"""Code systems and value sets: which concepts a coding stands for.

Systems are known here by short names ("cpt", "icd-10-cm"); a system we do not know keeps its own URI.
Codes are compared literally, ICD codes without their dot and also by prefix (terminology rules of ICD-10-CM).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

SYSTEM_URIS = {
    "cpt": "http://www.ama-assn.org/go/cpt",
    "hcpcs": "http://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets",
    "icd-10-cm": "http://hl7.org/fhir/sid/icd-10-cm",
    "icd-10-pcs": "http://www.cms.gov/Medicare/Coding/ICD10",
    "loinc": "http://loinc.org",
    "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "snomed": "http://snomed.info/sct",
}

# Spellings met in real data: OIDs, former URIs, and the systems of a large research data set.
_ALIASES = {
    **{uri: name for name, uri in SYSTEM_URIS.items()},
    "urn:oid:2.16.840.1.113883.6.12": "cpt",
    "urn:oid:2.16.840.1.113883.6.285": "hcpcs",
    "https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets": "hcpcs",
    "urn:oid:2.16.840.1.113883.6.14": "hcpcs",
    "urn:oid:2.16.840.1.113883.6.90": "icd-10-cm",
    "http://hl7.org/fhir/sid/icd-10-us": "icd-10-cm",
    "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd10": "icd-10-cm",
    "urn:oid:2.16.840.1.113883.6.4": "icd-10-pcs",
    "http://hl7.org/fhir/sid/icd-10-pcs": "icd-10-pcs",
    "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-procedure-icd10": "icd-10-pcs",
    "urn:oid:2.16.840.1.113883.6.1": "loinc",
    "urn:oid:2.16.840.1.113883.6.88": "rxnorm",
    "urn:oid:2.16.840.1.113883.6.96": "snomed",
}

_LONGEST_CODE = 40  # every code of ours is shorter; keeps a caller's long strings out of the look-up cache

# Prefix entries mean "this node and its descendants": only ICD codes are built that way.
_HIERARCHICAL = frozenset({"icd-10-cm", "icd-10-pcs"})


class Coding(NamedTuple):
    """A code with the short name of its system; the display is the sender's word and never shown."""

    system: str
    code: str
    display: str = ""


@lru_cache(maxsize=1024)
def system_name(uri: str) -> str:
    """The short name of a code system, or the URI itself when it is not one of ours."""
    bare = uri.strip().rstrip("/")
    if bare in _ALIASES:
        return _ALIASES[bare]
    if bare.lower().removeprefix("https://").removeprefix("http://").startswith("loinc.org"):
        return "loinc"  # also written as the address of a page
    return bare


def normal_code(system: str, code: str) -> str:
    """A code as it is compared: trimmed, ICD codes upper-case and without the dot."""
    code = code.strip()
    return code.upper().replace(".", "") if system in _HIERARCHICAL else code


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """One code of a value set: the concept it stands for and what else is known of it."""

    concept: str
    system: str
    code: str
    label: str
    is_prefix: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


class CodeIndex:
    """All value sets, looked up by code."""

    def __init__(self, entries: Iterable[CodeEntry], excluded: Iterable[CodeEntry] = ()) -> None:
        """Index the entries; an excluded code is taken out of its concept after prefixes have matched."""
        self.entries = tuple(entries)
        self._exact = _by_code(entry for entry in self.entries if not entry.is_prefix)
        self._prefixes = _by_code(entry for entry in self.entries if entry.is_prefix)
        excluded = tuple(excluded)
        self._not_exact = _by_code(entry for entry in excluded if not entry.is_prefix)
        self._not_prefixes = _by_code(entry for entry in excluded if entry.is_prefix)
        self._lookup = lru_cache(maxsize=8192)(self._find_one)
        self._known = lru_cache(maxsize=8192)(self._is_known)

    def find(self, codings: Iterable[Coding]) -> tuple[CodeEntry, ...]:
        """Every entry that one of the codings matches, most exact first for each coding."""
        found: list[CodeEntry] = []
        for coding in codings:
            if len(coding.code) <= _LONGEST_CODE:
                found += self._lookup(coding.system, coding.code)
        return tuple(found)

    def knows(self, resource: Mapping[str, Any]) -> bool:
        """Whether the code of a resource, as it was sent, is in any value set: the first, quick look at a chart."""
        try:
            for coding in resource["code"]["coding"]:
                code = coding["code"]
                if len(code) <= _LONGEST_CODE and self._known(coding["system"], code):
                    return True
        except (KeyError, TypeError):  # no code, or not the shape that FHIR gives it
            codings = _codings_of(resource.get("code"))
            return any(len(code) <= _LONGEST_CODE and self._known(system, code) for system, code in codings)
        return False

    def concepts(self, codings: Iterable[Coding]) -> frozenset[str]:
        """The names of the concepts the codings stand for."""
        return frozenset([entry.concept for entry in self.find(codings)])

    def _is_known(self, system_uri: object, code: object) -> bool:
        if not isinstance(system_uri, str) or not isinstance(code, str):
            return False
        return bool(self._find_one(system_name(system_uri), code))

    def _find_one(self, system: str, code: str) -> tuple[CodeEntry, ...]:
        code = normal_code(system, code)
        excluded = {entry.concept for entry in _matches(self._not_exact, self._not_prefixes, system, code)}
        return tuple(
            entry for entry in _matches(self._exact, self._prefixes, system, code) if entry.concept not in excluded
        )


def _codings_of(value: object) -> Iterator[tuple[str, str]]:
    """System and code wherever both are there, in a code of any shape."""
    if isinstance(value, list):
        for item in value:
            yield from _codings_of(item)
    elif isinstance(value, dict):
        yield from _codings_of(value.get("coding"))
        system, code = value.get("system"), value.get("code")
        if isinstance(system, str) and isinstance(code, str):
            yield system, code


def _by_code(entries: Iterable[CodeEntry]) -> dict[tuple[str, str], list[CodeEntry]]:
    table: dict[tuple[str, str], list[CodeEntry]] = {}
    for entry in entries:
        table.setdefault((entry.system, normal_code(entry.system, entry.code)), []).append(entry)
    return table


def _matches(
    exact: Mapping[tuple[str, str], list[CodeEntry]],
    prefixes: Mapping[tuple[str, str], list[CodeEntry]],
    system: str,
    code: str,
) -> list[CodeEntry]:
    found = list(exact.get((system, code), ()))
    if system in _HIERARCHICAL:
        for length in range(len(code), 0, -1):
            found.extend(prefixes.get((system, code[:length]), ()))
    return found
