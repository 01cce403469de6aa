"""Settler by itself: the test is its ticker and its writer."""

import pytest

from app.jobs.errors import StaleTokenError
from app.jobs.lifecycle import Failed, Progressed, Released, Succeeded
from app.jobs.model import Failure, Progress
from app.stores.base import Change, OperationFailedError, StoreUnavailableError
from app.stores.settling import Settler

UNSTORABLE = Failure("QueueError", "cannot be kept", "")
DOWN = StoreUnavailableError("the disk is full")
NEVER = OperationFailedError("too big")


class Bench:
    """Keeps what the settler has handed in, put off and declared to be over."""

    def __init__(self):
        self.handed_in = []
        self.later = []
        self.settled = []
        self.settler = Settler(
            self,
            lambda _, call: self.later.append(call),
            UNSTORABLE,
            lambda change, exception: self.settled.append((change, exception)),
        )

    def submit_all(self, items):
        self.handed_in += items

    def answer(self, exception=None):
        """Answer the first settlement that was handed in, and return it."""
        change, recipient = self.handed_in.pop(0)
        assert recipient.set_running_or_notify_cancel()
        if exception is None:
            recipient.set_result(None)
        else:
            recipient.set_exception(exception)
        return change


@pytest.fixture
def bench():
    return Bench()


def success(n=1):
    return Change(str(n), (Succeeded(n, "5"),))


def test_a_settlement_that_is_stored_is_over(bench, caplog):
    bench.settler.settle(success())
    bench.answer()
    assert bench.settled == [(success(), None)]
    assert (bench.handed_in, bench.later, caplog.records) == ([], [], [])


def test_a_settlement_that_is_refused_is_over_and_logged(bench, caplog):
    bench.settler.settle(success())
    refusal = StaleTokenError("its claim is over")
    bench.answer(refusal)
    assert bench.settled == [(success(), refusal)]
    assert (bench.handed_in, bench.later) == ([], [])
    assert caplog.messages == ["the end of job 1 is not stored: its claim is over"]


def test_all_that_the_store_could_not_take_is_handed_in_again_together(bench):
    for n in (1, 2):
        bench.settler.settle(success(n))
    bench.answer(DOWN)
    bench.answer(DOWN)
    assert bench.handed_in == []
    [again] = bench.later
    again()
    assert [bench.answer(), bench.answer()] == [success(1), success(2)]
    assert bench.settled == [(success(1), None), (success(2), None)]


def test_ends_that_are_kept_are_told_once_and_not_each_by_itself(bench, caplog):
    for n in range(50):
        bench.settler.settle(success(n))
        bench.answer(DOWN)
    assert caplog.messages == ["ends of jobs are kept until they can be stored: the disk is full"]


def test_what_fails_at_once_waits_for_the_next_time(bench):
    def refuse(items):
        [(_, recipient)] = items
        recipient.set_exception(DOWN)

    bench.submit_all = refuse
    bench.settler.settle(success())
    bench.later.pop()()
    assert (len(bench.later), bench.settled) == (1, [])


def test_what_is_kept_at_the_end_is_handed_in_once_more(bench):
    bench.settler.settle(success())
    bench.answer(DOWN)
    bench.settler.close()
    assert bench.answer() == success()


@pytest.mark.parametrize(
    "events",
    [
        (Succeeded(3, "5"),),
        (Failed(3, Failure("ValueError", "x", "")),),
        (Progressed(3, Progress(1)), Succeeded(3, "5")),
    ],
    ids=["result", "exception", "progress"],
)
def test_what_can_never_be_stored_is_replaced_by_a_plain_failure(bench, events):
    bench.settler.settle(Change("1", events))
    bench.answer(NEVER)
    assert bench.settled == []
    plain = Change("1", (Failed(3, UNSTORABLE),))
    assert bench.answer() == plain
    assert bench.settled == [(plain, None)]


@pytest.mark.parametrize("event", [Released(3), Failed(3, UNSTORABLE)], ids=["release", "failure"])
def test_a_plain_settlement_is_not_replaced(bench, event):
    bench.settler.settle(Change("1", (event,)))
    bench.answer(NEVER)
    assert bench.settled == [(Change("1", (event,)), NEVER)]
    assert bench.handed_in == []


def test_a_replacement_that_the_store_could_not_take_is_tried_again(bench):
    bench.settler.settle(success())
    bench.answer(NEVER)
    bench.answer(DOWN)
    bench.later.pop()()
    assert bench.answer() == Change("1", (Failed(1, UNSTORABLE),))
