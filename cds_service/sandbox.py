"""A scenario in a real FHIR server, and a hook request about a patient there; no I/O, and no medicine."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any
from urllib.parse import quote

from cds_service.fhir.evidence import objects, read_answer
from cds_service.fhir.models import new_order
from cds_service.protocol.card import NewOrder
from cds_service.protocol.response import coding_json
from cds_service.scenarios import Scenario

Resource = Mapping[str, Any]

IDENTIFIER_SYSTEM = "urn:cds-service:sandbox"
# The standard's own mark of records that are about nobody.
_TEST_DATA = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}
_NAMESPACE = uuid.UUID("0b1c6f62-5a43-5f0e-8f6b-0d4f7b6c9e21")
_SUBJECTS = ("subject", "patient", "beneficiary", "for")
_TESTER = "Practitioner/sandbox"
_DRAFT_ID = "sandbox-order"
_TOKEN = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
_PATIENT = re.compile(r"(?:^|/)Patient/([A-Za-z0-9\-._]+)")


def transaction(scenario: Scenario, today: date) -> Resource:
    """The patient of a scenario and all that its prefetch holds, as one transaction that can be repeated.

    Each resource is found again by an identifier of ours: where it is already, it is brought up to date. The ids
    are the server's own, and references within the transaction become these.
    """
    request = scenario.request(today)
    patient = f"Patient/{request['context']['patientId']}"
    found = {f"{r['resourceType']}/{r['id']}": r for r in _chart(request) if _is_about(r, patient)}
    found.setdefault(patient, {"resourceType": "Patient"})
    named = {reference: _urn(scenario.name, reference) for reference in found}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(scenario.name, name, resource, named) for name, resource in found.items()],
    }


def queries(bundle: Resource) -> list[str]:
    """The conditions of a transaction: the searches that find what is there already."""
    return [entry["request"]["url"] for entry in bundle["entry"]]


def without_conditions(bundle: Resource, found: Mapping[str, str]) -> Resource:
    """The same transaction for servers that take few conditions in one: what was found by its id, the rest as new."""
    return {**bundle, "entry": [_unconditional(entry, found.get(entry["request"]["url"])) for entry in bundle["entry"]]}


def patient_query(scenario: Scenario) -> str:
    """The search that finds the patient of a scenario on any server that it was put into."""
    name = f"Patient/{scenario.request()['context']['patientId']}"
    return _query(name, _identifier(scenario.name, name))


def patient_id_in(answer: Resource) -> str | None:
    """The id that the server gave the patient, from its answer to a transaction; not every server tells."""
    for entry in objects(answer.get("entry")):
        resource, response = entry.get("resource"), entry.get("response")
        if isinstance(resource, dict) and resource.get("resourceType") == "Patient" and resource.get("id"):
            return str(resource["id"])
        location = response.get("location") if isinstance(response, dict) else None
        if match := _PATIENT.search(str(location or "")):
            return match[1]
    return None


def hook_request(patient_id: str, order: NewOrder, fhir_server: str, prefetch: Resource | None) -> dict[str, Any]:
    """An order-select for this patient: one draft, selected."""
    code = {"coding": [coding_json(coding) for coding in order.codings], "text": order.text}
    if not order.codings:
        del code["coding"]
    draft = new_order(order.kind, code=code, patient_id=patient_id, user_id=_TESTER, encounter_id=None)
    entry = {"resource": {**draft, "id": _DRAFT_ID, "intent": "order"}}
    request: dict[str, Any] = {
        "hook": "order-select",
        "hookInstance": str(uuid.uuid4()),
        "fhirServer": fhir_server,
        "context": {
            "userId": _TESTER,
            "patientId": patient_id,
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [entry]},
            "selections": [f"{order.kind}/{_DRAFT_ID}"],
        },
    }
    return request if prefetch is None else {**request, "prefetch": dict(prefetch)}


def filled_in(template: str, patient_id: str) -> str | None:
    """A prefetch template as a query about this patient; None when it asks for what this request does not have."""
    known = {"context.patientId": patient_id, "context.userId": _TESTER}
    if not all(token in known for token in _TOKEN.findall(template)):
        return None
    return _TOKEN.sub(lambda match: known[match[1]], template)


def _chart(request: Resource) -> Iterator[dict[str, Any]]:
    """Every resource of the prefetch that can be told from others; a query that failed holds none."""
    for key, value in request.get("prefetch", {}).items():
        for resources in read_answer(key, value).by_type.values():
            yield from (dict(resource) for resource in resources if isinstance(resource.get("id"), str))


def _is_about(resource: Resource, patient: str) -> bool:
    """Whether a resource is about the patient of the story; one about somebody else stays out of the server."""
    if resource["resourceType"] == "Patient":
        return f"Patient/{resource['id']}" == patient
    subjects = [item.get("reference") for name in _SUBJECTS for item in objects(resource.get(name))]
    return all(subject in {patient, None} for subject in subjects)


def _entry(scenario: str, name: str, resource: Resource, named: Mapping[str, str]) -> Resource:
    value = _identifier(scenario, name)
    linked = {member: _linked(item, scenario, named) for member, item in resource.items() if member != "id"}
    linked["identifier"] = [{"system": IDENTIFIER_SYSTEM, "value": value}, *objects(linked.get("identifier"))]
    linked["meta"] = {**linked.get("meta", {}), "tag": [_TEST_DATA]}
    if resource["resourceType"] == "Patient":
        linked.setdefault("name", [{"family": "Sandbox", "given": [scenario]}])
    return {
        "fullUrl": named[name],
        "resource": linked,
        "request": {"method": "PUT", "url": _query(name, value)},
    }


def _unconditional(entry: Resource, identity: str | None) -> Resource:
    kind = entry["resource"]["resourceType"]
    if identity is None:
        return {**entry, "request": {"method": "POST", "url": kind}}
    resource = {**entry["resource"], "id": identity}
    return {**entry, "resource": resource, "request": {"method": "PUT", "url": f"{kind}/{identity}"}}


def _linked(value: Any, scenario: str, named: Mapping[str, str]) -> Any:
    """References as they read inside the transaction; what is not in it is named by an identifier only."""
    if isinstance(value, list):
        return [_linked(item, scenario, named) for item in value]
    if not isinstance(value, dict):
        return value
    members = {name: _linked(item, scenario, named) for name, item in value.items()}
    reference = members.get("reference")
    if not isinstance(reference, str) or reference.startswith("#"):
        return members
    if reference in named:
        return {**members, "reference": named[reference]}
    del members["reference"]
    identifier = {"system": IDENTIFIER_SYSTEM, "value": _identifier(scenario, reference)}
    return {"identifier": identifier, **members}


def _identifier(scenario: str, name: str) -> str:
    """By this a resource is found again, whatever id a server gave it."""
    return f"{scenario}.{name.replace('/', '.')}"


def _query(name: str, identifier: str) -> str:
    return f"{name.partition('/')[0]}?identifier={quote(f'{IDENTIFIER_SYSTEM}|{identifier}', safe=':')}"


def _urn(scenario: str, name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{scenario}/{name}')}"
