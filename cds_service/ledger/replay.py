"""An answer given again from its capsule, to be held beside the hash of the one that left. No network is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, select

from cds_service.answer import answer
from cds_service.fhir.evidence import Search
from cds_service.fhir.recording import Recorded
from cds_service.ledger.capsule import PURPOSE, Capsule, read_capsule
from cds_service.ledger.chain import hash_of
from cds_service.ledger.ledger import Ledger, card_key
from cds_service.ledger.tables import cards, entries, sealed
from cds_service.protocol.dialect import DialectError
from cds_service.protocol.dialect_output import refusal_body, rewrite
from cds_service.protocol.errors import CdsError
from cds_service.service import Service
from cds_service.trust.secrets import SecretError, Secrets

ServicesOf = Callable[[Capsule], Mapping[str, Service]]  # for the site as it was then, by id


class NotReplayable(Exception):
    """The answer cannot be given again; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A call as the ledger keeps it."""

    record: Mapping[str, Any]
    capsule: Capsule
    secrets: Secrets = field(repr=False)  # of then


@dataclass(frozen=True, slots=True)
class Replayed:
    """The answer as it is given today."""

    body: bytes
    differences: tuple[str, ...]  # empty when it is the one that left, to the letter
    explanation: Mapping[str, Any] | None  # none for a call that was refused


def kept_call(ledger: Ledger, name: str) -> Kept:
    """The call of an entry, by its number or by the uuid of a card. Raises NotReplayable, LedgerUnavailable."""
    with ledger.reading() as connection:
        number = _number_of(connection, name)
        found = connection.execute(select(entries.c.record).where(entries.c.number == number)).scalar_one_or_none()
        if found is None:
            raise NotReplayable(f"{name}: the ledger has no such entry and no such card")
        content = connection.execute(
            select(sealed.c.content).where(sealed.c.number == number, sealed.c.purpose == PURPOSE)
        ).scalar_one_or_none()
    record = orjson.loads(found)
    digest = record.get("sealed", {}).get(PURPOSE)
    if content is None:
        why = "its capsule was deleted when its time was over" if digest else "no capsule was kept; see CDS_LEDGER"
        raise NotReplayable(f"entry {number}: {why}")
    if hash_of(content) != digest:
        raise NotReplayable(f"entry {number}: its capsule was altered; `cds-service ledger verify` checks them all")
    try:
        secrets = ledger.secrets.when_sealed(content)
        return Kept(record, read_capsule(secrets.open(PURPOSE, content)), secrets)
    except SecretError as error:
        raise NotReplayable(f"entry {number}: its capsule cannot be opened: {error}") from None


def answer_again(kept: Kept, services_of: ServicesOf, software: str) -> Replayed:
    """Answer a call with what was recorded. Raises NotReplayable, KnowledgeError when the site no longer fits."""
    capsule = kept.capsule
    service = services_of(capsule).get(capsule.service)
    if service is None:
        raise NotReplayable(f"entry {kept.record['number']}: there is no service '{capsule.service}' any more")
    try:
        body, explanation = _answered(kept, service)
    except DialectError as error:
        raise NotReplayable(f"entry {kept.record['number']}: its dialect '{capsule.dialect}' is {error}") from None
    if hash_of(body) == kept.record["response"]:
        return Replayed(body, (), explanation)
    return Replayed(body, tuple(_differences(kept.record, service, software)), explanation)


def _answered(kept: Kept, service: Service) -> tuple[bytes, Mapping[str, Any] | None]:
    capsule = kept.capsule
    dialect = capsule.spoken()
    try:
        answered = answer(service, capsule.body, capsule.today, lambda *_: _search(capsule))
    except CdsError as refused:
        return refusal_body(refused, dialect), None
    response = answered.response(card_key(kept.secrets, capsule.client))
    shown = {card["uuid"] for card in kept.record.get("cards", ()) if card["isShown"]}
    decided = {card["uuid"] for card in kept.record.get("cards", ())}
    response["cards"] = [card for card in response["cards"] if card["uuid"] in shown or card["uuid"] not in decided]
    return orjson.dumps(rewrite(response, dialect)), answered.explanation(capsule.today)


def _search(capsule: Capsule) -> Search | None:
    return None if capsule.answers is None else Recorded(capsule.answers)


def _differences(record: Mapping[str, Any], service: Service, software: str) -> Iterator[str]:
    """What could have made the answer another one."""
    now = {"software": software, "knowledge": service.knowledge_version, "knowledgeHash": service.knowledge_hash}
    changed = [(name, record.get(name), value) for name, value in now.items() if record.get(name) != value]
    yield from (f"{name} was {then} and is {value}" for name, then, value in changed)
    if not changed:
        yield "software and knowledge are those of then: this should not be, please report it"


def _number_of(connection: Connection, name: str) -> int:
    """The number of an entry; of several with one card, as when a call was repeated, the last."""
    if name.isdecimal() and len(name) < len(str(2**63)):
        return int(name)
    found = connection.execute(select(cards.c.number).where(cards.c.uuid == name.lower()).order_by(cards.c.number))
    return max(found.scalars(), default=0)
