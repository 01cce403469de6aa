"""Precedence: who waits for whom, and that nobody waits for long."""

import threading
from contextlib import contextmanager

import pytest

from app.core.precedence import Precedence

FOREVER = 3600.0


class Watched:
    """A gate that tells when somebody comes to wait at it."""

    def __init__(self, gate):
        self._gate = gate
        self.reached = threading.Event()
        self.release = gate.release

    def acquire(self, timeout):
        self.reached.set()
        return self._gate.acquire(timeout=timeout)


def started(fn):
    """Call a function on a thread of its own, which ends with the tests at the latest."""
    thread = threading.Thread(target=fn, daemon=True)
    thread.start()
    return thread


def elsewhere(fn):
    """Call a function on another thread, and wait until it is done."""
    started(fn).join()


@contextmanager
def held_elsewhere(precedence):
    """Have another thread take it meanwhile."""
    taken, over = threading.Event(), threading.Event()

    def hold():
        with precedence:
            taken.set()
            over.wait()

    thread = started(hold)
    taken.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_others_wait_until_it_is_over():
    precedence, happened = Precedence(FOREVER), []

    def begin():
        precedence.respect()
        happened.append("begun")

    with precedence:
        precedence._gate = gate = Watched(precedence._gate)
        others = [started(begin) for _ in range(2)]
        gate.reached.wait()
        happened.append("over")
    for other in others:
        other.join()
    assert happened == ["over", "begun", "begun"]
    assert not precedence.taken


def test_who_comes_through_late_does_not_stand_in_the_next_ones_way():
    precedence = Precedence(FOREVER)
    with precedence:
        gate = precedence._gate
    # As if somebody had got through the gate, and not come further.
    assert gate.acquire(blocking=False)
    with precedence:
        assert precedence.taken


def test_nobody_waits_where_nobody_has_it():
    precedence = Precedence(FOREVER)
    precedence.respect()
    with precedence:
        pass
    precedence.respect()
    assert not precedence.taken


def test_patience_ends_once_for_each_time_that_it_is_taken():
    precedence = Precedence(0.001)
    for _ in range(2):
        with precedence:
            elsewhere(precedence.respect)
            precedence._patience = FOREVER
            # It would never come back.
            elsewhere(precedence.respect)
            precedence._patience = 0.001
    assert not precedence.taken


def test_it_is_lifted_while_something_else_is_waited_for():
    precedence = Precedence(FOREVER)
    with precedence:
        with precedence.lifted():
            assert not precedence.taken
            elsewhere(precedence.respect)
        assert precedence.taken
    assert not precedence.taken


def test_it_is_taken_again_after_an_error():
    precedence = Precedence(FOREVER)
    with precedence:
        with pytest.raises(OSError, match="full"), precedence.lifted():
            raise OSError("full")
        assert precedence.taken
    assert not precedence.taken


def test_a_thread_that_finds_it_taken_does_without():
    precedence = Precedence(FOREVER)
    with held_elsewhere(precedence):
        with precedence:
            with precedence.lifted():
                assert precedence.taken
            assert precedence.taken
        assert precedence.taken
    assert not precedence.taken


def test_whoever_has_not_got_it_lifts_nothing():
    precedence = Precedence(FOREVER)
    with precedence.lifted():
        assert not precedence.taken
    assert not precedence.taken
