"""The validated view: fhir.resources for what we emit and for the few resources a decision rests on.

The only module that imports fhir.resources, and only its R4B package: the root package is R5. R4B is a safe
stand-in for R4, whose package the library no longer has: for the resources named here the two agree in every
field, cardinality and requirement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fhir.resources.R4B.allergyintolerance import AllergyIntolerance
from fhir.resources.R4B.condition import Condition
from fhir.resources.R4B.coverage import Coverage
from fhir.resources.R4B.medicationadministration import MedicationAdministration
from fhir.resources.R4B.medicationrequest import MedicationRequest
from fhir.resources.R4B.medicationstatement import MedicationStatement
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.procedure import Procedure
from fhir.resources.R4B.servicerequest import ServiceRequest
from pydantic import ValidationError

_MODELS: Mapping[str, Any] = {
    model.__name__: model
    for model in (
        AllergyIntolerance,
        Condition,
        Coverage,
        MedicationAdministration,
        MedicationRequest,
        MedicationStatement,
        Observation,
        Procedure,
        ServiceRequest,
    )
}
_REFERENCES = frozenset({"subject", "encounter", "requester"})
_validated: set[bytes] = set()  # bounded by the options and regions that the services word
_REQUESTER = re.compile(r"(Practitioner|PractitionerRole)/[A-Za-z0-9\-.]{1,64}")


def nonconformities(resource: Mapping[str, Any]) -> tuple[str, ...]:
    """The elements at which a resource departs from FHIR R4, without their values; () when it conforms.

    The library also answers some malformed resources with KeyError or TypeError instead of a validation error.
    """
    model = _MODELS.get(str(resource.get("resourceType")))
    if model is None:
        return ()
    try:
        model.model_validate(resource)
    except ValidationError as error:
        details = error.errors(include_input=False, include_url=False, include_context=False)
        return tuple(sorted({_path(detail["loc"], detail["type"]) for detail in details}))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return ("resource",)
    return ()


def new_order(
    kind: str,
    *,
    code: Mapping[str, Any],
    patient_id: str,
    user_id: str,
    encounter_id: str | None,
    note: str = "",
) -> dict[str, Any]:
    """A draft ServiceRequest or MedicationRequest, validated; a proposal until the clinician accepts it.

    Raises ValueError when the library refuses it, which would be a fault of ours. Orders that differ only in the
    ids of patient, encounter and requester, whose form is checked when the request is read, are validated once.
    """
    order: dict[str, Any] = {
        "resourceType": kind,
        "status": "draft",
        "intent": "proposal",
        "code" if kind == "ServiceRequest" else "medicationCodeableConcept": dict(code),
        "subject": {"reference": f"Patient/{patient_id}"},
    }
    if encounter_id:
        order["encounter"] = {"reference": f"Encounter/{encounter_id}"}
    if _REQUESTER.fullmatch(user_id):
        order["requester"] = {"reference": user_id}
    if note:
        order["note"] = [{"text": note}]
    _validate_once(orjson.dumps({**order, **dict.fromkeys(_REFERENCES & order.keys(), True)}), order)
    return order


def _validate_once(shape: bytes, order: Mapping[str, Any]) -> None:
    if shape not in _validated:
        _MODELS[str(order["resourceType"])].model_validate(order)
        _validated.add(shape)


def warm_up() -> None:
    """Build the library's lazy schemas now, so that the first request does not wait for them."""
    for name in _MODELS:
        nonconformities({"resourceType": name})


def _path(location: Sequence[Any], problem: str) -> str:
    """The element at fault; a member that FHIR does not know is a caller's text and not repeated."""
    parts = [str(part) for part in location if not isinstance(part, int)]
    if problem == "extra_forbidden":
        parts[-1:] = ["unknown member"]
    return ".".join(parts) or "resource"
