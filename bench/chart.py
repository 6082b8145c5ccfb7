"""A hook request with a chart of any size: the finding of a scenario, and noise that no rule asks for."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import orjson

from cds_service.scenarios import find_scenario

SEED = 20260601
_LABS = ("2160-0", "718-7", "4544-3", "2345-7", "2951-2", "2823-3", "8867-4", "9279-1", "29463-7", "8302-2")
_PROBLEMS = ("44054006", "38341003", "195967001", "59621000", "55822004", "162864005")
_DONE = ("430193006", "710824005", "428211000124100", "73761001")


def request_of_size(resources: int) -> bytes:
    """The demo scenario as of today with noise added until its prefetch holds so many resources."""
    scenario = find_scenario("failed-and-reordered", ["failed-esi"])
    body = scenario.request(date.today())  # noqa: DTZ011 - the service uses the machine's day as well
    prefetch = body["prefetch"]
    present = 1 + sum(len(bundle["entry"]) for key, bundle in prefetch.items() if key != "patient")
    for number, (key, resource) in enumerate(noise(resources - present, body["context"]["patientId"])):
        prefetch[key]["entry"].append({"fullUrl": f"urn:uuid:{number}", "resource": resource})
    return orjson.dumps(body)


def noise(resources: int, patient_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """So many resources of a patient that no rule asks for, each with the prefetch key that finds it."""
    rng = random.Random(SEED)
    for number in range(resources):
        yield _noise(rng, number, patient_id)


def _noise(rng: random.Random, number: int, patient_id: str) -> tuple[str, dict[str, Any]]:
    """Seven in ten are laboratory values and vital signs, as in a real chart."""
    day = date.today() - timedelta(days=rng.randrange(2000))  # noqa: DTZ011
    common = {"id": f"noise-{number}", "subject": {"reference": f"Patient/{patient_id}"}}
    meta = {"meta": {"versionId": "1", "lastUpdated": f"{day}T08:00:00Z"}}
    encounter = {"encounter": {"reference": f"Encounter/{number}"}}
    kind = rng.random()
    if kind < 0.7:
        return "observations", {
            "resourceType": "Observation",
            **common,
            **meta,
            **encounter,
            "status": "final",
            "category": [_concept("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory")],
            "code": _concept("http://loinc.org", rng.choice(_LABS), "A laboratory value or vital sign"),
            "effectiveDateTime": f"{day}T08:00:00+00:00",
            "issued": f"{day}T08:00:00.000+00:00",
            "valueQuantity": {
                "value": round(rng.uniform(1, 200), 2),
                "unit": "mg/dL",
                "system": "http://unitsofmeasure.org",
                "code": "mg/dL",
            },
        }
    if kind < 0.85:
        return "procedures", {
            "resourceType": "Procedure",
            **common,
            **meta,
            **encounter,
            "status": "completed",
            "code": _concept("http://snomed.info/sct", rng.choice(_DONE), "Another procedure"),
            "performedPeriod": {"start": f"{day}T08:00:00+00:00", "end": f"{day}T08:30:00+00:00"},
        }
    return "conditions", {
        "resourceType": "Condition",
        **common,
        **meta,
        **encounter,
        "clinicalStatus": _concept("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
        "verificationStatus": _concept("http://terminology.hl7.org/CodeSystem/condition-ver-status", "confirmed"),
        "category": [_concept("http://terminology.hl7.org/CodeSystem/condition-category", "encounter-diagnosis")],
        "code": _concept("http://snomed.info/sct", rng.choice(_PROBLEMS), "Another problem"),
        "onsetDateTime": f"{day}T08:00:00+00:00",
        "recordedDate": f"{day}T08:00:00+00:00",
    }


def _concept(system: str, code: str, text: str = "") -> dict[str, Any]:
    coding = {"system": system, "code": code, **({"display": text} if text else {})}
    return {"coding": [coding], **({"text": text} if text else {})}
