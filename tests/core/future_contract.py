"""The contract of the Future surface, for every kind of future.

A subclass says in `make_future` how a future comes to be and who completes it. Only
methods that a consumer has are called on the future itself, so a future whose
producer is on another machine can be held to it too.
"""

import asyncio
import concurrent.futures
import logging
import threading
import weakref
from abc import ABC, abstractmethod
from typing import Any

import pytest

from app.core import Future, FutureCancelledError, FutureTimeoutError, State

SOON = 30  # seconds: a bound on waiting for what must come, never a delay


class Producer(ABC):
    """The other side of the future under test."""

    future: Future[Any]

    @abstractmethod
    def start(self) -> None:
        """Make the future running."""

    @abstractmethod
    def succeed(self, result: Any) -> None:
        """Finish it with a JSON value."""

    @abstractmethod
    def fail(self) -> None:
        """Finish it with a ValueError whose message is `broken`."""


class FutureContract(ABC):
    @abstractmethod
    def make_future(self) -> Producer:
        """Return a pending future and its other side."""

    @pytest.fixture
    def producer(self):
        return self.make_future()

    # -- states

    def test_begins_pending(self, producer):
        future = producer.future
        assert future.state is State.PENDING
        assert (future.done(), future.running(), future.cancelled(), future.cancel_requested()) == (
            False,
        ) * 4

    def test_runs_after_the_start(self, producer):
        producer.start()
        assert producer.future.state is State.RUNNING
        assert producer.future.running()
        assert not producer.future.done()

    def test_finishes_with_a_result(self, producer):
        producer.start()
        producer.succeed({"n": [1, 2.5, None, "x"]})
        assert producer.future.result(SOON) == {"n": [1, 2.5, None, "x"]}
        assert producer.future.exception(SOON) is None
        assert producer.future.state is State.FINISHED
        assert producer.future.done()
        assert not producer.future.running()
        assert not producer.future.cancelled()

    def test_finishes_with_an_exception(self, producer):
        producer.start()
        producer.fail()
        with pytest.raises(ValueError, match=r"^broken$"):
            producer.future.result(SOON)
        assert isinstance(producer.future.exception(SOON), ValueError)
        assert producer.future.state is State.FINISHED

    def test_none_is_a_result(self, producer):
        producer.start()
        producer.succeed(None)
        assert producer.future.result(SOON) is None
        assert producer.future.exception(SOON) is None

    # -- waiting

    @pytest.mark.parametrize("timeout", [0, -1, 0.0])
    def test_result_raises_timeout_at_once_when_the_timeout_is_not_positive(self, producer, timeout):
        with pytest.raises(FutureTimeoutError):
            producer.future.result(timeout)
        with pytest.raises(FutureTimeoutError):
            producer.future.exception(timeout)

    def test_a_timeout_that_runs_out_raises_the_builtin_timeout_error(self, producer):
        producer.start()
        with pytest.raises(TimeoutError):
            producer.future.result(0.001)
        producer.succeed(1)
        assert producer.future.result(SOON) == 1

    def test_a_result_wakes_every_waiting_thread(self, producer):
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(producer.future.result(SOON))) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        producer.start()
        producer.succeed(7)
        for thread in threads:
            thread.join()
        assert results == [7] * 5

    def test_cancellation_wakes_a_waiting_thread(self, producer):
        waiting, seen = threading.Event(), []

        def wait():
            waiting.set()
            try:
                producer.future.result(SOON)
            except FutureCancelledError as exc:
                seen.append(exc)

        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait()
        producer.future.cancel()
        thread.join()
        assert len(seen) == 1

    # -- callbacks

    def test_callbacks_run_once_in_the_order_they_were_added(self, producer):
        calls, done = [], threading.Event()
        for name in "abc":
            producer.future.add_done_callback(lambda future, name=name: calls.append((name, future)))
        producer.future.add_done_callback(lambda _: done.set())
        producer.start()
        assert calls == []
        producer.succeed(1)
        assert done.wait(SOON)
        assert calls == [(name, producer.future) for name in "abc"]

    def test_a_callback_added_to_a_done_future_runs_at_once(self, producer):
        producer.start()
        producer.succeed(1)
        producer.future.result(SOON)
        calls = []
        producer.future.add_done_callback(calls.append)
        assert calls == [producer.future]

    def test_cancellation_calls_callbacks(self, producer):
        calls, done = [], threading.Event()
        producer.future.add_done_callback(calls.append)
        producer.future.add_done_callback(lambda _: done.set())
        producer.future.cancel()
        assert done.wait(SOON)
        assert calls == [producer.future]

    def test_a_callback_that_raises_is_logged_and_stops_no_other(self, producer, caplog):
        calls, done = [], threading.Event()

        def broken(_):
            raise ZeroDivisionError

        producer.future.add_done_callback(broken)
        producer.future.add_done_callback(calls.append)
        producer.future.add_done_callback(lambda _: done.set())
        with caplog.at_level(logging.ERROR, "app.core.future"):
            producer.start()
            producer.succeed(1)
            assert done.wait(SOON)
            producer.future.add_done_callback(broken)
        assert calls == [producer.future]
        logged = [record.exc_info[0] for record in caplog.records if record.name == "app.core.future"]
        assert logged == [ZeroDivisionError] * 2

    def test_callbacks_never_run_under_the_lock(self, producer):
        """Another thread uses the future while the callback waits for that thread."""
        seen, done = [], threading.Event()

        def use(future):
            future.add_done_callback(lambda _: None)
            seen.append((future.result(SOON), future.cancel(), repr(future) != ""))

        def callback(future):
            other = threading.Thread(target=use, args=(future,))
            other.start()
            other.join(SOON)
            done.set()

        producer.future.add_done_callback(callback)
        producer.start()
        producer.succeed(1)
        assert done.wait(SOON)
        assert seen == [(1, False, True)]

    # -- cancellation

    def test_cancelling_a_pending_future_cancels_it(self, producer):
        future = producer.future
        assert future.cancel()
        assert future.cancelled()
        assert future.done()
        assert future.cancel_requested()
        assert future.state is State.CANCELLED
        with pytest.raises(FutureCancelledError):
            future.result(SOON)
        with pytest.raises(FutureCancelledError):
            future.exception(SOON)
        assert future.cancel()

    def test_a_cancelled_future_raises_what_the_standard_library_raises(self, producer):
        producer.future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            producer.future.result(SOON)

    def test_cancelling_a_running_future_is_only_a_request(self, producer):
        producer.start()
        assert not producer.future.cancel()
        assert producer.future.cancel_requested()
        assert producer.future.running()
        producer.succeed(1)
        assert producer.future.result(SOON) == 1
        assert not producer.future.cancelled()

    def test_cancelling_a_finished_future_does_nothing(self, producer):
        producer.start()
        producer.succeed(1)
        producer.future.result(SOON)
        assert not producer.future.cancel()
        assert not producer.future.cancel_requested()
        assert producer.future.result(SOON) == 1

    # -- asyncio

    def test_await_returns_the_result(self, producer):
        async def main():
            asyncio.get_running_loop().call_soon(lambda: (producer.start(), producer.succeed(3)))
            return await producer.future

        assert asyncio.run(main()) == 3

    def test_await_of_a_done_future_returns_at_once(self, producer):
        producer.start()
        producer.succeed(3)
        producer.future.result(SOON)

        async def main():
            return await producer.future

        assert asyncio.run(main()) == 3

    def test_await_raises_the_exception(self, producer):
        async def main():
            asyncio.get_running_loop().call_soon(lambda: (producer.start(), producer.fail()))
            await producer.future

        with pytest.raises(ValueError, match=r"^broken$"):
            asyncio.run(main())

    def test_await_of_a_cancelled_future_raises_future_cancelled_error(self, producer):
        async def main():
            asyncio.get_running_loop().call_soon(producer.future.cancel)
            await producer.future

        with pytest.raises(FutureCancelledError):
            asyncio.run(main())

    def test_cancelling_the_awaiter_does_not_cancel_the_future(self, producer):
        async def main():
            awaiter = asyncio.ensure_future(self._await(producer.future))
            await asyncio.sleep(0)
            awaiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await awaiter
            assert not producer.future.done()
            producer.start()
            producer.succeed(5)
            return await producer.future

        assert asyncio.run(main()) == 5
        assert not producer.future.cancel_requested()

    def test_many_awaiters_of_one_future_all_go_on(self, producer):
        async def main():
            awaiters = [asyncio.ensure_future(self._await(producer.future)) for _ in range(50)]
            await asyncio.sleep(0)
            producer.start()
            producer.succeed(2)
            return await asyncio.gather(*awaiters)

        assert asyncio.run(main()) == [2] * 50

    async def _await(self, future):
        return await future

    # -- the object

    def test_can_be_weakly_referenced_and_put_in_sets(self, producer):
        assert weakref.ref(producer.future)() is producer.future
        assert {producer.future: 1}[producer.future] == 1

    def test_repr_tells_class_and_state(self, producer):
        future = producer.future
        assert type(future).__name__ in repr(future)
        assert "state=pending" in repr(future)
        producer.start()
        assert "state=running" in repr(future)
        producer.succeed("x")
        future.result(SOON)
        assert "state=finished returned str" in repr(future)

    def test_repr_tells_the_kind_of_failure(self, producer):
        producer.start()
        producer.fail()
        producer.future.exception(SOON)
        assert "state=finished raised ValueError" in repr(producer.future)

    def test_repr_of_a_cancelled_future(self, producer):
        producer.future.cancel()
        assert "state=cancelled" in repr(producer.future)
