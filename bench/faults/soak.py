"""python -m bench.faults.soak: calls about ever new patients; memory and open files stay what they were."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from bench.chart import request_of_size
from bench.faults.driver import Pool, closed_loop, http_call
from bench.faults.measure import Measure, main
from bench.faults.running import PATH, Running, service

CALLS = 1_000_000
WARM = 0.05  # of the calls, before the first look: caches fill and threads begin
CALLERS = 4
LOOKS = 10
GROWTH = 0.05
SECONDS = 5  # between two counts of what is done
NAME, FLOOR = "Soak", f"{CALLS:,} calls: all answered, memory grows by less than {GROWTH:.0%}, no file more is open"


def run(scale: float = 1.0) -> list[Measure]:
    """A million calls at full scale."""
    if not Path("/proc").is_dir():
        return [Measure(NAME, FLOOR, "", None, "needs /proc, so Linux")]
    with service() as running:
        return [asyncio.run(_soaked(running, max(int(CALLS * scale), 1000)))]


async def _soaked(running: Running, calls: int) -> Measure:
    pool, messages, seen = Pool(running.address), _messages(), Counter[int]()

    async def call_until(enough: float) -> None:
        while seen.total() < enough:
            seen.update((await closed_loop(pool, messages, min(SECONDS, enough / 1000), CALLERS)).counts())

    await call_until(calls * WARM)
    memory, files = [running.rss_mb()], running.open_files()
    for look in range(1, LOOKS + 1):
        await call_until(calls * (WARM + (1 - WARM) * look / LOOKS))
        memory.append(running.rss_mb())
    files_then = running.open_files()
    pool.close()
    growth = memory[-1] / memory[0] - 1
    value = f"{seen.total():,} calls, answers {dict(seen)}; memory {growth:+.1%}, open files {files}, then {files_then}"
    is_met = set(seen) == {200} and growth < GROWTH and files_then <= files
    return Measure(NAME, FLOOR, value, is_met, f"MB: {', '.join(f'{one:.0f}' for one in memory)}")


def _messages() -> Iterator[bytes]:
    """Calls of which no two are about the same patient, or say the same of one."""
    sample = request_of_size(30)
    for number in count():
        body = sample.replace(b'pat-1"', b'pat-%d"' % number).replace(b"Another", b"The %dth" % number)
        yield http_call(PATH, body.replace(b"3f6a1c1e-8f0a-4a53-9d0c-2f6f0a1d7c11", str(uuid.uuid4()).encode()))


if __name__ == "__main__":
    main(run)
