"""What the answer to a call must look like: the rules of the specification, its logical model and public test tools."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from cds_service.check.look import Look

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[^/\s]+")
_SUMMARY = 140
_MAY_BE_EMPTY = frozenset({"$.cards", "$.services"})

Members = Mapping[str, Any]


def empties(value: object, path: str = "$") -> Iterator[str]:
    """The path of everything that is null or empty and must not be."""
    if value is None or value == "" or value == {} or (value == [] and path not in _MAY_BE_EMPTY):
        yield path
    if isinstance(value, dict):
        for name, item in value.items():
            yield from empties(item, f"{path}.{name}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from empties(item, f"{path}[{number}]")


def response_looks(body: object, drafts: Collection[str] | None, call: str) -> Iterator[Look]:
    """Look at a 200; `drafts` are the references of the draft orders, None when the hook has none."""
    cards = body.get("cards") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(cards, list):
        yield Look("response.cards", False, f"{call}: no array `cards`")
        return
    yield Look("response.cards", True, f"{call}: {len(cards)} card(s)")
    for number, card in enumerate(cards):
        yield from _card_looks(card, drafts, f"{call}: cards[{number}]")
    if "systemActions" in body:
        actions = body["systemActions"]
        yield Look("response.system-actions", _is_filled(actions), f"{call}: systemActions is an array, not empty")
        for number, action in enumerate(actions if isinstance(actions, list) else ()):
            yield from _action_looks(action, drafts, f"{call}: systemActions[{number}]")
    counts = Counter(_ids(cards))
    if counts:
        twice = [identity for identity, count in counts.items() if count > 1]
        yield Look("response.ids", not twice, f"{call}: {', '.join(twice) or f'{len(counts)} ids'}")


def _ids(cards: list[Any]) -> Iterator[str]:
    for card in objects(cards):
        yield from (m["uuid"] for m in (card, *objects(card.get("suggestions"))) if isinstance(m.get("uuid"), str))


def _card_looks(card: object, drafts: Collection[str] | None, where: str) -> Iterator[Look]:
    if not isinstance(card, dict):
        yield Look("response.cards", False, f"{where} is not an object")
        return
    summary = card.get("summary")
    yield Look("card.summary", _is_text(summary) and len(str(summary)) < _SUMMARY, f"{where}.summary: {_size(summary)}")
    indicator = card.get("indicator")
    yield Look("card.indicator", indicator in ("info", "warning", "critical"), f"{where}.indicator: {indicator!r}")
    yield from _typed(card, "card", where, {"uuid": _is_uuid, "detail": _is_text, "extension": _is_object})
    yield from _source_looks(card.get("source"), f"{where}.source")
    if "suggestions" in card or "selectionBehavior" in card:
        yield from _selection_looks(card, where)
    for number, suggestion in enumerate(_array(card, "suggestions")):
        yield from _suggestion_looks(suggestion, drafts, f"{where}.suggestions[{number}]")
    for number, reason in enumerate(_array(card, "overrideReasons")):
        kept = isinstance(reason, dict) and all(_is_text(reason.get(name)) for name in ("code", "system", "display"))
        yield Look("override.coding", kept, f"{where}.overrideReasons[{number}]: {_names(reason)}")
    for number, link in enumerate(_array(card, "links")):
        yield from _link_looks(link, f"{where}.links[{number}]")


def _source_looks(source: object, where: str) -> Iterator[Look]:
    members = source if isinstance(source, dict) else {}
    yield Look("source.label", _is_text(members.get("label")), f"{where}: {_names(source)}")
    for name in ("url", "icon"):
        if name in members:
            yield Look("source.addresses", _is_address(members[name]), f"{where}.{name}: {members[name]!r}")
    if "topic" in members:
        topic = members["topic"]
        kept = isinstance(topic, dict) and _is_text(topic.get("code")) and _is_text(topic.get("system"))
        yield Look("source.topic", kept, f"{where}.topic: {_names(topic)}")


def _selection_looks(card: Members, where: str) -> Iterator[Look]:
    """Suggestions and selectionBehavior; the type of the array too, since nothing else would name it."""
    behavior, suggestions = card.get("selectionBehavior"), card.get("suggestions", [])
    kept = behavior in ("any", "at-most-one") and isinstance(suggestions, list)
    yield Look("card.selection", kept, f"{where}.selectionBehavior: {behavior!r}")
    if behavior == "at-most-one":
        count = sum(suggestion.get("isRecommended") is True for suggestion in objects(suggestions))
        yield Look("card.recommended", count <= 1, f"{where}: {count} recommended")


def _suggestion_looks(suggestion: object, drafts: Collection[str] | None, where: str) -> Iterator[Look]:
    if not isinstance(suggestion, dict):
        yield Look("suggestion.label", False, f"{where} is not an object")
        return
    yield Look("suggestion.label", _is_text(suggestion.get("label")), f"{where}: {_names(suggestion)}")
    if "isRecommended" in suggestion:
        kept = isinstance(suggestion["isRecommended"], bool)
        yield Look("suggestion.recommended", kept, f"{where}.isRecommended: {suggestion['isRecommended']!r}")
    if "actionSelectionBehavior" in suggestion:
        behavior = suggestion["actionSelectionBehavior"]
        kept = behavior in ("all", "any", "at-most-one")
        yield Look("suggestion.behavior", kept, f"{where}.actionSelectionBehavior: {behavior!r}")
    yield from _typed(suggestion, "suggestion", where, {"uuid": _is_uuid})
    actions = suggestion.get("actions")
    yield Look("suggestion.actions", _is_filled(actions), f"{where}.actions: {_names(actions)}")
    for number, action in enumerate(actions if isinstance(actions, list) else ()):
        place = f"{where}.actions[{number}]"
        described = isinstance(action, dict) and _is_text(action.get("description"))
        yield Look("action.description", described, f"{place}: {_names(action)}")
        yield from _action_looks(action, drafts, place)


def _action_looks(action: object, drafts: Collection[str] | None, where: str) -> Iterator[Look]:
    members = action if isinstance(action, dict) else {}
    kind, resource = members.get("type"), members.get("resource")
    yield Look("action.type", kind in ("create", "update", "delete"), f"{where}.type: {kind!r}")
    target = None
    if kind in ("create", "update"):
        kept = isinstance(resource, dict) and _is_text(resource.get("resourceType"))
        yield Look("action.resource", kept, f"{where}.resource: {_names(resource)}")
        if kind == "update" and isinstance(resource, dict):
            target = f"{resource.get('resourceType')}/{resource.get('id')}"
    if kind == "delete":
        target = str(members.get("resourceId", ""))
        kept = bool(_REFERENCE.fullmatch(target)) and "resource" not in members
        yield Look("action.delete", kept, f"{where}: {_names(members)}")
    if target is not None and drafts is not None:
        yield Look("action.target", target in drafts, f"{where}: {target or 'nothing'}")


def _link_looks(link: object, where: str) -> Iterator[Look]:
    members = link if isinstance(link, dict) else {}
    kept = (
        _is_text(members.get("label"))
        and _is_address(members.get("url"))
        and members.get("type") in ("absolute", "smart")
    )
    yield Look("link.members", kept, f"{where}: {members or _names(link)}")
    if "appContext" in members:
        kept = _is_text(members["appContext"]) and members.get("type") == "smart"
        yield Look("link.app-context", kept, f"{where}.appContext on a link of type {members.get('type')!r}")
    if "autolaunchable" in members:
        kept = isinstance(members["autolaunchable"], bool)
        yield Look("link.autolaunchable", kept, f"{where}.autolaunchable: {members['autolaunchable']!r}")


def _typed(members: Members, kind: str, where: str, types: Mapping[str, Any]) -> Iterator[Look]:
    """One look for every member that is there, by the test of its type."""
    for name in types.keys() & members.keys():
        yield Look(f"{kind}.{name}", types[name](members[name]), f"{where}.{name}: {_size(members[name])}")


def _array(members: Members, name: str) -> list[Any]:
    """The items of an array; a value of another type counts as one wrong item."""
    value = members.get(name, [])
    return value if isinstance(value, list) else [value]


def objects(value: object) -> list[dict[str, Any]]:
    """The objects of an array; nothing for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_uuid(value: object) -> bool:
    return isinstance(value, str) and bool(_UUID.fullmatch(value))


def _is_filled(value: object) -> bool:
    return isinstance(value, list) and bool(value)


def _is_address(value: object) -> bool:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _size(value: object) -> str:
    return f"{len(value)} characters" if isinstance(value, str) else "absent" if value is None else type(value).__name__


def _names(value: object) -> str:
    """What a place holds, without quoting it."""
    if isinstance(value, dict):
        return f"has {', '.join(value) or 'nothing'}"
    return f"array of {len(value)}" if isinstance(value, list) else _size(value)
