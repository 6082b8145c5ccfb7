"""Which FHIR version a request is written in: R4 is read, DSTU2 and STU3 are refused instead of half understood.

A request does not name its version. What only older versions write tells it; one odd member beside
resources that are plainly R4 is a quirk of a server, and the reader knows those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from cds_service.protocol.errors import UnservedFhirVersion

Resource = Mapping[str, Any]

_DSTU2, _STU3, _EITHER = "DSTU2", "STU3", "DSTU2 or STU3"
_OLDER_TYPES = {
    "MedicationOrder": _DSTU2,
    "DiagnosticOrder": _DSTU2,
    "DeviceUseRequest": _DSTU2,
    "ProcedureRequest": _EITHER,
    "ReferralRequest": _EITHER,
}
# Members that a resource lost with R4, most of them because they turn its meaning into the opposite.
_OLDER_MEMBERS = {
    "Procedure": {"notPerformed": _DSTU2, "reasonNotPerformed": _DSTU2, "notDone": _STU3, "notDoneReason": _STU3},
    "MedicationStatement": {"wasNotTaken": _DSTU2, "taken": _STU3},
    "MedicationAdministration": {"wasNotGiven": _DSTU2, "notGiven": _STU3},
    "Patient": {"careProvider": _DSTU2},
}
_NOT_DONE = ("notPerformed", "notDone", "wasNotTaken", "wasNotGiven", "notGiven")
_OLDER_DATES = {"dateRecorded": _DSTU2, "assertedDate": _STU3}
_NEWER_TYPES = frozenset({"ServiceRequest"})
_NEWER_MEMBERS = {"Procedure": ("statusReason", "recorder", "asserter", "instantiatesCanonical", "instantiatesUri")}
_STATED_IN_EXTENSION = "com.epic.cdshooks.request.fhir-version"
_STATED = {"dstu2": _DSTU2, "r2": _DSTU2, "1.0": _DSTU2, "stu3": _STU3, "dstu3": _STU3, "r3": _STU3, "3.0": _STU3}
_DRAFT_LISTS = ("draftOrders", "orders", "medications")  # the last two are what older hooks called it
_DEEPEST = 3  # a wrapped entry of a Bundle in a Bundle


def require_r4(body: Resource, keys: Collection[str]) -> None:
    """Refuse a hook request of another version (422), by what it says and by the shapes of its resources.

    `keys` are the prefetch keys that are read; drafts and prefetch are looked at apart, because some clients
    draft in R4 for a server of another version.
    """
    if version := _stated_version(body):
        raise UnservedFhirVersion("fhirVersion", version)
    context = body.get("context")
    lists = {name: context.get(name) for name in _DRAFT_LISTS} if isinstance(context, dict) else {}
    for name, drafts in lists.items():
        for kind in (str(resource.get("resourceType")) for resource in _resources(drafts)):
            if kind in _OLDER_TYPES:
                raise UnservedFhirVersion(f"context.{name}", _OLDER_TYPES[kind])
    prefetch = body.get("prefetch")
    if isinstance(prefetch, dict):
        require_r4_resources({f"prefetch.{key}": _resources(prefetch[key]) for key in keys if key in prefetch})


def require_r4_resources(members: Mapping[str, Iterable[Resource]]) -> None:
    """Refuse resources of one server when there is a mark of an older version on one and of R4 on none."""
    found: tuple[str, str] | None = None
    for where, resources in members.items():
        for resource in resources:
            if _is_plainly_r4(resource):
                return
            if found is None and (version := _older_version(resource)):
                found = where, version
    if found:
        raise UnservedFhirVersion(*found)


def was_not_done(resource: Resource) -> bool:
    """Whether a flag of an older version says that this did not happen; only a plain no to it is taken for a no."""
    taken = resource.get("taken")
    is_not_taken = isinstance(taken, str) and taken != "y"
    return is_not_taken or any(resource.get(name) not in (None, False, "false") for name in _NOT_DONE)


def _stated_version(body: Resource) -> str | None:
    extension = body.get("extension")
    values = [body.get("fhirVersion"), extension.get(_STATED_IN_EXTENSION) if isinstance(extension, dict) else None]
    for value in values:
        text = value.strip().lower() if isinstance(value, str) else ""
        if version := _STATED.get(text) or _STATED.get(text[:3]):
            return version
    return None


def _older_version(resource: Resource) -> str | None:
    kind = str(resource.get("resourceType"))
    if kind in _OLDER_TYPES:
        return _OLDER_TYPES[kind]
    if kind == "Condition":
        # DSTU2 refers to the patient by another name, and may leave the status out
        is_plain = isinstance(resource.get("clinicalStatus"), str) or "subject" not in resource
        return next((v for name, v in _OLDER_DATES.items() if name in resource), None) if is_plain else None
    return next((v for name, v in _OLDER_MEMBERS.get(kind, {}).items() if name in resource), None)


def _is_plainly_r4(resource: Resource) -> bool:
    kind = str(resource.get("resourceType"))
    if kind in {"Condition", "AllergyIntolerance"}:
        return isinstance(resource.get("clinicalStatus"), dict)
    return kind in _NEWER_TYPES or any(name in resource for name in _NEWER_MEMBERS.get(kind, ()))


def _resources(value: object, depth: int = 0) -> Iterator[Resource]:
    """The resources of a Bundle, a list, or a resource in the wrapper that drafts of the specification used."""
    if isinstance(value, list):
        for item in value:
            yield from _resources(item, depth)
    elif isinstance(value, dict):
        if isinstance(value.get("resourceType"), str) and value["resourceType"] != "Bundle":
            yield value
        elif depth <= _DEEPEST:
            yield from _resources(value.get("entry"), depth + 1)
            yield from _resources(value.get("resource"), depth + 1)
