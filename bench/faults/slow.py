"""python -m bench.faults.slow: a thousand connections that drip, first their heads, then their bodies.

Meanwhile /livez and a call are asked in turn, behind deploy/nginx.conf and, for comparison, without it.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence
from contextlib import suppress

from bench.chart import request_of_size
from bench.faults.driver import Calls, Pool, http_call, open_loop
from bench.faults.measure import Measure, main
from bench.faults.proxy import MISSING, NGINX, Address, nginx
from bench.faults.running import PATH, service

CONNECTIONS = 1000
PROBES_A_SECOND = 10
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: service.example\r\n".encode()
BODY = HEAD + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
KINDS = {"heads": (HEAD, b"X-Slow: x\r\n"), "bodies": (BODY, b" ")}  # what is sent first, and then again and again


def run(scale: float = 1.0) -> list[Measure]:
    """1,000 connections for 20 seconds at full scale."""
    connections, seconds = max(int(CONNECTIONS * scale), 20), max(20 * scale, 1)
    _allow_files(2 * connections + 200)
    with service() as running:
        behind = [_behind_nginx(running.address, kind, connections, seconds) for kind in KINDS]
    with service() as running:
        return behind + [_alone(running.address, kind, connections, seconds) for kind in KINDS]


def _behind_nginx(address: Address, kind: str, connections: int, seconds: float) -> Measure:
    name = f"{connections} slow {kind}: probes answered"
    if not NGINX:
        return Measure(name, "all", "", None, MISSING)
    with nginx([address]) as proxy:
        found = asyncio.run(_attacked(proxy, kind, connections, seconds))
    live, call = found
    note = f"p50/p99 {live.percentile_ms(0.5):.0f}/{live.percentile_ms(0.99):.0f} ms for /livez, "
    note += f"{call.percentile_ms(0.5):.0f}/{call.percentile_ms(0.99):.0f} ms for a call"
    return Measure(name, "all", _shown(found), all(calls.counts()[200] == len(calls.done) for calls in found), note)


def _alone(address: Address, kind: str, connections: int, seconds: float) -> Measure:
    live, call = asyncio.run(_attacked(address, kind, connections, seconds))
    name = f"{connections} slow {kind}, without nginx: /livez answered"
    note = f"calls {_shown([call])}: the service alone is not made for this, so the proxy is required"
    return Measure(name, "all", _shown([live]), live.counts()[200] == len(live.done), note)


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count), hard), hard))


async def _attacked(address: Address, kind: str, connections: int, seconds: float) -> tuple[Calls, Calls]:
    """Probe and call while so many connections drip."""
    first, drop = KINDS[kind]
    slow = [asyncio.create_task(_drip(address, first, drop)) for _ in range(connections)]
    await asyncio.sleep(2)
    pool = Pool(address, patience=5)
    live = open_loop(pool, http_call("/livez", method="GET"), seconds, PROBES_A_SECOND / 2)
    call = open_loop(pool, http_call(PATH, request_of_size(30)), seconds, PROBES_A_SECOND / 2)
    found = await asyncio.gather(live, call)
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    pool.close()
    return found[0], found[1]


async def _drip(address: Address, first: bytes, drop: bytes) -> None:
    """Send a little every second, and come back when hung up on."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(*address)
            try:
                writer.write(first)
                while not writer.is_closing():
                    await asyncio.sleep(1)
                    writer.write(drop)
                    await writer.drain()
            finally:
                writer.close()
        await asyncio.sleep(0.1)


def _shown(found: Sequence[Calls]) -> str:
    good = sum(calls.counts()[200] for calls in found)
    return f"{good} of {sum(len(calls.done) for calls in found)}"


if __name__ == "__main__":
    main(run)
