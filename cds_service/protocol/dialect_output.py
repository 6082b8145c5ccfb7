"""The finished answer in a client's dialect. It only leaves out and rewrites: nothing is said that was not said."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from cds_service.protocol.dialect import Dialect
from cds_service.protocol.errors import CdsError

Json = Mapping[str, Any]

_LONGEST_TOPIC = 100
_CODED_MEMBERS = ("code", "medicationCodeableConcept")


def rewrite(response: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The body of a 200 as the client takes it."""
    if dialect.is_standard:
        return response
    return {**response, "cards": [_card(card, dialect) for card in response["cards"]]}


def refusal(outcome: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The body of an error as the client takes it."""
    if not dialect.message:
        return outcome
    words = [f"{issue['details']['text']} {issue.get('diagnostics', '')}".strip() for issue in outcome["issue"]]
    return {**outcome, "message": " ".join(words)}


def refusal_body(error: CdsError, dialect: Dialect) -> bytes:
    """The bytes of an error as they leave."""
    return orjson.dumps(refusal(error.operation_outcome(), dialect))


def _card(card: Json, dialect: Dialect) -> dict[str, Any]:
    takes_suggestions = dialect.selection_behavior != "none"
    written = (_suggestion(suggestion, dialect) for suggestion in card.get("suggestions", ()) if takes_suggestions)
    suggestions = [suggestion for suggestion in written if suggestion]
    changed: dict[str, Any] = {**card, "source": _source(card["source"], dialect)}
    if suggestions:
        changed |= {"suggestions": suggestions, "selectionBehavior": dialect.selection_behavior}
    else:
        changed = {name: value for name, value in changed.items() if name not in {"suggestions", "selectionBehavior"}}
    return _known(changed, dialect.card)


def _source(source: Json, dialect: Dialect) -> dict[str, Any]:
    known = _known(source, dialect.source)
    if dialect.plain_topic and "topic" in known:
        code = re.sub(r"[^A-Za-z0-9]", "", known["topic"]["code"])[:_LONGEST_TOPIC]
        known["topic"] = {**known["topic"], "code": code}
    return known


def _suggestion(suggestion: Json, dialect: Dialect) -> dict[str, Any] | None:
    """The suggestion, or None when the client could not take any part of it."""
    actions = [_action(action, dialect) for action in suggestion["actions"]]
    return {**_known(suggestion, dialect.suggestion), "actions": actions} if all(actions) else None


def _action(action: Json, dialect: Dialect) -> dict[str, Any] | None:
    if action["type"] == "delete":
        return _removal(action, dialect)
    return {**action, "resource": resource} if (resource := _order(action["resource"], dialect)) else None


def _removal(action: Json, dialect: Dialect) -> dict[str, Any] | None:
    reference: str = action["resourceId"]
    kind, _, identity = reference.partition("/")
    if dialect.removable and kind not in dialect.removable:
        return None
    if dialect.remove == "resourceId":
        return dict(action)
    target = reference if dialect.remove == "string" else {"resourceType": kind, "id": identity}
    return {**{name: value for name, value in action.items() if name != "resourceId"}, "resource": target}


def _order(order: Json, dialect: Dialect) -> dict[str, Any] | None:
    """The order to create; where only codes of the site count, one that the site has not mapped is no order."""
    if not dialect.site_codes:
        return dict(order)
    member = next(name for name in _CODED_MEMBERS if name in order)
    codes = dialect.terms.codes
    known = [codes[coding["code"]] for coding in order[member].get("coding", ()) if coding["code"] in codes]
    return {**order, member: {**order[member], "coding": [dict(known[0])]}} if known else None


def _known(members: Json, names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if not names or name in names}
