"""A disk that is full or fails: no call is answered that is not on record, and the ledger opens again.

python -m bench.faults.disk --child FOLDER CALLS makes the calls of one run and prints what became of them.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import orjson

from bench.chart import request_of_size
from bench.faults.measure import Measure, main
from bench.faults.on_record import Told, compared

CALLS = 3
# What SQLite calls to write and to wait for the disk, and what may come back.
FAULTS = (
    ("pwrite64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("fdatasync", "EIO"),
    ("fdatasync", "ENOSPC"),
    ("pwrite64", "EINTR"),
)
ROOM = 2_000_000  # bytes of a small disk
FULL_FLOOR = "0 answered that are not on record; refused with 503; answers again when there is room"
SWEEP_FLOOR = "every call of the kernel, to the end of a run: 0 answered that are not on record, the ledger opens"


def run(scale: float = 1.0) -> list[Measure]:
    """The full disk, then each kind of failure at every call, or at a share of them."""
    return [full_disk(), *(sweep(call, error, scale) for call, error in FAULTS)]


def full_disk() -> Measure:
    """Calls until there is no room, some more, and again with room; in a process of its own, which alone is limited."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_full_disk)


def _full_disk() -> Measure:
    from cds_service.app import create_app
    from cds_service.settings import Settings

    told = Told()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        client = create_app(settings=Settings(data=folder, log_level="error", ledger="capsule")).test_client()
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, unlimited[1]))
        try:
            while not told.refused:
                _call(client, told)
            before = len(told.acknowledged)
            for _ in range(20):
                _call(client, told)
            is_ready = [client.get("/readyz").status_code for _ in range(20)][-1]  # its own page or two may still fit
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        again = [_call(client, told) for _ in range(3)]
        found = compared(folder, told)
    value = f"{before} answered, then {len(told.refused)} refused; readyz {is_ready}; with room again {again}; {found}"
    is_met = found.is_sound and before > 0 and is_ready == 503 and again == [200, 200, 200]
    return Measure("Full disk", FULL_FLOOR, value, is_met, f"files of {ROOM:,} bytes at most")


def sweep(call: str, error: str, scale: float = 1.0) -> Measure:
    """One run for each call of the kernel, which fails in it; with a smaller scale for some of them."""
    name = f"{call} fails with {error}"
    if why := unusable():
        return Measure(name, SWEEP_FLOOR, "", None, why)
    total = _count(call)
    step = max(1, round(1 / scale)) if scale < 1 else 1
    numbers = range(1, total + 1, step)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = list(pool.map(lambda nth: _run_with(call, error, nth), numbers))
    answered, refused = (sum(len(getattr(told, kind)) for told, _, _ in runs) for kind in ("acknowledged", "refused"))
    stopped = sum(not did_start for _, _, did_start in runs)
    wrong = [f"at {nth}: {found}" for nth, (_, found, _) in zip(numbers, runs, strict=True) if found]
    tried = len(runs)
    value = f"{tried} of {total} calls: {answered} answered, {refused} refused, {stopped} did not start"
    return Measure(name, SWEEP_FLOOR, "; ".join([value, *wrong[:3]]), not wrong and answered > 0, "strace")


def unusable() -> str:
    """Why no fault can be injected here; "" when it can."""
    if shutil.which("strace") is None:
        return "needs strace"
    tried = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "strace may not trace here"


def _run_with(call: str, error: str, nth: int) -> tuple[Told, str, bool]:
    """One run in which the nth call fails: what was told, what is wrong with the ledger, and whether it started."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        printed = _child(folder, ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={nth}"])
        told = Told()
        for number, status in printed:
            told.note(number, status)
        found = compared(folder, told)
        return told, "" if found.is_sound else str(found), bool(printed)


def _count(call: str) -> int:
    """How often a run without a fault makes this call."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "strace"
        (folder / "data").mkdir()
        _child(folder / "data", ["-e", f"trace={call}"], log)
        return sum(f"{call}(" in line for line in log.read_text(encoding="utf-8", errors="replace").splitlines())


def _child(folder: Path, options: list[str], log: Path = Path("/dev/null")) -> list[tuple[str, int]]:
    """The calls of one run and their statuses; none when the service did not start."""
    program = [sys.executable, "-m", "bench.faults.disk", "--child", str(folder), str(CALLS)]
    command = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(log), *options, *program]
    done = subprocess.run(command, capture_output=True, check=False)
    return [(name, int(status)) for name, status in (line.split() for line in done.stdout.decode().splitlines())]


def _statuses(folder: Path, calls: int) -> Iterator[tuple[str, int]]:
    from cds_service.app import create_app
    from cds_service.settings import Settings

    client = create_app(settings=Settings(data=folder, log_level="error")).test_client()
    for _ in range(calls):
        told = Told()
        status = _call(client, told)
        yield next(iter(told.acknowledged | told.refused)), status


def _call(client, told: Told) -> int:  # type: ignore[no-untyped-def]
    name = str(uuid.uuid4())
    body = orjson.loads(request_of_size(30)) | {"hookInstance": name}
    status: int = client.post("/cds-services/failed-esi", json=body).status_code
    told.note(name, status)
    return status


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        for one, became in _statuses(Path(sys.argv[2]), int(sys.argv[3])):
            print(one, became, flush=True)
    else:
        main(run)
