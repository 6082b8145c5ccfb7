"""Which kind of order a draft is, and which drafts are one clinical intent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cds_service.fhir.codes import CodeEntry, Coding
from cds_service.fhir.record import Concept, Medication, Order, PatientRecord, Procedure
from hooks.failed_esi.anatomy import BOTH_SIDES, MIDLINE, Place, Side
from hooks.failed_esi.facts import AblationTarget, OrderKind
from hooks.failed_esi.knowledge import Knowledge

# Codes of these systems say exactly what was done: beside one of them, words decide nothing.
BILLING_SYSTEMS = frozenset({"cpt", "hcpcs", "icd-10-pcs"})

# Diagnoses of the spine: as the reason of an injection they show what it was for (DET-2).
SPINE_DIAGNOSES = frozenset(
    {
        "radicular", "claudicant", "axial", "sacroiliac", "stenosis", "slip", "instability", "lesion",
        "degeneration", "other-spine", "post-laminectomy",
    }
)  # fmt: skip

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
_ORDERS = frozenset({"ServiceRequest", "MedicationRequest"})
_WITHDRAWN = frozenset({"revoked", "cancelled", "entered-in-error"})
# Given or done for other parts of the body as well.
_FOR_ANYTHING = frozenset({OrderKind.NEUROPATHIC, OrderKind.OPIOID, OrderKind.BIOLOGIC})
_ABLATION_TARGETS = (AblationTarget.FACET, AblationTarget.SACROILIAC, AblationTarget.BASIVERTEBRAL)
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
    is_approach_open: bool = False

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
        if None in (self.place.coverage, other.place.coverage):
            return False
        if self.approach in MIDLINE or other.approach in MIDLINE:
            return True
        return bool(self.sides and other.sides) and None not in (self.approach, other.approach)

    def differs_in_technique_from(self, other: Target) -> bool:
        """Whether approach, level or drug is known on both and different."""
        are_open = {self.approach, other.approach} <= MIDLINE and (self.is_approach_open or other.is_approach_open)
        other_approach = None not in (self.approach, other.approach) and self.approach != other.approach
        levels, other_levels = frozenset(self.place.levels), frozenset(other.place.levels)
        other_level = bool(levels and other_levels) and not levels & other_levels
        other_drug = bool(self.drugs and other.drugs) and not self.drugs & other.drugs
        return (other_approach and not are_open) or other_level or other_drug


@dataclass(frozen=True, slots=True)
class Intent:
    """The selected drafts of one kind and region: one clinical decision."""

    kind: OrderKind
    orders: tuple[Order, ...]
    target: Target


def read_intents(selected: Iterable[Order], record: PatientRecord, knowledge: Knowledge) -> tuple[Intent, ...]:
    """Group the selected drafts: those of one kind and region are one intent, their sides united.

    Lumbar and sacral levels are one region here, as they are one session when they are injected together (DET-6).
    """
    intents: list[Intent] = []
    for order in sorted(selected, key=lambda order: (order.reference, repr(order))):
        kind = _kind_for(order, record, knowledge)
        target = order_target(order, record, knowledge)
        for index, known in enumerate(intents):
            if known.kind is kind and known.target.place.reaches(target.place):
                intents[index] = Intent(kind, (*known.orders, order), _joined(known.target, target))
                break
        else:
            intents.append(Intent(kind, (order,), target))
    return tuple(intents)


def ablation_target(intent: Intent, knowledge: Knowledge) -> AblationTarget:
    """D-3: what a drafted ablation is aimed at, by code, else by words; of several the facet joints come first."""
    if intent.kind is not OrderKind.RFA:
        return AblationTarget.NONE
    targets = {ablated(order.code, knowledge) for order in intent.orders}
    return next(target for target in _ABLATION_TARGETS if target in targets)


def ablated(code: Concept, knowledge: Knowledge) -> AblationTarget:
    """What an ablation ordered or done is aimed at: by its code, else by its words, else the facet joints."""
    concepts, words = knowledge.codes.concepts(code.codings), code.words.lower()
    if "rfa-sacroiliac" in concepts:
        return AblationTarget.SACROILIAC
    if "rfa-basivertebral" in concepts:
        return AblationTarget.BASIVERTEBRAL
    if "rfa" in concepts:
        return AblationTarget.FACET
    named = (target for target in _ABLATION_TARGETS if target in words)
    return next(named, AblationTarget.FACET)


def is_urgent(intent: Intent, knowledge: Knowledge) -> bool:
    """Whether one of the orders carries an urgent priority."""
    return any(order.priority in knowledge.red_flags["urgent"] for order in intent.orders)


def fits_a_red_flag(intent: Intent, knowledge: Knowledge) -> bool:
    """Whether an order is what a red flag asks for: an image, a decompression, or a referral to a surgeon."""
    if intent.kind is not OrderKind.REFERRAL:
        return str(intent.kind) in knowledge.red_flags["fits"]
    return any(_is_surgical(order, knowledge) for order in intent.orders)


def order_kind(order: Order, knowledge: Knowledge) -> OrderKind:
    """What a draft or active order is about: by its code, else by its words."""
    if order.is_prohibition or order.status in _WITHDRAWN or order.kind not in _ORDERS:
        return OrderKind.UNRELATED
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
    if knowledge.words.kind(text) == "pt":  # therapy after an injection is therapy
        return OrderKind.PT
    if names_esi(text, knowledge):
        return OrderKind.ESI
    kind = knowledge.words.kind(text)
    return OrderKind(kind) if kind else None


def needs_sign(entries: Iterable[CodeEntry]) -> bool:
    """DET-2: whether these codes of spinal injections cover look-alikes too, so that something else must tell."""
    return all(entry.attributes.get("needs") == "discriminator" for entry in entries if entry.concept == "esi")


def names_esi(text: str, knowledge: Knowledge) -> bool:
    """Whether a text alone names an epidural steroid injection."""
    mean = knowledge.words.mean
    return (mean("esi-text", text) and mean("steroid", text)) or mean("esi-acronym", text)


def order_target(order: Order, record: PatientRecord, knowledge: Knowledge) -> Target:
    """Where an order is aimed, read from its code, sites, words and reasons."""
    entries = knowledge.codes.find(order.code.codings)
    drugs = drugs_in(order.code.words, knowledge)
    return read_target(entries, order.code.words, order.body_sites, reason_codings(order, record), drugs, knowledge)


def reason_codings(of: Order | Procedure, record: PatientRecord) -> tuple[Coding, ...]:
    """The codes of the reasons, given in place or by the condition they refer to."""
    conditions = record.conditions_named(of.reason_references)
    concepts = (*of.reasons, *(condition.code for condition in conditions))
    return tuple(coding for concept in concepts for coding in concept.codings)


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
    approach, is_approach_open = anatomy.approach(entries, words)
    return Target(
        place=anatomy.place(entries, words, body_sites, reasons, knowledge.codes),
        sides=anatomy.sides(words, body_sites, reasons, knowledge.codes),
        approach=approach,
        drugs=drugs,
        is_approach_open=is_approach_open,
    )


def drugs_in(text: str, knowledge: Knowledge) -> frozenset[str]:
    """The corticosteroids that a text names by ingredient."""
    return knowledge.ingredients("corticosteroid", text)


def is_elsewhere(sites: Iterable[Concept], reasons: Iterable[Coding], knowledge: Knowledge) -> bool:
    """Whether a site or a reason is known and not of the spine: therapy for a knee says nothing about a back."""
    anatomy, codes = knowledge.anatomy, knowledge.codes
    found = [anatomy.site(site, codes) for site in sites]
    if found and all(site is None for site in found):
        return True
    reasons = [reason for reason in reasons if reason.system == "icd-10-cm"]
    if codes.concepts(reasons) & SPINE_DIAGNOSES:
        return False
    return bool(reasons) and not any(anatomy.is_anywhere(reason.code) for reason in reasons)


def is_drug(concept: str, medicine: Medication | Order, knowledge: Knowledge) -> bool:
    """Whether a medicine belongs to a class: by RxNorm number, our own option code, or ingredient name."""
    return concept in knowledge.codes.concepts(medicine.code.codings) or bool(
        knowledge.ingredients(concept, medicine.code.words)
    )


def is_benzodiazepine(medicine: Medication | Order, knowledge: Knowledge) -> bool:
    """Whether a medicine is named as a benzodiazepine: there is no list of codes."""
    return knowledge.words.mean("benzodiazepine", medicine.code.words)


def medicines_taken(record: PatientRecord) -> tuple[Medication, ...]:
    """The medicines that are prescribed or reported as active; one that was given once is not taken."""
    return tuple(m for m in record.medications if m.status == "active" and m.kind != "MedicationAdministration")


def _kind_for(order: Order, record: PatientRecord, knowledge: Knowledge) -> OrderKind:
    """The kind of a draft for this patient: some drugs and products have nothing to do with the spine (3.10)."""
    kind = order_kind(order, knowledge)
    if kind not in _FOR_ANYTHING:
        return kind
    reasons = reason_codings(order, record)
    is_named_elsewhere = kind is OrderKind.BIOLOGIC and knowledge.words.mean("elsewhere", order.code.words)
    if is_named_elsewhere or is_elsewhere(order.body_sites, reasons, knowledge):
        return OrderKind.UNRELATED
    if kind is OrderKind.OPIOID and is_drug("opioid-agonist-treatment", order, knowledge):
        conditions = (condition.code.codings for condition in record.conditions if condition.active)
        codings = [*reasons, *(coding for codings in conditions for coding in codings)]
        return OrderKind.UNRELATED if "opioid-disorder" in knowledge.codes.concepts(codings) else kind
    return kind


def _is_surgical(order: Order, knowledge: Knowledge) -> bool:
    is_ours = any(coding.code == "surgical-consult" for coding in order.code.codings)
    return is_ours or knowledge.words.mean("surgical", order.code.words, order.performer.words)


def _is_something_else(order: Order, knowledge: Knowledge) -> bool:
    """Whether a spinal injection is a diagnostic root block, or for labour or chemotherapy (DET-1, DET-3)."""
    mean = knowledge.words.mean
    words = "; ".join([order.code.words, *(reason.words for reason in order.reasons)])
    if mean("anaesthetic-only", words) and not mean("steroid", words):
        return True
    return needs_sign(knowledge.codes.find(order.code.codings)) and mean("look-alike", words)


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
    is_open = one.is_approach_open or other.is_approach_open
    return Target(one.place.joined(other.place), sides, approach, one.drugs | other.drugs, is_open)
