"""The drafts that testers fire: each is of the kind it stands under, with a code of the value sets."""

import pytest

from cds_service.fhir.models import new_order
from cds_service.protocol.response import coding_json
from hooks.failed_esi.facts import OrderKind
from hooks.failed_esi.knowledge import read_knowledge
from hooks.failed_esi.sample_orders import sample_orders
from tests.chart import hook_request

KINDS = sample_orders(read_knowledge())


def drafted(order):
    code = {"coding": [coding_json(coding) for coding in order.codings], "text": order.text}
    draft = new_order(order.kind, code=code, patient_id="pat-1", user_id="", encounter_id=None)
    return {**draft, "id": "d1", "intent": "order"}


def test_there_is_one_of_every_kind_and_the_usual_one_comes_first():
    assert set(KINDS) == set(OrderKind)
    assert next(iter(KINDS)) == OrderKind.ESI


@pytest.mark.parametrize("kind", KINDS)
def test_a_draft_is_of_the_kind_it_stands_under(decide, kind):
    assert decide(hook_request(drafts=[drafted(KINDS[kind])]))["orderedKind"] == kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unrelated"])
def test_a_draft_has_a_code_of_the_value_sets(knowledge, kind):
    assert knowledge.codes.concepts(KINDS[kind].codings)


def test_a_site_without_such_codes_still_has_drafts(tmp_path):
    (tmp_path / "cpt.toml").write_text("")
    assert sample_orders(read_knowledge(tmp_path))["esi"].codings == ()
