"""After a failed epidural steroid injection, which tier of care comes next? README.md here is the clinician's page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from functools import cache, partial

from cds_service.fhir.record import PatientRecord
from cds_service.protocol.card import Card, Indicator
from cds_service.protocol.hook_request import HookRequest
from cds_service.service import Advice, Advised, Decision, Service, Site
from hooks.failed_esi.attributes import check_attributes, source_attributes
from hooks.failed_esi.cards import Addresses, Writer
from hooks.failed_esi.checks import check_all, require_consistent
from hooks.failed_esi.decision import Case, Pathway
from hooks.failed_esi.knowledge import Knowledge, local, read_knowledge
from hooks.failed_esi.orders import read_intents
from hooks.failed_esi.page import write_page
from hooks.failed_esi.relevance import concerns, is_relevant, prefetch
from hooks.failed_esi.sample_orders import sample_orders
from hooks.failed_esi.statements import check_statements
from hooks.failed_esi.tables import Row
from hooks.failed_esi.toml_files import hash_of
from hooks.failed_esi.trace import decision_of

_INDICATORS = tuple(Indicator)


def service(site: Site) -> Service:
    """The service for one site. Raises KnowledgeError when the pathway files do not fit together."""
    knowledge = read_knowledge(site.value_sets, site.profile)
    require_consistent(knowledge)
    return Service(
        id=knowledge.service["id"],
        title=knowledge.service["title"],
        hooks=knowledge.service["hooks"],
        usage_requirements=knowledge.service["usage_requirements"],
        prefetch=prefetch(knowledge),
        required=frozenset(knowledge.service["required"]),
        knowledge_version=knowledge.version,
        knowledge_hash=_hash_of(site, knowledge),
        site=site,
        checked_on=min(source.checked_on for source in knowledge.sources.values()),
        demo=knowledge.service["demo"],
        sample_orders=sample_orders(knowledge),
        advise=partial(advise, knowledge=knowledge, addresses=_addresses(site, knowledge)),
        concerns=partial(concerns, knowledge=knowledge),
        override_reasons=tuple(local(code, text) for code, text in knowledge.wording["override"].items()),
        codes=knowledge.codes,
        is_relevant=partial(is_relevant, knowledge=knowledge),
        check=partial(_check, knowledge),
        page=cache(partial(write_page, knowledge)),
        source_attributes=cache(partial(source_attributes, knowledge)),
    )


def _hash_of(site: Site, knowledge: Knowledge) -> str:
    """Of all that the advice follows from: tables, words, value sets, code, and the settings of the site."""
    ours = [*knowledge.folder.rglob("*.toml"), *knowledge.folder.rglob("*.py")]
    theirs = site.value_sets.glob("*.toml") if site.value_sets else ()
    return hash_of([*ours, *theirs], knowledge.profile, site.public_url or "", site.emergency_url or "")


def _addresses(site: Site, knowledge: Knowledge) -> Addresses:
    page = f"{site.public_url}/knowledge/{knowledge.service['id']}" if site.public_url else None
    return Addresses(page, site.emergency_url)


def advise(
    request: HookRequest, record: PatientRecord, today: date, knowledge: Knowledge, addresses: Addresses
) -> Advice:
    """Find the sessions, judge each, establish the facts, decide, write the cards."""
    pathway = Pathway(request, record, today, knowledge)
    cases = [pathway.decide(intent) for intent in read_intents(request.selected, record, knowledge)]
    if not cases:
        return Advice(cards=(), decisions=(_nothing_selected(knowledge),))
    ranked = _in_order([(case, row) for case in cases for row in case.said], knowledge)
    written = [(case, Writer(case, record, today, knowledge, addresses).write(row)) for case, row in ranked]
    shown = _without_repeats(written)[: knowledge.cards["at_most"]]
    decisions = {case.intent: decision_of(case, pathway, [card.id for c, card in shown if c is case]) for case in cases}
    return Advice(
        cards=tuple(Advised(card, decisions[case.intent]) for case, card in shown),
        decisions=tuple(decisions[case.intent] for case in _weightiest_first(cases, [case for case, _ in shown])),
    )


def _check(knowledge: Knowledge) -> Iterator[str]:
    yield from check_all(knowledge)
    yield from check_statements(knowledge)
    yield from check_attributes(knowledge)


def _in_order(said: list[tuple[Case, Row]], knowledge: Knowledge) -> Sequence[tuple[Case, Row]]:
    """SUP-6: the cards in the order of the pathway; of two of one kind the one that weighs more."""
    order = knowledge.cards["order"]
    return sorted(said, key=lambda pair: (order.index(pair[1].card), -_INDICATORS.index(str(pair[1].indicator))))


def _without_repeats(written: Iterable[tuple[Case, Card]]) -> list[tuple[Case, Card]]:
    """One card of those that say the same about two orders; a finding is about the patient, and said once."""
    first: dict[tuple[str, str], tuple[Case, Card]] = {}
    for case, card in written:
        is_about_finding = card.id.startswith(("RED-FLAG", "OTHER-PATHWAY"))
        first.setdefault((card.id, "" if is_about_finding else card.summary), (case, card))
    return list(first.values())


def _weightiest_first(cases: list[Case], shown: Sequence[Case]) -> list[Case]:
    """The case of the first card first, then those that concern this service, then the rest."""
    return sorted(
        cases,
        key=lambda case: (
            shown.index(case) if case in shown else len(shown),
            case.silence == "unrelated-order",
        ),
    )


def _nothing_selected(knowledge: Knowledge) -> Decision:
    reason = "nothing-selected"
    return Decision(silence=reason, silence_reason=knowledge.wording["silence"][reason], rests_on_history=False)
