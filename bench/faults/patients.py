"""Mixes of patients: requests in which some resources are about somebody else must get no card at all.

A mix names the others in every form that a reference can take. Requests whose resources all name the right patient, in
as many forms, are the control: they must get the cards of their story.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hooks
from bench.faults.measure import Measure, main
from cds_service.answer import answer
from cds_service.protocol.errors import ForeignPatient
from cds_service.scenarios import Scenario, scenarios
from cds_service.service import Service, Site

CASES = 100_000
SEED = 20_260_601
SERVER = "https://ehr.example.org/fhir"
OTHERS = ("pat-2", "pat-10", "pat-11", "PAT-1", "pat-1x", "1", "pat-1/more", "pat-1?x=1", "")
FORMS = (
    "Patient/{id}",
    "Patient/{id}/_history/3",
    f"{SERVER}/Patient/{{id}}",
    f"{SERVER}/Patient/{{id}}/_history/1",
    f" {SERVER}/Patient/{{id}} ",
)
ELSEWHERE = (
    "https://other.example.org/fhir/Patient/{ours}",
    "https://ehr.example.org.evil.test/fhir/Patient/{ours}",
    "https://ehr.example.org/other/Patient/{ours}",
    "urn:uuid:00000000-0000-4000-8000-000000000000",
    "Person/{ours}",
    "#nobody",
)


def subjects_of(resources: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """The places where resources name their patient: the resource and the member."""
    return [(r, name) for r in resources for name in ("subject", "patient", "beneficiary") if name in r]


def mix(story: Scenario, rng: random.Random) -> tuple[dict[str, Any], bool]:
    """A request of the story in which every patient is named anew, and whether one of them is somebody else."""
    body = story.request()
    ours = body["context"]["patientId"]
    body["fhirServer"] = SERVER
    places = subjects_of(list(_resources(body)))
    strangers = set(rng.sample(range(len(places)), rng.choice((0, 1, 1, 2, len(places)))) if places else ())
    for number, (resource, member) in enumerate(places):
        resource[member] = {"reference": _foreign(ours, rng) if number in strangers else _own(ours, rng)}
    return body, bool(strangers)


def run(scale: float = 1.0) -> list[Measure]:
    """Try the mixes; none with a stranger may be evaluated."""
    service: Service = hooks.SERVICES[0](Site())
    stories = [story for story in scenarios([service.id]) if story.response()["status"] == 200]
    rng, seen, expected = random.Random(SEED), Counter[str](), {}
    count = max(200, int(CASES * scale))
    for _ in range(count):
        story = rng.choice(stories)
        body, is_mixed = mix(story, rng)
        if not is_mixed and story.name not in expected:
            expected[story.name] = _cards(service, story.request(), story)
        try:
            cards = _cards(service, body, story)
        except ForeignPatient:
            seen["stopped" if is_mixed else "own patient refused"] += 1
            continue
        seen["cards about a mix" if is_mixed else "own patient"] += 1
        seen["other cards"] += not is_mixed and cards != expected[story.name]
    wrong = seen["cards about a mix"] + seen["own patient refused"] + seen["other cards"]
    return [
        Measure(
            "Mixes of patients",
            f"{CASES:,} mixes: 0 evaluated",
            f"{count:,}: {seen['stopped']:,} mixes stopped, {seen['cards about a mix']} evaluated; "
            f"{seen['own patient']:,} of one patient answered as usual",
            wrong == 0 and seen["stopped"] > 0 and seen["own patient"] > 0,
            f"seed {SEED}",
        )
    ]


def _resources(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for value in (body["context"]["draftOrders"], *(body.get("prefetch") or {}).values()):
        if isinstance(value, dict):
            yield from (e["resource"] for e in value.get("entry") or () if isinstance(e.get("resource"), dict))


def _own(ours: str, rng: random.Random) -> str:
    return rng.choice(FORMS).format(id=ours)


def _foreign(ours: str, rng: random.Random) -> str:
    form, other = rng.choice((*FORMS, *ELSEWHERE)), rng.choice(OTHERS)
    return form.format(id=other, ours=ours)


def _cards(service: Service, body: dict[str, Any], story: Scenario) -> list[str]:
    return [advised.card.summary for advised in answer(service, body, story.today).advice.cards]


if __name__ == "__main__":
    main(run)
