"""The value sets: concept -> code system -> code; ours, and what a site puts in their place."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from cds_service.fhir.codes import SYSTEM_URIS, CodeEntry, CodeIndex
from hooks.failed_esi.anatomy import COVERAGE_NAMES
from hooks.failed_esi.toml_files import Toml, read_toml, require, require_known

LOCAL_SYSTEM = "urn:cds-service:failed-esi"

# What may be said of a code beside its label, and in which words.
_ATTRIBUTES: Mapping[str, Collection[str]] = {
    "region": COVERAGE_NAMES,
    "approach": ("transforaminal", "interlaminar", "caudal"),
    "needs": ("discriminator",),
    "guidance": ("none",),
    "purpose": ("therapeutic", "diagnostic"),
}
_CONCEPT_MEMBERS = ("means", "sources", "exclude")
_LABEL_LIMIT = 70  # our own labels are short; an official descriptor of a billing code is not


def read_value_sets(folder: Path, site_folder: Path | None = None) -> CodeIndex:
    """Read the value sets; a site's file replaces ours of the same name, its other files add to them.

    Raises KnowledgeError, also for a concept of the site that no rule of ours knows.
    """
    ours = {path.name: path for path in sorted(folder.glob("*.toml"))}
    site = {} if site_folder is None else {path.name: path for path in sorted(site_folder.glob("*.toml"))}
    content = {name: read_toml(path) for name, path in {**ours, **site}.items()}
    if site:
        known = {concept for path in ours.values() for concept in read_toml(path)}
        for name in site:
            for concept in content[name]:
                require_known(concept, known, f"{name}, [{concept}]", "concept")
    entries: list[CodeEntry] = []
    excluded: list[CodeEntry] = []
    for name, concepts in content.items():
        for concept, table in concepts.items():
            where = f"{name}, [{concept}"
            require(isinstance(table, Mapping), f"{where}]", "must be a table of code systems")
            entries += _read_codes(where, concept, table)
            excluded += _read_codes(f"{where}.exclude", concept, table.get("exclude", {}))
    return CodeIndex(entries, excluded)


def _read_codes(where: str, concept: str, systems: Toml) -> Iterator[CodeEntry]:
    """Read the code tables of a concept; codes marked unverified stay in the file and are not used."""
    for system, codes in systems.items():
        if system in _CONCEPT_MEMBERS:
            continue
        table = f"{where}.{system}]"
        require_known(system, (*SYSTEM_URIS, "local"), table, "code system")
        require(isinstance(codes, Mapping), table, "must be a table of codes")
        for code, value in codes.items():
            entry = _read_code(f"{table} {code}", concept, system, code, value)
            if entry:
                yield entry


def _read_code(where: str, concept: str, system: str, code: str, value: object) -> CodeEntry | None:
    details = {"label": value} if isinstance(value, str) else value
    require(isinstance(details, Mapping), where, "must be a label or a table with one")
    attributes = dict(details) if isinstance(details, Mapping) else {}
    label, is_unverified = attributes.pop("label", None), attributes.pop("unverified", False)
    require(isinstance(label, str) and bool(label.strip()), where, "'label' is missing or empty")
    require(isinstance(is_unverified, bool), where, "'unverified' must be true or false")
    for name, attribute in attributes.items():
        require_known(name, _ATTRIBUTES, where, "member")
        require_known(attribute, _ATTRIBUTES[name], where, name)
    if is_unverified:
        return None
    entry = CodeEntry(
        concept=concept,
        system=LOCAL_SYSTEM if system == "local" else system,
        code=code.removesuffix("*"),
        label=str(label),
        is_prefix=code.endswith("*"),
        attributes=attributes,
    )
    _check_form(where, entry)
    return entry


def _check_form(where: str, entry: CodeEntry) -> None:
    form, is_valid = _FORMS.get(entry.system, (r"\S+", _always))
    require(bool(re.fullmatch(form, entry.code)), where, "is not a code of this system")
    require(entry.is_prefix or is_valid(entry.code), where, "the check digit is wrong")
    if entry.system == "cpt":
        is_short = len(entry.label) <= _LABEL_LIMIT and ";" not in entry.label
        require(is_short, where, "the label looks like an official descriptor; use a short one of our own")
    if entry.system == "rxnorm":  # the label is looked for in the text of orders
        is_name = bool(re.search(r"[^\W\d]{3}", entry.label))
        require(is_name, where, "the label must be the name of the ingredient")


def _always(_: str) -> bool:
    return True


def is_snomed_code(code: str) -> bool:
    """Whether the last digit is the Verhoeff check digit of a SNOMED CT identifier."""
    check = 0
    for position, digit in enumerate(reversed(code)):
        check = _verhoeff_product(check, _verhoeff_permutation(position % 8, int(digit)))
    return check == 0


def is_loinc_code(code: str) -> bool:
    """Whether the digit after the dash is the mod-10 check digit of a LOINC code."""
    number, _, digit = code.partition("-")
    doubled = "".join(str(int(d) * 2) if place % 2 == 0 else d for place, d in enumerate(reversed(number)))
    return (10 - sum(int(d) for d in doubled) % 10) % 10 == int(digit)


def _verhoeff_product(left: int, right: int) -> int:
    """Multiplication in the dihedral group of the pentagon."""
    if left < 5:
        return (left + right) % 5 if right < 5 else 5 + (left + right - 5) % 5
    return 5 + (left - 5 - right) % 5 if right < 5 else (left - right) % 5


def _verhoeff_permutation(times: int, digit: int) -> int:
    for _ in range(times):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


_FORMS: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "cpt": (r"\d{4}[\dT]", _always),
    "hcpcs": (r"[A-Z]\d{4}", _always),
    "icd-10-cm": (r"[A-Z](\d[\dA-Z](\.[\dA-Z]{1,4})?)?", _always),
    "icd-10-pcs": (r"[\dA-HJ-NP-Z]{3,7}", _always),
    "loinc": (r"\d{1,5}-\d", is_loinc_code),
    "rxnorm": (r"\d{1,8}", _always),
    "snomed": (r"\d{6,18}", is_snomed_code),
}
