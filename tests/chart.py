"""Build hook requests and charts in a few words; every person is invented."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

CPT = "http://www.ama-assn.org/go/cpt"
ICD = "http://hl7.org/fhir/sid/icd-10-cm"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
SNOMED = "http://snomed.info/sct"
LOCAL = "urn:cds-service:failed-esi"
ACTIVE = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}

SIDES = {"left": "7771000", "right": "24028007", "both": "51440002"}
PATIENT_ID = "pat-1"

Resource = dict[str, Any]


def patient(born: str = "1972-03-04", patient_id: str = PATIENT_ID) -> Resource:
    return {"resourceType": "Patient", "id": patient_id, "birthDate": born}


def coded(system: str, code: str, text: str = "") -> Resource:
    concept: Resource = {"coding": [{"system": system, "code": code}]} if code else {}
    return {**concept, "text": text} if text else concept


def procedure(
    cpt: str,
    on: str,
    name: str = "p1",
    *,
    text: str = "",
    side: str = "",
    level: str = "",
    status: str = "completed",
    **more: Any,
) -> Resource:
    sites = [coded(SNOMED, SIDES[side])] if side else []
    sites += [{"text": level}] if level else []
    when = {} if "performedPeriod" in more else {"performedDateTime": on}
    return {
        "resourceType": "Procedure",
        "id": name,
        "status": status,
        "code": coded(CPT, cpt, text),
        "subject": {"reference": f"Patient/{PATIENT_ID}"},
        **when,
        **({"bodySite": sites} if sites else {}),
        **more,
    }


def esi(on: str, name: str = "p1", **more: Any) -> Resource:
    """A left L5-S1 transforaminal session."""
    return procedure("64483", on, name, **{"side": "left", "level": "L5-S1", **more})


def interlaminar(on: str, name: str = "p1", **more: Any) -> Resource:
    """A lumbar interlaminar session with the steroid documented."""
    steroid = [coded(RXNORM, "10759", "triamcinolone")]
    return procedure("62323", on, name, **{"usedCode": steroid, **more})


def therapy(first: str, last: str, name: str = "pt1", **more: Any) -> Resource:
    return procedure("97110", "", name, performedPeriod={"start": first, "end": last}, **more)


def score(
    value: float | str,
    on: str,
    name: str = "o1",
    *,
    site: str = "leg",
    code: str = "72514-3",
    unit: str = "{score}",
    system: str = LOINC,
    status: str = "final",
    **more: Any,
) -> Resource:
    measured = {"valueQuantity": {"value": value, "unit": unit} if unit else {"value": value}}
    return {
        "resourceType": "Observation",
        "id": name,
        "status": status,
        "code": coded(system, code),
        "subject": {"reference": f"Patient/{PATIENT_ID}"},
        "effectiveDateTime": on,
        **({"bodySite": {"text": site}} if site else {}),
        **({} if any(key.startswith("value") for key in more) else measured),
        **more,
    }


def oswestry(value: float, on: str, name: str = "f1", **more: Any) -> Resource:
    return score(value, on, name, site="", code="97909-6", unit="%", **more)


def percent_relief(value: float, on: str, name: str = "r1", about: str = "", **more: Any) -> Resource:
    link = {"partOf": [{"reference": f"Procedure/{about}"}]} if about else {}
    return score(value, on, name, site="", code="percent-relief", system=LOCAL, unit="%", **link, **more)


def condition(icd: str, onset: str = "2025-08-05", name: str = "c1", **more: Any) -> Resource:
    return {
        "resourceType": "Condition",
        "id": name,
        "clinicalStatus": ACTIVE,
        "code": coded(ICD, icd),
        "subject": {"reference": f"Patient/{PATIENT_ID}"},
        **({"onsetDateTime": onset} if onset else {}),
        **more,
    }


def medication(text: str, name: str = "m1", *, status: str = "active", authored: str = "", **more: Any) -> Resource:
    return {
        "resourceType": "MedicationRequest",
        "id": name,
        "status": status,
        "intent": "order",
        "medicationCodeableConcept": {"text": text},
        "subject": {"reference": f"Patient/{PATIENT_ID}"},
        **({"authoredOn": authored} if authored else {}),
        **more,
    }


def service_request(cpt: str, name: str = "s1", *, authored: str = "", status: str = "active", **more: Any) -> Resource:
    return {
        "resourceType": "ServiceRequest",
        "id": name,
        "status": status,
        "intent": "order",
        "code": coded(CPT, cpt),
        "subject": {"reference": f"Patient/{PATIENT_ID}"},
        **({"authoredOn": authored} if authored else {}),
        **more,
    }


def draft(
    cpt: str = "64483", name: str = "d1", *, text: str = "", side: str = "left", level: str = "L5-S1"
) -> Resource:
    """A draft order; by default the same injection as esi()."""
    sites = [coded(SNOMED, SIDES[side])] if side else []
    sites += [{"text": level}] if level else []
    more = {"bodySite": sites} if sites else {}
    return {**service_request(cpt, name, status="draft", **more), "code": coded(CPT, cpt, text)}


def bundle(*resources: Resource, **more: Any) -> Resource:
    entries = [{"resource": resource, "search": {"mode": "match"}} for resource in resources]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries, **more}


def hook_request(
    *resources: Resource,
    drafts: tuple[Resource, ...] = (),
    selections: list[str] | None = None,
    hook: str = "order-select",
    person: Resource | None = None,
    prefetch: dict[str, Any] | None = None,
    not_sent: Collection[str] = (),
) -> Resource:
    """A request whose prefetch holds the resources under the keys they belong to."""
    drafts = drafts or (draft(),)
    keys = {
        "procedures": ("Procedure", "MedicationAdministration"),
        "conditions": ("Condition",),
        "observations": ("Observation",),
        "medications": ("MedicationRequest", "MedicationStatement", "Medication"),
        "serviceRequests": ("ServiceRequest",),
        "allergies": ("AllergyIntolerance",),
        "coverage": ("Coverage",),
    }
    filled = {key: bundle(*(r for r in resources if r["resourceType"] in kinds)) for key, kinds in keys.items()}
    context: Resource = {
        "userId": "Practitioner/doc-1",
        "patientId": PATIENT_ID,
        "encounterId": "enc-1",
        "draftOrders": {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": resource} for resource in drafts],
        },
    }
    if hook == "order-select":
        context["selections"] = [f"{drafts[0]['resourceType']}/{drafts[0]['id']}"] if selections is None else selections
    keys_sent = {"patient": patient() if person is None else person, **filled, **(prefetch or {})}
    return {
        "hook": hook,
        "hookInstance": "3f6a1c1e-8f0a-4a53-9d0c-2f6f0a1d7c11",
        "context": context,
        "prefetch": {key: value for key, value in keys_sent.items() if key not in not_sent},
    }


# A chart that leads to a card: one injection in the nerve pain it was meant for, and no relief.
FAILED = (
    patient(),
    esi("2026-03-16", "esi-1"),
    score(8, "2026-03-10", "o1"),
    score(7, "2026-04-20", "o2"),
    condition("M54.16", name="c1"),
)
