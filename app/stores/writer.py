"""The one way into a store: gathers what all threads want written into batches.

While a batch is being committed the next one gathers, so that a commit, which waits
for the disk, is shared by everything that arrived in the meantime (group commit).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any, Protocol

from app.core import Future
from app.core.precedence import PRECEDENCE
from app.jobs.model import Clock, Job
from app.jobs.points import reached
from app.stores.base import (
    Answer,
    Applied,
    Claim,
    Operation,
    OperationFailedError,
    Refusal,
    Store,
    StoreError,
    StoreUnavailableError,
)
from app.stores.trouble import Trouble

LOGGER = logging.getLogger(__name__)

BATCH = 1000
"""Operations in one transaction after which no more are taken along: a commit is spread thin enough then."""

MANY = 4
"""Operations of a batch from which on the writer rests after it: after fewer there is nobody to rest for."""

REST = 0.0005
"""Seconds for which it then leaves the interpreter to those who take its answers and hand in more.

The writer and the event loop wait for each other's turn at every statement. Begun at once, the next
batch would be smaller, take as long, and hold up the answers of this one: of 3,000 requests a second
half are answered a quarter sooner for the rest, and as many can be answered as without.
"""


class Recipient(Protocol):
    """Who is told what becomes of an operation. A Future is one.

    It is told on the writer's thread, or after that has ended, on the one that submits.
    """

    def set_running_or_notify_cancel(self) -> bool:
        """Take note that its batch is begun; False when it is not to be carried out. Raises nothing."""

    def set_result(self, result: Any, /) -> None:
        """Take what the operation promises, now that it is durable."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Take the refusal, StoreUnavailableError or OperationFailedError. It is nobody else's."""


Item = tuple[Operation, Recipient]
"""An operation, and who is told what becomes of it."""


class Claimer:
    """A worker, as the writer sees it. This one has no slot and claims nothing."""

    def request(self) -> Claim | None:
        """Return the claim to add to the next batch; None when no slot is free."""
        return None

    def take(self, jobs: Sequence[Job]) -> None:
        """Run what was claimed. Called on the writer's thread, after the commit."""

    def missed(self) -> None:
        """Have a batch carried out soon, for another claim: nothing of the last one has happened.

        Called on the writer's thread. Nobody else may ever come with a batch.
        """


Listener = Callable[[Sequence[Job]], object]
Follower = Callable[[Applied], object]


class Writer:
    """The writer's thread. It alone calls `Store.apply` and `Store.tidy`.

    A claim rides in every batch, so a job that finds a free slot is claimed in the
    transaction that inserts it, and a slot that becomes free is filled in the
    transaction that settles its job.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._items: SimpleQueue[Sequence[Item] | None] = SimpleQueue()
        self._claimer = Claimer()
        self._listeners: list[Listener] = []
        self._followers: list[Follower] = []
        self._ended = False
        self._last_commit: float | None = None
        self._trouble = Trouble(LOGGER, "the store cannot be written")
        self._failures = Trouble(LOGGER, "a batch failed")
        self._thread = threading.Thread(target=self._run, name="errand-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation) -> Future[Any]:
        """Have an operation carried out; from any thread.

        The future's result is what the operation promises, once it is durable; its
        exception is the refusal, StoreUnavailableError, or OperationFailedError for one
        that trying again would not help. It can be cancelled until its batch is begun.
        """
        future: Future[Any] = Future()
        self.submit_all([(operation, future)])
        return future

    def submit_all(self, items: Sequence[Item]) -> None:
        """Have operations carried out in one batch; each as by `submit`."""
        # Under no lock, not even a reentrant one: the garbage collector may come in, a finalizer
        # submit and wait, and on the thread it waits for, a callback submit.
        self._items.put(items)
        # After that: either this sees the end, or the thread finds the operations at its end.
        if self._ended:
            self._refuse_rest()

    def attach(self, claimer: Claimer) -> None:
        """Let a worker claim from now on."""
        self._claimer = claimer

    def listen(self, listener: Listener) -> None:
        """Call `listener` after each commit, on the writer's thread, with the jobs it changed."""
        self._listeners.append(listener)

    def follow(self, follower: Follower) -> None:
        """Call `follower` after each commit, on the writer's thread, with all that it did.

        It comes before the listeners: whoever is woken by one of these finds that it has happened.
        """
        self._followers.append(follower)

    def committed_within(self, seconds: float) -> bool:
        """Tell whether the last batch was committed, and no longer ago than that."""
        last = self._last_commit
        return last is not None and monotonic() - last <= seconds

    def close(self) -> None:
        """Carry out what was submitted, then end the thread. What comes later is refused."""
        self._items.put(None)
        self._thread.join()

    # -- the thread ----------------------------------------------------------

    def _run(self) -> None:
        going = True
        while going:
            batch: list[Item] = []
            going = self._gather(batch)
            # From here on a future among them can no longer be cancelled under the writer's hands.
            batch = [item for item in batch if item[1].set_running_or_notify_cancel()]
            if batch:
                with PRECEDENCE:
                    _shielded(self._commit, batch)
                _shielded(self._make_way, len(batch))
        self._ended = True
        self._refuse_rest()

    def _make_way(self, count: int) -> None:
        """Let those who were told go on, and use the time for what nobody should have to wait for."""
        if not self._store.tidy() and count >= MANY:
            sleep(REST)

    def _refuse_rest(self) -> None:
        """Refuse what has come too late; on the writer's thread at its end, after that on any."""
        with suppress(Empty):
            while True:
                for item in self._items.get_nowait() or ():
                    if item[1].set_running_or_notify_cancel():
                        _refuse([item], StoreUnavailableError, "the service has stopped")

    def _gather(self, batch: list[Item]) -> bool:
        """Wait for an operation and take along what has gathered; False at the end."""
        try:
            items = self._items.get()
            while items is not None:
                batch += items
                if len(batch) >= BATCH:
                    return True
                items = self._items.get_nowait()
        except Empty:
            return True
        return False

    def _commit(self, batch: Sequence[Item]) -> None:
        try:
            claim = self._claimer.request()
        except Exception:
            LOGGER.exception("a worker cannot say what it has room for")
            claim = None
        self._carry_out(batch, claim)

    def _carry_out(self, batch: Sequence[Item], claim: Claim | None) -> None:
        operations = [operation for operation, _ in batch]
        reached("batch-gathered")
        try:
            applied = self._store.apply(operations if claim is None else [*operations, claim], self._clock())
        except StoreUnavailableError as exc:
            self._last_commit = None
            self._trouble.met(str(exc))
            self._miss(claim)
            _refuse(batch, StoreUnavailableError, str(exc))
        except Exception as exc:  # noqa: BLE001  (an operation may be anything)
            self._tell_failed(len(operations), claim, exc)
            self._carry_out_in_parts(batch, claim, exc)
        else:
            self._last_commit = monotonic()
            self._trouble.over()
            reached("batch-committed")
            self._announce(batch, applied, claimed=claim is not None)

    def _tell_failed(self, count: int, claim: Claim | None, exc: Exception) -> None:
        # Whoever asks for the same again and again must not fill the log.
        if self._failures.is_news(f"{type(exc).__name__}: {exc}"):
            riding = "" if claim is None else " and a claim"
            # Of the store's own errors, the text says all.
            trace = None if isinstance(exc, StoreError) else exc
            LOGGER.error("a batch of %d operations%s failed: %s", count, riding, exc, exc_info=trace)

    def _carry_out_in_parts(self, batch: Sequence[Item], claim: Claim | None, exc: Exception) -> None:
        """Find the operation that the batch failed by, so that the others do not suffer for it."""
        parts: list[tuple[Sequence[Item], Claim | None]]
        if claim is not None and batch:
            # The claim last: what the others made ready must not wait for the next batch.
            parts = [(batch, None), ([], claim)]
        elif len(batch) > 1:
            parts = [([item], None) for item in batch]
        else:
            self._miss(claim)
            _refuse(batch, OperationFailedError, f"an operation failed: {type(exc).__name__}")
            return
        for part in parts:
            self._carry_out(*part)

    def _miss(self, claim: Claim | None) -> None:
        if claim is not None:
            _shielded(self._claimer.missed)

    def _announce(self, batch: Sequence[Item], applied: Applied, *, claimed: bool) -> None:
        outcomes = list(applied.outcomes)
        if claimed:
            # The work first: everything else can wait while it runs.
            _shielded(self._claimer.take, outcomes.pop())
        reached("announcement-next")
        for follower in self._followers:
            _shielded(follower, applied)
        for listener in self._listeners:
            _shielded(listener, applied.changed)
        for (_, recipient), outcome in zip(batch, outcomes, strict=True):
            _shielded(_tell, recipient, outcome)


def _shielded(call: Callable[..., object], *args: Any) -> None:
    """Make a call of which nothing may escape.

    Everything depends on the writer's thread, and everybody of a batch on its being
    told; what a listener or a callback of somebody's raises must end neither.
    """
    try:
        call(*args)
    except BaseException:
        LOGGER.exception("the writer goes on after an error")


def _tell(recipient: Recipient, outcome: Answer | Refusal) -> None:
    if isinstance(outcome, Exception):
        recipient.set_exception(outcome)
    else:
        recipient.set_result(outcome)


def _refuse(batch: Sequence[Item], error: type[StoreError], message: str) -> None:
    for _, recipient in batch:
        # One each: a shared exception would gather the traceback of everybody who raises it.
        _shielded(recipient.set_exception, error(message))
