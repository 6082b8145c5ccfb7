"""Calls that are made up, answered, and answered again from their capsules in another process with other surroundings.

python -m bench.faults.replay --child FOLDER answers a whole ledger again and prints what differs.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bench.faults.measure import Measure, main
from cds_service.app import create_app, load_services
from cds_service.ledger.capsule import Capsule
from cds_service.ledger.ledger import Ledger, open_ledger
from cds_service.ledger.replay import Replayed, answer_again, kept_call
from cds_service.ledger.tables import entries
from cds_service.scenarios import scenarios
from cds_service.service import Service
from cds_service.settings import Settings

CALLS = 10_000
SEED = 20260601
FLOOR = f"{CALLS:,} of {CALLS:,} identical, byte by byte"
SURROUNDINGS = {"PYTHONHASHSEED": "4242", "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}  # nothing of it may matter


def run(scale: float = 1.0) -> list[Measure]:
    """Answer, answer again elsewhere, compare."""
    count = max(100, int(CALLS * scale))
    with tempfile.TemporaryDirectory() as folder:
        statuses = _answer(Path(folder), count)
        started = time.monotonic()
        command = [sys.executable, "-m", "bench.faults.replay", "--child", folder]
        done = subprocess.run(command, env={**os.environ, **SURROUNDINGS}, capture_output=True, text=True, check=True)
        seconds = time.monotonic() - started
    differences = [line for line in done.stdout.splitlines() if not line.endswith("identical")]
    again = len(done.stdout.splitlines())
    on_record = sum(number for status, number in statuses.items() if status != 400)
    told = ", ".join(f"{number:,} with {status}" for status, number in sorted(statuses.items()))
    value = f"{again - len(differences):,} of {on_record:,} identical ({told}) in {seconds:.0f} s"
    return [
        Measure(
            "Replayed elsewhere", FLOOR, "; ".join([value, *differences[:3]]),
            not differences and again == on_record >= count * 0.9 and statuses[200] > 0, f"seed {SEED}",
        )
    ]  # fmt: skip


def replayed(ledger: Ledger) -> Iterator[tuple[int, Replayed]]:
    """The entries by number, each answered again."""
    with ledger.reading() as connection:
        numbers = connection.execute(select(entries.c.number).order_by(entries.c.number)).scalars().all()
    for number in numbers:
        yield number, answer_again(kept_call(ledger, str(number)), services_of, ledger.software)


def services_of(capsule: Capsule) -> dict[str, Service]:
    """The services of a site as it was, made once."""
    return _services(capsule.profile, capsule.public_url, capsule.emergency_url)


@cache
def _services(profile: str, public_url: str | None, emergency_url: str | None) -> dict[str, Service]:
    settings = Settings(profile=profile, public_url=public_url, emergency_url=emergency_url)
    return {service.id: service for service in load_services(settings)}


def _answer(folder: Path, count: int) -> Counter[int]:
    """Post calls of every story, each on another day and with a part of its chart missing; how they were answered."""
    rng, stories = random.Random(SEED), scenarios(["failed-esi"])
    day = [stories[0].today]
    app = create_app(settings=Settings(data=folder, ledger="capsule", log_level="error"), today=lambda: day[0])
    client, statuses = app.test_client(), Counter[int]()
    for number in range(count):
        story = stories[number % len(stories)]
        day[0] = story.today + timedelta(days=rng.randrange(-400, 400))
        body = _thinned(story.request(day[0] - timedelta(days=rng.randrange(30))), rng)
        statuses[client.post("/cds-services/failed-esi", json=body).status_code] += 1
    return statuses


def _thinned(body: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Without some entries of its chart, and in another order."""
    for bundle in (body.get("prefetch") or {}).values():
        found = bundle.get("entry") if isinstance(bundle, dict) else None
        if isinstance(found, list):
            bundle["entry"] = rng.sample(found, len(found) - rng.randrange(len(found) // 3 + 1))
    return body


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        for entry, again in replayed(open_ledger(Settings(data=Path(sys.argv[2])))):
            print(entry, "; ".join(again.differences) or "identical")
    else:
        main(run)
