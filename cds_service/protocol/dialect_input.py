"""Requests in a client's dialect, brought into the form that HookRequest.parse reads.

What is not there is never made up: a request that cannot be mended is left as it is, for parse to say what is wrong.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from cds_service.protocol.dialect import Dialect
from cds_service.protocol.errors import StrippedRequest
from cds_service.trust.patient_binding import same_base, split_reference

Json = Mapping[str, Any]

_USERS = frozenset({"Practitioner", "PractitionerRole", "Patient", "RelatedPerson"})
_NAMESPACE = uuid.UUID("5d9f3b53-8a2e-5d0c-a7b4-0c6f7f1f2e90")
_UNNAMED_USER = "not-named"  # no reference, so that no order is created in anybody's name
# A history of which a part was not sent is a history cut short: CDS Hooks says that with a next link.
_CUT_SHORT = [{"relation": "next"}]


def accept(body: object, dialect: Dialect) -> object:
    """The request as the standard has it. Raises StrippedRequest (400)."""
    if not isinstance(body, dict):
        return body
    if dialect.tells_stripped:
        _refuse_stripped(body)
    if dialect.bare_hook:
        body = _completed(body, dialect)
    if dialect.any_user:
        body = _with_user_reference(body)
    if dialect.terms.prefetch:
        body = _with_our_keys(body, dialect.terms.prefetch)
    return body


def _refuse_stripped(body: Json) -> None:
    """Name a call that an EHR emptied because the address it was set up with is not the registered one."""
    if not body.get("prefetch") and not body.get("fhirAuthorization"):
        raise StrippedRequest("prefetch")
    context = body.get("context")
    is_about_orders = str(body.get("hook")).startswith("order-")
    if is_about_orders and isinstance(context, dict) and context.get("draftOrders") is None:
        raise StrippedRequest("context.draftOrders")


def _completed(body: Json, dialect: Dialect) -> Json:
    """A call that is made of prefetch alone: the patient and the drafts stand there, every draft is meant."""
    prefetch = body.get("prefetch")
    if "context" in body or not isinstance(prefetch, dict):
        return body
    context = {
        "userId": _UNNAMED_USER,
        "patientId": _id_of_patient(prefetch.get("patient")),
        "draftOrders": prefetch.get(dialect.bare_drafts),
    }
    return {
        "hookInstance": str(uuid.uuid5(_NAMESPACE, orjson.dumps(body, option=orjson.OPT_SORT_KEYS).hex())),
        **body,
        "hook": dialect.bare_hook,
        "context": context,
        "prefetch": {key: value for key, value in prefetch.items() if key != dialect.bare_drafts},
    }


def _id_of_patient(value: object) -> object:
    """The id of the one Patient that was sent, by itself or in a Bundle."""
    entries = value.get("entry") if isinstance(value, dict) else None
    if isinstance(entries, list):
        resources = [entry.get("resource") for entry in entries if isinstance(entry, dict)]
        value = resources[0] if len(resources) == 1 else None
    return value.get("id") if isinstance(value, dict) else None


def _with_user_reference(body: Json) -> Json:
    """An absolute address of the user on the server of the request becomes a reference."""
    context = body.get("context")
    user = context.get("userId") if isinstance(context, dict) else None
    if not isinstance(context, dict) or not isinstance(user, str):
        return body
    base, kind, identity = split_reference(user.strip())
    server = body.get("fhirServer")
    if not base or kind not in _USERS or not isinstance(server, str) or not same_base(base, server):
        return body
    return {**body, "context": {**context, "userId": f"{kind}/{identity}"}}


def _with_our_keys(body: Json, names: Mapping[str, tuple[str, ...]]) -> Json:
    """The prefetch under our keys; several keys of the client may answer one of ours together."""
    prefetch = body.get("prefetch")
    if not isinstance(prefetch, dict):
        return body
    theirs = {name for keys in names.values() for name in keys}
    answers = {key: value for key, value in prefetch.items() if key not in theirs}
    for ours, keys in names.items():
        sent = [prefetch[key] for key in keys if key in prefetch]
        if ours in answers:
            sent.append(answers[ours])
        if sent:
            is_whole = all(key in prefetch for key in keys) or ours in answers
            answers[ours] = _joined(sent, is_whole=is_whole)
    return {**body, "prefetch": answers}


def _joined(sent: list[Any], *, is_whole: bool) -> Any:
    """One answer of several; a part that failed or was not sent leaves the others, and cuts the history short."""
    read = [value for value in sent if value is None or _is_answer(value)]
    if not read:
        return sent[0]
    if is_whole and len(sent) == len(read) == 1:
        return read[0]
    entries = [{"resource": _typed(value)} for value in read if value is not None]
    joined: dict[str, Any] = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    return joined if is_whole and len(read) == len(sent) else {**joined, "link": _CUT_SHORT}


def _typed(value: Json) -> Json:
    """A Bundle says that it is one: inside another one it is no longer known by its entries."""
    return {**value, "resourceType": "Bundle"} if "entry" in value else value


def _is_answer(value: object) -> bool:
    return isinstance(value, dict) and value.get("resourceType") != "OperationOutcome"
