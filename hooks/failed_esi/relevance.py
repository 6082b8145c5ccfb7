"""What this service is about: which orders concern it, and which resources of a chart can matter."""

from __future__ import annotations

from cds_service.fhir.record import Concept, Order
from hooks.failed_esi.facts import OrderKind
from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.orders import BILLING_SYSTEMS, kind_in_words, order_kind

_ALWAYS = frozenset({"AllergyIntolerance", "Coverage"})
_DRUG_CLASSES = ("neuropathic", "opioid", "corticosteroid")


def concerns(order: Order, knowledge: Knowledge) -> bool:
    """Whether a selected order is one that this service may have something to say about (SUP-1)."""
    return order_kind(order, knowledge) is not OrderKind.UNRELATED


def is_relevant(kind: str, code: Concept, knowledge: Knowledge) -> bool:
    """Whether a resource of this type and code can matter to any rule; by its code first, then by its words."""
    if kind in _ALWAYS or knowledge.codes.find(code.codings):
        return True
    if kind in {"Procedure", "ServiceRequest"}:
        is_billed = any(coding.system in BILLING_SYSTEMS for coding in code.codings)
        return not is_billed and (
            kind_in_words(code.words, knowledge) is not None or knowledge.words.mean("esi-text", code.words)
        )
    if kind == "Condition":
        mean = knowledge.words.mean
        return mean("ligament-hypertrophy", code.words) or mean("focal-pain", code.words)
    if kind.startswith("Medication"):
        is_named = any(knowledge.ingredients(drug, code.words) for drug in _DRUG_CLASSES)
        return is_named or knowledge.words.mean("benzodiazepine", code.words)
    return False


def prefetch(knowledge: Knowledge) -> dict[str, str]:
    """The prefetch templates, with the codes of every score in them."""
    scores = {*knowledge.scales, "percent-relief"}
    codes = ",".join(entry.code for entry in knowledge.codes.entries if entry.concept in scores)
    return {key: query.replace("{{codes}}", codes) for key, query in knowledge.service["prefetch"].items()}
