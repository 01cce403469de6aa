"""Many threads, random cancellations, callbacks, waits and results, on 100,000 futures and more.

Nothing may be lost and nothing told twice. The seeds are fixed, the interleaving is not: every run
must end with the same counts.
"""

import itertools
import random
import threading
from collections import Counter

import pytest

from app.core import (
    Future,
    FutureCancelledError,
    InvalidStateError,
    Task,
    ThreadPoolExecutor,
    as_completed,
    gather,
    wait,
)
from tests.core.future_contract import SOON

THREADS = 8


def together(work):
    """Run `work(seed)` on several threads at once, and raise what any of them raised."""
    barrier, failures = threading.Barrier(THREADS), []

    def run(seed):
        try:
            barrier.wait(SOON)
            work(random.Random(seed))
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def outcome(future):
    """Wait for the end and tell which it was."""
    try:
        return "result" if future.result(SOON) == "value" else "wrong"
    except FutureCancelledError:
        return "cancelled"
    except ValueError:
        return "failed"


BATCH, BATCHES = 200, 500


class Batches:
    """Lists of fresh futures, the same for all threads, which go on to the next one together."""

    def __init__(self):
        self._futures = []
        self._barrier = threading.Barrier(THREADS, action=self._renew)

    def _renew(self):
        self._futures = [Future() for _ in range(BATCH)]

    def __iter__(self):
        for _ in range(BATCHES):
            self._barrier.wait(SOON)
            yield self._futures


class Doer:
    """One thread's part, and what came of it. The lists are its own, so counting needs no lock."""

    def __init__(self, rng):
        self.rng = rng
        self.completed = []
        self.added = 0
        self.heard = []
        self.told = Counter()

    def do_something(self, future):
        what = self.rng.choice(["result", "failure", "cancel", "callback", "callback"])
        try:
            if what == "callback":
                self.added += 1
                future.add_done_callback(self.heard.append)
            elif what == "result":
                future.set_result("value")
                self.completed.append(future)
            elif what == "failure":
                future.set_exception(ValueError())
                self.completed.append(future)
            else:
                future.cancel()
        except InvalidStateError:
            # Somebody else was first.
            assert future.done()

    def work(self, batches):
        for futures in batches:
            for index in self.rng.sample(range(BATCH), BATCH):
                self.do_something(futures[index])
            # Where all threads drew callbacks, somebody has to end it.
            self.rng.choice(futures).cancel()
            for future in self.rng.sample(futures, 20):
                future.cancel()
                self.told[outcome(future)] += 1
            for future in futures:
                future.cancel()


@pytest.mark.timeout(120)
def test_every_completion_counts_once_and_every_callback_is_called_once():
    """100,000 futures by hand: every thread does something to each, in an order of its own."""
    batches, doers = Batches(), []

    def work(rng):
        doer = Doer(rng)
        doers.append(doer)
        doer.work(batches)

    together(work)
    completed = [future for doer in doers for future in doer.completed]
    assert len(completed) == len(set(completed))
    assert not any(future.cancelled() for future in completed)
    # Each callback adds its future to the list of whoever added it.
    assert [len(doer.heard) for doer in doers] == [doer.added for doer in doers]
    assert sum((doer.told for doer in doers), Counter()).total() == THREADS * BATCHES * 20
    assert not any(doer.told["wrong"] for doer in doers)


@pytest.mark.timeout(120)
def test_a_thread_that_waits_is_woken_by_the_one_that_completes():
    """Two threads hand each other 4,000 futures in turn, each blocked until the other has acted."""
    ping, pong = ([Future() for _ in range(2_000)] for _ in range(2))

    def answer():
        for asked, answered in zip(ping, pong, strict=True):
            answered.set_result(asked.result(SOON) + 1)

    thread = threading.Thread(target=answer)
    thread.start()
    total = 0
    for asked, answered in zip(ping, pong, strict=True):
        asked.set_result(total)
        total = answered.result(SOON)
    thread.join()
    assert total == 2_000


@pytest.mark.timeout(120)
def test_a_pool_under_cancellation_loses_no_call_and_runs_none_twice():
    """40,000 calls from several threads; every other is cancelled at some time."""
    each = 5_000
    ran, called, states = itertools.count(), itertools.count(), Counter()
    lock = threading.Lock()

    def call():
        next(ran)
        return "value"

    with ThreadPoolExecutor(8) as pool:

        def work(rng):
            futures = []
            for _ in range(each):
                future = pool.submit(call)
                future.add_done_callback(lambda _: next(called))
                futures.append(future)
                if rng.random() < 0.5:
                    rng.choice(futures[-20:]).cancel()
            seen = Counter(outcome(future) for future in futures)
            with lock:
                states.update(seen)

        together(work)
    total = THREADS * each
    assert states.total() == total
    assert set(states) <= {"result", "cancelled"}
    assert next(ran) == states["result"]
    assert next(called) == total


@pytest.mark.timeout(120)
def test_waits_of_every_kind_return():
    """12,000 futures, completed by a pool, waited for by wait, as_completed and gather."""
    rounds, size = 75, 20
    counted, lock = Counter(), threading.Lock()
    with ThreadPoolExecutor(8) as pool:

        def work(rng):
            seen = Counter()
            for _ in range(rounds):
                futures = [pool.submit(abs, n) for n in range(size)]
                for future in rng.sample(futures, 3):
                    future.cancel()
                kind = rng.randrange(3)
                if kind == 0:
                    seen["done"] += len(wait(futures, SOON).done)
                elif kind == 1:
                    seen["done"] += sum(1 for _ in as_completed(futures, SOON))
                else:
                    seen["done"] += size
                    whole = gather(futures)
                    failure = whole.exception(SOON)
                    assert failure is None or isinstance(failure, FutureCancelledError)
                    wait(futures, SOON)
                assert all(future.done() for future in futures)
            with lock:
                counted.update(seen)

        together(work)
    assert counted["done"] == THREADS * rounds * size


@pytest.mark.timeout(120)
def test_tasks_under_cancellation_all_end_and_clean_up_once():
    """1,600 Tasks of up to 5 steps, each on a future of the pool: some 8,000 futures and steps."""
    each = 200
    begun, cleaned, ended = itertools.count(), itertools.count(), Counter()
    lock = threading.Lock()
    with ThreadPoolExecutor(4) as pool, ThreadPoolExecutor(4) as steps:

        def generator(length):
            next(begun)
            try:
                for _ in range(length):
                    yield [pool.submit(abs, -1), pool.submit(abs, -2)]
                return "value"
            finally:
                next(cleaned)

        def work(rng):
            tasks = []
            for _ in range(each):
                task = Task(generator(rng.randrange(1, 5)), rng.choice([None, steps]))
                tasks.append(task)
                task.step()
                if rng.random() < 0.5:
                    rng.choice(tasks).cancel()
            seen = Counter(outcome(task) for task in tasks)
            with lock:
                ended.update(seen)

        together(work)
    assert ended.total() == THREADS * each
    assert set(ended) <= {"result", "cancelled"}
    assert next(begun) == next(cleaned)
