"""What is written down about a call: who asked, what was read, what was decided and shown; digests, no identifiers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson

from cds_service.answer import Answer
from cds_service.arrangement import Arrangement
from cds_service.fhir.recording import Recorder, outcome_of
from cds_service.ledger.capsule import PURPOSE, Capsule, patient_of, text_of, without_token
from cds_service.ledger.chain import hash_of
from cds_service.ledger.entry import Entry, Row, Sealed
from cds_service.ledger.ledger import Ledger
from cds_service.log import safe_id
from cds_service.protocol.dialect import Dialect
from cds_service.protocol.errors import CdsError
from cds_service.service import Advised, Service
from cds_service.trust.secrets import Secrets

_RELATED = frozenset({"Patient", "RelatedPerson"})
_LONGEST = 255  # characters of a name that a client gives; FHIR allows ids of 64


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the ledger knows it, before it is answered."""

    caller: Arrangement
    service: Service
    body: bytes = field(repr=False)
    accepted: Any = field(repr=False)  # the body as the standard has it
    today: date
    recorder: Recorder
    token_id: str = ""

    @property
    def client(self) -> str:
        """The id of the client."""
        return self.caller.client.id

    @property
    def dialect(self) -> Dialect:
        """How the client is spoken to."""
        return self.caller.dialect

    @property
    def hook(self) -> str:
        """The hook, when it is one of ours; anything else is a caller's text."""
        hook = self.accepted.get("hook") if isinstance(self.accepted, dict) else None
        return hook if isinstance(hook, str) and hook in self.service.hooks else ""


def decision_entry(call: Call, answered: Answer, shown: Collection[str], response: bytes, ledger: Ledger) -> Entry:
    """The entry of a call that was answered with 200; `shown` are the uuids of the cards in the response."""
    request = answered.request
    secrets = ledger.secrets
    digests = _digests(answered, secrets)
    rows = _card_rows(call.client, answered, shown, ledger, digests)
    decisions = answered.advice.decisions
    suggestions = answered.suggestions(ledger.card_key(call.client))
    members = {
        **_call_members(call, ledger),
        "status": 200,
        "hookInstance": safe_id(request.hook_instance) or secrets.digest("hookInstance", request.hook_instance),
        "encounter": secrets.digest("encounter", call.client, request.encounter_id) if request.encounter_id else "",
        "cards": [
            _card_members(row, advised, offered, answered.withheld.get(row["position"], ""))
            for row, advised, offered in zip(rows, answered.advice.cards, suggestions, strict=True)
        ],
        "silence": [decision.silence for decision in decisions if decision.silence],
        "outcomes": [decision.outcome for decision in decisions if decision.outcome],
        "rules": sorted({rule for decision in decisions for rule in decision.rules}),
        "read": sorted(digests.values()),
        "notRead": list(answered.not_read),
        "unreadable": len(answered.unreadable),
        "response": hash_of(response),
    }
    return Entry("decision", _present(members), {"cards": rows} if rows else {}, _sealed(call, ledger))


def refusal_entry(call: Call, error: CdsError, response: bytes, ledger: Ledger) -> Entry:
    """The entry of a call that could not be answered: what was missing, or about somebody else."""
    members = {
        **_call_members(call, ledger),
        "status": error.status,
        "error": type(error).__name__,
        "where": error.where,
        "response": hash_of(response),
    }
    return Entry("decision", _present(members), sealed=_sealed(call, ledger))


def card_rows(client: str, answered: Answer, shown: Collection[str], ledger: Ledger) -> list[Row]:
    """The cards that were decided on, each with the digests by which it is known again."""
    return _card_rows(client, answered, shown, ledger, _digests(answered, ledger.secrets))


def _card_rows(
    client: str, answered: Answer, shown: Collection[str], ledger: Ledger, digests: Mapping[str, str]
) -> list[Row]:
    request = answered.request
    rows: list[Row] = []
    for position, (uuid, advised) in enumerate(
        zip(answered.card_ids(ledger.card_key(client)), answered.advice.cards, strict=True)
    ):
        content = _content(advised, digests)
        parts = (client, request.user_id, request.patient_id)
        rows.append(
            {
                "position": position,
                "client": client,
                "uuid": uuid,
                "card": advised.card.id,
                "same": ledger.secrets.digest("same", *parts, "", content),
                "same_encounter": ledger.secrets.digest("same", *parts, request.encounter_id, content)
                if request.encounter_id
                else None,
                "is_shown": uuid in shown,
            }
        )
    return rows


def _card_members(row: Row, advised: Advised, suggestions: Mapping[str, str], withheld: str) -> Row:
    """A card as the record holds it: what feedback names, and what reports are about."""
    return {
        "uuid": row["uuid"],
        "card": row["card"],
        "isShown": row["is_shown"],
        **_present({"withheld": withheld, "rules": list(advised.decision.rules), "suggestions": dict(suggestions)}),
    }


def _content(advised: Advised, digests: Mapping[str, str]) -> bytes:
    """What stays while a user would be told the same about a patient, on the same evidence."""
    decision = advised.decision
    evidence = sorted(digests[name] for name in decision.evidence if name in digests)
    said = [decision.ordered_kind, decision.outcome, decision.subtype, decision.tier]
    lists = [decision.options, decision.parallel, decision.rules, evidence]
    return orjson.dumps([advised.card.id, said, lists])


def patient_digest(secrets: Secrets, client: str, patient_id: str) -> str:
    """What a record calls a patient of this client."""
    return secrets.digest("patient", client, patient_id)


def _call_members(call: Call, ledger: Ledger) -> dict[str, Any]:
    patient = patient_of(call.accepted)
    return {
        "client": call.client,
        "user": _user(call, ledger.secrets),
        "patient": patient_digest(ledger.secrets, call.client, patient) if patient else "",
        "service": call.service.id,
        "hook": call.hook,
        "software": ledger.software,
        "knowledge": call.service.knowledge_version,
        "knowledgeHash": call.service.knowledge_hash,
        "dialect": call.dialect.name,
        "location": call.caller.client.location,
        "jti": call.token_id,
        "today": call.today.isoformat(),
        "request": ledger.secrets.digest("request", call.body),
        "server": urlsplit(call.recorder.server or "").netloc,
        "asked": list(_asked(call)),
    }


def _user(call: Call, secrets: Secrets) -> str:
    """The user as the client names them, but a patient, or somebody who is known by one, as a digest."""
    user = text_of(call.accepted, "userId")[:_LONGEST]
    kind, _, identity = user.partition("/")
    return f"{kind}/{secrets.digest('user', call.client, identity)}" if kind in _RELATED else user


def _asked(call: Call) -> Iterator[dict[str, Any]]:
    """What the FHIR server was asked for, and how each query ended."""
    for key, found in call.recorder.answers.items():
        kind = re.split(r"\W", call.service.prefetch[key], maxsplit=1)[0]
        more = {"isFurtherPages": True} if key in call.recorder.continued else {}
        yield {"key": key, "type": kind, "outcome": outcome_of(found), **more}


def _sealed(call: Call, ledger: Ledger) -> Sealed:
    """The capsule of the call, where the site keeps capsules."""
    if ledger.capsule_days is None:
        return {}
    site, recorder = call.service.site, call.recorder
    capsule = Capsule(
        body=without_token(call.accepted),
        today=call.today,
        client=call.client,
        service=call.service.id,
        dialect=call.dialect.name,
        codes=call.dialect.terms.codes,
        profile=site.profile,
        public_url=site.public_url,
        emergency_url=site.emergency_url,
        answers=recorder.answers if recorder.server else None,
    )
    until = datetime.now(UTC) + timedelta(days=ledger.capsule_days)
    return {PURPOSE: (ledger.secrets.seal(PURPOSE, capsule.json()), until)}


def _digests(answered: Answer, secrets: Secrets) -> dict[str, str]:
    """What each resource that a decision names is called in the record."""
    return {name: _digest_of(secrets, name, resource) for name, resource in answered.evidence.items()}


def _digest_of(secrets: Secrets, name: str, resource: Mapping[str, Any]) -> str:
    """Type and keyed hash of a resource; what a server writes about its storage is not part of what it says."""
    content = {member: value for member, value in resource.items() if member != "meta"}
    digest = secrets.digest("resource", orjson.dumps(content, option=orjson.OPT_SORT_KEYS))
    return f"{name.partition('/')[0]}:{digest}"


def _present(members: Row) -> Row:
    return {name: value for name, value in members.items() if value not in ("", [], {}, None)}
