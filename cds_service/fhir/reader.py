"""Read FHIR resources one at a time from plain JSON into facts; what cannot be read is named, and never an error.

Only resources that the service calls relevant are read: a chart holds hundreds that no rule asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import orjson

from cds_service.fhir.codes import CodeIndex, Coding, system_name
from cds_service.fhir.dates import DateSpan, Moment, read_moment, read_year, years_before
from cds_service.fhir.evidence import Evidence, objects
from cds_service.fhir.record import (
    Allergy,
    Concept,
    Condition,
    Coverage,
    Medication,
    Observation,
    Order,
    Patient,
    PatientRecord,
    Procedure,
)
from cds_service.fhir.version import was_not_done

Resource = Mapping[str, Any]
IsRelevant = Callable[[str, str], bool]  # by the type of a resource and the words of its code

_ACTIVE = frozenset({"", "active", "recurrence", "relapse"})
_NOT_THE_PATIENTS = frozenset({"refuted", "entered-in-error"})
_REPORTED = frozenset({"final", "amended", "corrected"})
_ONLY_PROPOSED = frozenset({"proposal", "option"})  # intents of a request that nobody has decided on
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?) ?(?:(?:/|out of) ?(\d+(?:\.\d+)?))? ?%?")
_LONGEST_NUMBER = 24  # characters; no score, however written, is longer
_LARGEST_EXPONENT = 12  # what lies beyond is no measurement, and would overflow the arithmetic
# A longer text cannot be a name; it is cut so that no caller decides how long we search in it.
_LONGEST_NAME = 1_000
_LONGEST_NOTE = 10_000
_ID = re.compile(r"[A-Za-z0-9\-._]{1,255}")  # FHIR allows 64 characters, real servers send more


class Medications:
    """The Medication resources of a request, by every name a reference may call them."""

    def __init__(self, resources: Iterable[Resource], by_url: Mapping[str, Resource]) -> None:
        """Index them by id and by the fullUrl of their entries."""
        self._by_name = {**by_url, **{f"Medication/{resource.get('id')}": resource for resource in resources}}

    def concept(self, resource: Resource, member: str = "medication") -> Concept:
        """The drug of a request, statement or administration: coded, contained, beside it, or only named."""
        concept = read_concept(resource.get(f"{member}CodeableConcept"))
        reference = resource.get(f"{member}Reference")
        if concept != Concept() or not isinstance(reference, dict):
            return concept
        named = Concept(words=_text(reference.get("display")))
        found = self._find(_text(reference.get("reference")), resource)
        return _joined(read_concept(found.get("code")), named) if found else named

    def _find(self, reference: str, resource: Resource) -> Resource | None:
        if reference.startswith("#"):
            return next(
                (item for item in objects(resource.get("contained")) if item.get("id") == reference[1:]),
                None,
            )
        return self._by_name.get(reference) or self._by_name.get(local_reference(reference))


def read_record(
    evidence: Evidence, codes: CodeIndex, is_relevant: IsRelevant, named: Collection[str] = ()
) -> PatientRecord:
    """Read the relevant resources of the evidence into a record, sorted so that their order never matters.

    Relevant is what a value set knows, what `is_relevant` picks by type and words among the rest, and what the
    orders name by reference.
    """
    reading = _Reading(evidence, codes, is_relevant, frozenset(named))
    patient = reading.patient()
    return PatientRecord(
        patient=patient,
        conditions=_sorted(reading.conditions(patient)),
        procedures=_sorted(reading.procedures()),
        observations=_sorted(reading.observations()),
        medications=_sorted(reading.medicines()),
        orders=_sorted(reading.orders()),
        allergies=_sorted(reading.allergies()),
        coverages=_sorted(reading.coverages()),
        unreadable=tuple(sorted({*evidence.unreadable, *reading.unreadable})),
        not_read=evidence.not_read,
        truncated=evidence.truncated,
        partial=evidence.partial,
    )


def read_order(resource: Resource, medications: Medications) -> Order:
    """Read a draft or active order; while an order is being picked nearly everything may still be missing."""
    code = medications.concept(resource)
    return Order(
        reference=reference_of(resource),
        code=code if code != Concept() else read_concept(resource.get("code")),
        status=_word(resource.get("status")),
        priority=_word(resource.get("priority")),
        authored=read_moment(resource.get("authoredOn")),
        body_sites=_concepts(resource.get("bodySite")),
        reasons=_reasons(resource),
        reason_references=_references(resource.get("reasonReference")),
        performer=read_concept(resource.get("performerType")),
        notes=_notes(resource),
        is_prohibition=resource.get("doNotPerform") is True,
    )


def read_concept(value: object) -> Concept:
    """Read a CodeableConcept, also when it came as an array or holds a single coding instead of a list."""
    if isinstance(value, dict):
        return Concept(read_codings(value), read_words(value))
    return _joined(*_concepts(value)) if isinstance(value, list) else Concept()


def read_words(value: object) -> str:
    """Read the words of a CodeableConcept: its text and the displays of its codings."""
    if not isinstance(value, dict):
        return "; ".join(read_words(item) for item in objects(value))
    words = [value.get("text"), *[item.get("display") for item in objects(value.get("coding"))]]
    return "; ".join([word for word in words if isinstance(word, str)])[:_LONGEST_NAME]


def read_codings(value: object) -> tuple[Coding, ...]:
    """Read the codes of a CodeableConcept, without its words."""
    if not isinstance(value, dict):
        return tuple(coding for item in objects(value) for coding in read_codings(item))
    found = []
    for item in objects(value.get("coding")):
        code, system = item.get("code"), item.get("system")
        if isinstance(code, str) and code:
            found.append(Coding(system_name(system) if isinstance(system, str) else "", code.strip()))
    return tuple(found)


def reference_of(resource: Resource) -> str:
    """The relative reference of a resource; one without an id is named as such."""
    kind, identity = resource.get("resourceType"), resource.get("id")
    return f"{kind}/{identity}" if isinstance(identity, str) and _ID.fullmatch(identity) else f"{kind} without id"


def local_reference(reference: str) -> str:
    """The Type/id part of a reference; a urn or fragment stays as it is."""
    if reference.startswith(("urn:", "#")):
        return reference
    return "/".join(reference.partition("/_history/")[0].split("/")[-2:])


class _Reading:
    """One pass over the evidence, collecting facts and the names of what cannot be read."""

    def __init__(self, evidence: Evidence, codes: CodeIndex, is_relevant: IsRelevant, named: frozenset[str]) -> None:
        self.named = named
        self.by_type = evidence.by_type
        self.codes = codes
        self.is_relevant = is_relevant
        self.unreadable: set[str] = set()
        self._by_words: dict[tuple[str, str], bool] = {}  # a chart says the same things many times
        self.known_medications = Medications(evidence.by_type.get("Medication", ()), evidence.by_url)

    def patient(self) -> Patient:
        for resource in _latest(self.by_type.get("Patient", ())):
            moment = self._moment(resource, "birthDate")
            return Patient(born=moment.days if moment else None)
        return Patient()

    def conditions(self, patient: Patient) -> Iterator[Condition]:
        for resource, code in self._relevant("Condition"):
            if _status_code(resource.get("verificationStatus")) in _NOT_THE_PATIENTS:
                continue
            has_abated = any(key.startswith("abatement") and resource[key] is not False for key in resource)
            yield Condition(
                reference=reference_of(resource),
                code=code,
                active=_status_code(resource.get("clinicalStatus")) in _ACTIVE and not has_abated,
                onset=self._onset(resource, patient),
                recorded=_days(self._moment(resource, "recordedDate", "assertedDate")),
                severity=read_concept(resource.get("severity")),
            )

    def procedures(self) -> Iterator[Procedure]:
        for resource, code in self._relevant("Procedure"):
            started, ended = self._performed(resource)
            yield Procedure(
                reference=reference_of(resource),
                code=code,
                status="not-done" if was_not_done(resource) else _word(resource.get("status")),
                performed=ended or started,
                started=started or ended,
                body_sites=_concepts(resource.get("bodySite")),
                used=self._used(resource),
                reasons=_reasons(resource),
                reason_references=_references(resource.get("reasonReference")),
                category=read_concept(resource.get("category")),
                outcome=read_concept(resource.get("outcome")),
                notes=_notes(resource),
            )

    def observations(self) -> Iterator[Observation]:
        """Read each number of an observation, its own and those of its components."""
        is_relevant = self._is_relevant_observation
        relevant = (r for r in self.by_type.get("Observation", ()) if "component" in r or is_relevant(r))
        for resource in _latest(relevant):
            if _word(resource.get("status")) not in _REPORTED or not self._is_about_a_patient(resource):
                continue
            for part in (resource, *objects(resource.get("component"))):
                if is_relevant(part):
                    yield from self._observation(resource, part, read_concept(part.get("code")))

    def medicines(self) -> Iterator[Medication]:
        for kind in ("MedicationRequest", "MedicationStatement", "MedicationAdministration"):
            for resource, code in self._relevant(kind):
                is_only_proposed = _word(resource.get("intent")) in _ONLY_PROPOSED
                if is_only_proposed or resource.get("doNotPerform") is True or was_not_done(resource):
                    continue
                first, last = self._course(resource)
                yield Medication(
                    reference=reference_of(resource),
                    code=code,
                    status=_word(resource.get("status")),
                    authored=self._moment(resource, "authoredOn", "dateAsserted", "effectiveDateTime"),
                    first=first,
                    last=last,
                    stopped_because=_joined(*_concepts(resource.get("statusReason"))),
                )

    def orders(self) -> Iterator[Order]:
        for kind in ("ServiceRequest", "MedicationRequest"):
            for resource, _ in self._relevant(kind):
                if _word(resource.get("intent")) not in _ONLY_PROPOSED:
                    yield read_order(resource, self.known_medications)

    def allergies(self) -> Iterator[Allergy]:
        for resource in _latest(self.by_type.get("AllergyIntolerance", ())):
            is_active = _status_code(resource.get("clinicalStatus")) in _ACTIVE
            if is_active and _status_code(resource.get("verificationStatus")) not in _NOT_THE_PATIENTS:
                yield Allergy(reference=reference_of(resource), code=read_concept(resource.get("code")))

    def coverages(self) -> Iterator[Coverage]:
        for resource in _latest(self.by_type.get("Coverage", ())):
            if _word(resource.get("status")) in {"", "active"}:
                payors = [_text(payor.get("display")) for payor in objects(resource.get("payor"))]
                words = "; ".join(word for word in [read_concept(resource.get("type")).words, *payors] if word)
                yield Coverage(reference=reference_of(resource), words=words)

    def _relevant(self, kind: str) -> Iterator[tuple[Resource, Concept]]:
        knows = self.codes.knows
        resources = self.by_type.get(kind, ())
        relevant = (r for r in resources if knows(r) or self._is_relevant_by_words(kind, r) or self._is_named(r))
        for resource in _latest(relevant):
            if self._is_about_a_patient(resource):
                yield resource, self._code(kind, resource)

    def _is_named(self, resource: Resource) -> bool:
        return bool(self.named) and reference_of(resource) in self.named

    def _is_relevant_observation(self, part: Resource) -> bool:
        return self.codes.knows(part) or self._is_relevant_by_words("Observation", part)

    def _is_relevant_by_words(self, kind: str, resource: Resource) -> bool:
        if kind.startswith("Medication"):
            drug = self.known_medications.concept(resource)
            return bool(self.codes.find(drug.codings)) or self.is_relevant(kind, drug.words)
        words = read_words(resource.get("code"))
        if (found := self._by_words.get((kind, words))) is None:
            found = self._by_words[kind, words] = bool(words) and self.is_relevant(kind, words)
        return found

    def _code(self, kind: str, resource: Resource) -> Concept:
        is_drug = kind.startswith("Medication")
        return self.known_medications.concept(resource) if is_drug else read_concept(resource.get("code"))

    def _is_about_a_patient(self, resource: Resource) -> bool:
        if is_about_a_patient(resource):
            return True
        self._note(resource, "subject")
        return False

    def _note(self, resource: Resource, member: str) -> None:
        self.unreadable.add(f"{reference_of(resource)}: {member}")

    def _moment(self, resource: Resource, *members: str) -> Moment | None:
        """Read the first of these dates that is there; one that is there and unreadable is named."""
        for member in members:
            if resource.get(member) is not None:
                moment = read_moment(resource[member])
                if moment:
                    return moment
                self._note(resource, member)
        return None

    def _period(self, resource: Resource, member: str) -> tuple[Moment | None, Moment | None]:
        period = resource.get(member)
        if not isinstance(period, dict):
            return None, None
        ends = {name: read_moment(period[name]) for name in ("start", "end") if period.get(name) is not None}
        if None in ends.values():
            self._note(resource, member)
        return ends.get("start"), ends.get("end")

    def _performed(self, resource: Resource) -> tuple[Moment | None, Moment | None]:
        """Read start and end: a period before a dateTime before the year in a string."""
        started, ended = self._period(resource, "performedPeriod")
        if started or ended:
            return started, ended
        at = self._moment(resource, "performedDateTime")
        year = None if at else read_year(resource.get("performedString"))
        return (Moment(year), None) if year else (at, None)

    def _onset(self, resource: Resource, patient: Patient) -> DateSpan | None:
        at = self._moment(resource, "onsetDateTime") or self._period(resource, "onsetPeriod")[0]
        if at:
            return at.days
        age = resource.get("onsetAge")
        if isinstance(age, dict) and patient.born and _text(age.get("code") or age.get("unit")) in _YEAR_UNITS:
            return _at_age(patient.born, read_number(age.get("value")))
        return read_year(resource.get("onsetString"))

    def _used(self, resource: Resource) -> tuple[Concept, ...]:
        """Read the substances used, coded or referenced."""
        references = [_medication_reference(item) for item in objects(resource.get("usedReference"))]
        named = [
            self.known_medications.concept({**reference, "contained": resource.get("contained")})
            for reference in references
        ]
        return (*_concepts(resource.get("usedCode")), *(concept for concept in named if concept != Concept()))

    def _course(self, resource: Resource) -> tuple[DateSpan | None, DateSpan | None]:
        """Read the first and last day of a course of medicine."""
        dispense = resource.get("dispenseRequest")
        start, end = self._period(resource, "effectivePeriod")
        if not start and not end and isinstance(dispense, dict):
            start, end = self._period({**dispense, **_identity(resource)}, "validityPeriod")
        return _days(start), _days(end)

    def _observation(self, resource: Resource, part: Resource, code: Concept) -> Iterator[Observation]:
        number, unit, out_of, is_present = _read_value(part)
        if number is None:
            if is_present:
                self._note(resource, "value")
            return
        body_site = part.get("bodySite") or resource.get("bodySite")
        yield Observation(
            reference=reference_of(resource),
            code=code,
            measured=self._measured(resource),
            value=number,
            unit=unit,
            out_of=out_of,
            issued=_text(resource.get("issued")),
            body_site=read_concept(body_site) if body_site else None,
            about=_references(resource.get("focus")),
            part_of=_references(resource.get("partOf")),
            notes="; ".join([code.words, _notes(resource), read_concept(resource.get("method")).words]),
        )

    def _measured(self, resource: Resource) -> Moment | None:
        at = self._moment(resource, "effectiveDateTime", "effectiveInstant")
        if at:
            return at
        start, end = self._period(resource, "effectivePeriod")
        timing = resource.get("effectiveTiming")
        events = timing.get("event") if isinstance(timing, dict) else None
        first = read_moment(events[0]) if isinstance(events, list) and events else None
        return end or start or first or self._moment(resource, "issued")


_T = TypeVar("_T", Condition, Procedure, Observation, Medication, Order, Allergy, Coverage)
_YEAR_UNITS = frozenset({"a", "year", "years", "yr", "yrs"})


def _sorted(facts: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(sorted(facts, key=lambda fact: fact.reference))


def read_number(value: object) -> Decimal | None:
    """An exact decimal from a JSON number or from text that is a number; never a boolean, never infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > _LONGEST_NUMBER:
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= _LARGEST_EXPONENT else None


def _read_value(part: Resource) -> tuple[Decimal | None, str, Decimal | None, bool]:
    """Read value[x] as (number, unit, upper end of the scale, whether a value was sent at all)."""
    quantity = part.get("valueQuantity")
    if isinstance(quantity, dict) and quantity.get("value") is not None:
        number = None if quantity.get("comparator") else read_number(quantity["value"])
        return number, _text(quantity.get("code")) or _text(quantity.get("unit")), None, True
    if part.get("valueInteger") is not None:
        return read_number(part["valueInteger"]), "", None, True
    ratio = part.get("valueRatio")
    if isinstance(ratio, dict):
        return *_out_of(_ratio_part(ratio, "numerator"), "", _ratio_part(ratio, "denominator")), True
    words = _text(part.get("valueString")) or read_concept(part.get("valueCodeableConcept")).words
    text = " ".join(words.split()) if len(words) <= _LONGEST_NAME else ""
    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if match:
        return *_out_of(read_number(match[1]), "%" if text.endswith("%") else "", read_number(match[2])), True
    return None, "", None, bool(words)


def _out_of(number: Decimal | None, unit: str, limit: Decimal | None) -> tuple[Decimal | None, str, Decimal | None]:
    """A number on its scale; none when the upper end of the scale is nothing."""
    return (number, unit, limit) if limit is None or limit > 0 else (None, unit, None)


def _ratio_part(ratio: Resource, name: str) -> Decimal | None:
    part = ratio.get(name)
    return read_number(part.get("value")) if isinstance(part, dict) else None


def _latest(resources: Iterable[Resource]) -> list[Resource]:
    """Of several versions of one resource, the one updated last; those without an id in an order of their own."""
    by_id: dict[str, Resource] = {}
    nameless: dict[tuple[str, bytes], Resource] = {}
    for resource in resources:
        identity = resource.get("id")
        if not isinstance(identity, str):
            nameless[_version(resource)] = resource
        elif identity not in by_id or _version(resource) > _version(by_id[identity]):
            by_id[identity] = resource
    return [*by_id.values(), *(nameless[version] for version in sorted(nameless))]


def _version(resource: Resource) -> tuple[str, bytes]:
    meta = resource.get("meta")
    updated = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return (updated if isinstance(updated, str) else "", orjson.dumps(resource, option=orjson.OPT_SORT_KEYS))


def _concepts(value: object) -> tuple[Concept, ...]:
    return tuple(concept for concept in map(read_concept, objects(value)) if concept != Concept())


def _reasons(resource: Resource) -> tuple[Concept, ...]:
    """The reasons given in place: coded, contained, or only named by the display of a reference."""
    contained = {f"#{item.get('id')}": item.get("code") for item in objects(resource.get("contained"))}
    referenced = (
        _joined(read_concept(contained.get(_text(item.get("reference")))), Concept(words=_text(item.get("display"))))
        for item in objects(resource.get("reasonReference"))
    )
    return (*_concepts(resource.get("reasonCode")), *(concept for concept in referenced if concept != Concept()))


def _joined(*concepts: Concept) -> Concept:
    return Concept(
        tuple(coding for concept in concepts for coding in concept.codings),
        "; ".join(concept.words for concept in concepts if concept.words)[:_LONGEST_NAME],
    )


def _references(value: object) -> tuple[str, ...]:
    return tuple(local_reference(_text(item.get("reference"))) for item in objects(value) if item.get("reference"))


def _notes(resource: Resource) -> str:
    texts = (_text(note.get("text")) for note in objects(resource.get("note")))
    return "; ".join(text for text in texts if text)[:_LONGEST_NOTE]


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def is_about_a_patient(resource: Resource) -> bool:
    """Whether the subject is a person; the binding makes sure that it is no other person."""
    subject = resource.get("subject")
    reference = _text(subject.get("reference")) if isinstance(subject, dict) else ""
    kind = local_reference(reference).partition("/")[0]
    return kind in {"", "Patient"} or reference.startswith(("urn:", "#"))


def _word(value: object) -> str:
    return _text(value).lower()


def _status_code(value: object) -> str:
    """The code of a status that R4 writes as a CodeableConcept and DSTU2 as a plain code."""
    if isinstance(value, str):
        return _word(value)
    codings = read_concept(value).codings
    return codings[0].code.lower() if codings else ""


def _days(moment: Moment | None) -> DateSpan | None:
    return moment.days if moment else None


def _at_age(born: DateSpan, years: Decimal | None) -> DateSpan | None:
    """The days on which somebody born then was so many years old."""
    if years is None or not 0 <= years <= 150 or born.last.year + years >= date.max.year:
        return None
    return DateSpan(years_before(born.first, -int(years)), years_before(born.last, -int(years) - 1))


def _identity(resource: Resource) -> Resource:
    return {"resourceType": resource.get("resourceType"), "id": resource.get("id")}


def _medication_reference(reference: Resource) -> Resource:
    return {"medicationReference": reference}
