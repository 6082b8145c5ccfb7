"""How much one client may ask, and that the others do not notice."""

import shutil
import socket
import subprocess
import time

import pytest

from cds_service.protocol.errors import TooManyCalls
from cds_service.settings import Settings
from cds_service.trust.call_limits import Allowance, CallLimits


def counting(allowances, redis_url=None):
    """A function that makes one call of a client, and does something meanwhile."""
    limits = CallLimits(redis_url)

    def call(client, during=lambda: None):
        with limits.counted(client, allowances.get(client, Allowance())):
            return during()

    return call


def calls(*made):
    """So many that some of them are in one second: at some point more than a few are."""
    for _ in range(100):
        for call in made:
            call("a")


def test_a_client_without_an_allowance_is_not_counted():
    call = counting({})
    for _ in range(500):
        call("open")


def test_the_call_over_the_rate_is_refused_and_says_when_to_come_back():
    call = counting({"a": Allowance(rate=3)})
    with pytest.raises(TooManyCalls) as refused:
        calls(call)
    assert refused.value.status == 429
    assert refused.value.retry_after >= 1
    assert refused.value.operation_outcome()["issue"][0]["code"] == "throttled"


def test_a_client_over_its_rate_is_no_problem_of_another():
    call = counting({"a": Allowance(rate=1), "b": Allowance(rate=1)})
    with pytest.raises(TooManyCalls):
        calls(call)
    call("b")


@pytest.mark.parametrize(
    ("settings", "own", "allowance"),
    [
        ({"rate": 9, "threads": 8}, {}, Allowance(9, 6)),
        ({"rate": 9, "threads": 1}, {}, Allowance(9, 1)),
        ({"rate": 9, "concurrency": 3}, {}, Allowance(9, 3)),
        ({"rate": 9, "concurrency": 3}, {"rate": 40, "concurrency": 5}, Allowance(40, 5)),
    ],
)
def test_a_client_has_its_own_figures_or_those_of_the_settings(settings, own, allowance):
    assert Allowance.of_client(Settings(**settings), **own) == allowance


def test_calls_at_once_are_counted_until_they_end():
    call = counting({"a": Allowance(concurrency=2)})
    with pytest.raises(TooManyCalls, match="at once"):
        call("a", lambda: call("a", lambda: call("a")))
    call("a", lambda: call("a", lambda: call("b")))


def test_a_call_that_fails_has_ended_too():
    call = counting({"a": Allowance(concurrency=1)})
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            call("a", lambda: 1 / 0)


@pytest.fixture
def redis(tmp_path):
    pytest.importorskip("redis", reason="needs the extra 'redis'")
    if not shutil.which("redis-server"):
        pytest.skip("needs redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        for _ in range(100):
            with socket.socket() as reached:
                if reached.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield server, f"redis://127.0.0.1:{port}/0"
        server.kill()


def test_instances_count_together_in_redis_and_each_alone_without_it(redis):
    server, url = redis
    one, other = (counting({"a": Allowance(rate=4)}, url) for _ in range(2))
    with pytest.raises(TooManyCalls):
        calls(one, other)
    server.kill()
    server.wait()
    one("b")
    with pytest.raises(TooManyCalls):
        calls(one)
