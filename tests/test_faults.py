"""The harness of bench/faults at a size that fits a test run, and proof that its judges can say no."""

import random

import orjson
import pytest

from bench.faults import bodies, patients, ssrf, texts
from bench.faults.prove import MODULES, found_by
from cds_service.scenarios import scenarios

SCALES = {"patients": 0.005, "ssrf": 0.1, "texts": 0.05, "tokens": 0.01, "bodies": 0.004, "fuzz": 0.01, "workers": 0.01}


@pytest.mark.parametrize("name", MODULES)
def test_the_service_withstands(name):
    for measure in found_by(name, SCALES[name]):
        if measure.is_met is None:
            pytest.skip(f"{measure.name}: {measure.note}")
        assert measure.is_met, f"{measure.name}: {measure.value} (floor: {measure.floor})"


def test_a_mix_of_patients_is_one():
    rng = random.Random(1)
    story = scenarios(["failed-esi"])[0]
    mixes = [patients.mix(story, rng) for _ in range(50)]
    ours = story.request()["context"]["patientId"]
    assert {is_mixed for _, is_mixed in mixes} == {True, False}
    for body, is_mixed in mixes:
        text = orjson.dumps([r[m] for r, m in patients.subjects_of(list(patients._resources(body)))]).decode()
        assert is_mixed or text.count(ours) == text.count("reference")


def test_the_canary_counts_who_comes():
    with ssrf.Canary().listening() as canary:
        for host in ("127.0.0.1", "::1"):
            ssrf.socket.create_connection((host, canary.port)).close()
        assert ssrf._eventually(lambda: len(canary.visits) == 2)


def test_the_addresses_are_many_and_different():
    corpus = ssrf.corpus("http://127.0.0.1:1/fhir", 2)
    assert len(corpus) == len(set(corpus)) >= 500


@pytest.mark.parametrize("part", ["<form action=x>", "<img src=x>", "[x](https://evil.test)"])
def test_the_judge_of_texts_sees_what_became_a_tag_or_a_link(part):
    cmarkgfm = pytest.importorskip("cmarkgfm")
    page = cmarkgfm.github_flavored_markdown_to_html(part, options=cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE)
    tags = texts.Tags(page)
    assert not tags.tags <= texts.ALLOWED or tags.links


def test_broken_bodies_differ_from_what_they_were():
    rng = random.Random(1)
    body = scenarios(["failed-esi"])[0].request()
    made = {bodies.broken_json(body, rng) for _ in range(40)} | {
        bodies.broken_text(orjson.dumps(body), rng) for _ in range(40)
    }
    assert len(made) > 70
    assert orjson.dumps(body) not in made
