"""An accepted suggestion ends the matter: the order that it created gets no card, and is not suggested again."""

from copy import deepcopy

import pytest

import hooks
from cds_service.answer import answer
from cds_service.protocol.errors import CdsError
from cds_service.scenarios import scenarios
from cds_service.service import DECISION_EXTENSION, Site
from tests.cases import read_cases

ACCEPTED = "accepted-1"


def told():
    """Every story and every worked case: name, profile, day and request."""
    yield from ((story.name, "policy", story.today, story.request()) for story in scenarios(["failed-esi"]))
    yield from ((case.name, case.profile, case.today, case.request()) for case in read_cases())


def suggested(service, body, today):
    """The kind of card, the label and the order of every suggestion that creates one."""
    try:
        cards = answer(service, body, today).response()["cards"]
    except CdsError:
        return
    for card in cards:
        for suggestion in card.get("suggestions", ()):
            if (action := suggestion["actions"][0])["type"] == "create":
                order = {**action["resource"], "id": ACCEPTED}
                yield card["extension"][DECISION_EXTENSION]["card"], suggestion["label"], order


@pytest.fixture(scope="module")
def accepted():
    services = {profile: hooks.SERVICES[0](Site(profile=profile)) for profile in {row[1] for row in told()}}
    return [
        (name, services[profile], today, body, *suggestion)
        for name, profile, today, body in told()
        for suggestion in suggested(services[profile], body, today)
    ]


def with_order(body, order, *, selected, beside):
    """The request with the created order as a draft, alone or beside those that were there."""
    changed = deepcopy(body)
    drafts = changed["context"]["draftOrders"]
    drafts["entry"] = [*(drafts["entry"] if beside else ()), {"resource": order}]
    if selected:
        changed["context"]["selections"] = [f"{order['resourceType']}/{ACCEPTED}"]
    return changed


def cards_about(advice, order):
    reference = f"{order['resourceType']}/{ACCEPTED}"
    return [advised.card.id for advised in advice.cards if reference in advised.decision.orders]


def test_there_are_suggestions_of_many_kinds(accepted):
    kinds = {
        order["code" if "code" in order else "medicationCodeableConcept"]["coding"][0]["code"] for *_, order in accepted
    }
    assert len(accepted) > 200
    assert kinds >= {"repeat-imaging", "diagnostic-block", "advanced-pt", "neuropathic-medication", "rfa", "scs-trial"}


@pytest.mark.parametrize("beside", [True, False])
def test_the_created_order_gets_no_card_when_it_is_picked(accepted, beside):
    for name, service, today, body, _, _, order in accepted:
        advice = answer(service, with_order(body, order, selected=True, beside=beside), today).advice
        assert cards_about(advice, order) == [], name


def test_the_created_order_gets_no_card_when_it_is_signed(accepted):
    for name, service, today, body, _, _, order in accepted:
        signed = {**with_order(body, order, selected=False, beside=True), "hook": "order-sign"}
        assert cards_about(answer(service, signed, today).advice, order) == [], name


def test_what_is_drafted_is_not_suggested_again(accepted):
    for name, service, today, body, card, label, order in accepted:
        drafted = with_order(body, order, selected=False, beside=True)
        assert cards_about(answer(service, drafted, today).advice, order) == [], name
        again = {(kind, text) for kind, text, _ in suggested(service, drafted, today)}
        assert (card, label) not in again, name
