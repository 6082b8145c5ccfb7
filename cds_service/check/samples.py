"""Hook requests to ask with: the scenarios of a service that we know, else a made-up patient with one plain draft."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from cds_service.check.discovery_rules import templates
from cds_service.scenarios import scenarios

PATIENT_ID = "check-patient-7f3a"
USER_ID = "Practitioner/check-user"
_ENCOUNTER_ID = "check-encounter"
_SUBJECT = {"reference": f"Patient/{PATIENT_ID}"}
_PATIENT = {"resourceType": "Patient", "id": PATIENT_ID, "gender": "female", "birthDate": "1970-01-01"}
_USER = {"resourceType": "Practitioner", "id": "check-user"}
_DRAFT = {
    "resourceType": "ServiceRequest",
    "id": "check-draft",
    "status": "draft",
    "intent": "order",
    "code": {"text": "An order made up by a conformance check"},
    "subject": _SUBJECT,
}
_APPOINTMENT = {
    "resourceType": "Appointment",
    "id": "check-appointment",
    "status": "proposed",
    "participant": [{"actor": _SUBJECT, "status": "needs-action"}],
}

Request = dict[str, Any]


def _bundle(kind: str, *resources: Mapping[str, Any]) -> Request:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": dict(resource)} for resource in resources]}


_IN_AN_ENCOUNTER = {"userId": USER_ID, "patientId": PATIENT_ID, "encounterId": _ENCOUNTER_ID}
_DRAFTS = {**_IN_AN_ENCOUNTER, "draftOrders": _bundle("collection", _DRAFT)}
_CONTEXTS: Mapping[str, Mapping[str, Any]] = {
    "order-select": {**_DRAFTS, "selections": ["ServiceRequest/check-draft"]},
    "order-sign": _DRAFTS,
    "patient-view": _IN_AN_ENCOUNTER,
    "encounter-start": _IN_AN_ENCOUNTER,
    "encounter-discharge": _IN_AN_ENCOUNTER,
    "appointment-book": {**_IN_AN_ENCOUNTER, "appointments": _bundle("collection", _APPOINTMENT)},
    "order-dispatch": {
        "patientId": PATIENT_ID,
        "dispatchedOrders": ["ServiceRequest/check-draft"],
        "performer": "Organization/check-performer",
    },
}


def sample(entry: Mapping[str, Any]) -> Request | None:
    """A valid request for an entry of discovery; None for a hook whose context is not known here."""
    if entry["hook"] not in _CONTEXTS:
        return None
    request: Request = {
        "hook": entry["hook"],
        "hookInstance": str(uuid.uuid4()),
        "context": dict(_CONTEXTS[entry["hook"]]),
    }
    if asked := templates(entry):
        request["prefetch"] = {key: _found(template) for key, template in asked.items()}
    return request


def stories(entry: Mapping[str, Any], today: date) -> Iterator[tuple[str, Request]]:
    """The scenarios for this service and hook that are answered with cards, or with none, as of a day."""
    if not re.fullmatch(r"[a-z0-9-]+", entry["id"]):
        return
    try:
        known = scenarios([entry["id"]])
    except OSError:  # nobody wrote scenarios for this service
        return
    for scenario in known:
        request = scenario.request(today)
        if request["hook"] == entry["hook"] and scenario.response()["status"] == 200:
            yield scenario.name, request


def draft_references(request: Mapping[str, Any]) -> set[str] | None:
    """The references of the draft orders; None when the hook carries none."""
    drafts = request["context"].get("draftOrders")
    if drafts is None:
        return None
    resources = [entry["resource"] for entry in drafts["entry"] if entry.get("resource")]
    return {f"{resource.get('resourceType')}/{resource.get('id')}" for resource in resources}


def _found(template: str) -> Request | None:
    """What the made-up chart holds for a template: the patient and the user; nothing else was ever recorded."""
    if template.startswith("Patient/"):
        return _PATIENT
    if template == "{{context.userId}}":
        return _USER
    return {"resourceType": "Bundle", "type": "searchset", "total": 0} if "?" in template else None
