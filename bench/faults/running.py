"""The service as a process of its own on a free port, for the faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PATH = "/cds-services/failed-esi"


@dataclass(frozen=True)
class Running:
    """A service under test."""

    process: subprocess.Popen[str]
    url: str

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        split = urlsplit(self.url)
        return split.hostname or "", split.port or 0

    def kill(self) -> None:
        """End it at once, with its workers."""
        with self.process, suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def peak_rss_mb(self) -> float:
        """The largest memory of its processes so far, summed, in MB."""
        return sum(_memory_kb(pid, "VmHWM") for pid in self.pids()) / 1000

    def rss_mb(self) -> float:
        """The memory of its processes now, summed, in MB."""
        return sum(_memory_kb(pid, "VmRSS") for pid in self.pids()) / 1000

    def open_files(self) -> int:
        """How many files, sockets and pipes its processes hold open."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())

    def cpu_seconds(self) -> float:
        """What its processes have computed so far."""
        return sum(map(_ticks, self.pids())) / os.sysconf("SC_CLK_TCK")

    def workers(self) -> frozenset[int]:
        """Its worker processes that live."""
        pid = self.process.pid
        return frozenset(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()))

    def pids(self) -> list[int]:
        """The process and its workers."""
        return [self.process.pid, *self.workers()]


def _memory_kb(pid: int, which: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which))


def _ticks(pid: int) -> int:
    """User and system time of a process (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def service(port: int = 0, serve: Sequence[str] = (), **settings: object) -> Iterator[Running]:
    """Start `serve` with these settings and a data folder of its own; ends with it. Exits when it does not start."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"CDS_DATA": folder, "CDS_LOG_LEVEL": "error", "TMPDIR": folder}  # it may be killed before it tidies up
        given |= {f"CDS_{name.upper()}": str(value) for name, value in settings.items()}
        running = start(port, given, serve)
        try:
            yield running
        finally:
            running.kill()


def start(port: int, settings: dict[str, str], serve: Sequence[str] = ()) -> Running:
    """Start `serve`; the first line that it prints says where it listens, so what answers there is it.

    `serve` is another way to start it, as arguments of Python.
    """
    command = [sys.executable, *(serve or ("-m", "cds_service", "serve", "--port", str(port)))]
    environment = {**os.environ, **settings}
    with tempfile.TemporaryFile("w+") as said:  # the same few warnings at each start, or why there was none
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment, start_new_session=True
        )
        line = process.stdout.readline() if process.stdout else ""
        if not line.startswith("listening on "):
            process.wait()
            said.seek(0)
            sys.exit(f"the service did not start: {said.read()}")
    return Running(process, line.removeprefix("listening on ").strip())
