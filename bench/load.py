"""python -m bench.load: latency of the service beside the floor, for charts of four sizes.

Both run under the same server with the same settings; requests alternate between them, so that a change in the
speed of the machine hits both. Closed loop, one request at a time, then several at once.
"""

from __future__ import annotations

import argparse
import http.client
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.chart import request_of_size

SIZES = (30, 100, 600, 2000)


@dataclass(frozen=True)
class Target:
    """A server under test."""

    name: str
    url: str
    path: str


@contextmanager
def running(name: str, command: list[str], path: str) -> Iterator[Target]:
    """A server process on a free port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith("listening on "):
                sys.exit(f"{name} did not start")
            yield Target(name, line.removeprefix("listening on ").strip(), path)
        finally:
            process.terminate()


class Client:
    """One keep-alive connection."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.connection = http.client.HTTPConnection(urlsplit(target.url).netloc, timeout=30)

    def post(self, body: bytes) -> float:
        """Milliseconds of one request; ends the run when the answer is not a card."""
        started = time.perf_counter()
        self.connection.request("POST", self.target.path, body, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        answer = response.read()
        elapsed = (time.perf_counter() - started) * 1000
        if response.status != 200 or b'"summary"' not in answer:
            sys.exit(f"{self.target.name}: {response.status} without a card")
        return elapsed


def alternate(targets: list[Target], body: bytes, requests: int) -> dict[str, list[float]]:
    """Time requests one after the other, the targets in turn."""
    clients = [Client(target) for target in targets]
    for _ in range(20):  # in turn as well: a connection left alone for two seconds is closed
        for client in clients:
            client.post(body)
    times: dict[str, list[float]] = {target.name: [] for target in targets}
    for _ in range(requests):
        for client in clients:
            times[client.target.name].append(client.post(body))
    return times


def throughput(target: Target, body: bytes, seconds: float, connections: int) -> float:
    """Requests a second with several connections at once."""
    counts = [0] * connections
    until = time.perf_counter() + seconds

    def run(slot: int) -> None:
        client = Client(target)
        while time.perf_counter() < until:
            client.post(body)
            counts[slot] += 1

    threads = [threading.Thread(target=run, args=(slot,)) for slot in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of all values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    """Run and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300, help="requests of each size and target (300)")
    parser.add_argument("--seconds", type=float, default=3, help="seconds of each throughput measurement (3)")
    parser.add_argument("--connections", type=int, default=4, help="connections at once (4)")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'resources':>9} {'kB':>6} | {'floor p50':>9} {'p99':>7} {'req/s':>7} | ", end="")
    print(f"{'ours p50':>9} {'p99':>7} {'req/s':>7} | {'ratio p50':>9}")
    service = [sys.executable, "-m", "cds_service", "serve", "--port", "0"]
    with (
        running("floor", [sys.executable, "-m", "bench.floor"], "/cds-services/floor") as floor,
        running("service", service, "/cds-services/failed-esi") as ours,
    ):
        for size in SIZES:
            body = request_of_size(size)
            times = alternate([floor, ours], body, options.requests)
            rates = {t.name: throughput(t, body, options.seconds, options.connections) for t in (floor, ours)}
            cells = [size, len(body) / 1000]
            print(f"{cells[0]:>9} {cells[1]:>6.0f} | ", end="")
            for target in (floor, ours):
                values = times[target.name]
                p50, p99 = statistics.median(values), percentile(values, 0.99)
                print(f"{p50:>9.2f} {p99:>7.2f} {rates[target.name]:>7.0f} | ", end="")
            print(f"{statistics.median(times['service']) / statistics.median(times['floor']):>9.2f}")


if __name__ == "__main__":
    main()
