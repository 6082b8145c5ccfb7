"""Feedback on cards (CDS Hooks 2.0, 'Feedback'), read leniently: what known clients send, and not only what is printed.

A bad entry is left out and counted, and never loses the others. Texts are a clinician's and may name a patient.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cds_service.fhir.codes import Coding
from cds_service.protocol.errors import BadRequest

OUTCOMES = ("accepted", "overridden")
OTHER = "other"  # a reason that is in no list of ours: its words are kept apart

# What Epic puts into an extension when a reason is not one of the card: a number of the site, and two texts.
_EXTENSION = "com.epic.cdshooks.feedback.overrideReason."
_HL7_SYSTEM = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"
_HL7_CODES = frozenset(  # CDS Hooks 3.0.0-ballot, CodeSystem non-adherence-reason-codes
    {
        "action-completed", "action-not-priority", "action-performed-no-adverse-effect", "action-unsuccessful",
        "cds-not-applicable", "cds-suboptimal-context", "comorbidity-disability", "cultural-religious-reason",
        "does-not-align-latest-evidence", "does-not-align-preferences", "expert-contradicts",
        "implementation-challenges", "inadequate-support", "inappropriate-recipient", "indication-order-exists",
        "likely-negative-health-outcomes", "limited-time", "mitigate-risk-negative-outcome", "need-more-info",
        "not-convenient-feasible", "patient-contraindication", "patient-does-not-want-change",
        "patient-fears-discomfort", "patient-ineligible", "patient-refuses", "policy-contradicts",
        "prefers-alternative", "recipient-concerns-outcomes", "recipient-disagrees-evidence",
        "recipient-does-not-trust", "recipient-does-not-understand", "risk-benefit-ratio", "service-not-available",
        "too-costly-uncovered", "wrong-time-workflow",
    }
)  # fmt: skip
_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")
_EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)  # CDS Hooks is not older
_UUID = re.compile(r"(?:urn:uuid:)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)
_LONGEST_ID, _LONGEST_TEXT = 255, 4000  # characters


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one card, as a client tells it."""

    card: str = field(repr=False)  # a UUID when it is one of ours
    outcome: str
    suggestions: tuple[str, ...] = field(repr=False)  # those that were accepted
    sent_at: str = field(repr=False)
    reason: Coding = field(repr=False)
    comment: str = field(repr=False)

    @property
    def at(self) -> datetime | None:
        """When it happened; None for what is no time of RFC 3339, or none that can be."""
        try:
            at = datetime.fromisoformat(self.sent_at.upper()) if _RFC_3339.fullmatch(self.sent_at) else None
            return at.astimezone(UTC) if at and at >= _EARLIEST else None
        except (ValueError, OverflowError):
            return None

    def reason_code(self, offered: Iterable[Coding]) -> str:
        """The reason, when it is one of those that cards offer or HL7 lists; "other", or "" when none was given."""
        reason = self.reason
        if not any(reason):
            return ""
        if reason.system == _HL7_SYSTEM and reason.code in _HL7_CODES:
            return reason.code
        for known in offered:
            is_code = reason.code == known.code and reason.system in ("", known.system)
            if is_code or (reason.display and reason.display.casefold() == known.display.casefold()):
                return known.code
        return OTHER


def read_feedback(body: object) -> tuple[list[Report], int]:
    """The entries that can be read, and how many cannot. Raises BadRequest (400) when there is no array of entries."""
    entries = _entries(body)
    reports = [report for entry in entries if (report := _read(entry))]
    return reports, len(entries) - len(reports)


def _entries(body: object) -> list[Any]:
    found = body.get("feedback") if isinstance(body, dict) else None
    if isinstance(found, list):
        return found
    if isinstance(body, dict) and found is None and {"card", "outcome"} <= body.keys():
        return [body]  # one entry without its wrapper, as HAPI FHIR has it
    raise BadRequest(
        "'feedback' must be an array of what became of cards.",
        where="feedback",
        advice="See CDS Hooks 2.0, 'Feedback'.",
    )


def _read(entry: object) -> Report | None:
    """One entry; None without a card, or with an outcome that is none."""
    members = _object(entry)
    card, outcome = _text(members, "card", _LONGEST_ID), _text(members, "outcome").lower()
    if not card or outcome not in OUTCOMES:
        return None
    override = _first_object(members.get("overrideReason")) or _first_object(members.get("overrideReasons"))
    extension = {**_object(members.get("extension")), **_object(override.get("extension"))}
    return Report(
        card=_bare_uuid(card),
        outcome=outcome,
        suggestions=tuple(_accepted(members.get("acceptedSuggestions"))),
        sent_at=_text(members, "outcomeTimestamp"),
        reason=_reason(_coding(override), extension),
        comment=_text(override, "userComment", _LONGEST_TEXT),
    )


def _accepted(value: object) -> Iterable[str]:
    for item in value if isinstance(value, list) else ():
        if identity := _text(item if isinstance(item, dict) else {"id": item}, "id", _LONGEST_ID):
            yield _bare_uuid(identity)


def _coding(override: Mapping[str, Any]) -> Mapping[str, Any]:
    """The reason where it belongs, without its member, or as mere words."""
    reason = override.get("reason")
    return {"display": reason} if isinstance(reason, str) else _first_object(reason) or override


def _reason(coding: Mapping[str, Any], extension: Mapping[str, Any]) -> Coding:
    """The coding of the reason; its system may come with blanks in it."""
    system = "".join(_text(coding, "system").split())
    code = _text(coding, "code") or _text(extension, f"{_EXTENSION}reasonCategory")
    texts = (_text(coding, "display"), *(_text(extension, f"{_EXTENSION}reason{n}") for n in ("Title", "Display")))
    return Coding(system, code, next(filter(None, texts), ""))


def _bare_uuid(identity: str) -> str:
    match = _UUID.fullmatch(identity)
    return match[1].lower() if match else identity


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _first_object(value: object) -> Mapping[str, Any]:
    return _object(value[0] if isinstance(value, list) and value else value)


def _text(members: Mapping[str, Any], name: str, longest: int = _LONGEST_ID) -> str:
    value = members.get(name)
    return value.strip()[:longest] if isinstance(value, str) else ""
