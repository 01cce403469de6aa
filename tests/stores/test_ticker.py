"""Ticker and Retry by themselves."""

import threading
import weakref
from functools import partial

import pytest

from app.stores.ticker import FEW, RETRY_INTERVAL, Retry, Ticker
from tests.core.future_contract import SOON


@pytest.fixture
def ticker():
    made = Ticker("test-ticker")
    yield made
    made.close()
    assert not made.is_alive()


def live(ticker):
    return [entry for entry in ticker._calls if entry.call is not None]


def test_calls_are_made_in_the_order_of_their_times_and_else_in_that_of_asking(ticker):
    made, done = [], threading.Event()
    for name, seconds in (("third", 0.02), ("first", -1), ("fourth", 0.02), ("second", 0)):
        ticker.call_later(seconds, partial(made.append, name))
    ticker.call_later(0.03, done.set)
    assert not ticker.is_alive()
    ticker.start()
    assert done.wait(SOON)
    assert made == ["first", "second", "third", "fourth"]


def test_an_earlier_call_wakes_it_from_its_wait_for_a_later_one(ticker):
    ticker.start()
    ticker.call_later(threading.TIMEOUT_MAX * 2, int)
    earlier = threading.Event()
    ticker.call_later(0, earlier.set)
    assert earlier.wait(SOON)


def test_a_call_that_is_taken_back_is_not_made_nor_kept(ticker):
    made, done = [], threading.Event()

    class Thing:
        def __call__(self):
            made.append(self)

    thing = Thing()
    kept = weakref.ref(thing)
    take_back = ticker.call_later(0, thing)
    take_back()
    take_back()
    del thing
    assert kept() is None
    ticker.call_later(0, done.set)
    ticker.start()
    assert done.wait(SOON)
    assert made == []


def test_a_call_may_be_taken_back_after_it_was_made(ticker):
    done = threading.Event()
    ticker.start()
    take_back = ticker.call_later(0, done.set)
    assert done.wait(SOON)
    take_back()
    assert ticker._taken_back == 0


def test_many_calls_that_are_taken_back_are_cleared_away_and_the_others_stay_in_order(ticker):
    made, done = [], threading.Event()
    for n in range(3):
        ticker.call_later(n / 1000, partial(made.append, n))
    ticker.call_later(0.005, done.set)
    for _ in range(20 * FEW):
        ticker.call_later(3600, int)()
    assert len(live(ticker)) == 4
    assert len(ticker._calls) <= 2 * FEW
    ticker.start()
    assert done.wait(SOON)
    assert made == [0, 1, 2]


def test_it_goes_on_after_an_error_and_logs_it(ticker, caplog):
    done = threading.Event()
    ticker.call_later(0, lambda: 1 / 0)
    ticker.call_later(0, done.set)
    ticker.start()
    assert done.wait(SOON)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_a_call_may_ask_for_another(ticker):
    done = threading.Event()
    ticker.start()
    ticker.call_later(0, lambda: ticker.call_later(0, done.set))
    assert done.wait(SOON)


def test_after_its_end_nothing_is_called():
    made = []
    ticker = Ticker("test-ticker")
    ticker.start()
    ticker.call_later(3600, partial(made.append, 1))
    ticker.close()
    ticker.call_later(0, partial(made.append, 2))
    assert (ticker.is_alive(), made) == (False, [])
    ticker.close()


def test_a_call_may_close_it():
    closed = threading.Event()
    ticker = Ticker("test-ticker")
    ticker.start()
    ticker.call_later(0, lambda: (ticker.close(), closed.set()))
    assert closed.wait(SOON)
    ticker.join(SOON)
    assert not ticker.is_alive()


# -- trying again --------------------------------------------------------------


def test_a_call_is_made_again_once_however_often_it_is_asked_for():
    later, made = [], []
    retry = Retry(lambda *asked: later.append(asked), lambda: made.append(1))
    for n in (1, 2):
        retry.soon()
        retry.soon()
        [(seconds, call)] = later
        later.clear()
        call()
        assert (seconds, len(made)) == (RETRY_INTERVAL, n)


def test_what_fails_again_is_tried_again():
    later = []

    def fail():
        retry.soon()

    retry = Retry(lambda _, call: later.append(call), fail)
    fail()
    later.pop()()
    assert len(later) == 1
