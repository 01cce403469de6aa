"""Precedence: who waits for whom, and that nobody waits for long."""

import threading

import pytest

from app.core.precedence import Precedence

FOREVER = 3600.0


@pytest.fixture
def elsewhere():
    """Call functions on another thread, each time until it is done."""

    def call(fn):
        thread = threading.Thread(target=fn)
        thread.start()
        thread.join()

    return call


def held_elsewhere(precedence):
    """Have another thread take it; return what makes it give it up."""
    taken, done = threading.Event(), threading.Event()

    def hold():
        with precedence:
            taken.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()

    def give_up():
        done.set()
        thread.join()

    return give_up


def test_others_wait_until_it_is_over():
    precedence, happened, begun = Precedence(FOREVER), [], threading.Event()

    def begin():
        begun.set()
        precedence.respect()
        happened.append("begun")

    with precedence:
        other = threading.Thread(target=begin)
        other.start()
        begun.wait()
        happened.append("over")
    other.join()
    assert happened == ["over", "begun"]
    assert not precedence.taken


def test_nobody_waits_where_nobody_has_it():
    precedence = Precedence(FOREVER)
    precedence.respect()
    with precedence:
        pass
    precedence.respect()
    assert not precedence.taken


def test_patience_ends_once_for_each_time_that_it_is_taken(elsewhere):
    precedence = Precedence(0.001)
    for _ in range(2):
        with precedence:
            elsewhere(precedence.respect)
            precedence._patience = FOREVER
            # It would never come back.
            elsewhere(precedence.respect)
            precedence._patience = 0.001
    assert not precedence.taken


def test_it_is_lifted_while_something_else_is_waited_for(elsewhere):
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
    give_up = held_elsewhere(precedence)
    with precedence:
        with precedence.lifted():
            assert precedence.taken
        assert precedence.taken
    assert precedence.taken
    give_up()
    assert not precedence.taken


def test_whoever_has_not_got_it_lifts_nothing():
    precedence = Precedence(FOREVER)
    with precedence.lifted():
        assert not precedence.taken
    assert not precedence.taken
