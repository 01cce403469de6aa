"""Sweeper by itself: the test is its clock, its ticker and its writer."""

import pytest

from app.core import Future
from app.jobs.model import SECOND
from app.stores.base import StoreUnavailableError, Sweep, Swept
from app.stores.retention import PAUSE, SWEEP_INTERVAL, Retention, Sweeper
from tests.stores.driving import NOW


class Bench:
    def __init__(self):
        self.later = []
        self.sweeps = []
        self.answers = []
        retention = Retention(jobs=60, results=20)
        self.sweeper = Sweeper(self, lambda: NOW, lambda *asked: self.later.append(asked), retention)

    def submit(self, operation):
        self.sweeps.append(operation)
        self.answers.append(Future())
        return self.answers[-1]


@pytest.fixture
def bench():
    return Bench()


def test_a_sweep_erases_what_is_older_than_it_has_to_be(bench):
    bench.sweeper.sweep()
    assert bench.sweeps == [Sweep(NOW - 60 * SECOND, NOW - 20 * SECOND)]


@pytest.mark.parametrize(("more", "seconds"), [(True, PAUSE), (False, SWEEP_INTERVAL)])
def test_the_next_part_comes_soon_if_there_is_more(bench, more, seconds):
    bench.sweeper.sweep()
    bench.answers[0].set_result(Swept(500, 0, more))
    ((later, call),) = bench.later
    assert later == seconds
    call()
    assert len(bench.sweeps) == 2


def test_a_store_that_cannot_be_written_is_asked_again(bench):
    bench.sweeper.sweep()
    bench.answers[0].set_exception(StoreUnavailableError("the disk is full"))
    ((later, _),) = bench.later
    assert later == SWEEP_INTERVAL
