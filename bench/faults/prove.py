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
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench.faults.measure import Measure, line

PROOF = Path(__file__).parents[2] / "docs" / "proof.md"
MODULES = (
    "patients", "ssrf", "texts", "tokens", "clock", "bodies", "fuzz", "replay", "workers", "ledger_kill", "backup", "disk", "soak",
    "overload", "slow", "rolling",
)  # fmt: skip
TIMED = ("overload", "slow", "rolling")  # these run first and alone
PACKAGES = ("cds-service", "flask", "gunicorn", "joserfc", "sqlalchemy", "orjson", "fhir.resources")


def found_by(name: str, scale: float) -> list[Measure]:
    """What one module measures."""
    measures: list[Measure] = importlib.import_module(f"bench.faults.{name}").run(scale)
    return measures


@dataclass(frozen=True)
class Row:
    """A line of the report: who measured it, and how long all of that took."""

    module: str
    measure: Measure
    began: str
    seconds: float
    scale: float


def report(lines: list[str], circumstances: list[str]) -> str:
    """The page."""
    bad = sum("| yes |" not in line for line in lines)
    return "\n".join(
        [
            "# Proof",
            "",
            "What `make prove` measured, beside the floors this project set itself. Written by the run; do not edit.",
            "",
            *(f"* {text}" for text in circumstances),
            "* What ran at a smaller size than its floor says so; its figure is no claim about the whole.",
            f"* {len(lines) - bad} of {len(lines)} floors reached" + (f", {bad} missed or skipped" if bad else ""),
            "",
            "| what | floor | measured | reached | size | began (UTC) | seconds | note |",
            "|---|---|---|---|---|---|---|---|",
            *lines,
            "",
            "Power loss cannot be simulated on this machine and is not claimed; a killed process and failing writes are.",
            "",
        ]
    )


def lines_of_others(chosen: Collection[str]) -> list[str]:
    """What the page already says of modules that do not run this time."""
    page = PROOF.read_text(encoding="utf-8") if PROOF.exists() else ""
    return [line for line in page.splitlines() if line.startswith("| ") and _module(line) in set(MODULES) - set(chosen)]


def _module(line: str) -> str:
    return line.rpartition("| `")[2].partition("`")[0]


def _circumstances(jobs: int) -> Iterator[str]:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if _is_installed(name))
    yield f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    yield f"load average at the start {os.getloadavg()[0]:.1f}; load comes from the same machine"
    yield f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}"
    yield f"{jobs} at once, but for {', '.join(TIMED)}, whose figures are times"


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _line(row: Row) -> str:
    measure = row.measure
    state = {True: "yes", False: "**no**", None: "**SKIPPED**"}[measure.is_met]
    size = "full" if row.scale >= 1 else f"{row.scale:g} of it"
    note = f"`{row.module}` {measure.note}"
    cells = (measure.name, measure.floor, measure.value, state, size, row.began, f"{row.seconds:.0f}", note)
    return "| " + " | ".join(cell.replace("|", "\\|").strip() for cell in cells) + " |"


def main() -> None:
    """Run, print as it goes, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size (1)")
    parser.add_argument("--only", action="append", choices=MODULES, help="this module; the others stay on the page")
    parser.add_argument("--smaller", action="append", default=[], metavar="MODULE=SHARE", help="another share for one")
    parser.add_argument(
        "--jobs", type=int, default=1, help="modules at once, but for those whose figures are times (1)"
    )
    options = parser.parse_args()
    chosen = options.only or MODULES
    scales = dict.fromkeys(MODULES, options.scale)
    scales |= {name: float(share) for name, _, share in (given.partition("=") for given in options.smaller)}
    began = list(_circumstances(options.jobs))
    rows = [row for name in chosen if name in TIMED for row in _told(name, scales[name])]
    with ThreadPoolExecutor(options.jobs) as pool:
        others = pool.map(lambda name: _told(name, scales[name]), [name for name in chosen if name not in TIMED])
        rows += [row for found in others for row in found]
    lines = sorted([*lines_of_others(chosen), *map(_line, rows)], key=lambda line: MODULES.index(_module(line)))
    PROOF.write_text(report(lines, began), encoding="utf-8")
    sys.exit(not all(row.measure.is_met for row in rows))


def _told(name: str, scale: float) -> list[Row]:
    """Run one module in a process of its own, and print what it found."""
    began, started = time.strftime("%m-%d %H:%M", time.gmtime()), time.monotonic()
    command = [sys.executable, "-m", f"bench.faults.{name}", "--scale", str(scale), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        found = [Measure(**members) for members in orjson.loads(done.stdout.rstrip().rpartition("\n")[2])]
    except orjson.JSONDecodeError:
        found = [Measure(name, "an end", f"ended with exit code {done.returncode}", False)]
    for measure in found:
        print(line(measure), flush=True)
    return [Row(name, measure, began, time.monotonic() - started, scale) for measure in found]


if __name__ == "__main__":
    main()
