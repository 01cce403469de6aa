"""Promoter by itself: the test is its clock, its ticker and its writer."""

import pytest

from app.core import Future, State
from app.jobs.model import SECOND, Hold, Job, Slot
from app.stores.base import Promote, Promoted, StoreUnavailableError
from app.stores.due import CLOCK_CHECK, Promoter
from app.stores.ticker import RETRY_INTERVAL
from tests.stores.driving import NOW


class Bench:
    """Keeps what the promoter has put off, and the promotions that it has handed in."""

    def __init__(self):
        self.now = NOW
        self.later = []
        self.promotions = []
        self.promoter = Promoter(self, lambda: self.now, lambda *asked: self.later.append(asked))

    def submit(self, operation):
        assert isinstance(operation, Promote)
        self.promotions.append(Future())
        return self.promotions[-1]

    def tick(self):
        """Make the calls that were put off so far; return after how many seconds the next ones are due."""
        calls, self.later = self.later, []
        for _, call in calls:
            call()
        return [seconds for seconds, _ in self.later]

    def answer(self, next_due=None):
        self.promotions.pop().set_result(Promoted([], next_due))


@pytest.fixture
def bench():
    return Bench()


def job(due_in, hold=Hold.DUE_LATER):
    return Job("1", "t", "x", Slot.THREAD, NOW, NOW + due_in, hold=hold)


def test_it_looks_when_something_is_due_or_sooner_because_the_clock_may_be_set(bench):
    bench.promoter.expect(NOW + 5 * SECOND // 2)
    assert bench.tick() == [CLOCK_CHECK]
    bench.now += 2 * SECOND
    assert bench.tick() == [0.5]
    bench.now += SECOND // 2
    assert bench.tick() == []
    assert len(bench.promotions) == 1


def test_what_is_due_now_is_promoted_at_once(bench):
    bench.promoter.expect(NOW)
    assert bench.tick() == []
    assert len(bench.promotions) == 1


def test_what_is_due_earlier_and_earlier_leaves_one_chain_of_looks(bench):
    for due_in in (9, 7, 8, 5):
        bench.promoter.expect(NOW + due_in * SECOND)
        bench.tick()
    for _ in range(3):
        assert bench.tick() == [CLOCK_CHECK]
    bench.now += 5 * SECOND
    assert bench.tick() == []
    assert len(bench.promotions) == 1


def test_what_is_due_again_at_the_same_time_has_one_chain_of_looks_too(bench):
    later = NOW + 9 * SECOND
    bench.promoter.expect(later)
    bench.tick()
    bench.promoter.expect(NOW)
    # Before the first chain's next look, which the answer must not revive.
    bench.later.pop()[1]()
    bench.answer(next_due=later)
    for _ in range(3):
        assert bench.tick() == [CLOCK_CHECK]
    assert bench.promotions == []


def test_the_earliest_of_what_comes_at_once_counts(bench):
    for due_in in (2, 1, 3):
        bench.promoter.expect(NOW + due_in)
    bench.tick()
    bench.now += 1
    assert bench.tick() == []
    assert len(bench.promotions) == 1


def test_what_is_due_after_a_promotion_is_looked_for_again(bench):
    bench.promoter.promote()
    bench.answer(next_due=NOW + SECOND // 4)
    bench.tick()
    bench.now += SECOND
    bench.tick()
    bench.answer(next_due=None)
    assert (bench.tick(), bench.promotions) == ([], [])


def test_failed_promotions_are_tried_again_by_one(bench):
    for _ in range(3):
        bench.promoter.promote()
    while bench.promotions:
        bench.promotions.pop().set_exception(StoreUnavailableError("the disk is full"))
    assert [seconds for seconds, _ in bench.later] == [RETRY_INTERVAL]
    bench.tick()
    assert len(bench.promotions) == 1


def test_a_commit_tells_when_the_first_of_its_jobs_is_due(bench):
    bench.promoter.changed([job(0, hold=Hold.NONE), job(-SECOND, hold=Hold.UNKNOWN_TASK)])
    assert bench.later == []
    bench.promoter.changed([job(SECOND), job(SECOND // 2), job(0, hold=Hold.NONE)])
    assert bench.tick() == [0.5]
    bench.promoter.changed([job(SECOND)])
    assert len(bench.later) == 1


def test_a_commit_tells_when_the_first_of_its_jobs_expires(bench):
    expiring = job(0, hold=Hold.NONE)._replace(expires_at=NOW + SECOND // 4)
    tried = expiring._replace(attempt=1)
    running = expiring._replace(state=State.RUNNING)
    bench.promoter.changed([tried, running])
    assert bench.later == []
    bench.promoter.changed([job(SECOND), expiring])
    assert bench.tick() == [0.25]
