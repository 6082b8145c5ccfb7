"""What this service is about: which orders concern it, and which resources of a chart can matter."""

from __future__ import annotations

from cds_service.fhir.record import Order
from hooks.failed_esi.facts import OrderKind
from hooks.failed_esi.knowledge import Knowledge
from hooks.failed_esi.orders import kind_in_words, order_kind
from hooks.failed_esi.words import has_token

_DRUG_CLASSES = ("neuropathic", "opioid", "corticosteroid", "anticoagulant")


def concerns(order: Order, knowledge: Knowledge) -> bool:
    """Whether a selected order is one that this service may have something to say about (SUP-1)."""
    return order_kind(order, knowledge) is not OrderKind.UNRELATED


def is_relevant(kind: str, words: str, knowledge: Knowledge) -> bool:
    """Whether a resource whose code no value set holds can matter to any rule all the same: by its words."""
    if not has_token(knowledge.triggers, words):
        return False
    mean = knowledge.words.mean
    if kind in {"Procedure", "ServiceRequest"}:
        return kind_in_words(words, knowledge) is not None or mean("esi-text", words)
    if kind == "Observation":
        return mean("muscle-strength", words)
    if kind == "Condition":
        return mean("ligament-hypertrophy", words) or mean("focal-pain", words)
    is_named = any(knowledge.ingredients(drug, words) for drug in _DRUG_CLASSES)
    return kind.startswith("Medication") and (is_named or mean("benzodiazepine", words))


def prefetch(knowledge: Knowledge) -> dict[str, str]:
    """The prefetch templates, with the codes of every score in them."""
    scores = {*knowledge.scales, "percent-relief"}
    codes = ",".join(entry.code for entry in knowledge.codes.entries if entry.concept in scores)
    return {key: query.replace("{{codes}}", codes) for key, query in knowledge.service["prefetch"].items()}
