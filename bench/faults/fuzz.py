"""Bodies that a coverage-guided fuzzer (atheris) makes up: it keeps what reaches new code, and changes that further.

Runs in a process of its own, because the fuzzer ends the process it runs in.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

from bench.faults.measure import Measure, main

RUNS = 500_000  # with the half million of bodies.py: a million
SEED = 20_260_605
FLOOR = f"{RUNS:,} bodies: 0 answers of 500 and above"
_DONE = re.compile(r"Done (\d+) runs")
_COVERAGE = re.compile(r"cov: (\d+)")


def run(scale: float = 1.0) -> list[Measure]:
    """Fuzz from the requests of the stories on."""
    if importlib.util.find_spec("atheris") is None:
        return [
            Measure(
                "Fuzzed bodies",
                FLOOR,
                "",
                None,
                "atheris is not installed: it comes with the extra `test` on Linux (x86-64)",
            )
        ]
    runs = max(2_000, int(RUNS * scale))
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        _write_corpus(corpus)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "bench.faults.fuzz",
                "fuzz",
                str(corpus),
                f"-runs={runs}",
                f"-seed={SEED}",
                "-max_len=6000",
                f"-artifact_prefix={folder}/",
            ],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "CDS_DATA": folder,
                "CDS_LOG_LEVEL": "error",
                "TMPDIR": folder,
            },  # it ends without tidying up
            cwd=Path(__file__).parents[2],
            check=False,
        )
    made, covered = _DONE.search(done.stderr), _COVERAGE.findall(done.stderr)
    return [
        Measure(
            "Fuzzed bodies",
            FLOOR,
            f"{int(made[1]) if made else 0:,} bodies, exit code {done.returncode}, edges of the code reached: "
            f"{covered[-1] if covered else 'unknown'}",
            done.returncode == 0 and made is not None and int(made[1]) >= runs,
            f"seed {SEED}" if done.returncode == 0 else done.stderr.strip().splitlines()[-1][:200],
        )
    ]


def fuzz(arguments: list[str]) -> None:
    """Be the fuzzer; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["cds_service", "hooks"]):
        from bench.faults.bodies import application

        post = application()

    def one(body: bytes) -> None:
        status, answer = post("/cds-services/failed-esi", body)
        if status >= 500 or b"Traceback" in answer:
            raise AssertionError(status)

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def _write_corpus(folder: Path) -> None:
    from cds_service.scenarios import scenarios

    folder.mkdir()
    for story in scenarios(["failed-esi"]):
        (folder / story.name).write_bytes(orjson.dumps(story.request()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["fuzz"]:
        fuzz(sys.argv[2:])
    else:
        main(run)
