"""The submitter's end of a queue, wherever that lies: futures of calls that run elsewhere, and executors."""

# ruff: noqa: SLF001  (as in `queuing`)

import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from app.core.errors import InvalidStateError, QueueError
from app.core.executor import Executor, refuse_when
from app.core.future import Future, State, run_all
from app.core.named import Ending, Returned, Stopped, exception_of
from app.core.waiting import wait as wait_for

T = TypeVar("T")
LOGGER = logging.getLogger(__name__)
_PENDING, _RUNNING, _CANCELLED, _FINISHED = State


class Reply(Protocol):
    """Who put a call, as the queue sees it. Called on any thread."""

    def started(self) -> None:
        """Note that somebody runs the call. May come again, and may be left out."""

    def ended(self, ending: Ending) -> None:
        """Note how it has ended, as durable as the queue makes it. User code may run in here."""


class Withdrawing(Protocol):
    """Where a future's call can be cancelled. May be used from any thread."""

    def cancel(self, call_id: str, *, stop: bool) -> bool:
        """Withdraw a call: True when it will never run, False when it is held or over.

        stop: ask its holder to stop, if there is one. Raises QueueUnavailableError when
        nothing of this has happened.
        """


class QueuedFuture(Future[T]):
    """The future of a call on a queue.

    Differences from Future: `cancel()` asks the queue, so it may take as long as `put`,
    and the request is passed on to whoever runs the call. When the queue cannot be
    asked, it is False and nothing is cancelled. A call that was put back is pending
    again in the queue, so that it can be withdrawn, but its future stays running.
    """

    __slots__ = ("_call_id", "_queue")

    def __init__(self, queue: Withdrawing) -> None:
        super().__init__()
        self._queue = queue
        self._call_id: str | None = None

    def cancel(self) -> bool:
        """Withdraw the call; False when it is running, and asked to stop, or has finished."""
        with self._lock:
            if self._state is _FINISHED or self._state is _CANCELLED:
                return self._state is _CANCELLED
            # Before the queue is asked: the call may be stopped, and the future done, in there.
            self._cancel_requested = True
        return self._withdraw(stop=True)

    def _withdraw(self, *, stop: bool) -> bool:
        if self._call_id is None:
            # Its submission is under way, and looks for itself when it is through.
            return False
        try:
            withdrawn = self._queue.cancel(self._call_id, stop=stop)
        except QueueError as exc:
            LOGGER.warning("call %s cannot be cancelled: %s", self._call_id, exc)
            return False
        if not withdrawn:
            self._started()
        elif not super().cancel():
            self._ended(Stopped())
        return self.cancelled()

    def _started(self) -> None:
        with suppress(InvalidStateError):
            self.set_running_or_notify_cancel()

    def _ended(self, ending: Ending) -> None:
        # Done already: it was withdrawn, and the queue says so too.
        with suppress(InvalidStateError):
            match ending:
                case Stopped():
                    self._set_cancelled()
                case Returned(text):
                    self._finish(text)
                case _:
                    self.set_exception(exception_of(ending))

    def _finish(self, text: str) -> None:
        try:
            result = json.loads(text)
        except (ValueError, RecursionError) as exc:
            self.set_exception(QueueError(f"the queue's answer is no JSON: {exc}"))
        else:
            self.set_result(result)


class QueuedReply:
    """The future as the queue sees it."""

    def __init__(self, future: QueuedFuture[Any]) -> None:
        self.started = future._started
        self.ended = future._ended


def reply_of(future: QueuedFuture[Any], call_id: str) -> Reply:
    """Return what is to be told of a future's call, which has this id."""
    # First: whoever cancels the future from another thread needs the id.
    future._call_id = call_id
    return QueuedReply(future)


F = TypeVar("F", bound=QueuedFuture[Any])


class SubmittingExecutor(Executor, Generic[F]):
    """What executors have in common whose calls wait in a queue, and run elsewhere.

    `shutdown(wait=True)` waits until somebody has run them, and so does `with`.
    """

    def __init__(self) -> None:
        self._futures: dict[F, None] = {}
        self._closed = False
        self._cancels = False
        self._pid = os.getpid()

    @contextmanager
    def _accepting(self, futures: Sequence[F]) -> Iterator[None]:
        """Take in futures, whose calls the caller then puts on the queue, all or none of them."""
        for future in futures:
            self._futures[future] = None
            future.add_done_callback(self._forget)
        try:
            # After the entry: either this sees that the executor is closed, or `shutdown` the future.
            refuse_when(closed=self._closed, disowned=self._disowned())
            yield
        except BaseException:
            # For a shutdown that has begun to wait for it.
            for future in futures:
                Future.cancel(future)
            raise
        if self._cancels:
            for future in futures:
                future._withdraw(stop=False)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more. See Executor.shutdown, and the class."""
        self._closed = True
        self._cancels = self._cancels or cancel_futures
        if self._disowned():
            # A parent's futures will not be done here.
            return
        futures = list(self._futures)
        if cancel_futures:
            run_all(deque(partial(future._withdraw, stop=False) for future in futures))
        if wait:
            wait_for(futures)

    def _disowned(self) -> bool:
        return os.getpid() != self._pid

    def _forget(self, future: Any) -> None:
        self._futures.pop(future, None)
