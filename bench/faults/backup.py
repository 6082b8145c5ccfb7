"""Copies of the ledger made while four clients write, each put in the place of the ledger of a new service."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.chart import request_of_size
from bench.faults.measure import Measure, main
from bench.faults.on_record import Compared, Told, compared
from bench.faults.running import PATH, service
from bench.faults.writers import CLIENTS, writing

BACKUPS = 20
BETWEEN = 500  # acknowledged, from one copy to the next
PATIENCE = 60  # seconds
NAME = "Copied while it writes, and restored"
FLOOR = f"{BACKUPS} copies: all there that was acknowledged before, chain sound; answers again within {PATIENCE} s"


def run(scale: float = 1.0) -> list[Measure]:
    """Twenty copies at full scale."""
    copies = max(1, int(BACKUPS * scale))
    lost, faults, times, stored = 0, [], [], 0
    with (
        tempfile.TemporaryDirectory() as name,
        service(data=name, workers=2) as running,
        writing(running.address) as writers,
    ):
        for number in range(copies):
            writers.wait_for(BETWEEN * (number + 1))
            before = writers.told()
            found, seconds = _restored(Path(name), before)
            lost, stored = lost + found.lost, found.stored
            faults += [*found.faults, *([f"{found.doubled} doubled"] if found.doubled else [])]
            times.append(seconds)
    value = f"{copies} copies, the last with {stored:,} on record: {lost} lost, {'; '.join(faults[:3]) or 'sound'}"
    took = f"a new service answered at most {max(times):.1f} s after the copy was begun"
    is_met = not (lost or faults) and max(times) <= PATIENCE and len(before.acknowledged) >= BETWEEN * copies
    return [Measure(NAME, FLOOR, f"{value}; {took}", is_met, f"{CLIENTS} clients, SQLite")]


def _restored(data: Path, before: Told) -> tuple[Compared, float]:
    """What a copy holds of what was acknowledged before it was begun, and the seconds until it was in service."""
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.monotonic()
        command = [sys.executable, "-m", "cds_service", "ledger", "backup", str(folder / "ledger.db")]
        subprocess.run(command, env={**os.environ, "CDS_DATA": str(data)}, stdout=subprocess.DEVNULL, check=True)
        shutil.copy(data / "secret", folder)
        found = compared(folder, before)
        with service(data=name) as running:
            connection = http.client.HTTPConnection(*running.address, timeout=PATIENCE)
            connection.request("POST", PATH, request_of_size(30), {"Content-Type": "application/json"})
            status = connection.getresponse().status
            connection.close()
        seconds = time.monotonic() - began
        return found, seconds if status == 200 else float("inf")


if __name__ == "__main__":
    main(run)
