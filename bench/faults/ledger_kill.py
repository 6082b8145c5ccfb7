"""The whole service killed (SIGKILL) while four clients write; then, is all that was acknowledged still there, once?"""

from __future__ import annotations

import http.client
import random
import statistics
import tempfile
import threading
import time
import uuid
from pathlib import Path

import orjson

from bench.chart import request_of_size
from bench.faults.measure import Measure, main
from bench.faults.on_record import Told, all_told, compared
from bench.faults.running import PATH, Running, start

KILLS, ACKNOWLEDGED = 200, 100_000
WORKERS = 2
CLIENTS = 4
SEED = 20260601
NAME = "Killed while it writes"
FLOOR = f"{KILLS} kills, {ACKNOWLEDGED:,} acknowledged: 0 lost, 0 doubled"


class Writer(threading.Thread):
    """A client that calls, and reports on the cards it gets where the service takes reports, until it is stopped."""

    def __init__(self, address: tuple[str, int], stop: threading.Event, *, reports: bool) -> None:
        super().__init__()
        self.told = Told()
        self.stop = stop
        self.reports = reports
        self.connection = http.client.HTTPConnection(*address, timeout=10)
        self.body = orjson.loads(request_of_size(30))

    def run(self) -> None:
        """Call until the connection breaks or it is time to stop."""
        while not self.stop.is_set():
            name = str(uuid.uuid4())
            answer = self._post(PATH, name, self.body | {"hookInstance": name})
            if answer is None:
                break
            if self.reports:
                for card in orjson.loads(answer).get("cards", ()):
                    report = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-06-01T00:00:00Z"}
                    self._post(f"{PATH}/feedback", card["uuid"], {"feedback": [report]})
        self.connection.close()

    def _post(self, path: str, name: str, body: object) -> bytes | None:
        try:
            self.connection.request("POST", path, orjson.dumps(body), {"Content-Type": "application/json"})
            with self.connection.getresponse() as response:
                answer = response.read()
                self.told.note(name, response.status)
                return answer
        except (OSError, http.client.HTTPException):
            self.told.note(name, 0)
            return None


def run(scale: float = 1.0) -> list[Measure]:
    """Start, write, kill, start again; compare at the end, and every tenth time on the way."""
    kills, enough = max(3, int(KILLS * scale)), max(3, int(ACKNOWLEDGED * scale))
    rng, told, downtimes = random.Random(SEED), Told(), []
    with tempfile.TemporaryDirectory() as folder:
        settings = {"CDS_DATA": folder, "CDS_LOG_LEVEL": "error", "CDS_WORKERS": str(WORKERS), "TMPDIR": folder}
        for number in range(kills):
            started = time.monotonic()
            running = start(0, settings)
            downtimes.append(time.monotonic() - started)
            told.add(_written(running, (enough - len(told.acknowledged)) // (kills - number), rng))
            if number % 10 == 9 and not (found := compared(Path(folder), told)).is_sound:
                return [_measure(number + 1, told, str(found), is_met=False)]
        found = compared(Path(folder), told)
    is_met = found.is_sound and len(told.acknowledged) >= enough
    return [_measure(kills, told, f"{found}; up again after {statistics.median(downtimes):.1f} s", is_met=is_met)]


def _written(running: Running, enough: int, rng: random.Random) -> Told:
    """Let the clients write until so much is acknowledged, and kill the service a moment later."""
    stop = threading.Event()
    reports = _takes_reports(running.address)
    writers = [Writer(running.address, stop, reports=reports) for _ in range(CLIENTS)]
    for writer in writers:
        writer.start()
    while sum(len(writer.told.acknowledged) for writer in writers) < enough and any(w.is_alive() for w in writers):
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.05))
    running.kill()
    stop.set()
    for writer in writers:
        writer.join()
    return all_told(writer.told for writer in writers)


def _takes_reports(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request("GET", "/openapi.json")
    with connection.getresponse() as response:
        paths = orjson.loads(response.read())["paths"]
    connection.close()
    return any(path.endswith("/feedback") for path in paths)


def _measure(kills: int, told: Told, found: str, *, is_met: bool) -> Measure:
    value = (
        f"{kills} kills, {len(told.acknowledged):,} acknowledged, {len(told.refused)} refused, "
        f"{len(told.unknown)} broken off; {found}"
    )
    return Measure(NAME, FLOOR, value, is_met, f"{WORKERS} workers, {CLIENTS} clients, SQLite")


if __name__ == "__main__":
    main(run)
