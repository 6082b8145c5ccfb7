"""What is written down about a call: who asked, what was read, what was decided and shown; digests, no identifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import orjson

from cds_service.answer import Answer
from cds_service.ledger.entry import Entry, Row
from cds_service.ledger.ledger import Ledger
from cds_service.log import safe_id
from cds_service.protocol.errors import CdsError
from cds_service.service import Advised, Decision, Service
from cds_service.trust.secrets import Secrets

_LONGEST = 255  # characters of a name that a client gives; FHIR allows ids of 64


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the ledger knows it, before it is answered."""

    client: str
    service: Service
    hook: str
    body: bytes = field(repr=False)
    today: date
    dialect: str
    location: str = ""


def decision_entry(call: Call, answered: Answer, shown: Collection[str], response: bytes, ledger: Ledger) -> Entry:
    """The entry of a call that was answered with 200; `shown` are the uuids of the cards in the response."""
    request = answered.request
    secrets = ledger.secrets
    rows = card_rows(call.client, answered, shown, ledger)
    decisions = answered.advice.decisions
    suggestions = answered.suggestions(ledger.card_key(call.client))
    members = {
        **_call_members(call, ledger),
        "status": 200,
        "hookInstance": safe_id(request.hook_instance) or secrets.digest("hookInstance", request.hook_instance),
        "user": request.user_id[:_LONGEST],
        "patient": secrets.digest("patient", call.client, request.patient_id),
        "encounter": secrets.digest("encounter", call.client, request.encounter_id) if request.encounter_id else "",
        "cards": [
            _card_members(row, advised, offered, answered.withheld.get(row["position"], ""))
            for row, advised, offered in zip(rows, answered.advice.cards, suggestions, strict=True)
        ],
        "silence": [decision.silence for decision in decisions if decision.silence],
        "outcomes": [decision.outcome for decision in decisions if decision.outcome],
        "rules": sorted({rule for decision in decisions for rule in decision.rules}),
        "read": sorted(_digest_of(secrets, name, resource) for name, resource in answered.evidence.items()),
        "notRead": list(answered.not_read),
        "unreadable": len(answered.unreadable),
        "response": hashlib.sha256(response).hexdigest(),
    }
    return Entry("decision", _present(members), rows={"cards": rows} if rows else {})


def refusal_entry(call: Call, error: CdsError, ledger: Ledger) -> Entry:
    """The entry of a call that could not be answered: what was missing, or about somebody else."""
    members = {
        **_call_members(call, ledger),
        "status": error.status,
        "error": type(error).__name__,
        "where": error.where,
    }
    return Entry("decision", _present(members))


def card_rows(client: str, answered: Answer, shown: Collection[str], ledger: Ledger) -> list[Row]:
    """The cards that were decided on, each with the digests by which it is known again."""
    request = answered.request
    return [
        {
            "position": position,
            "client": client,
            "uuid": uuid,
            "card": advised.card.id,
            "same": same_card(ledger.secrets, client, answered, advised.card.id, advised.decision),
            "same_encounter": same_card(ledger.secrets, client, answered, advised.card.id, advised.decision, encounter)
            if (encounter := request.encounter_id)
            else None,
            "is_shown": uuid in shown,
        }
        for position, (uuid, advised) in enumerate(
            zip(answered.card_ids(ledger.card_key(client)), answered.advice.cards, strict=True)
        )
    ]


def _card_members(row: Row, advised: Advised, suggestions: Mapping[str, str], withheld: str) -> Row:
    """A card as the record holds it: what feedback names, and what reports are about."""
    return {
        "uuid": row["uuid"],
        "card": row["card"],
        "isShown": row["is_shown"],
        **_present({"withheld": withheld, "rules": list(advised.decision.rules), "suggestions": dict(suggestions)}),
    }


def same_card(
    secrets: Secrets, client: str, answered: Answer, card: str, decision: Decision, encounter: str = ""
) -> str:
    """A digest that stays while this user would be told the same about this patient, on the same evidence."""
    request = answered.request
    evidence = [
        _digest_of(secrets, name, answered.evidence[name]) for name in decision.evidence if name in answered.evidence
    ]
    said = [decision.ordered_kind, decision.outcome, decision.subtype, decision.tier]
    lists = [decision.options, decision.parallel, decision.rules, sorted(evidence)]
    content = orjson.dumps([card, said, lists])
    return secrets.digest("same", client, request.user_id, request.patient_id, encounter, content)


def _call_members(call: Call, ledger: Ledger) -> dict[str, Any]:
    return {
        "client": call.client,
        "service": call.service.id,
        "hook": call.hook,
        "software": ledger.software,
        "knowledge": call.service.knowledge_version,
        "knowledgeHash": call.service.knowledge_hash,
        "dialect": call.dialect,
        "location": call.location,
        "today": call.today.isoformat(),
        "request": ledger.secrets.digest("request", call.body),
    }


def _digest_of(secrets: Secrets, name: str, resource: Mapping[str, Any]) -> str:
    """Type and keyed hash of a resource; what a server writes about its storage is not part of what it says."""
    content = {member: value for member, value in resource.items() if member != "meta"}
    digest = secrets.digest("resource", orjson.dumps(content, option=orjson.OPT_SORT_KEYS))
    return f"{name.partition('/')[0]}:{digest}"


def _present(members: Row) -> Row:
    return {name: value for name, value in members.items() if value not in ("", [], {}, None)}
