"""Worker processes that die: one is killed each second while clients call, and only what it was doing may fail."""

from __future__ import annotations

import http.client
import os
import signal
import statistics
import threading
import time
from collections import Counter
from pathlib import Path

from bench.chart import request_of_size
from bench.faults.measure import Measure, main
from bench.faults.running import PATH, Running, service

SECONDS = 600
WORKERS = 2
CLIENTS = 4


class Calls:
    """Clients that call until they are stopped, each on a connection of its own."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.body = request_of_size(30)
        self.seen: Counter[str] = Counter()
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def _run(self) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        headers = {"Content-Type": "application/json"}
        while not self.stop.is_set():
            try:
                connection.request("POST", PATH, self.body, headers)
                with connection.getresponse() as response:
                    is_card = b'"summary"' in response.read()
                self.seen["answered" if response.status == 200 and is_card else f"status {response.status}"] += 1
            except (OSError, http.client.HTTPException):
                self.seen["broken off"] += 1
                connection.close()
        connection.close()


def run(scale: float = 1.0) -> list[Measure]:
    """Kill one worker each second; what breaks off must be what that worker had in hand."""
    if not Path("/proc").is_dir():
        return [Measure("Workers killed, one a second", f"{SECONDS} s", "", None, "needs /proc, so Linux")]
    kills, respawned = max(5, int(SECONDS * scale)), []
    with service(workers=WORKERS) as running:
        before = _settled(running)
        calls = Calls(running.address)
        for thread in calls.threads:
            thread.start()
        for _ in range(kills):
            os.kill(min(before), signal.SIGKILL)
            started = time.monotonic()
            before = _settled(running, before)
            respawned.append(time.monotonic() - started)
            time.sleep(max(0.0, 1 - respawned[-1]))
        calls.stop.set()
        for thread in calls.threads:
            thread.join()
    broken, answered = calls.seen["broken off"], calls.seen["answered"]
    other = {name: n for name, n in calls.seen.items() if name.startswith("status")}
    return [
        Measure(
            "Workers killed, one a second",
            f"{SECONDS} s: nothing fails beyond what was in flight; a new worker within 2 s",
            f"{kills} kills: {answered:,} answered, {broken} broken off ({CLIENTS} in flight at most each time), "
            f"other answers {other}; new worker after {statistics.median(respawned):.1f} s, at most {max(respawned):.1f} s",
            broken <= kills * CLIENTS and not other and answered > 0 and max(respawned) <= 2,
            f"{WORKERS} workers, {CLIENTS} connections",
        )
    ]


def _settled(running: Running, before: frozenset[int] = frozenset()) -> frozenset[int]:
    """The workers, once all live; `before` are those of which one was killed."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = running.workers()
        if len(found) == WORKERS and found != before:
            return found
        time.sleep(0.02)
    raise RuntimeError("no new worker within 30 s")


if __name__ == "__main__":
    main(run)
