"""What to bear in mind with steroids, needles and sedating medicine (SAFE-1 to SAFE-8), when it is on file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from cds_service.fhir.dates import months_before, years_before
from cds_service.fhir.record import PatientRecord
from hooks.failed_esi.anatomy import Coverage, Region
from hooks.failed_esi.knowledge import Caution, Knowledge
from hooks.failed_esi.orders import Target, is_benzodiazepine, is_drug, medicines_taken
from hooks.failed_esi.workup import Chart

_CONDITIONS = frozenset(
    {
        "bleeding-risk", "diabetes", "hypertension", "osteoporosis", "contrast-allergy", "steroid-allergy", "glaucoma",
        "psychiatric", "breathing", "kidney", "heart-conduction", "opioid-disorder",
    }
)  # fmt: skip
_MEDICINES = ("anticoagulant", "opioid")
_ALLERGENS = {
    "contrast-allergy": "contrast-allergy",
    "steroid-allergy": "steroid-allergy",
    "corticosteroid": "steroid-allergy",
}
# Everything that a caution may name as found.
FOUND = _CONDITIONS | {*_MEDICINES, "benzodiazepine", "glucose-high", "repeated-steroid", "neck-foramen", "older-age"}


@dataclass(frozen=True, slots=True)
class OnFile:
    """What was found that a caution may be about."""

    names: frozenset[str]
    steroid_sessions: int

    def cautions(self, brought: Iterable[str], knowledge: Knowledge) -> tuple[Caution, ...]:
        """The cautions for orders and options of these names, in the order of the file."""
        names = frozenset(brought)
        return tuple(
            caution
            for caution in knowledge.cautions
            if caution.found & self.names and knowledge.traits[caution.brings] & names
        )


def read_on_file(chart: Chart, target: Target) -> OnFile:
    """Look for everything that a caution may be about."""
    record, today, knowledge = chart.record, chart.today, chart.knowledge
    active = {concept for d in chart.diagnoses if d.condition.active for concept in d.concepts}
    year_ago = months_before(today, 12)
    sessions = sum(session.days.first > year_ago for session in chart.history.sessions)
    is_in_neck = target.place.coverage is Coverage.CERVICAL_THORACIC and target.place.region is Region.CERVICAL
    others = {
        "glucose-high": _has_high_glucose(record, today, knowledge),
        "repeated-steroid": sessions > 1,
        "neck-foramen": is_in_neck and target.approach == "transforaminal",
        "older-age": _is_older(record, today, knowledge),
    }
    found = {name for name, is_found in others.items() if is_found}
    names = frozenset((active & _CONDITIONS) | _medicines(record, knowledge) | _allergies(record, knowledge) | found)
    return OnFile(names, sessions)


def _medicines(record: PatientRecord, knowledge: Knowledge) -> set[str]:
    taken = medicines_taken(record)
    found = {concept for concept in _MEDICINES if any(is_drug(concept, medicine, knowledge) for medicine in taken)}
    return found | ({"benzodiazepine"} if any(is_benzodiazepine(m, knowledge) for m in taken) else set())


def _allergies(record: PatientRecord, knowledge: Knowledge) -> set[str]:
    """Allergies by the code of the substance, or by the name of a steroid."""
    found = set()
    for allergy in record.allergies:
        concepts = knowledge.codes.concepts(allergy.code.codings)
        found |= {_ALLERGENS[concept] for concept in concepts & _ALLERGENS.keys()}
        for concept, name in _ALLERGENS.items():
            if knowledge.ingredients(concept, allergy.code.words) or knowledge.words.mean(name, allergy.code.words):
                found.add(name)
    return found


def _has_high_glucose(record: PatientRecord, today: date, knowledge: Knowledge) -> bool:
    """SAFE-2: the latest HbA1c; the order of the chart never decides."""
    values = [
        (observation.measured.days.last, observation.value)
        for observation in record.observations
        if observation.measured
        and observation.measured.days.first <= today
        and observation.unit in {"", "%"}
        and "hba1c" in knowledge.codes.concepts(observation.code.codings)
    ]
    return bool(values) and max(values)[1] >= knowledge.criteria.glucose_high


def _is_older(record: PatientRecord, today: date, knowledge: Knowledge) -> bool:
    born = record.patient.born
    return born is not None and born.last <= years_before(today, knowledge.criteria.older_age)
