"""The harness of bench/faults at a size that fits a test run, and proof that its judges can say no."""

import random

import orjson
import pytest

from bench.faults import bodies, disk, overload, patients, ssrf, texts
from bench.faults.on_record import Told, compared
from bench.faults.prove import MODULES, found_by
from cds_service.ledger.entry import Entry
from cds_service.ledger.ledger import open_ledger
from cds_service.scenarios import scenarios
from cds_service.settings import Settings

SCALES = {
    "patients": 0.005,
    "ssrf": 0.1,
    "texts": 0.05,
    "tokens": 0.01,
    "clock": 0.1,
    "bodies": 0.004,
    "fuzz": 0.004,
    "workers": 0.01,
    "replay": 0.03,
    "ledger_kill": 0.003,
    "backup": 0.05,
    "soak": 0.001,
    "slow": 0.1,
    "rolling": 0.03,
}
# The figures of overload are times, so it is run by hand and by `make prove`. The disk has tests of its own: one part of
# it runs everywhere, the others need strace.
APART = {"overload", "disk"}


@pytest.mark.parametrize("name", [name for name in MODULES if name not in APART])
def test_the_service_withstands(name):
    for measure in found_by(name, SCALES[name]):
        if measure.is_met is None:
            pytest.skip(f"{measure.name}: {measure.note}")
        assert measure.is_met, f"{measure.name}: {measure.value} (floor: {measure.floor})"


def test_nothing_is_answered_off_the_record_on_a_full_disk():
    found = disk.full_disk()
    assert found.is_met, found.value


@pytest.mark.parametrize(("call", "error"), [("fdatasync", "EIO"), ("pwrite64", "ENOSPC")])
def test_nothing_is_answered_off_the_record_when_the_kernel_fails(call, error):
    if why := disk.unusable():
        pytest.skip(why)
    found = disk.sweep(call, error, 0.2 if call == "fdatasync" else 0.04)
    assert found.is_met, found.value


def test_the_judge_of_ledgers_sees_what_is_lost_doubled_or_strange(tmp_path):
    ledger = open_ledger(Settings(data=tmp_path))
    ledger.append(*(Entry("decision", {"hookInstance": name}) for name in ("a", "b", "b", "c")))
    found = compared(tmp_path, Told(acknowledged={"a", "b", "d"}, unknown={"e"}))
    assert (found.lost, found.doubled, found.strange, found.faults, found.stored) == (1, 1, 1, (), 4)
    assert not found.is_sound
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM entries WHERE number = 3")
    assert compared(tmp_path, Told(acknowledged={"a", "b"}, unknown={"c"})).faults != ()


def test_overload_is_answered_or_refused_and_nothing_else():
    found = {measure.name: measure for measure in overload.run(0.05)}
    assert found["overload 5x: neither 200 nor 503"].is_met
    assert found["overload 5x: peak memory"].is_met


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
