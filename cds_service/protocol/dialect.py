"""What a client makes of CDS Hooks: its dialect, and what the site's EHR calls things. Chosen by identity alone."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

_TABLES = Path(__file__).with_name("dialects.toml")
_SITE_TABLES = ("prefetch", "codes")


class DialectError(ValueError):
    """A dialect that is not known, or a site file that cannot be used; the message says where."""


@dataclass(frozen=True, slots=True)
class SiteTerms:
    """What one site calls things: the prefetch keys that answer one of ours, and its codes for orders we create."""

    prefetch: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One table of dialects.toml, where its members are described, with the terms of the site."""

    name: str
    selection_behavior: str = "any"
    remove: str = "resourceId"
    removable: frozenset[str] = frozenset()
    site_codes: str = ""
    plain_topic: bool = False
    card: frozenset[str] = frozenset()
    suggestion: frozenset[str] = frozenset()
    source: frozenset[str] = frozenset()
    any_user: bool = False
    tells_stripped: bool = False
    bare_hook: str = ""
    bare_drafts: str = ""
    message: bool = False
    terms: SiteTerms = SiteTerms()

    @property
    def is_standard(self) -> bool:
        """Whether an answer leaves as it was written."""
        return self.name == DEFAULT.name


DEFAULT = Dialect("default")


def read_dialect(name: str, site_file: Path | None = None, keys: Collection[str] | None = None) -> Dialect:
    """The dialect of that name with the terms of a site; `keys` are our prefetch keys. Raises DialectError."""
    tables = tomllib.loads(_TABLES.read_text(encoding="utf-8"))
    if name not in tables:
        raise DialectError(f"not one of {', '.join(tables)}")
    members = {member: _frozen(value) for member, value in tables[name].items()}
    dialect = Dialect(name, **members)
    return replace(dialect, terms=read_site_terms(site_file, dialect.site_codes, keys)) if site_file else dialect


def read_site_terms(path: Path, system: str = "", keys: Collection[str] | None = None) -> SiteTerms:
    """The terms of a site, from its file; a code without a system is one of `system`. Raises DialectError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DialectError(f"{path.name}: cannot be read as TOML: {error}") from None
    try:
        return site_terms(tables, system, keys)
    except DialectError as error:
        raise DialectError(f"{path.name}: {error}") from None


def site_terms(tables: Mapping[str, Any], system: str = "", keys: Collection[str] | None = None) -> SiteTerms:
    """The terms of a site, from its tables; a code without a system is one of `system`. Raises DialectError."""
    for name, table in tables.items():
        if name not in _SITE_TABLES or not isinstance(table, dict):
            raise DialectError(f"'{name}' is not one of the tables {', '.join(_SITE_TABLES)}")
    unknown = [key for key in tables.get("prefetch", {}) if keys is not None and key not in keys]
    if unknown:
        raise DialectError(f"[prefetch] {unknown[0]} is not one of our keys: {', '.join(sorted(keys or ()))}")
    return SiteTerms(
        prefetch=dict(_keys(tables.get("prefetch", {}))),
        codes=dict(_codes(tables.get("codes", {}), system)),
    )


def _keys(table: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    named: set[str] = set()
    for ours, theirs in table.items():
        names = [theirs] if isinstance(theirs, str) else theirs
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            raise DialectError(f"[prefetch] {ours} is not a key of the client, or a list of keys")
        if named & set(names):
            raise DialectError(f"[prefetch] {ours} names a key that another one names too")
        named |= set(names)
        yield ours, tuple(names)


def _codes(table: Mapping[str, Any], system: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for ours, theirs in table.items():
        coding = {"system": system, "code": theirs} if isinstance(theirs, str) else theirs
        is_coding = isinstance(coding, dict) and set(coding) == {"system", "code"}
        if not is_coding or not isinstance(coding["code"], str) or not coding["code"].strip():
            raise DialectError(f"[codes] {ours} is not a code, or a table of system and code")
        yield ours, coding


def _frozen(value: object) -> Any:
    return frozenset(value) if isinstance(value, list) else value
