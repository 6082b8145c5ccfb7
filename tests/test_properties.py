"""What must hold for any chart: noise changes nothing, order changes nothing, nothing breaks."""

import copy
import json
from datetime import date

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hooks
from cds_service.answer import answer
from cds_service.app import create_app
from cds_service.protocol.errors import CdsError
from cds_service.scenarios import scenarios
from cds_service.service import Site
from cds_service.settings import Settings
from tests.chart import condition, medication, procedure, score, service_request

SERVICE = hooks.SERVICES[0](Site())
STORIES = {s.name: s for s in scenarios(["failed-esi"]) if s.response()["status"] == 200}
KEYS = ("procedures", "conditions", "observations", "medications", "serviceRequests", "allergies", "coverage")

UNREADABLE = st.sampled_from(
    [
        None,
        7,
        {},
        {"resource": None},
        {"resource": {"resourceType": "Procedure"}},
        {"resource": {"resourceType": "Procedure", "id": "x1", "status": "completed", "code": {"coding": "64483"}}},
        {"resource": {"resourceType": "Observation", "id": "x2", "code": [], "valueQuantity": {"value": "NaN"}}},
        {"resource": {"resourceType": "MedicinalProduct", "id": "x3"}},
        {"resource": {"resourceType": "Condition", "id": "x4", "code": {"text": 7}, "onsetDateTime": []}},
    ]
)
IRRELEVANT = st.sampled_from(
    [
        score(3, "2026-04-01", "y1", code="718-7"),
        condition("E11.9", name="y2"),
        {**procedure("", "2026-04-01", "y3"), "code": {"text": "Colonoscopy"}},
        medication("lisinopril 10 mg", "y4"),
        service_request("71046", "y5", authored="2026-05-01"),
    ]
).map(lambda resource: {"resource": resource})


def cards(body, today):
    return [(a.card.id, a.card.indicator, a.card.summary) for a in answer(SERVICE, body, today).advice.cards]


def with_entries(body, additions):
    """The body with further entries; in a Bundle of their own they could make it no answer (see test_prefetch.py)."""
    body = copy.deepcopy(body)
    for key, position, entry in additions:
        bundle = body["prefetch"].get(key)
        if isinstance(bundle, dict) and isinstance(bundle.get("entry"), list) and bundle["entry"]:
            bundle["entry"].insert(position % (len(bundle["entry"]) + 1), copy.deepcopy(entry))
    return body


ADDITIONS = st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 9), UNREADABLE | IRRELEVANT), max_size=8)


@given(story=st.sampled_from(sorted(STORIES)).map(STORIES.__getitem__), additions=ADDITIONS)
def test_an_unreadable_or_irrelevant_resource_never_adds_nor_removes_a_card(story, additions):
    body = story.request()
    assert cards(with_entries(body, additions), story.today) == cards(body, story.today)


@given(story=st.sampled_from(sorted(STORIES)).map(STORIES.__getitem__), rnd=st.randoms(use_true_random=False))
def test_the_order_of_the_input_never_matters(story, rnd):
    body, shuffled = story.request(), story.request()
    for key in KEYS:
        bundle = shuffled["prefetch"].get(key)
        if isinstance(bundle, dict) and "entry" in bundle:
            rnd.shuffle(bundle["entry"])
    rnd.shuffle(shuffled["context"]["draftOrders"]["entry"])
    first = answer(SERVICE, body, story.today).response()
    assert orjson.dumps(answer(SERVICE, shuffled, story.today).response()) == orjson.dumps(first)


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def places(value, path=()):
    """Every place in a request whose value can be replaced."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in children:
        yield (*path, name)
        yield from places(item, (*path, name))


@st.composite
def mutated(draw):
    """A request of a story with a few members replaced by anything or left out."""
    body = draw(st.sampled_from(sorted(STORIES)).map(STORIES.__getitem__)).request()
    for _ in range(draw(st.integers(1, 4))):
        *parents, name = draw(st.sampled_from(sorted(places(body), key=str)))
        target = body
        for parent in parents:
            target = target[parent]
        if draw(st.booleans()) and isinstance(target, dict):
            del target[name]
        else:
            target[name] = draw(VALUES)
    return body


@pytest.fixture(scope="module")
def client():
    return create_app(settings=Settings(log_level="error"), today=lambda: date(2026, 6, 1)).test_client()


@settings(max_examples=400)
@given(body=mutated())
def test_a_mutated_request_is_answered_or_refused_and_never_breaks(client, body):
    sent = json.dumps(body)  # the standard library also writes integers of any size
    response = client.post("/cds-services/failed-esi", data=sent, content_type="application/json")
    assert response.status_code in {200, 400, 412, 422}


@given(story=st.sampled_from(sorted(STORIES)).map(STORIES.__getitem__), foreign=st.sampled_from(KEYS))
def test_foreign_data_never_adds_or_changes_a_card(story, foreign):
    body = story.request()
    entry = {"resource": {"resourceType": "Basic", "id": "z", "subject": {"reference": "Patient/pat-2"}}}
    if isinstance(body["prefetch"].get(foreign), dict) and "entry" in body["prefetch"][foreign]:
        body["prefetch"][foreign]["entry"] = [*body["prefetch"][foreign]["entry"], entry]
        with pytest.raises(CdsError):
            answer(SERVICE, body, story.today)
