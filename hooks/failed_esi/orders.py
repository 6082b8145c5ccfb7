"""Which kind of order a draft is, and which drafts are one clinical intent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cds_service.fhir.codes import CodeEntry, Coding
from cds_service.fhir.record import Concept, Medication, Order, PatientRecord
from hooks.failed_esi.anatomy import BOTH_SIDES, MIDLINE, Place, Side
from hooks.failed_esi.facts import OrderKind
from hooks.failed_esi.knowledge import Knowledge

# Codes of these systems say exactly what was done: beside one of them, words decide nothing.
BILLING_SYSTEMS = frozenset({"cpt", "hcpcs", "icd-10-pcs"})

_PROCEDURE_KINDS = (
    OrderKind.ESI,
    OrderKind.MBB,
    OrderKind.SIJ,
    OrderKind.RFA,
    OrderKind.SCS_IMPLANT,
    OrderKind.SCS_TRIAL,
    OrderKind.MILD,
    OrderKind.FUSION,
    OrderKind.DECOMPRESSION,
    OrderKind.BIOLOGIC,
    OrderKind.IMAGING,
    OrderKind.PT,
    OrderKind.REFERRAL,
)
_OTHER_CONCEPTS = {"rfa-sacroiliac": OrderKind.RFA, "rfa-basivertebral": OrderKind.RFA}
# In this order: a combination product with an opioid is an opioid.
_DRUG_KINDS = {
    "opioid": OrderKind.OPIOID,
    "neuropathic": OrderKind.NEUROPATHIC,
    "nsaid": OrderKind.NSAID,
    "corticosteroid": OrderKind.SYSTEMIC_STEROID,
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where, on which side, by which approach and with which drugs an injection is or was given."""

    place: Place
    sides: frozenset[Side] = frozenset()
    approach: str | None = None
    drugs: frozenset[str] = frozenset()

    @property
    def reached_sides(self) -> frozenset[Side]:
        """REG-5: an approach in the midline reaches both sides."""
        return BOTH_SIDES if self.approach in MIDLINE else self.sides

    def is_other_than(self, other: Target) -> bool:
        """REG-6: two transforaminal targets with known, disjoint sides."""
        both_foraminal = self.approach == other.approach == "transforaminal"
        return both_foraminal and bool(self.sides and other.sides) and not self.sides & other.sides

    def is_surely(self, other: Target) -> bool:
        """Whether nothing unknown is needed to call it the same target (REG-6)."""
        if self.approach in MIDLINE or other.approach in MIDLINE:
            return True
        return bool(self.sides and other.sides) and None not in (self.approach, other.approach)

    def differs_in_technique_from(self, other: Target) -> bool:
        """Whether approach, level or drug is known on both and different."""
        other_approach = bool(self.approach and other.approach) and self.approach != other.approach
        levels, other_levels = frozenset(self.place.levels), frozenset(other.place.levels)
        other_level = bool(levels and other_levels) and not levels & other_levels
        other_drug = bool(self.drugs and other.drugs) and not self.drugs & other.drugs
        return other_approach or other_level or other_drug


@dataclass(frozen=True, slots=True)
class Intent:
    """The selected drafts of one kind and region: one clinical decision."""

    kind: OrderKind
    orders: tuple[Order, ...]
    target: Target


def read_intents(selected: Iterable[Order], record: PatientRecord, knowledge: Knowledge) -> tuple[Intent, ...]:
    """Group the selected drafts: those of one kind whose regions match are one intent, their sides united."""
    intents: list[Intent] = []
    for order in sorted(selected, key=lambda order: order.reference):
        kind = order_kind(order, knowledge)
        target = order_target(order, record, knowledge)
        for index, known in enumerate(intents):
            if known.kind is kind and (known.target.place.matches(target.place) or known.target.place == target.place):
                intents[index] = Intent(kind, (*known.orders, order), _joined(known.target, target))
                break
        else:
            intents.append(Intent(kind, (order,), target))
    return tuple(intents)


def order_kind(order: Order, knowledge: Knowledge) -> OrderKind:
    """What a draft or active order is about: by its code, else by its words."""
    concepts = knowledge.codes.concepts(order.code.codings)
    coded = _coded_kind(concepts)
    if coded is OrderKind.ESI and _is_something_else(order, knowledge):
        return OrderKind.UNRELATED
    if coded:
        return coded
    if order.kind != "ServiceRequest":
        return _drug_kind(order.code, knowledge) or OrderKind.UNRELATED
    if any(coding.system in BILLING_SYSTEMS for coding in order.code.codings) or "not-esi" in concepts:
        return OrderKind.UNRELATED
    return kind_in_words(order.code.words, knowledge) or OrderKind.UNRELATED


def procedure_kind(code: Concept, knowledge: Knowledge) -> OrderKind | None:
    """What was done, apart from injections that need a closer look: by code, else by words."""
    concepts = knowledge.codes.concepts(code.codings)
    coded = _coded_kind(concepts)
    if coded or "not-esi" in concepts or any(coding.system in BILLING_SYSTEMS for coding in code.codings):
        return coded
    return kind_in_words(code.words, knowledge)


def kind_in_words(text: str, knowledge: Knowledge) -> OrderKind | None:
    """The kind of order that a text names."""
    if names_esi(text, knowledge):
        return OrderKind.ESI
    kind = knowledge.words.kind(text)
    return OrderKind(kind) if kind else None


def names_esi(text: str, knowledge: Knowledge) -> bool:
    """Whether a text alone names an epidural steroid injection."""
    mean = knowledge.words.mean
    return (mean("esi-text", text) and mean("steroid", text)) or mean("esi-acronym", text)


def order_target(order: Order, record: PatientRecord, knowledge: Knowledge) -> Target:
    """Where an order is aimed, read from its code, sites, words and reasons."""
    entries = knowledge.codes.find(order.code.codings)
    reasons = [coding for reason in order.reasons for coding in reason.codings]
    for condition in record.conditions_named(order.reason_references):
        reasons.extend(condition.code.codings)
    return read_target(
        entries, order.code.words, order.body_sites, reasons, drugs_in(order.code.words, knowledge), knowledge
    )


def read_target(
    entries: tuple[CodeEntry, ...],
    words: str,
    body_sites: tuple[Concept, ...],
    reasons: Iterable[Coding],
    drugs: frozenset[str],
    knowledge: Knowledge,
) -> Target:
    """Place, sides, approach and drugs of an order or a procedure."""
    anatomy = knowledge.anatomy
    reasons = tuple(reasons)
    return Target(
        place=anatomy.place(entries, words, body_sites, reasons, knowledge.codes),
        sides=anatomy.sides(words, body_sites, reasons, knowledge.codes),
        approach=anatomy.approach(entries, words),
        drugs=drugs,
    )


def drugs_in(text: str, knowledge: Knowledge) -> frozenset[str]:
    """The corticosteroids that a text names by ingredient."""
    return knowledge.ingredients("corticosteroid", text)


def is_drug(concept: str, medicine: Medication | Order, knowledge: Knowledge) -> bool:
    """Whether a medicine belongs to a class: by RxNorm number, our own option code, or ingredient name."""
    return concept in knowledge.codes.concepts(medicine.code.codings) or bool(
        knowledge.ingredients(concept, medicine.code.words)
    )


def _is_something_else(order: Order, knowledge: Knowledge) -> bool:
    """Whether a spinal injection is ordered for labour or chemotherapy, or as a diagnostic root block."""
    mean = knowledge.words.mean
    words = "; ".join([order.code.words, *(reason.words for reason in order.reasons)])
    return mean("look-alike", words) or (mean("anaesthetic-only", words) and not mean("steroid", words))


def _coded_kind(concepts: frozenset[str]) -> OrderKind | None:
    for kind in _PROCEDURE_KINDS:
        if kind in concepts:
            return kind
    return next((kind for concept, kind in _OTHER_CONCEPTS.items() if concept in concepts), None)


def _drug_kind(code: Concept, knowledge: Knowledge) -> OrderKind | None:
    concepts = knowledge.codes.concepts(code.codings)
    for concept, kind in _DRUG_KINDS.items():
        if concept in concepts or knowledge.ingredients(concept, code.words):
            return kind
    return None


def _joined(one: Target, other: Target) -> Target:
    approach = one.approach if one.approach == other.approach else None
    sides = one.reached_sides | other.reached_sides
    return Target(one.place.joined(other.place), sides, approach, one.drugs | other.drugs)
