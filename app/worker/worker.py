"""Worker: fills free slots with claimed jobs and settles what has ended.

It has no loop that asks for work. The writer takes its claim along in every batch,
and every batch that could make a job ready, or follows from a slot becoming free, is
one. What is due by the clock is made ready by the ticker, which also repeats a claim
that the store could not answer.
"""

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from app.core import FutureTimeoutError
from app.jobs.lifecycle import Died, Event, Failed, Released
from app.jobs.model import Clock, Failure, Job, Slot
from app.jobs.outcome import failure_of
from app.jobs.points import reached
from app.jobs.process import Report
from app.jobs.registry import Registry
from app.stores.base import Caps, Change, Claim, Probe, Recover, Recovered
from app.stores.due import Promoter
from app.stores.settling import Settler
from app.stores.ticker import Retry, Ticker
from app.stores.writer import Claimer, Writer
from app.worker.execution import Execution
from app.worker.pools import Pools
from app.worker.runs import Terms
from app.worker.said import Rest, Said
from app.worker.tee import TEE

LOGGER = logging.getLogger(__name__)

PROGRESS_INTERVAL = 0.25
"""Seconds between two reports of what a job says."""

FLUSH_TIMEOUT = 2.0
"""Seconds that the writer gets at the end to carry out what it was given."""

UNSTORABLE = Failure("ResultError", "the store cannot keep what the job has returned, raised or reported", "")


class Status(NamedTuple):
    """What a worker is at. claiming: whether it wants jobs. slots, used: of each kind. running: its jobs."""

    claiming: bool
    slots: Mapping[Slot, int]
    used: Mapping[Slot, int]
    running: Sequence[Job]


class Worker(Claimer):
    """Runs jobs in this process.

    slots: how many jobs of each kind at a time. terms: what each of them is subject to.
    """

    def __init__(
        self,
        writer: Writer,
        registry: Registry,
        clock: Clock,
        slots: Mapping[Slot, int],
        terms: Terms,
    ) -> None:
        self.host, self.pid = socket.gethostname(), os.getpid()
        self.name = f"{self.host}:{self.pid}"
        self.terms = terms
        self._ticker = Ticker("errand-ticker")
        self.later = self._ticker.call_later
        self.pools = Pools(slots[Slot.THREAD], slots[Slot.PROCESS], self._reported, self.later)
        self._writer = writer
        self._registry = registry
        self._lock = threading.RLock()
        self._moved = threading.Condition(self._lock)
        """Told when nothing of `_settling` or `_closing` is left, and when a drain is to end."""
        # Of a kind that no task has, nothing can be claimed: the search for it would ride in every batch.
        kinds = {definition.slot for definition in registry}
        self._slots = slots
        self._free = {slot: n for slot, n in slots.items() if slot in kinds}
        self._executions: dict[str, Execution] = {}
        self._claiming = False
        self._answered = True
        """Whether the last claim was. Written on the writer's thread only."""
        # No lock for these two: what prints may be a finalizer, and wait for whoever has the lock.
        self._news: deque[Said] = deque()
        self._reporting = False
        """Whether the ticker was asked to look at them."""
        self._listening = False
        self._settling = 0
        """Settlements that are not stored yet; those that the settler keeps among them."""
        self._closing = 0
        """Those of them that have to wait until something else is stored."""
        self._hurried = False
        self._abandoned = False
        self._promoter = Promoter(writer, clock, self.later)
        self._settler = Settler(writer, self.later, UNSTORABLE, self._settled)
        self._claim_retry = Retry(self.later, self._claim_again)

    def start(self) -> Recovered:
        """Take over what the last process left, and begin to claim.

        From here to `close` the stand-ins of `worker.tee` are in place of stdout and stderr.
        Raises StoreUnavailableError.
        """
        slots = {definition.name: definition.slot for definition in self._registry}
        reached("recovery-next")
        recovered: Recovered = self._writer.submit(Recover(slots, self._caps())).result()
        reached("recovery-committed")
        TEE.begin()
        self._listening = True
        self._writer.listen(self._changed)
        self._writer.listen(self._promoter.changed)
        self._claiming = True
        self._writer.attach(self)
        self._promoter.promote()
        self._ticker.start()
        return recovered

    def _caps(self) -> Mapping[str, Caps]:
        return {
            definition.name: Caps(definition.max_running, definition.max_running_total)
            for definition in self._registry
            if definition.max_running is not None or definition.max_running_total is not None
        }

    @property
    def claiming(self) -> bool:
        """Whether it takes jobs: it wants to, the last claim was answered, and its ticker lives."""
        return self._claiming and self._answered and self._ticker.is_alive()

    def status(self) -> Status:
        """Return what it is at."""
        with self._lock:
            used = {slot: total - self._free.get(slot, total) for slot, total in self._slots.items()}
            executions = list(self._executions.values())
            return Status(self._claiming, self._slots, used, [execution.job for execution in executions])

    # -- the writer's side ---------------------------------------------------

    def request(self) -> Claim | None:
        """Return a claim for the free slots.

        Until it is answered slots only become free: nobody else fills them.
        """
        with self._lock:
            free = {slot: n for slot, n in self._free.items() if n > 0}
            return Claim(self.name, free) if self._claiming and free else None

    def take(self, jobs: Sequence[Job]) -> None:
        """Run claimed jobs. Nothing is raised: the writer has answers to give after this."""
        self._answered = True
        executions = [execution for job in jobs if (execution := self._execution_of(job)) is not None]
        with self._lock:
            stopping = not self._claiming
            if not stopping:
                for execution in executions:
                    self._free[execution.job.slot] -= 1
                    self._executions[execution.job.id] = execution
        for execution in executions:
            try:
                self._begin(execution, stopping)
            except Exception:
                # A handler of the log's, say. The jobs after this one have to be begun all the same.
                LOGGER.exception("job %s has not begun as it should", execution.job.id)

    def _execution_of(self, job: Job) -> Execution | None:
        """Return what runs a job; None when nothing can, which the job is told."""
        try:
            return Execution(job, self._registry.get(job.task), self)
        except Exception as exc:
            LOGGER.exception("job %s cannot be run", job.id)
            self._settle(Change(job.id, (Failed(job.token or 0, failure_of(exc)),)))
            return None

    def missed(self) -> None:
        """Have the ticker claim again in a while."""
        self._answered = False
        self._claim_retry.soon()

    def _begin(self, execution: Execution, stopping: bool) -> None:
        job = execution.job
        if stopping:
            # The claim was under way when claiming was stopped, and a drain may be over by now.
            self._settle(Change(job.id, (Released(execution.token),)))
        elif self._executions.get(job.id) is execution:
            self._start(execution)
        else:
            # Put back while those before it were started. During its own start it still can be, as at any
            # time after: then its code runs in vain, and the store refuses its end.
            with self._lock:
                self._free[job.slot] += 1

    def _start(self, execution: Execution) -> None:
        reached("claim-taken")
        try:
            execution.start()
        except Exception as exc:
            # No thread can be had: the job says so, rather than being left running with nobody at it.
            execution.raised(exc)
            # After that: no handler of the log's can keep the job from being settled.
            LOGGER.exception("job %s cannot be started", execution.job.id)

    def _changed(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.asked_to_stop:
                self._ask_to_stop(job.id)

    def _ask_to_stop(self, job_id: str) -> None:
        with self._lock:
            execution = self._executions.get(job_id)
        if execution is None:
            return
        try:
            execution.ask_to_stop()
        except RuntimeError:
            # No thread can be had. Its checkpoints know; the other jobs must be told all the same.
            LOGGER.exception("job %s cannot be interrupted", job_id)

    # -- the executions' side ------------------------------------------------

    def ended(self, execution: Execution, event: Event) -> None:
        """Free the slot and settle the job; the claim for the slot rides in the same batch."""
        job = execution.job
        with self._lock:
            # If it was put back meanwhile, the store refuses the settlement: the token is stale.
            counts = self._executions.get(job.id) is execution
            if counts:
                del self._executions[job.id]
            self._free[job.slot] += 1
            if not counts and isinstance(event, Died):
                # Killed because it was put back, which says it all.
                return
            # In the same step: a drain must not take the worker for idle in between.
            self._settling += 1
            self._closing += 1
        execution.said.close(partial(self._settle_after, job.id, event))
        if counts:
            # Last: no handler of the log's can keep the job from being settled.
            execution.log(event)

    def _settle_after(self, job_id: str, event: Event, rest: Rest) -> None:
        """Settle a job by this event, and store before it what was said and is not stored."""
        self._settler.settle(Change(job_id, (*rest, event)))
        with self._lock:
            self._closing -= 1
            if not self._closing:
                self._moved.notify_all()

    def _settle(self, change: Change) -> None:
        with self._lock:
            self._settling += 1
        self._settler.settle(change)

    def _settled(self, _change: Change, _exception: BaseException | None) -> None:
        with self._lock:
            self._settling -= 1
            if not self._settling:
                self._moved.notify_all()

    def has_news(self, said: Said, /) -> None:
        """Have it stored with the next tick."""
        self._news.append(said)
        if not self._reporting:
            self._reporting = True
            self._ticker.call_later(PROGRESS_INTERVAL, self._report_all)

    def _reported(self, report: Report) -> None:
        """Take in what a job in a process says, unless the job is not here any more."""
        with self._lock:
            execution = self._executions.get(report.job_id)
        if execution is not None and execution.token == report.token:
            execution.take_in(report)

    # -- the ticker's side ---------------------------------------------------

    def _report_all(self) -> None:
        # First: who comes from now on may come too late for this time.
        self._reporting = False
        for _ in range(len(self._news)):
            self.report(self._news.popleft())

    def report(self, said: Said, /) -> None:
        """Have stored what can be taken from it now."""
        if events := said.take():
            self._writer.submit(Change(said.job_id, events)).add_done_callback(said.stored)

    def _claim_again(self) -> None:
        if not self._answered:
            # For the claim that rides in its batch.
            self._writer.submit(Probe())

    # -- ending --------------------------------------------------------------

    def stop_claiming(self) -> None:
        """Take no more jobs."""
        with self._lock:
            self._claiming = False

    def drain(self, seconds: float) -> bool:
        """Let what runs end within `seconds`, put back the rest, and return whether there was none."""
        self.stop_claiming()
        with self._lock:
            self._moved.wait_for(self._is_idle, seconds)
        self._put_back()
        with self._lock:
            # Whoever still waits for one of these jobs shall read that it was put back.
            self._moved.wait_for(lambda: not self._settling, FLUSH_TIMEOUT)
            return not self._abandoned

    def _is_idle(self) -> bool:
        return self._hurried or not (self._executions or self._settling)

    def hurry(self) -> None:
        """End a drain now: put back what still runs."""
        with self._lock:
            self._hurried = True
        self._put_back()

    def _put_back(self) -> None:
        with self._lock:
            left, self._executions = list(self._executions.values()), {}
            # In the same step: a drain must not take the worker for idle in between.
            self._settling += len(left)
            self._closing += len(left)
            self._abandoned = self._abandoned or bool(left)
            self._moved.notify_all()
        for execution in left:
            LOGGER.warning("job %s still runs and is put back", execution.job.id)
            reached("release-next")
            execution.said.close(partial(self._settle_after, execution.job.id, Released(execution.token)))
            # After that: its end would otherwise be taken for the job's.
            execution.kill()

    def close(self) -> bool:
        """Put back what runs, and end the threads. Return whether all user code has ended.

        If not, only the process's end will end it.
        """
        self.stop_claiming()
        self._flush()
        # Before the pools are closed: code that is stopped by that has not failed.
        self._put_back()
        with self._lock:
            # The writer may be closed next, and would refuse what is handed in later.
            self._moved.wait_for(lambda: not self._closing, FLUSH_TIMEOUT)
        self._ticker.close()
        self._settler.close()
        if self._listening:
            self._listening = False
            TEE.end()
        return self.pools.close() and not self._abandoned

    def _flush(self) -> None:
        """Wait for the answer to a claim that may be under way."""
        with suppress(FutureTimeoutError):
            self._writer.submit(Probe()).exception(FLUSH_TIMEOUT)
