"""The program in four lines: parse, gather, read_record, advise. No HTTP, so that `explain` runs it too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from cds_service.fhir.evidence import Connect, Evidence, Resource, gather
from cds_service.fhir.models import nonconformities
from cds_service.fhir.reader import read_record, reference_of
from cds_service.fhir.record import PatientRecord
from cds_service.protocol.card import Card, Suggestion
from cds_service.protocol.errors import EvidenceTruncated
from cds_service.protocol.hook_request import HookRequest
from cds_service.protocol.response import Addressee, card_json
from cds_service.service import DECISION_EXTENSION, Advice, Advised, Decision, Service


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call ended in: the advice, and what the chart did not yield."""

    request: HookRequest
    advice: Advice
    service: Service
    not_read: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    nonconforming: tuple[str, ...] = ()
    evidence: Mapping[str, Resource] = field(default_factory=dict, repr=False)  # what the decisions name, by reference
    withheld: Mapping[int, str] = field(default_factory=dict)  # why a card is not shown, by its place in the advice

    def response(self, key: bytes = b"") -> dict[str, Any]:
        """The body of the HTTP answer."""
        return {"cards": self.cards(key)}

    def cards(self, key: bytes = b"") -> list[dict[str, Any]]:
        """The cards as JSON, each with its decision in the extension; with a secret key nobody can guess their ids."""
        return [
            card_json(
                advised.card,
                addressee,
                {DECISION_EXTENSION: _without_empty(self._decision(advised.decision, advised.card.id))},
            )
            for place, (advised, addressee) in enumerate(self._addressed(key))
            if place not in self.withheld
        ]

    def shown(self) -> list[Card]:
        """The cards that are not withheld."""
        return [advised.card for n, advised in enumerate(self.advice.cards) if n not in self.withheld]

    def card_ids(self, key: bytes) -> list[str]:
        """The uuids of all cards of the advice, in their order."""
        return [addressee.uuid(advised.card.id) for advised, addressee in self._addressed(key)]

    def suggestions(self, key: bytes) -> list[dict[str, str]]:
        """Of each card the uuids of its suggestions, with the code of what they order, or "remove"."""
        return [
            {addressee.uuid(advised.card.id, n): _meaning(s) for n, s in enumerate(advised.card.suggestions)}
            for advised, addressee in self._addressed(key)
        ]

    def _addressed(self, key: bytes) -> list[tuple[Advised, Addressee]]:
        request = self.request
        seed = "|".join([self.service.id, self.service.knowledge_version, request.hook_instance, request.patient_id])
        addressee = Addressee(request.patient_id, request.user_id, request.encounter_id, seed, key)
        return [
            (advised, addressee.for_card(number, advised.decision.orders))
            for number, advised in enumerate(self.advice.cards)
        ]

    def explanation(self, today: date) -> dict[str, Any]:
        """All of it, also when no card is shown: the body of `explain --json`."""
        decisions = [self._decision(decision, None) for decision in self.advice.decisions]
        first = {**decisions[0], "cards": [advised.card.id for advised in self.advice.cards]}
        return {"today": today.isoformat(), "cards": self.cards(), "decision": first, "all": decisions}

    def _decision(self, decision: Decision, card: str | None) -> dict[str, Any]:
        """The members of the decision extension in the order of the contract."""
        members: dict[str, Any] = {
            "service": self.service.id,
            "knowledgeVersion": self.service.knowledge_version,
            "card": card,
            "order": list(decision.orders),
            "orderedKind": decision.ordered_kind,
            "outcome": decision.outcome,
            "subtype": decision.subtype,
            "evidenceGrade": decision.evidence_grade,
            "tier": decision.tier,
            "options": list(decision.options),
            "parallel": list(decision.parallel),
            "rules": list(decision.rules),
            "evidence": list(decision.evidence),
            "notRead": list(self.not_read),
            "sessions": [dict(session) for session in decision.sessions],
            "unreadable": list(self.unreadable),
            "nonconforming": list(self.nonconforming),
        }
        if card is None:
            members.pop("card")
            members |= {
                "cards": list(decision.cards),
                "facts": dict(decision.facts),
                "notes": list(decision.notes),
                "silence": decision.silence_reason,
            }
        return members


def answer(
    service: Service,
    body: object,
    today: date,
    connect: Connect | None = None,
    ended: Callable[[str], object] = lambda _: None,
) -> Answer:
    """Answer one hook request; `connect` gives the FHIR server that a request names, when it may be asked.

    `ended` is told the name of each phase as it ends: parse, gather, advise.

    Raises CdsError: 400 malformed, 412 required data missing or cut short, 422 about somebody else.
    """
    request = HookRequest.parse(body, service.hooks, service.prefetch)
    ended("parse")
    if not any(service.concerns(order) for order in request.selected):
        return Answer(request, service.advise(request, PatientRecord(), today), service)
    evidence = gather(service, request, connect(request.fhir_server, request.access_token) if connect else None)
    ended("gather")
    drafts = (*request.selected, *request.other_drafts)
    named = [reference for order in drafts for reference in order.reason_references]
    record = read_record(evidence, service.codes, service.is_relevant, named)
    advice = service.advise(request, record, today)
    _require_whole_history(service, record, advice)
    ended("advise")
    named_in_advice = _resources(evidence, {name for d in advice.decisions for name in (*d.evidence, *d.finding)})
    return Answer(
        request,
        advice,
        service,
        not_read=tuple(key for key in service.prefetch if not record.is_complete(key)),
        unreadable=record.unreadable,
        nonconforming=_nonconforming(named_in_advice, advice),
        evidence=named_in_advice,
    )


def _require_whole_history(service: Service, record: PatientRecord, advice: Advice) -> None:
    """Silence about a history that was cut short would read as "checked, nothing found"."""
    cut_short = [key for key in service.prefetch if key in service.required & record.truncated]
    if cut_short and not advice.cards and any(d.rests_on_history for d in advice.decisions):
        raise EvidenceTruncated(cut_short[0])


def _resources(evidence: Evidence, references: set[str]) -> dict[str, Resource]:
    ids = {reference.rpartition("/")[2] for reference in references}  # which of hundreds to look at more closely
    return {
        reference_of(resource): resource
        for kind in {reference.partition("/")[0] for reference in references}
        for resource in evidence.by_type.get(kind, ())
        if str(resource.get("id")) in ids and reference_of(resource) in references
    }


def _nonconforming(resources: Mapping[str, Resource], advice: Advice) -> tuple[str, ...]:
    """The resources that a finding rests on and that depart from FHIR R4: still used, but named."""
    finding = {reference for advised in advice.cards for reference in advised.decision.finding}
    found = {
        f"{reference}: {', '.join(elements)}"
        for reference in finding & resources.keys()
        if (elements := nonconformities(resources[reference]))
    }
    return tuple(sorted(found))


def _meaning(suggestion: Suggestion) -> str:
    if suggestion.create is None:
        return "remove"
    return suggestion.create.codings[0].code if suggestion.create.codings else suggestion.create.kind


def _without_empty(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in (None, "", [], {})}
