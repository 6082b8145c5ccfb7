"""Bind every resource to the patient in context: one foreign resource, and nothing is evaluated.

A reference may be relative, versioned, absolute, a urn of the same Bundle, contained, or an identifier that
the Patient in the request carries too. Whatever names a patient in a way that cannot be resolved to the one
in context counts as foreign.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from cds_service.protocol.errors import ForeignPatient

Resource = Mapping[str, Any]

# Where R4 resources name the person they are about.
_SUBJECT_MEMBERS = ("subject", "patient", "beneficiary", "for")
_OTHER_SUBJECTS = frozenset(_SUBJECT_MEMBERS) - {"subject"}
_PEOPLE = frozenset({"patient", "person", "practitioner", "practitionerrole", "relatedperson"})


@dataclass(frozen=True, slots=True)
class PatientBinding:
    """Who the request is about, and the names by which it may call that person."""

    patient_id: str
    fhir_server: str | None
    urns: frozenset[str]
    identifiers: frozenset[tuple[str, str]]

    def require(self, where: str, resource: Resource) -> None:
        """Raise ForeignPatient unless the resource is about this patient, or names nobody at all."""
        if resource.get("resourceType") == "Patient" and resource.get("id") != self.patient_id:
            raise ForeignPatient(where)
        for member in _SUBJECT_MEMBERS:
            subject = resource.get(member)
            if subject is not None and not self._is_ours(subject, resource):
                raise ForeignPatient(where)

    def _is_ours(self, subject: object, resource: Resource) -> bool:
        if isinstance(subject, list):  # wrong cardinality, met in real data
            return all(self._is_ours(item, resource) for item in subject)
        if not isinstance(subject, dict):
            return False
        reference, identifier = subject.get("reference"), subject.get("identifier")
        if isinstance(reference, str) and reference.strip():
            return self._names_us(reference.strip(), resource)
        return reference in (None, "") and (identifier is None or self._is_known(identifier))

    def _names_us(self, reference: str, resource: Resource) -> bool:
        if reference == f"Patient/{self.patient_id}":
            return True
        if reference.startswith("urn:"):
            return reference in self.urns
        if reference.startswith("#"):
            return self._is_contained(reference[1:], resource)
        base, kind, identity = split_reference(reference)
        if kind != "Patient":
            return kind.isalpha() and kind.lower() not in _PEOPLE  # a group, device or place: the reader names it
        return identity == self.patient_id and (not base or self._is_our_server(base))

    def _is_our_server(self, base: str) -> bool:
        return self.fhir_server is None or same_base(base, self.fhir_server)

    def _is_known(self, identifier: object) -> bool:
        return (
            isinstance(identifier, dict)
            and (str(identifier.get("system")), str(identifier.get("value"))) in self.identifiers
        )

    def _is_contained(self, name: str, resource: Resource) -> bool:
        contained = resource.get("contained")
        for item in contained if isinstance(contained, list) else ():
            if isinstance(item, dict) and item.get("id") == name:
                is_person = str(item.get("resourceType")).lower() in _PEOPLE
                return not is_person or bool(identifiers_of(item) & self.identifiers)
        return False


def bind(
    patient_id: str,
    fhir_server: str | None,
    members: Mapping[str, Iterable[Resource]],
    by_url: Mapping[str, Resource],
) -> None:
    """Check all resources of a request, given by the member of the request that holds them."""
    patients = [r for resources in members.values() for r in resources if r.get("resourceType") == "Patient"]
    binding = PatientBinding(
        patient_id,
        fhir_server,
        urns=frozenset(
            {f"urn:uuid:{patient_id}"}
            | {url for url, r in by_url.items() if r.get("id") == patient_id and url.startswith("urn:")}
        ),
        identifiers=frozenset(
            pair for patient in patients if patient.get("id") == patient_id for pair in identifiers_of(patient)
        ),
    )
    expected = f"Patient/{patient_id}"
    for where, resources in members.items():
        for resource in resources:
            subject = resource.get("subject")
            is_plainly_ours = (
                type(subject) is dict
                and subject.get("reference") == expected
                and resource["resourceType"] != "Patient"
                and _OTHER_SUBJECTS.isdisjoint(resource)
            )
            if not is_plainly_ours:
                binding.require(where, resource)


def split_reference(reference: str) -> tuple[str, str, str]:
    """Split a reference into base URL ("" when relative), resource type and id; a version is ignored."""
    path = reference.partition("/_history/")[0]
    head, _, identity = path.rpartition("/")
    base, _, kind = head.rpartition("/")
    return base, kind, identity


def same_base(one: str, other: str) -> bool:
    """Whether two FHIR base URLs are the same: scheme, user, host, port and whole path, compared parsed."""
    try:
        return _base(urlsplit(one)) == _base(urlsplit(other))
    except ValueError:
        return False


def identifiers_of(patient: Resource) -> frozenset[tuple[str, str]]:
    """The business identifiers of a Patient as (system, value)."""
    identifiers = patient.get("identifier")
    return frozenset(
        (item["system"], item["value"])
        for item in (identifiers if isinstance(identifiers, list) else ())
        if isinstance(item, dict) and isinstance(item.get("system"), str) and isinstance(item.get("value"), str)
    )


def _base(url: SplitResult) -> tuple[str, str | None, str | None, int | None, str]:
    default = {"https": 443, "http": 80}.get(url.scheme)
    return (url.scheme, url.username, url.hostname, url.port or default, url.path.rstrip("/"))
