"""The queue: who is let in, who is refused, and whose turn it is."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from cds_service.protocol.errors import Busy
from cds_service.trust.turns import Turns


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def turns(clock):
    return Turns(200, clock)


def test_an_empty_queue_is_never_full(turns, clock):
    assert not turns.is_full()
    turns.join("a")
    with turns.served("a"):
        pass
    clock.now = 9
    assert not turns.is_full()


def test_the_queue_is_full_once_the_oldest_has_waited_half_of_what_is_allowed(turns, clock):
    turns.join("a")
    turns.join("b")
    clock.now = 0.1
    assert not turns.is_full()
    clock.now = 0.101
    assert turns.is_full()


def test_the_queue_is_full_once_it_is_longer_than_can_be_answered_in_time(turns, clock):
    for number in range(10):  # at 10 ms each, until turns have been timed
        turns.join(number)
    assert not turns.is_full()
    turns.join("one more")
    assert turns.is_full()


def test_turns_are_timed_without_what_they_wait_for(turns, clock):
    for number in range(100):
        turns.join(number)
        with turns.served(number), turns.taken():
            clock.now += 0.02
            with turns.given_up():
                clock.now += 5
            clock.now += 0.03
    for number in range(2):
        turns.join(number)
    assert not turns.is_full()
    turns.join("at 50 ms each, the third is too much")
    assert turns.is_full()


def test_what_has_waited_too_long_is_not_begun(turns, clock):
    turns.join("a")
    clock.now = 0.2
    with pytest.raises(Busy), turns.served("a"):
        pytest.fail("begun")
    assert not turns.is_full()


def test_who_does_not_get_a_turn_in_time_is_refused_and_leaves_the_queue():
    turns = Turns(20)
    entered, done = Event(), Event()

    def hold():
        with turns.taken():
            entered.set()
            done.wait(60)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(hold)
        entered.wait(60)
        turns.join("a")
        with pytest.raises(Busy), turns.served("a"), turns.taken():
            pytest.fail("begun")
        done.set()
    with turns.taken():
        assert not turns.is_full()


def test_a_turn_is_given_back_whatever_happens(turns):
    with pytest.raises(ZeroDivisionError), turns.taken():
        raise ZeroDivisionError
    with turns.taken():
        with pytest.raises(ZeroDivisionError), turns.given_up():
            raise ZeroDivisionError
        with pytest.raises(Busy), ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: turns.taken().__enter__()).result()


def test_another_computes_while_one_waits(turns):
    seen = []

    def compute():
        with turns.taken():
            seen.append("other")

    with ThreadPoolExecutor(1) as pool, turns.taken():
        with turns.given_up():
            pool.submit(compute).result(60)
        seen.append("one")
    assert seen == ["other", "one"]
