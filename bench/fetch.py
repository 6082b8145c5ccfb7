"""python -m bench.fetch: what a request without prefetch waits for, beside its slowest query and the decision alone.

A FHIR server on this machine answers each query after a pause of its own; the service asks all of them at once, so
that the whole should take little longer than the slowest one.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time

import orjson

from bench.load import Client, Target, running
from cds_service.scenarios import find_scenario
from tests.fhir_server import Exchange, FakeFhirServer, serving

PAUSES = {"Patient": 20, "Procedure": 150, "Condition": 120, "Observation": 100}
OTHERWISE = 40


def resources(prefetch: dict[str, object]) -> list[dict[str, object]]:
    """Every resource of a prefetch."""
    found = []
    for value in prefetch.values():
        if isinstance(value, dict) and value.get("resourceType") == "Bundle":
            found += [entry["resource"] for entry in value.get("entry", ())]
        elif isinstance(value, dict):
            found.append(value)
    return found


def slow(milliseconds: int) -> object:
    """An answer after a pause."""

    def answer(exchange: Exchange) -> None:
        time.sleep(milliseconds / 1000)
        exchange.send(exchange.good)

    return answer


def median_of(target: Target, body: bytes, requests: int) -> float:
    """The median of so many requests, in milliseconds, after a few that are not counted."""
    client = Client(target)
    times = [client.post(body) for _ in range(requests + 5)]
    return statistics.median(times[5:])


def main() -> None:
    """Run and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=40, help="requests of each kind (40)")
    options = parser.parse_args()
    request = find_scenario("failed-and-reordered", ["failed-esi"]).request()
    chart = resources(request["prefetch"])
    bare = {key: value for key, value in request.items() if key != "prefetch"}
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    service = [sys.executable, "-m", "cds_service", "serve", "--port", "0"]
    with serving(FakeFhirServer(chart)) as fhir, running("service", service, "/cds-services/failed-esi") as ours:
        fhir.faults = {kind: slow(pause) for kind, pause in PAUSES.items()}
        fhir.otherwise = slow(OTHERWISE)
        decision = median_of(ours, orjson.dumps(request), options.requests)
        fetched = median_of(ours, orjson.dumps({**bare, "fhirServer": fhir.url}), options.requests)
    slowest = max(PAUSES.values())
    print(f"{'slowest query':>14} {'decision':>9} {'sum':>7} {'without prefetch':>17} {'ratio':>6}")
    print(f"{slowest:>14} {decision:>9.1f} {slowest + decision:>7.1f} {fetched:>17.1f} ", end="")
    print(f"{fetched / (slowest + decision):>6.2f}")


if __name__ == "__main__":
    main()
