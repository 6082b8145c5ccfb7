"""What a discovery answer must look like."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from cds_service.check.look import Look

_TOKEN = re.compile(r"\{\{(.*?)\}\}")
_READ = re.compile(r"[A-Z][A-Za-z]+/[^/?&\s]+")
_SEARCH = re.compile(r"[A-Z][A-Za-z]+\?[^?\s]+")
_USER = frozenset({"userPractitionerId", "userPractitionerRoleId", "userPatientId", "userRelatedPersonId"})
_CONTROLS = frozenset({"_count", "_sort", "_id", "_lastUpdated", "_maxresults"})
_PREFIX = re.compile(r"(ne|sa|eb|ap)\d")
_TYPES: Mapping[str, tuple[type, str]] = {
    "title": (str, "a string"),
    "usageRequirements": (str, "a string"),
    "version": (str, "a string"),
    "hookVersion": (str, "a string"),
    "extension": (dict, "an object"),
    "prefetch": (dict, "an object"),
}
# The fields of each context that are single values; the tokens before CDS Hooks 3.0 can name no others.
FIELDS: Mapping[str, frozenset[str]] = {
    "order-select": frozenset({"userId", "patientId", "encounterId"}),
    "order-sign": frozenset({"userId", "patientId", "encounterId"}),
    "patient-view": frozenset({"userId", "patientId", "encounterId"}),
    "appointment-book": frozenset({"userId", "patientId", "encounterId"}),
    "encounter-start": frozenset({"userId", "patientId", "encounterId"}),
    "encounter-discharge": frozenset({"userId", "patientId", "encounterId"}),
    "order-dispatch": frozenset({"patientId", "performer"}),
}


def entries(body: object) -> list[dict[str, Any]]:
    """The entries that can be called: those with a hook and an id."""
    listed = body.get("services") if isinstance(body, dict) else None
    found = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return [entry for entry in found if all(_is_text(entry.get(name)) for name in ("hook", "id"))]


def templates(entry: Mapping[str, Any]) -> dict[str, str]:
    """The prefetch templates of an entry, as far as they are strings."""
    prefetch = entry.get("prefetch")
    found = prefetch if isinstance(prefetch, dict) else {}
    return {key: template for key, template in found.items() if isinstance(template, str)}


def discovery_looks(body: object) -> Iterator[Look]:
    """Look at the whole answer."""
    listed = body.get("services") if isinstance(body, dict) else None
    if not isinstance(listed, list):
        yield Look("discovery.answer", False, "`services` is not an array in an object")
        return
    yield Look("discovery.answer", True, f"200 with {len(listed)} entries")
    for number, entry in enumerate(listed):
        yield from _entry_looks(entry, f"services[{number}]")
    counts = Counter((entry["id"], entry["hook"]) for entry in entries(body))
    for (identity, hook), count in counts.items():
        yield Look("discovery.unique", count == 1, f"{identity} is listed {count} times for {hook}")


def _entry_looks(entry: object, where: str) -> Iterator[Look]:
    if not isinstance(entry, dict):
        yield Look("discovery.members", False, f"{where} is not an object")
        return
    for name in ("hook", "id", "description"):
        yield Look("discovery.members", _is_text(entry.get(name)), f"{where}.{name}: {_kind(entry.get(name))}")
    if _is_text(entry.get("id")) and "/" in entry["id"]:
        yield Look("discovery.members", False, f"{where}.id holds a slash and is no path segment")
    for name in _TYPES.keys() & entry.keys():
        kind, words = _TYPES[name]
        yield Look("discovery.optional", isinstance(entry[name], kind), f"{where}.{name} must be {words}")
    prefetch = entry.get("prefetch")
    for key, template in (prefetch if isinstance(prefetch, dict) else {}).items():
        yield from _template_looks(template, str(entry.get("hook")), f"{where}.prefetch.{key}")


def _template_looks(template: object, hook: str, where: str) -> Iterator[Look]:
    if not isinstance(template, str):
        yield Look("prefetch.query", False, f"{where} is not a string")
        return
    plain = _TOKEN.sub("token", template)
    is_user = template == "{{context.userId}}"
    is_query = is_user or _READ.fullmatch(plain) or _SEARCH.fullmatch(plain)
    yield Look("prefetch.query", bool(is_query), f"{where}: {template}")
    wrong = [f"{{{{{token}}}}}" for token in _TOKEN.findall(template) if not _is_token(token, hook)]
    if "{{" in plain or "}}" in plain:
        wrong.append("braces that do not match")
    if re.search(r"[A-Za-z]/\{\{context\.userId\}\}", template):
        wrong.append("{{context.userId}} already holds the type")
    yield Look("prefetch.tokens", not wrong, f"{where}: {', '.join(wrong) or template}")
    if "?" in plain:
        beyond = list(_beyond_the_subset(plain.partition("?")[2]))
        yield Look("prefetch.subset", not beyond, f"{where}: {', '.join(beyond) or template}")


def _is_token(token: str, hook: str) -> bool:
    head, _, name = token.strip().partition(".")
    if not name:
        return head in _USER
    known = FIELDS.get(hook)
    return head == "context" and (name in known if known else name.isidentifier())


def _beyond_the_subset(query: str) -> Iterator[str]:
    """Name what a plain FHIR server may not know, or a proxy may change."""
    pairs = [part.partition("=")[::2] for part in query.split("&")]
    for name, value in pairs:
        bare, _, modifier = name.partition(":")
        if modifier not in {"", "in"}:
            yield f"modifier :{modifier}"
        if "." in bare or (bare.startswith("_") and bare not in _CONTROLS):
            yield f"parameter {bare}"
        if _PREFIX.match(value):
            yield f"prefix {value[:2]}"
    yield from (f"{name} is repeated" for name, count in Counter(name for name, _ in pairs).items() if count > 1)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _kind(value: object) -> str:
    return "a string" if _is_text(value) else "absent" if value is None else f"{type(value).__name__}, or empty"
