"""python -m bench.faults.rolling: two instances behind deploy/nginx.conf, restarted in turn under load."""

from __future__ import annotations

import asyncio
import signal
import tempfile

from bench.chart import request_of_size
from bench.faults.driver import Calls, Pool, http_call, open_loop
from bench.faults.measure import Measure, main
from bench.faults.proxy import MISSING, NGINX, nginx
from bench.faults.running import PATH, Running, start

RESTARTS = 100
RATE = 20  # calls a second
NAME = "{} rolling restarts: failed calls"


def run(scale: float = 1.0) -> list[Measure]:
    """100 restarts at full scale."""
    restarts = max(int(RESTARTS * scale), 3)
    if not NGINX:
        return [Measure(NAME.format(restarts), "0", "", None, MISSING)]
    with tempfile.TemporaryDirectory() as folder:
        settings = [{"CDS_DATA": f"{folder}/{number}", "CDS_LOG_LEVEL": "error"} for number in range(2)]
        running = [start(0, one) for one in settings]
        try:
            with nginx([one.address for one in running]) as address:
                calls, codes = asyncio.run(_restarted(running, settings, restarts, Pool(address)))
        finally:
            for one in running:
                one.kill()
    failed = len(calls) - sum(status == 200 for status, _, _ in calls)
    stopped = f"{len(calls)} calls; exit codes {sorted(set(codes))}"
    return [Measure(NAME.format(restarts), "0", str(failed), failed == 0 and set(codes) == {0}, stopped)]


async def _restarted(
    running: list[Running], settings: list[dict[str, str]], restarts: int, pool: Pool
) -> tuple[list[tuple[int, float, float]], list[int]]:
    """Call on and on until all restarts are done; the calls and the exit codes of the instances."""
    message = http_call(PATH, request_of_size(30))
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(None, _restart_all, running, settings, restarts)
    calls = Calls(0)
    while not work.done():
        calls.done += (await open_loop(pool, message, 1, RATE)).done
    pool.close()
    return calls.done, await work


def _restart_all(running: list[Running], settings: list[dict[str, str]], restarts: int) -> list[int]:
    codes = []
    for number in range(restarts):
        old = running[number % 2]
        old.process.send_signal(signal.SIGTERM)
        with old.process:
            codes.append(old.process.wait(timeout=30))
        running[number % 2] = start(old.address[1], settings[number % 2])
    return codes


if __name__ == "__main__":
    main(run)
