"""Clients that call and report, and remember what they were told."""

from __future__ import annotations

import http.client
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from bench.chart import request_of_size
from bench.faults.on_record import Told, all_told
from bench.faults.running import PATH

CLIENTS = 4


class Writers:
    """Some clients at work."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Begin to call."""
        self._stop = threading.Event()
        self._all = [_Writer(address, self._stop) for _ in range(CLIENTS)]
        for one in self._all:
            one.start()

    def told(self) -> Told:
        """What they were told so far."""
        return all_told(one.told for one in self._all)

    def wait_for(self, acknowledged: int) -> None:
        """Until so much is acknowledged, or all of them were cut off."""
        while sum(len(one.told.acknowledged) for one in self._all) < acknowledged and any(
            one.is_alive() for one in self._all
        ):
            time.sleep(0.005)

    def stop(self) -> None:
        """Let each end what it is at."""
        self._stop.set()
        for one in self._all:
            one.join()


@contextmanager
def writing(address: tuple[str, int]) -> Iterator[Writers]:
    """Writers that have stopped in the end."""
    writers = Writers(address)
    try:
        yield writers
    finally:
        writers.stop()


class _Writer(threading.Thread):
    """Calls, and reports on the cards it gets, until it is stopped or cut off."""

    def __init__(self, address: tuple[str, int], stop: threading.Event) -> None:
        super().__init__()
        self.told = Told()
        self.stop = stop
        self.connection = http.client.HTTPConnection(*address, timeout=10)
        self.body = orjson.loads(request_of_size(30))

    def run(self) -> None:
        while not self.stop.is_set():
            name = str(uuid.uuid4())
            answer = self._post(PATH, name, self.body | {"hookInstance": name})
            if answer is None:
                break
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
