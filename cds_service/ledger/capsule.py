"""What an answer follows from, sealed beside its entry for a while, so that it can be given again to the letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import orjson

from cds_service.fhir.evidence import Answer
from cds_service.fhir.recording import read_recorded
from cds_service.protocol.dialect import Dialect, SiteTerms, read_dialect

PURPOSE = "capsule"
_NOT_KEPT = "not kept"  # stands for the access token, without which the request could not be read again


@dataclass(frozen=True, slots=True)
class Capsule:
    """All that an answer follows from, but software and knowledge: their hashes stand in the record."""

    body: Any = field(repr=False)  # as the standard has it: the dialect was already read
    today: date
    client: str
    service: str
    dialect: str
    codes: Mapping[str, Mapping[str, str]]  # of the site, for orders that a card creates
    profile: str
    public_url: str | None
    emergency_url: str | None
    answers: Mapping[str, Answer] | None = field(repr=False)  # of the FHIR server; None when none could be asked

    def json(self) -> bytes:
        """As it is sealed."""
        return orjson.dumps(self)

    def spoken(self) -> Dialect:
        """The dialect of the answer. Raises DialectError when this version does not know it."""
        return replace(read_dialect(self.dialect), terms=SiteTerms(codes=self.codes))


def read_capsule(content: bytes) -> Capsule:
    """A capsule from what was sealed."""
    members = orjson.loads(content)
    answers = members["answers"]
    if answers is not None:
        answers = {key: read_recorded(answer) for key, answer in answers.items()}
    return Capsule(**{**members, "today": date.fromisoformat(members["today"]), "answers": answers})


def without_token(body: Any) -> Any:
    """The request without the key to the patient's chart; what is no authorization at all goes as a whole."""
    authorization = body.get("fhirAuthorization") if isinstance(body, dict) else None
    if authorization is None:
        return body
    kept = {**authorization, "access_token": _NOT_KEPT} if isinstance(authorization, dict) else _NOT_KEPT
    return {**body, "fhirAuthorization": kept}


def patient_of(body: Any) -> str:
    """The id of the patient in context; "" when there is none."""
    return text_of(body, "patientId").removeprefix("Patient/")


def text_of(body: Any, member: str) -> str:
    """A member of the context, also of a request that was refused before it was read."""
    context = body.get("context") if isinstance(body, dict) else None
    value = context.get(member) if isinstance(context, dict) else None
    return value.strip() if isinstance(value, str) else ""
