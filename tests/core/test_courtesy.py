"""Giving way before a thread blocks: what it may cost, and that nothing relies on it."""

import threading

import pytest

from app.core import Future, FutureTimeoutError, ThreadPoolExecutor
from app.core import courtesy as courtesy_module
from tests.core.future_contract import SOON


class Yields:
    """A clock, and a yield that takes as long as the test says."""

    def __init__(self):
        self.now = 1000.0
        self.takes = 0.0
        self.count = 0
        self.during = None

    def __call__(self):
        self.count += 1
        self.now += self.takes
        if self.during is not None:
            self.during()

    def monotonic(self):
        return self.now


@pytest.fixture
def yields(monkeypatch):
    yields = Yields()
    monkeypatch.setattr(courtesy_module, "_yield", yields)
    monkeypatch.setattr(courtesy_module, "monotonic", yields.monotonic)
    monkeypatch.setattr(courtesy_module.COURTESY, "_again_at", 0.0)
    return yields


def test_yields_that_cost_little_are_never_left_out(yields):
    yields.takes = 50e-6
    for _ in range(10):
        courtesy_module.COURTESY.give_way()
    assert yields.count == 10


def test_after_a_dear_yield_there_is_none_for_twenty_times_its_length(yields):
    yields.takes = 0.003
    courtesy_module.COURTESY.give_way()
    yields.now += 0.059
    courtesy_module.COURTESY.give_way()
    assert yields.count == 1
    yields.now += 0.002
    courtesy_module.COURTESY.give_way()
    assert yields.count == 2


def test_on_a_busy_cpu_yields_take_a_twentieth_of_the_time_at_most(yields):
    yields.takes, begun, turns = 0.01, yields.now, 10_000
    for _ in range(turns):
        courtesy_module.COURTESY.give_way()
        yields.now += 0.001
    assert yields.count > 1
    assert yields.count * yields.takes <= (yields.now - begun) / 20


def test_a_result_that_comes_during_the_yield_needs_no_wake_up(yields):
    future = Future()
    future._add_waiter = None  # not to be called
    yields.during = lambda: future.done() or future.set_result(1)
    assert future.result() == 1
    assert yields.count == 1


@pytest.mark.parametrize("timeout", [0, -1, 0.001])
def test_a_wait_with_a_limit_does_not_yield(yields, timeout):
    with pytest.raises(FutureTimeoutError):
        Future().result(timeout)
    assert yields.count == 0


def test_a_call_that_comes_during_an_idle_threads_yield_starts_no_other_thread(yields):
    second = Future()
    with ThreadPoolExecutor(2) as pool:

        def submit_during_the_yield():
            yields.during = None
            pool.submit(threading.get_ident).add_done_callback(lambda f: second.set_result(f.result()))

        yields.during = submit_during_the_yield
        first = pool.submit(threading.get_ident).result(SOON)
        assert second.result(SOON) == first
        assert len(pool._crew._threads) == 1
