"""The server as a process: what it does when there is too much to do, and when it is told to end."""

import asyncio
import http.client
import os
import signal
import socket
import time
from pathlib import Path

import orjson
import pytest

from bench.chart import request_of_size
from bench.faults.driver import Pool, http_call
from bench.faults.running import PATH, service
from cds_service.raw_http import is_whole

SMALL = request_of_size(30)
needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc, so Linux")


def answered(connection, method="GET", path="/readyz", body=None):
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    return answer, answer.read()


@pytest.fixture
def connected():
    """Makes connections to a running service, closed in the end."""
    made = []

    def make(running):
        made.append(http.client.HTTPConnection(*running.address, timeout=60))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_what_is_too_much_is_refused_and_probes_are_answered():
    with service(max_wait_ms=20, threads=2) as running:
        pool = Pool(running.address, patience=60)
        message = http_call(PATH, request_of_size(600))

        async def crowd():
            calls = [pool.call(message) for _ in range(150)]
            probes = [pool.call(http_call(path, method="GET")) for path in ("/livez", "/readyz", "/metrics") * 3]
            found = await asyncio.gather(asyncio.gather(*calls), asyncio.gather(*probes))
            after = await pool.call(message)
            pool.close()
            return *found, after

        calls, probes, after = asyncio.run(crowd())
        assert set(calls) == {200, 503}
        assert set(probes) == {200}
        assert after == 200


def test_a_refusal_says_when_to_come_back_and_keeps_the_connection(connected):
    with service(max_wait_ms=20, threads=1) as running:
        stuck = [socket.create_connection(running.address) for _ in range(3)]
        for one in stuck:
            one.sendall(f"POST {PATH} HTTP/1.1\r\n".encode())  # a head without an end holds a thread
        connection = connected(running)
        for _ in range(3):
            answer, body = answered(connection, "POST", PATH, SMALL)
            if answer.status == 503:
                break
        outcome = orjson.loads(body)
        assert (answer.status, outcome["issue"][0]["code"]) == (503, "throttled")
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Connection"] is None
        same = connection.sock
        assert answered(connection, path="/livez")[0].status == 200
        assert connection.sock is same
        for one in stuck:
            one.close()


def test_health_is_told_while_a_slow_caller_holds_the_only_thread(connected):
    with service(threads=1) as running, socket.create_connection(running.address) as stuck:
        stuck.sendall(f"POST {PATH} HTTP/1.1\r\n".encode())
        for path in ("/livez", "/readyz", "/metrics"):
            assert answered(connected(running), path=path)[0].status == 200


def test_after_sigterm_it_is_not_ready_answers_and_ends(connected):
    with service(drain_ms=4000) as running:
        old = connected(running)
        assert answered(old)[0].status == 200
        running.process.send_signal(signal.SIGTERM)
        for _ in range(100):
            answer, body = answered(old)
            if answer.headers["Connection"] == "close":
                break
        assert answer.status == 503
        assert "draining" in body.decode()
        answer, body = answered(connected(running), "POST", PATH, SMALL)
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert b'"summary"' in body
        assert running.process.wait(60) == 0


def test_who_has_connected_before_the_end_is_answered(connected):
    with service(drain_ms=0, max_wait_ms=10_000) as running:
        waiting = [connected(running) for _ in range(20)]
        for one in waiting:
            one.connect()
            one.sock.sendall(http_call(PATH, SMALL)[:-1])
        running.process.send_signal(signal.SIGTERM)
        for one in waiting:
            one.sock.sendall(SMALL[-1:])
        for one in waiting:
            with http.client.HTTPResponse(one.sock, method="POST") as answer:
                answer.begin()
                assert answer.status == 200
                assert b'"summary"' in answer.read()
        assert running.process.wait(60) == 0


def test_several_workers_count_together(connected):
    with service(workers=2) as running:
        for _ in range(12):
            assert answered(connected(running), "POST", PATH, SMALL)[0].status == 200
        text = answered(connected(running), path="/metrics")[1].decode()
        assert 'cds_calls_total{hook="order-select",service="failed-esi",status="2xx"} 12.0' in text
        assert "cds_knowledge_age_days{" in text


def wait_until(holds):
    """Wait for it a minute at most; what follows shows whether it came about."""
    for _ in range(600):
        if holds():
            break
        time.sleep(0.1)


def opened(pid, kind):
    """How many sockets, or other things, a process has open."""
    folder = Path(f"/proc/{pid}/fd")
    return sum(os.readlink(name).startswith(kind) for name in folder.iterdir() if name.is_symlink())


def all_accept(running):
    """Whether both workers wait for connections."""
    workers = running.workers()
    return len(workers) == 2 and all(opened(pid, "anon_inode:[eventpoll]") for pid in workers)


@needs_proc
def test_connections_go_to_the_worker_that_has_the_fewest(connected):
    with service(workers=2) as running:
        wait_until(lambda: all_accept(running))
        before = {pid: opened(pid, "socket:") for pid in running.workers()}
        for _ in range(16):
            assert answered(connected(running), path="/livez")[0].status == 200
        taken = [opened(pid, "socket:") - count for pid, count in before.items()]
        assert sum(taken) == 16
        assert min(taken) >= 4


@needs_proc
def test_what_a_worker_counted_outlives_it(connected):
    with service(workers=2, drain_ms=0) as running:
        for _ in range(12):
            answered(connected(running), "POST", PATH, SMALL)
        old, _ = running.workers()
        os.kill(old, signal.SIGTERM)
        wait_until(lambda: old not in running.workers() and len(running.workers()) == 2)
        text = answered(connected(running), path="/metrics")[1].decode()
        assert 'cds_calls_total{hook="order-select",service="failed-esi",status="2xx"} 12.0' in text


WHOLE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("sent", "is_one"),
    [
        (WHOLE, True),
        (WHOLE.replace(b"Content-Length", b"content-length"), True),
        (WHOLE[:-1], False),
        (WHOLE + b"G", False),
        (WHOLE.replace(b": 2", b": 2 2"), False),
        (WHOLE.replace(b": 2", b": +2"), False),
        (WHOLE.replace(b"Host: a", b"Content-Length: 2"), False),
        (WHOLE.replace(b"Host: a", b"Content-Length : 3"), False),
        (WHOLE.replace(b"Host: a", b"Transfer-Encoding: chunked"), False),
        (WHOLE.replace(b"Host: a", b"Expect: 100-continue"), False),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n", False),
        (b"", False),
    ],
)
def test_only_what_is_one_request_beyond_doubt_keeps_its_connection(sent, is_one):
    assert is_whole(sent) is is_one
