"""python -m bench.faults.prove: everything of this folder in one run, written to docs/proof.md.

A figure that misses its floor, and one that could not be measured, fail the run.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.faults.measure import Measure, line

PROOF = Path(__file__).parents[2] / "docs" / "proof.md"
MODULES = (
    "patients", "ssrf", "texts", "tokens", "bodies", "fuzz", "replay", "workers", "ledger_kill", "disk", "overload", "slow",
    "rolling",
)  # fmt: skip
PACKAGES = ("cds-service", "flask", "gunicorn", "joserfc", "sqlalchemy", "orjson", "fhir.resources")


def found_by(name: str, scale: float) -> list[Measure]:
    """What one module measures."""
    measures: list[Measure] = importlib.import_module(f"bench.faults.{name}").run(scale)
    return measures


def report(rows: list[tuple[str, Measure, float]], scale: float) -> str:
    """The page."""
    bad = sum(not measure.is_met for _, measure, _ in rows)
    return "\n".join(
        [
            "# Proof",
            "",
            "What `make prove` measured, beside the floors this project set itself. Written by the run; do not edit.",
            "",
            *(f"* {text}" for text in _circumstances(scale)),
            f"* {len(rows) - bad} of {len(rows)} floors reached" + (f", {bad} missed or skipped" if bad else ""),
            "",
            "| what | floor | measured | reached | seconds | note |",
            "|---|---|---|---|---|---|",
            *(_row(name, measure, seconds) for name, measure, seconds in rows),
            "",
            "Power loss cannot be simulated on this machine and is not claimed; a killed process and failing writes are.",
            "",
        ]
    )


def _circumstances(scale: float) -> Iterator[str]:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if _is_installed(name))
    yield f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}"
    yield f"load average at the start {os.getloadavg()[0]:.1f}; load comes from the same machine"
    yield f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}"
    yield f"scale {scale:g} of the full size" if scale != 1 else "full size"


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _row(name: str, measure: Measure, seconds: float) -> str:
    state = {True: "yes", False: "**no**", None: "**SKIPPED**"}[measure.is_met]
    cells = (measure.name, measure.floor, measure.value, state, f"{seconds:.0f}", f"`{name}` {measure.note}")
    return "| " + " | ".join(cell.replace("|", "\\|").strip() for cell in cells) + " |"


def main() -> None:
    """Run, print as it goes, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size (1)")
    parser.add_argument("--only", action="append", choices=MODULES, help="this module; may be given several times")
    options = parser.parse_args()
    rows: list[tuple[str, Measure, float]] = []
    for name in options.only or MODULES:
        started = time.monotonic()
        for measure in found_by(name, options.scale):
            rows.append((name, measure, time.monotonic() - started))
            print(line(measure), flush=True)
    if not options.only:
        PROOF.write_text(report(rows, options.scale), encoding="utf-8")
    sys.exit(not all(measure.is_met for _, measure, _ in rows))


if __name__ == "__main__":
    main()
