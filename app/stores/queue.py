"""StoreQueue: a queue whose calls are jobs in a store, so that they outlive the process."""

import logging
import os
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from app.core import FutureTimeoutError, QueueError, QueueUnavailableError, State
from app.core.future import new_lock
from app.core.memory_queue import MemoryQueue
from app.core.named import Call, Ending, Lost, Raised, Returned, Stopped
from app.core.queuing import Consumer, Message
from app.core.submitting import Reply
from app.jobs.errors import TransitionError
from app.jobs.lifecycle import CancelRequested, Due, Failed, Released, Succeeded
from app.jobs.model import Clock, Failure, Hold, Job, Outcome, Slot, new_id
from app.jobs.outcome import storable
from app.stores.base import (
    Change,
    Claim,
    Insert,
    JobNotFoundError,
    Operation,
    OperationFailedError,
    Probe,
    Recover,
    Recovered,
    StoreError,
    StoreUnavailableError,
)
from app.stores.desk import Desk
from app.stores.due import Promoter
from app.stores.settling import Settler
from app.stores.ticker import Retry, Ticker
from app.stores.trouble import Trouble
from app.stores.writer import Claimer, Writer

LOGGER = logging.getLogger(__name__)

TENANT = "default"
"""Whose jobs the calls are."""

FLUSH_TIMEOUT = 2.0
"""Seconds that the writer gets at the end to answer a claim that may be under way."""

UNSTORABLE = Failure("QueueError", "the store cannot keep what the call has returned or raised", "")

PUT_BACK = Lost("put back")


class StoreQueue(Claimer):
    """A Queue in a store, of which it is the only user: it claims every job that is ready.

    writer: the store's; to be closed after the queue. clock: the wall clock.

    `put` and `cancel` return when the store has it on the disk; so do not call them, nor
    `cancel()` of a future, on an event loop that is to answer others meanwhile. Done
    callbacks are all called on one thread, and must not wait for another call's result.

    What a process that was killed had claimed runs again, when its next worker comes,
    after a second; what it had lost three times fails. Results that nobody waits for any
    more stay in the store. An exception that comes after a request to stop counts as
    having stopped, as it does for every job.

    Calls whose name no worker knows are held back. When one gets to know it, they are let
    go as soon as no call of this queue runs, because the store must be told that nothing
    does; so give all functions to the first worker. Workers that share a queue should
    know the same ones: a call may be claimed for the room of one that does not know it,
    and then waits here.

    Nothing here waits for a lock that it may hold itself: state is moved by single steps
    of a dict, by one of its threads alone, or under a lock held as a Future's is.
    """

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        # Claimed calls go through it to the consumers: it knows who has room for what.
        self._local = MemoryQueue()
        self.functions = self._local.functions
        self._consumers: list[Consumer] = []
        self._replies: dict[str, Reply] = {}
        self._holdings: dict[str, _Holding] = {}
        self._lock = new_lock()
        self._room = 0
        """Calls that may be claimed now: the consumers' limits, less what is claimed."""
        self._open = 0
        """Calls that are claimed, as the store has it."""
        self._claiming = False
        self._recovered = False
        self._held_back: set[str] = set()
        """Names of which the store may hold calls back."""
        self._strange = False
        """Whether a call was claimed that no consumer knows: nothing is, until the store holds it back."""
        self._stale = False
        """Whether the store is to be told again what is known, when nothing runs."""
        self._wanted = False
        self._learning = threading.Lock()
        self._closed = False
        self._writers_thread: int | None = None
        # Two, so that callbacks, which may take their time, do not hold up the calls.
        self._running = Desk("errand-queue")
        self._replying = Desk("errand-queue-replies")
        self._ticker = Ticker("errand-queue-ticker")
        # By way of the desk: the writer must not wait for a lock under which a finalizer may wait for it.
        call_later = partial(self._running.post, self._ticker.call_later)
        self._promoter = Promoter(writer, clock, call_later)
        self._settler = Settler(writer, call_later, UNSTORABLE, self._settled)
        self._poke = partial(writer.submit, Probe())  # for the claim that rides in its batch
        self._claim_retry = Retry(call_later, self._poke)
        self._untold = Trouble(LOGGER, "the store cannot be told which calls are known")
        # Not on the ticker's thread: it waits for the store.
        self._relearn_retry = Retry(call_later, partial(self._running.post, self._relearn))
        self._ticker.start()
        writer.listen(self._changed)
        writer.listen(self._promoter.changed)
        writer.attach(self)

    def close(self) -> None:
        """Let go of the store. Stop the workers first: what they still hold would run again.

        Futures that are not done fail with QueueUnavailableError; their calls stay.
        """
        self._closed = True
        self._claiming = False
        with suppress(FutureTimeoutError):
            # The answer to a claim that may be under way.
            self._writer.submit(Probe()).exception(FLUSH_TIMEOUT)
        self._writer.attach(Claimer())
        self._running.post(self._give_all_back)
        self._running.close()
        self._ticker.close()
        self._settler.close()
        for call_id in list(self._replies):
            self._tell(call_id, Lost("the queue was closed"))
        self._replying.close()

    # -- the Queue -----------------------------------------------------------

    def put(self, call: Call, reply: Reply) -> str:
        """See Queue.put."""
        now = self._clock()
        strange = not self._knows(call.name)
        hold = Hold.UNKNOWN_TASK if strange else Hold.NONE
        job = Job(new_id(now), TENANT, call.name, Slot.THREAD, now, now, arguments=call.arguments, hold=hold)
        # Before it is stored: the call may end before this returns.
        self._replies[job.id] = reply
        try:
            self._carry_out(Insert([job]))
        except BaseException:
            self._replies.pop(job.id, None)
            raise
        if strange:
            self._held_back.add(call.name)
        # A worker that came after the look above has found no call of that name to be let go.
        if (strange or call.name in self._held_back) and self._knows(call.name) and not self._stale:
            self._running.post(self._relearn)
        return job.id

    def cancel(self, call_id: str, *, stop: bool) -> bool:
        """See Queue.cancel."""
        # A job that runs knows no Due, and so the second one is refused for it.
        change = Change(call_id, (CancelRequested(),) if stop else (Due(), CancelRequested()))
        if threading.get_ident() == self._writers_thread:
            # In a finalizer. The store has to do without this thread if it waits; the listener hears the end.
            self._writer.submit(change)
            return False
        try:
            job = self._carry_out(change)
        except (TransitionError, JobNotFoundError):
            return False
        return bool(job.state is State.CANCELLED)

    def attach(self, consumer: Consumer) -> None:
        """See Queue.attach. The first one recovers what the last process left."""
        self._require_open()
        self._local.attach(consumer)
        self._consumers.append(consumer)
        self._add_room(consumer.limit)
        if self._recovered and not self._strange and self._held_back.isdisjoint(consumer.names):
            self._poke()
            return
        try:
            self._learn()
        except BaseException:
            self.detach(consumer)
            raise

    def detach(self, consumer: Consumer) -> None:
        """See Queue.detach."""
        self._local.detach(consumer)
        if consumer in self._consumers:
            self._consumers.remove(consumer)
            # While what it holds goes on, that counts against the others' room.
            self._add_room(-consumer.limit)
            self._running.post(self._give_strange_back)

    def settle(self, message: Message, ending: Ending) -> None:
        """See Queue.settle. An ending that cannot be stored now is tried again."""
        self._local.settle(message, ending)

    def release(self, message: Message) -> None:
        """See Queue.release."""
        self._local.settle(message, PUT_BACK)

    def _require_open(self) -> None:
        if self._closed:
            raise QueueUnavailableError("the queue is closed")

    def _knows(self, name: str) -> bool:
        return any(name in consumer.names for consumer in list(self._consumers))

    def _add_room(self, calls: int) -> None:
        with self._lock:
            self._room += calls

    def _carry_out(self, operation: Operation) -> Any:
        """Have an operation carried out, and wait for that. Raises QueueError, and its refusal."""
        self._require_open()
        if threading.get_ident() == self._writers_thread:
            raise QueueUnavailableError("the thread that writes the store cannot wait for it")
        future = self._writer.submit(operation)
        try:
            return future.result()
        except StoreUnavailableError as exc:
            raise QueueUnavailableError(str(exc)) from exc
        except OperationFailedError as exc:
            raise QueueError(str(exc)) from exc
        finally:
            # Ctrl-C: nobody waits for it any more.
            future.cancel()

    # -- what is known -------------------------------------------------------

    def _learn(self) -> None:
        """Tell the store which names are known, so that it holds back and lets go. Raises QueueError."""
        self._wanted = True
        # One at a time; who comes meanwhile has it done once more by the one who is at it.
        try:
            while self._wanted and self._learning.acquire(blocking=False):
                try:
                    self._wanted = False
                    self._recover()
                finally:
                    self._learning.release()
        except BaseException:
            # Whoever came meanwhile has left it to this one, and does not hear of the failure.
            if self._wanted:
                self._running.post(self._relearn)
            raise

    def _recover(self) -> None:
        self._claiming = False
        try:
            # A claim that was under way is counted when this is done, and then there is none.
            self._carry_out(Probe())
            # Before the look: either this sees the last call's end, or `_settled` sees the mark.
            self._stale = True
            if not self._open:
                # Otherwise the store would take what runs for lost. The mark before the operation:
                # what is put after that finds it gone, and has this done once more.
                self._stale = False
                names = {name for consumer in list(self._consumers) for name in consumer.names}
                recovered: Recovered = self._carry_out(Recover(dict.fromkeys(names, Slot.THREAD)))
                self._held_back.difference_update(names)
                self._held_back.update(recovered.unknown)
                self._recovered, self._strange = True, False
        finally:
            self._claiming = self._recovered and not self._strange and not self._closed
            # What was lost may be due, and a claim rides along.
            self._promoter.promote()

    def _relearn(self) -> None:
        if self._closed or not self._consumers:
            # The next one to come sees to it.
            return
        try:
            self._learn()
        except QueueError as exc:
            self._untold.met(str(exc))
            self._relearn_retry.soon()

    # -- the writer's side ---------------------------------------------------

    def request(self) -> Claim | None:
        """Return a claim for the room there is. See Claimer."""
        self._writers_thread = threading.get_ident()
        room = self._room
        return Claim(self._worker, {Slot.THREAD: room}) if self._claiming and room > 0 else None

    def take(self, jobs: Sequence[Job]) -> None:
        """Have claimed jobs run. See Claimer."""
        count = len(jobs)
        with self._lock:
            self._room -= count
            self._open += count
        for job in jobs:
            # Not here: an executor's lock may keep this thread waiting, and everybody waits for it.
            self._running.post(self._hand_over, job)

    def missed(self) -> None:
        """Claim again in a while. See Claimer."""
        self._claim_retry.soon()

    def _changed(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.done:
                self._tell(job.id, _ending_of(job))
            elif job.asked_to_stop:
                self._running.post(self._stop, job.id)
            elif job.state is State.RUNNING:
                self._replying.post(self._tell_started, job.id)

    def _settled(self, change: Change, exception: BaseException | None) -> None:
        if isinstance(exception, StoreError):
            self._tell(change.id, Lost(f"its ending cannot be stored: {exception}"))
        with self._lock:
            self._open -= 1
        if self._stale and not self._open:
            self._running.post(self._relearn)

    def _tell_started(self, call_id: str) -> None:
        if (reply := self._replies.get(call_id)) is not None:
            reply.started()

    def _tell(self, call_id: str, ending: Ending) -> None:
        if (reply := self._replies.pop(call_id, None)) is not None:
            self._replying.post(reply.ended, ending)

    # -- calls that are held, on the thread of `_running` --------------------

    def _hand_over(self, job: Job) -> None:
        self._holdings[job.id] = holding = _Holding(self, job)
        holding.local_id = self._local.put(Call(job.task, job.arguments), holding)
        if not self._knows(job.task):
            self._give_strange_back()

    def _stop(self, job_id: str) -> None:
        if (held := self._holdings.get(job_id)) is not None and self._local.cancel(held.local_id, stop=True):
            # No consumer had it yet.
            held.ended(PUT_BACK)

    def _give_strange_back(self) -> None:
        """Put back what no consumer knows, and have the store hold it back."""
        for holding in list(self._holdings.values()):
            if not self._knows(holding.job.task) and self._local.cancel(holding.local_id, stop=False):
                # First: it will be ready again at once, and would be claimed for ever.
                self._claiming, self._strange = False, True
                holding.ended(PUT_BACK)
                self._running.post(self._relearn)

    def _give_all_back(self) -> None:
        for holding in list(self._holdings.values()):
            if self._local.cancel(holding.local_id, stop=False):
                holding.ended(PUT_BACK)

    def end(self, job: Job, ending: Ending) -> None:
        """Settle a call that was held; its room is filled in the same batch. Called on any thread."""
        self._holdings.pop(job.id, None)
        self._add_room(1)
        self._settler.settle(Change(job.id, (_event_of(ending, job.token or 0),)))


class _Holding:
    """A claimed call on its way through the consumers. It is the Reply that they answer to."""

    def __init__(self, queue: StoreQueue, job: Job) -> None:
        self.job = job
        self.local_id = ""
        self._queue = queue

    def started(self) -> None:
        """Do nothing: who put the call learns it from the store."""

    def ended(self, ending: Ending) -> None:
        self._queue.end(self.job, ending)


def _event_of(ending: Ending, token: int) -> Succeeded | Failed | Released:
    match ending:
        case Returned(result):
            return Succeeded(token, result)
        case Raised():
            return Failed(token, Failure(*map(storable, ending)))
        case Stopped():
            # The request is in the store, and makes a cancellation of this.
            return Failed(token, Failure("FutureCancelledError", "", ""))
        case _:
            return Released(token)


def _ending_of(job: Job) -> Ending:
    if job.outcome is Outcome.SUCCEEDED:
        return Returned(job.result or "null")
    if job.exception is not None:
        return Raised(*job.exception)
    return Stopped()
