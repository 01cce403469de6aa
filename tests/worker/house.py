"""A worker with everything real around it: the SQLite store, the writer, the test's functions.

Functions that run in processes are given as definitions, found by `load` in a module.
"""

import asyncio
import json
import threading
from dataclasses import replace

from app.jobs import registry as registry_module
from app.jobs.lifecycle import CancelRequested
from app.jobs.model import Backoff, Hold, Job, Slot, new_id, wall_clock
from app.jobs.registry import Registry, TaskDefinition
from app.jobs.retry import Retry
from app.stores.base import Change, Insert, Probe
from app.stores.sqlite import SqliteStore
from app.stores.writer import Writer
from app.worker import Terms, Worker

PATIENCE = 30
"""Seconds after which a test fails instead of waiting on; none is meant to come near it."""

AT_ONCE = Backoff(0)
"""No wait before the next attempt."""


class ManualClock:
    """A wall clock that the test sets. Microseconds."""

    def __init__(self, now=1_700_000_000_000_000):
        self.now = now

    def __call__(self):
        return self.now


def retrying(fn, **policy):
    """Return the definition of a task with this policy."""
    return replace(_definition_of(fn), retry=Retry(**policy))


def limited(fn, **limits):
    """Return the definition of a task of which so many may run."""
    return replace(_definition_of(fn), **limits)


def registry_of(*functions):
    return Registry(map(_definition_of, functions))


def _definition_of(fn):
    if isinstance(fn, TaskDefinition):
        return fn
    return TaskDefinition(fn.__name__, fn, registry_module._kind_of(fn), "default", 0)


class House:
    """Owns all the parts. Watches every commit, so that a test can wait for what it expects."""

    def __init__(
        self,
        folder,
        *functions,
        threads=2,
        processes=2,
        coroutines=5,
        clock=wall_clock,
        **terms,
    ):
        self.path = folder / "errand.db"
        self.clock = clock
        self.store = SqliteStore(self.path)
        self.writer = Writer(self.store, clock)
        self.registry = registry_of(*functions)
        slots = {Slot.THREAD: threads, Slot.PROCESS: processes, Slot.COROUTINE: coroutines}
        self.worker = Worker(self.writer, self.registry, clock, slots, Terms(**terms))
        self.batches = []
        self._latest = {}
        self._news = threading.Condition()
        self.writer.listen(self._changed)
        self._closed = False

    def _changed(self, jobs):
        with self._news:
            self.batches.append(list(jobs))
            self._latest.update((job.id, job) for job in jobs)
            self._news.notify_all()

    def start(self):
        self.recovered = self.worker.start()
        return self

    def submit(self, task, *args, **options):
        """Store a job and return it as stored."""
        return self.writer.submit(Insert([self.job(task, *args, **options)])).result(PATIENCE)[0]

    def job(
        self,
        task,
        *args,
        priority=0,
        due_in=0,
        tags=None,
        timeout=None,
        attempts=1,
        backoff=AT_ONCE,
        logged=0,
        limit_key=None,
        **kwargs,
    ):
        """Return a job that is not stored yet. due_in: microseconds. timeout: seconds."""
        now = self.clock()
        known = not isinstance(task, str)
        name = (task.name if isinstance(task, TaskDefinition) else task.__name__) if known else task
        return Job(
            id=new_id(now),
            tenant="tests",
            task=name,
            slot=self.registry.get(name).slot if known else Slot.THREAD,
            created_at=now,
            run_at=now + due_in,
            arguments=json.dumps({"args": args, "kwargs": kwargs}),
            priority=priority,
            timeout=timeout,
            max_attempts=attempts,
            backoff=backoff,
            logged=logged,
            limit_key=limit_key,
            tags=tags or {},
            hold=Hold.DUE_LATER if due_in > 0 else Hold.NONE,
        )

    def wait_for(self, job, condition=lambda job: job.done):
        """Return the job as soon as a commit has made the condition true."""
        with self._news:
            known = self._news.wait_for(
                lambda: job.id in self._latest and condition(self._latest[job.id]), PATIENCE
            )
            assert known, f"still {self._latest.get(job.id)}"
            return self._latest[job.id]

    def wait_for_state(self, job, state):
        return self.wait_for(job, lambda job: job.state == state)

    def run(self, task, *args, **kwargs):
        return self.wait_for(self.submit(task, *args, **kwargs))

    def cancel(self, job):
        return self.change(job, CancelRequested())

    def change(self, job, *events):
        return self.writer.submit(Change(job.id, events)).result(PATIENCE)

    def read(self, job):
        """Return the job as the store has it."""
        return asyncio.run(self.store.get("tests", job.id))

    def log(self, job):
        """Return what the job has logged, as dictionaries, oldest first."""
        stored = asyncio.run(self.store.log("tests", job.id))
        return [json.loads(found.record.data) for found in stored]

    def texts(self, job):
        return [line["message"] for line in self.log(job)]

    def flush(self):
        """Return when everything that was handed to the writer so far is committed, claims included."""
        self.writer.submit(Probe()).result(PATIENCE)

    def close(self):
        """Take all of it down; return whether all user code had ended."""
        if self._closed:
            return True
        self._closed = True
        try:
            return self.worker.close()
        finally:
            self.writer.close()
            self.store.close()
