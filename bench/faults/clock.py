"""Clocks that jump: the real server with a clock that is set hours forth and back while it is called.

A token counts by the clock of the server at that moment, also one that was used before a jump; the day of a decision is
that of its clock; nothing hangs or breaks. `python -m bench.faults.clock --serve FILE` is that server: its clock (by
time-machine) is as many seconds away from ours as the file says, the monotonic one is as ever.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from sqlalchemy import select

from bench.faults.measure import Measure, main
from bench.faults.running import PATH, service
from bench.faults.tokens import ADDRESS, Forger, Ring
from cds_service.ledger.ledger import open_ledger
from cds_service.ledger.tables import entries
from cds_service.settings import Settings
from tests.chart import hook_request
from tests.registered import clients_file

JUMPS = (0, 2, -2, 1, -1, 2, 0)  # hours; what was used is remembered for six beyond its end
LAST = 26  # hours, to another day
SECONDS = (-86_400, -7200, -900, -370, -350, -60, 0, 50, 70, 300, 7200, 86_400)  # from the server's clock to `iat`
LIFE, LEEWAY = 300, 60
_LOOK = 0.05  # seconds between two looks of the server at the file
NAME, FLOOR = "Clock jumps", "jumps of hours, tokens a day around each: 0 wrong, 0 answers of 500 and above"


def run(scale: float = 1.0) -> list[Measure]:
    """Jump; after each jump try tokens from around the new time, and those that were used before."""
    jumps = (*JUMPS * max(1, round(3 * scale)), LAST)
    with tempfile.TemporaryDirectory() as name:
        folder, ring = Path(name), Ring()
        clock = Clock(folder / "offset")
        settings = {"clients": clients_file(folder, ring), "public_url": ADDRESS.removesuffix(PATH), "timezone": "UTC"}
        serve = ["-m", "bench.faults.clock", "--serve", str(clock.file)]
        with service(serve=serve, data=folder, **settings) as running:
            seen, days = _tried(running.url, ring, clock, jumps)
        stored = _days_on_record(folder)
    wrong = {what: count for what, count in seen.items() if what not in {"let in", "kept out", "ready"}}
    return [
        Measure(
            NAME,
            FLOOR,
            f"{len(jumps)} jumps: {seen['let in']} tokens let in and {seen['kept out']} kept out as they should, "
            f"{seen['ready']} looks at health; wrong: {wrong or 'none'}; days on record right: {stored <= days}",
            not wrong and stored <= days and len(stored) > 1 and seen["let in"] > 0 and seen["kept out"] > 0,
        )
    ]


class Clock:
    """The clock of the server, hours away from ours."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.hours = 0.0
        self.set(0)

    def set(self, hours: float) -> None:
        """Jump."""
        self.hours = hours
        self.file.write_text(f"{hours * 3600:.0f}", encoding="ascii")
        time.sleep(3 * _LOOK)

    def now(self) -> float:
        """Seconds since 1970, as the server sees it."""
        return time.time() + self.hours * 3600

    def today(self) -> date:
        """The day there."""
        return (datetime.now(UTC) + timedelta(hours=self.hours)).date()


def _tried(url: str, ring: Ring, clock: Clock, jumps: tuple[int, ...]) -> tuple[Counter[str], set[str]]:
    seen, days, used, stop = Counter[str](), set[str](), [], threading.Event()
    looking = threading.Thread(target=_look, args=(url, stop, seen))
    looking.start()
    for number, hours in enumerate(jumps):
        clock.set(hours)
        days.add(clock.today().isoformat())
        for seconds in SECONDS:
            token = Forger(ring, int(clock.now()) + seconds, random.Random(1)).good("ES384", jti=f"{number}/{seconds}")
            is_good = -LIFE - LEEWAY < seconds <= LEEWAY
            seen[_judged(_status(url, token), is_good=is_good)] += 1
            used += [token] if is_good else []
        for token in used:
            seen[_judged(_status(url, token), is_good=False)] += 1
        days.add(clock.today().isoformat())
    stop.set()
    looking.join()
    return seen, days


def _judged(status: int, *, is_good: bool) -> str:
    if status not in {200, 401, 412}:
        return f"status {status}"
    if (status != 401) is is_good:
        return "let in" if is_good else "kept out"
    return "kept out though good" if is_good else "let in though not good"


def _status(url: str, token: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    try:
        connection.request("POST", PATH, json.dumps(hook_request()), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _look(url: str, stop: threading.Event, seen: Counter[str]) -> None:
    while not stop.wait(0.1):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
        seen["ready" if status == 200 else f"/readyz {status}"] += 1
        connection.close()


def _days_on_record(folder: Path) -> set[str]:
    with open_ledger(Settings(data=folder)).reading() as connection:
        return {orjson.loads(record)["today"] for record in connection.execute(select(entries.c.record)).scalars()}


def _serve(file: Path) -> None:
    """Be the server; every process of it follows the file."""
    import time_machine

    from cds_service.cli import main as command

    travelling = time_machine.travel(time.time(), tick=True).start()

    def follow() -> None:
        while True:
            text = file.read_text(encoding="ascii")
            if text:
                travelling.move_to(time_machine.escape_hatch.time.time() + float(text))
            time.sleep(_LOOK)

    def begin() -> None:
        threading.Thread(target=follow, daemon=True).start()

    begin()
    os.register_at_fork(after_in_child=begin)
    command(["serve", "--port", "0"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(Path(sys.argv[2]))
    else:
        main(run)
