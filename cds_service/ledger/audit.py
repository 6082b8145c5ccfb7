"""The ledger as FHIR R4 AuditEvents: one for each decision, one for each query to a FHIR server.

The queries follow the Basic Audit Log Patterns of IHE (BALP 1.1.3, PatientRead and PatientQuery). Who the patient is
stands there as a digest, and by name only while a capsule of the call is kept.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import orjson
from sqlalchemy import Connection, select

from cds_service.ledger.capsule import PURPOSE, patient_of, read_capsule
from cds_service.ledger.decisions import patient_digest
from cds_service.ledger.tables import entries, sealed
from cds_service.trust.secrets import SecretError, Secrets

Json = dict[str, Any]

_BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit"
_CODES = "http://terminology.hl7.org/CodeSystem"
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_REST = {"system": f"{_CODES}/audit-event-type", "code": "rest", "display": "Restful Operation"}
_ACTIVITY = {"system": _DICOM, "code": "110100", "display": "Application Activity"}
_SOURCE = {"system": _DICOM, "code": "110153", "display": "Source Role ID"}
_DESTINATION = {"system": _DICOM, "code": "110152", "display": "Destination Role ID"}
_USER = {"system": f"{_CODES}/v3-ParticipationType", "code": "IRCP", "display": "information recipient"}
_PERSON = {"system": f"{_CODES}/audit-entity-type", "code": "1", "display": "Person"}
_THING = {"system": f"{_CODES}/audit-entity-type", "code": "2", "display": "System Object"}
_ROLES = {"1": "Patient", "3": "Report", "4": "Domain Resource", "20": "Job", "24": "Query"}
_SUCCESS, _MINOR_FAILURE, _SERIOUS_FAILURE = "0", "4", "8"  # AuditEvent.outcome
_PATIENT = "{{context.patientId}}"
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """Which events are asked for: of these days (text, UTC; `until` not included), of this patient."""

    since: str = ""
    until: str = "9"
    patient: str | None = None


@dataclass(frozen=True, slots=True)
class Auditor:
    """Writes the events of one installation."""

    secrets: Secrets
    address: str  # under which the service is known
    queries: Mapping[tuple[str, str], str]  # templates, by knowledge hash and prefetch key

    def events(self, connection: Connection, asked: Asked) -> Iterator[Json]:
        """The events in the order of the ledger."""
        for record, capsule in _decisions(connection, asked):
            if asked.patient is None or record.get("patient") in self._digests(record["client"], asked.patient):
                yield from self._of(record, self._patient_id(capsule))

    def _digests(self, client: str, patient_id: str) -> set[str]:
        """What records call a patient, also those from before the secret was changed."""
        return {patient_digest(Secrets((value,)), client, patient_id) for value in self.secrets.values}

    def _patient_id(self, capsule: bytes | None) -> str | None:
        try:
            return patient_of(read_capsule(self.secrets.open(PURPOSE, capsule)).body) if capsule else None
        except SecretError:
            return None

    def _of(self, record: Mapping[str, Any], patient_id: str | None) -> Iterator[Json]:
        patient = _patient(record, patient_id)
        for position, asked in enumerate(record.get("asked", ()), start=1):
            template = self.queries.get((record["knowledgeHash"], asked["key"]), "")
            yield self._query(record, asked, _sent(asked, template, patient_id), patient) | {
                "id": f"{record['number']}-{position}"
            }
        yield self._decision(record, patient)

    def _query(self, record: Mapping[str, Any], asked: Mapping[str, Any], sent: str, patient: list[Json]) -> Json:
        is_read = asked["type"] == "Patient"
        has_failed = asked["outcome"] == "not available"
        ours, theirs = (_DESTINATION, _SOURCE) if is_read else (_SOURCE, _DESTINATION)
        profile = f"{_BALP}.{'PatientRead' if is_read else 'PatientQuery'}"
        thing = _entity("4", what=patient[0]["what"]) if is_read and patient else _entity("24", query=_base64(sent))
        return {
            "resourceType": "AuditEvent",
            **({} if has_failed or not patient else {"meta": {"profile": [profile]}}),  # BALP tells of successes only
            "type": _REST,
            "subtype": [_interaction("read" if is_read else "search")],
            "action": "R" if is_read else "E",
            "recorded": record["at"],
            "outcome": _SERIOUS_FAILURE if has_failed else _SUCCESS,
            "outcomeDesc": asked["outcome"],
            "agent": [self._service(record, ours), _server(record["server"], theirs), *_user(record)],
            "source": _recorder(record),
            "entity": [*patient, thing],
        }

    def _decision(self, record: Mapping[str, Any], patient: list[Json]) -> Json:
        is_answered = record["status"] == 200
        said = "answered" if is_answered else " ".join(filter(None, (record["error"], record.get("where"))))
        return {
            "resourceType": "AuditEvent",
            "id": str(record["number"]),
            "type": _ACTIVITY,
            "subtype": [{"system": "urn:cds-service:hook", "code": record.get("hook", "unknown")}],
            "action": "E",
            "recorded": record["at"],
            "outcome": _SUCCESS if is_answered else _MINOR_FAILURE,
            "outcomeDesc": said,
            "agent": [_client(record), self._service(record, _DESTINATION), *_user(record)],
            "source": _recorder(record),
            "entity": [*patient, _entity("20", name=record["service"], detail=_details(record)), *_cards(record)],
        }

    def _service(self, record: Mapping[str, Any], role: Json) -> Json:
        network = {"address": self.address, "type": "5"}  # URI
        return _agent(role, {"display": f"cds-service {record['software']}"}) | {"network": network}


def _decisions(connection: Connection, asked: Asked) -> Iterator[tuple[Json, bytes | None]]:
    """The records of decisions, each with its capsule if there is one."""
    content = select(sealed.c.content).where(sealed.c.number == entries.c.number, sealed.c.purpose == PURPOSE)
    chosen = (
        select(entries.c.number, entries.c.record, content.scalar_subquery().label("capsule"))
        .where(entries.c.kind == "decision", entries.c.at >= asked.since, entries.c.at < asked.until)
        .order_by(entries.c.number)
        .limit(_PAGE)
    )
    after = 0
    while page := connection.execute(chosen.where(entries.c.number > after)).all():
        yield from ((orjson.loads(row.record), row.capsule) for row in page)
        after = page[-1].number


def _sent(asked: Mapping[str, Any], template: str, patient_id: str | None) -> str:
    """The query as far as it is known: its template stands in the knowledge, the rest of a search at the server."""
    if asked.get("isFurtherPages") or not template:
        return f"{asked['type']}?patient={patient_id or _PATIENT}"
    return template.replace(_PATIENT, patient_id) if patient_id else template


def _patient(record: Mapping[str, Any], patient_id: str | None) -> list[Json]:
    """The patient, unless the call named none."""
    if patient_id:
        return [_entity("1", what={"reference": f"Patient/{patient_id}"})]
    if not record.get("patient"):
        return []
    digest = {"system": "urn:cds-service:patient-digest", "value": record["patient"]}
    return [_entity("1", what={"type": "Patient", "identifier": digest})]


def _cards(record: Mapping[str, Any]) -> list[Json]:
    return [
        _entity(
            "3",
            what={"identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{card['uuid']}"}},
            name=card["card"],
            detail=[{"type": "shown", "valueString": "yes" if card["isShown"] else "no"}],
        )
        for card in record.get("cards", ())
    ]


def _details(record: Mapping[str, Any]) -> list[Json]:
    """What the decision was, by the members of the record."""
    found = {name: record.get(name) for name in ("hookInstance", "knowledge", "knowledgeHash", "today", "dialect")}
    found |= {name: ", ".join(record.get(name, ())) for name in ("outcomes", "rules", "silence", "notRead")}
    return [{"type": name, "valueString": value} for name, value in found.items() if value]


def _client(record: Mapping[str, Any]) -> Json:
    agent = _agent(_SOURCE, {"identifier": {"system": "urn:cds-service:client", "value": record["client"]}})
    # The pattern of BALP for tokens: the id of the token, never the token.
    return agent | ({"policy": [f"urn:ietf:params:oauth:jti:{record['jti']}"]} if record.get("jti") else {})


def _server(address: str, role: Json) -> Json:
    network = {"address": address, "type": "2" if _is_ip(address) else "1"}  # IP address, machine name
    return _agent(role, {"display": address}) | {"network": network}


def _user(record: Mapping[str, Any]) -> list[Json]:
    """Who was to read the answer, as the client names them."""
    return [_agent(_USER, {"identifier": {"value": record["user"]}}) | {"requestor": True}] if "user" in record else []


def _agent(role: Json, who: Json) -> Json:
    return {"type": {"coding": [role]}, "who": who, "requestor": False}


def _recorder(record: Mapping[str, Any]) -> Json:
    kind = {"system": f"{_CODES}/security-source-type", "code": "4", "display": "Application Server"}
    return {"observer": {"display": f"cds-service {record['software']}"}, "type": [kind]}


def _entity(role: str, **more: Any) -> Json:
    coding = {"system": f"{_CODES}/object-role", "code": role, "display": _ROLES[role]}
    return {"type": _PERSON if role == "1" else _THING, "role": coding, **more}


def _interaction(code: str) -> Json:
    return {"system": "http://hl7.org/fhir/restful-interaction", "code": code}


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def _is_ip(address: str) -> bool:
    host = address.rpartition(":")[0] or address
    try:
        return bool(ip_address(host.strip("[]")))
    except ValueError:
        return False
