"""What a module of this folder found: one line of the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure beside the floor it has to reach; `is_met` is None when it was not measured, and `note` says why."""

    name: str
    floor: str
    value: str
    is_met: bool | None
    note: str = ""


def main(run: Callable[[float], list[Measure]]) -> None:
    """Run one module from the command line and print what it found; exits 1 when a floor was missed or not measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size (1)")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    options = parser.parse_args()
    found = run(options.scale)
    print(orjson.dumps(found).decode() if options.json else "\n".join(map(line, found)))
    sys.exit(not all(measure.is_met for measure in found))


def line(measure: Measure) -> str:
    """One line for the terminal."""
    state = {True: "met", False: "MISSED", None: "SKIPPED"}[measure.is_met]
    return f"{state:<8}{measure.name}: {measure.value or measure.note} (floor: {measure.floor})"
