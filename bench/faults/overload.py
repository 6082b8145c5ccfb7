"""python -m bench.faults.overload: five times as many calls as the service can answer.

First the peak is measured (8 callers, each waiting for its answer), then calls leave at five times that rate whatever
becomes of them, then at half of it. The driver shares the machine with the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

from bench.chart import request_of_size
from bench.faults.driver import REFUSED, Calls, Pool, closed_loop, http_call, open_loop
from bench.faults.measure import Measure, main
from bench.faults.running import PATH, Running, service

TIMES = 5
CALLERS = 8
SLOW = 0.5  # seconds after which an EHR has moved on


def run(scale: float = 1.0) -> list[Measure]:
    """60 seconds of overload at full scale."""
    if not Path("/proc").is_dir():
        return [Measure(f"overload {TIMES}x", "goodput >= 80 % of the peak", "", None, "needs /proc, so Linux")]
    with service() as running:
        return list(_measures(*asyncio.run(_stages(running, max(60 * scale, 3))), running.peak_rss_mb()))


async def _stages(running: Running, seconds: float) -> tuple[Calls, Calls, Calls, str]:
    """The calls of each stage; and how much the service computed, as the driver takes its share of the machine."""
    message = http_call(PATH, request_of_size(100))
    pool = Pool(running.address)
    await closed_loop(pool, repeat(message), 1, CALLERS)  # warm
    began = running.cpu_seconds()
    peak = await closed_loop(pool, repeat(message), min(seconds, 10), CALLERS)
    between = running.cpu_seconds()
    over = await open_loop(pool, message, seconds, TIMES * peak.rate())
    cores = [(between - began) / peak.seconds, (running.cpu_seconds() - between) / over.seconds]
    after = await open_loop(pool, message, min(seconds, 10), peak.rate() / 2)
    pool.close()
    return peak, over, after, f"the service had {cores[0]:.2f} of a core, then {cores[1]:.2f}"


def _measures(peak: Calls, over: Calls, after: Calls, cores: str, rss: float) -> Iterator[Measure]:
    share = over.rate(within=SLOW) / peak.rate(within=SLOW)
    seen = (
        f"{peak.rate():.0f}/s at peak; {_shown(over)}; p50/p99 {_p50_p99(peak)} ms, then {_p50_p99(over)} ms; {cores}"
    )
    yield Measure(f"overload {TIMES}x: goodput", ">= 80 % of the peak", f"{share:.0%}", share >= 0.8, seen)
    refused = over.percentile_ms(0.99, REFUSED)
    p50 = f"p50 {over.percentile_ms(0.5, REFUSED):.0f} ms"
    yield Measure(f"overload {TIMES}x: 503 p99", "<= 50 ms", f"{refused:.0f} ms", refused <= 50, p50)
    lost = sum(count for status, count in over.counts().items() if status not in {200, REFUSED})
    yield Measure(f"overload {TIMES}x: neither 200 nor 503", "0", str(lost), lost == 0)
    yield Measure(f"overload {TIMES}x: peak memory", "<= 400 MB", f"{rss:.0f} MB", rss <= 400)
    late = max((left for status, left, took in after.done if status != 200 or took > SLOW), default=0)
    yield Measure(f"overload {TIMES}x: recovery", "<= 5 s", f"{late:.1f} s", late <= 5, _shown(after))


def _shown(calls: Calls) -> str:
    return ", ".join(f"{status}: {count}" for status, count in sorted(calls.counts().items()))


def _p50_p99(calls: Calls) -> str:
    return f"{calls.percentile_ms(0.5):.0f}/{calls.percentile_ms(0.99):.0f}"


if __name__ == "__main__":
    main(run)
