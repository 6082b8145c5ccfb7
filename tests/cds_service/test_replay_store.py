"""Every token counts once: in two threads, in two processes, over HTTP, and when the store cannot be reached."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import pytest
from sqlalchemy import func, select, text

from bench.faults.tokens import ADDRESS
from cds_service.app import create_app
from cds_service.settings import Settings
from cds_service.trust.replay_store import (
    LenientReplayStore,
    MemoryReplayStore,
    RedisReplayStore,
    ReplayStoreError,
    ReplayStoreUnavailable,
    open_replay_store,
    token_key,
    used_tokens,
)
from tests.chart import hook_request
from tests.conftest import TODAY
from tests.registered import RING, bearer, clients_file, forger

ROUNDS = 1000
SERVICE = "/cds-services/failed-esi"
LATER = time.time() + 3600


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    """A Redis of our own on a free port."""
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    folder = tmp_path_factory.mktemp("redis")
    with subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL) as server:
        store = open_replay_store(Settings(redis_url=f"redis://127.0.0.1:{port}/0"))
        for _ in range(100):
            try:
                store.claim("start", "start", LATER)
                break
            except ReplayStoreUnavailable:
                time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


@pytest.fixture
def settings(tmp_path):
    return Settings(data=tmp_path)


@pytest.fixture(params=["redis", "postgres"])
def shared(request, tmp_path):
    """The settings of a store that several machines share."""
    if request.param == "redis":
        return Settings(redis_url=request.getfixturevalue("redis_url"))
    return Settings(data=tmp_path, database_url=request.getfixturevalue("postgres_url"))


def fresh(name):
    return f"{name}-{time.monotonic_ns()}"


@contextmanager
def opened(settings):
    store = open_replay_store(settings)
    yield store
    if not settings.redis_url:
        store.engine.dispose()


def counts_once(settings):
    one = fresh("one")
    with opened(settings) as store:
        claims = [store.claim("a", one, LATER), store.claim("a", one, LATER), store.claim("b", one, LATER)]
    return claims == [True, False, True]


def test_names_that_run_into_each_other_are_two():
    assert token_key("ab", "c") != token_key("a", "bc")
    assert token_key("a", "1:b") != token_key("a1:", "b")
    assert len(token_key("i" * 255, "j" * 255)) == 64


def in_threads(settings):
    """How many of two threads that claim one token were first, counted over many tokens."""
    run = fresh("threads")
    with opened(settings) as store, ThreadPoolExecutor(2) as pool:
        claims = [[pool.submit(store.claim, "a", f"{run}-{n}", LATER) for _ in range(2)] for n in range(ROUNDS)]
        return Counter(sum(claim.result() for claim in pair) for pair in claims)


def claim_all(settings, run):
    with opened(settings) as store:
        return [store.claim("a", f"{run}-{number}", LATER) for number in range(ROUNDS)]


def in_processes(settings):
    """The same of two processes."""
    run = fresh("processes")
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        one, other = (pool.submit(claim_all, settings, run) for _ in range(2))
        return Counter(a + b for a, b in zip(one.result(), other.result(), strict=True))


def test_a_token_counts_once_for_its_issuer(settings):
    assert counts_once(settings)


def test_of_two_threads_one_is_first(settings):
    assert in_threads(settings) == {1: ROUNDS}


def test_of_two_processes_one_is_first(settings):
    assert in_processes(settings) == {1: ROUNDS}


def test_a_store_of_several_machines_does_the_same(shared):
    assert counts_once(shared)
    assert in_threads(shared) == {1: ROUNDS}
    assert in_processes(shared) == {1: ROUNDS}


def test_the_store_in_memory_forgets_what_is_over():
    now = [0.0]
    store = MemoryReplayStore(lambda: now[0])
    assert store.claim("a", "1", 10)
    assert not store.claim("a", "1", 10)
    now[0] = 11
    assert store.claim("a", "1", 20)


def rows(store):
    with store.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(used_tokens)).scalar()


def test_the_database_forgets_what_is_over_now_and_then(tmp_path):
    now = [1000.0]
    store = open_replay_store(Settings(data=tmp_path))
    store.clock = lambda: now[0]
    for number in range(10):
        assert store.claim("a", str(number), now[0] + 300)
    assert rows(store) == 10
    now[0] += 21_600 + 301
    assert store.claim("a", "later", now[0] + 300)
    assert rows(store) == 1


def test_a_clock_that_was_ahead_makes_no_used_token_new(tmp_path):
    now = [1000.0]
    store = open_replay_store(Settings(data=tmp_path))
    store.clock = lambda: now[0]
    assert store.claim("a", "1", now[0] + 300)
    now[0] += 7200
    assert store.claim("a", "2", now[0] + 300)
    now[0] -= 7200
    assert not store.claim("a", "1", now[0] + 300)


def test_a_second_start_remembers(tmp_path):
    settings = Settings(data=tmp_path)
    assert open_replay_store(settings).claim("a", "1", LATER)
    assert not open_replay_store(settings).claim("a", "1", LATER)


def test_redis_forgets_by_itself(redis_url):
    store = open_replay_store(Settings(redis_url=redis_url))
    name = fresh("redis")
    assert store.claim("a", name, time.time() + 300.2)
    assert 300 <= store.redis.ttl(f"cds-service:token:{token_key('a', name)}") <= 301
    assert store.claim("a", f"{name}-over", time.time() - 10)


def test_valkey_is_spoken_to_as_redis_is():
    store = open_replay_store(Settings(redis_url="valkeys://cache.example.org/1"))
    assert isinstance(store, RedisReplayStore)
    kept = store.redis.connection_pool.connection_kwargs
    assert (kept["host"], kept["db"]) == ("cache.example.org", 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"redis_url": "nonsense"}, "CDS_REDIS_URL: not an address"),
        ({"database_url": "nonsense"}, "CDS_DATABASE_URL"),
    ],
)
def test_a_store_that_cannot_be_is_told_at_the_start(tmp_path, more, message):
    with pytest.raises(ReplayStoreError, match=message):
        open_replay_store(Settings(data=tmp_path, **more))


@pytest.fixture
def start(tmp_path):
    def started(**more):
        public = ADDRESS.removesuffix(SERVICE)
        settings = Settings(
            data=tmp_path, clients=clients_file(tmp_path, RING), public_url=public, log_level="error", **more
        )
        app = create_app(settings=settings, today=lambda: TODAY)
        return lambda token: app.test_client().post(SERVICE, json=hook_request(), headers=bearer(token))

    return started


def broken(tmp_path):
    """A table that is gone while the service runs."""
    engine = open_replay_store(Settings(data=tmp_path)).engine
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE used_tokens"))


def test_while_nothing_can_be_remembered_no_token_is_taken(start, tmp_path):
    post, tokens = start(), forger(RING, int(time.time()))
    assert post(tokens.good("ES384")).status_code == 200
    broken(tmp_path)
    answer = post(tokens.good("ES384", jti="2"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.get_json()["issue"][0]["code"] == "transient"
    assert post("forged").status_code == 401  # strangers learn nothing of the store


def test_a_site_may_choose_to_take_tokens_then(start, tmp_path, capfd):
    post, tokens = start(without_replay_store="accept"), forger(RING, int(time.time()))
    assert post(tokens.good("ES384")).status_code == 200
    assert post(tokens.good("ES384")).status_code == 401
    broken(tmp_path)
    assert post(tokens.good("ES384")).status_code == 200
    assert "replay store unavailable" in capfd.readouterr().err


def test_redis_that_does_not_answer_is_out_of_reach():
    store = open_replay_store(Settings(redis_url="redis://127.0.0.1:9/0"))
    with pytest.raises(ReplayStoreUnavailable, match="ConnectionError"):
        store.claim("a", "1", LATER)
    assert LenientReplayStore(store).claim("a", "1", LATER)


def test_the_open_service_keeps_no_tokens(tmp_path):
    create_app(settings=Settings(data=tmp_path, log_level="error"))
    assert not (tmp_path / "tokens.db").exists()


@pytest.mark.parametrize("workers", [8])
def test_many_calls_at_once_with_one_token_are_answered_once(start, workers):
    post, tokens = start(), forger(RING, int(time.time()))
    for number in range(5):
        token = tokens.good("ES384", jti=f"round-{number}")
        with ThreadPoolExecutor(workers) as pool:
            statuses = [future.result().status_code for future in [pool.submit(post, token) for _ in range(workers)]]
        assert Counter(statuses) == {200: 1, 401: workers - 1}
