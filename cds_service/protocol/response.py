"""Cards as CDS Hooks 2.0.1 JSON; absent members are left out, never null or empty."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cds_service.fhir.codes import SYSTEM_URIS, Coding
from cds_service.fhir.models import new_order
from cds_service.protocol.card import Card, Suggestion


@dataclass(frozen=True, slots=True)
class Addressee:
    """Whom the created orders are for, and what makes the ids of a call its own."""

    patient_id: str
    user_id: str
    encounter_id: str | None
    seed: str
    key: bytes = b""

    def for_card(self, number: int, orders: Iterable[str]) -> Addressee:
        """The same for one card of the answer: two cards of one kind are two cards."""
        return replace(self, seed="|".join([self.seed, str(number), *orders]))

    def uuid(self, *names: object) -> str:
        """A stable id: the same call gives the same ids, another call others, and without the key none is guessed."""
        text = "|".join([self.seed, *map(str, names)]).encode()
        return str(uuid.UUID(bytes=hmac.digest(self.key, text, hashlib.sha256)[:16], version=4))


def card_json(card: Card, addressee: Addressee, extension: Mapping[str, Any]) -> dict[str, Any]:
    """The card as JSON; several suggestions can be taken together and none is preselected."""
    members: dict[str, Any] = {
        "uuid": addressee.uuid(card.id),
        "summary": card.summary,
        "detail": card.detail,
        "indicator": card.indicator.value,
        "source": _present(label=card.source.label, url=card.source.url, topic=coding_json(card.topic)),
    }
    if card.suggestions:
        members["suggestions"] = [
            _suggestion_json(suggestion, addressee, addressee.uuid(card.id, number))
            for number, suggestion in enumerate(card.suggestions)
        ]
        members["selectionBehavior"] = "any"
    if card.links:
        members["links"] = [{"label": link.label, "url": link.url, "type": "absolute"} for link in card.links]
    if card.override_reasons:
        members["overrideReasons"] = [coding_json(reason) for reason in card.override_reasons]
    return {**members, "extension": dict(extension)}


def coding_json(coding: Coding) -> dict[str, str]:
    """A FHIR Coding."""
    return _present(system=SYSTEM_URIS.get(coding.system, coding.system), code=coding.code, display=coding.display)


def _suggestion_json(suggestion: Suggestion, addressee: Addressee, identity: str) -> dict[str, Any]:
    action: dict[str, Any] = {"description": suggestion.description}
    if suggestion.create:
        order = suggestion.create
        action["type"] = "create"
        action["resource"] = new_order(
            order.kind,
            code=_present(coding=[coding_json(c) for c in order.codings], text=order.text),
            patient_id=addressee.patient_id,
            user_id=addressee.user_id,
            encounter_id=addressee.encounter_id,
            note=order.note,
        )
    else:
        action["type"] = "delete"
        action["resourceId"] = suggestion.remove
    return {"label": suggestion.label, "uuid": identity, "actions": [action]}


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
