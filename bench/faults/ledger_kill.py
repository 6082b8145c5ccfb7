"""The whole service killed (SIGKILL) while four clients write; then, is all that was acknowledged still there, once?"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

from bench.faults.measure import Measure, main
from bench.faults.on_record import Told, compared
from bench.faults.running import Running, start
from bench.faults.writers import CLIENTS, writing

KILLS, ACKNOWLEDGED = 200, 100_000
WORKERS = 2
SEED = 20260601
NAME = "Killed while it writes"
FLOOR = f"{KILLS} kills, {ACKNOWLEDGED:,} acknowledged: 0 lost, 0 doubled"


def run(scale: float = 1.0) -> list[Measure]:
    """Start, write, kill, start again; compare at the end, and every tenth time on the way."""
    kills, enough = max(3, int(KILLS * scale)), max(3, int(ACKNOWLEDGED * scale))
    rng, told, downtimes = random.Random(SEED), Told(), []
    with tempfile.TemporaryDirectory() as folder:
        settings = {"CDS_DATA": folder, "CDS_LOG_LEVEL": "error", "CDS_WORKERS": str(WORKERS), "TMPDIR": folder}
        for number in range(kills):
            started = time.monotonic()
            running = start(0, settings)
            downtimes.append(time.monotonic() - started)
            told.add(_written(running, (enough - len(told.acknowledged)) // (kills - number), rng))
            if number % 10 == 9 and not (found := compared(Path(folder), told)).is_sound:
                return [_measure(number + 1, told, str(found), is_met=False)]
        found = compared(Path(folder), told)
    is_met = found.is_sound and len(told.acknowledged) >= enough
    return [_measure(kills, told, f"{found}; up again after {statistics.median(downtimes):.1f} s", is_met=is_met)]


def _written(running: Running, enough: int, rng: random.Random) -> Told:
    """Let the clients write until so much is acknowledged, and kill the service a moment later."""
    with writing(running.address) as writers:
        writers.wait_for(enough)
        time.sleep(rng.uniform(0, 0.05))
        running.kill()
    return writers.told()


def _measure(kills: int, told: Told, found: str, *, is_met: bool) -> Measure:
    value = (
        f"{kills} kills, {len(told.acknowledged):,} acknowledged, {len(told.refused)} refused, "
        f"{len(told.unknown)} broken off; {found}"
    )
    return Measure(NAME, FLOOR, value, is_met, f"{WORKERS} workers, {CLIENTS} clients, SQLite")


if __name__ == "__main__":
    main(run)
