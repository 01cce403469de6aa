"""What the tests of stores are written in: jobs to store, and one call for each thing asked of a store."""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import settings

from app.core import State
from app.jobs.lifecycle import (
    Event,
)
from app.jobs.model import SECOND, Backoff, Failure, Hold, Job, Slot, new_id
from app.stores.base import (
    Applied,
    Change,
    Claim,
    Filter,
    Insert,
    Operation,
    Page,
    Paging,
    Store,
)

NOW = 1_750_000_000_000_000
BROKEN = Failure("ValueError", "broken", "Traceback: …")
KNOWN = {"plain": Slot.THREAD, "coroutine": Slot.COROUTINE}
QUICK = settings(derandomize=True, database=None, deadline=None, max_examples=40)

Open = Callable[..., Store]

_serial = itertools.count(1)


def new_job(**changes: Any) -> Job:
    """Return a job that nobody has seen before: of tenant `ours`, ready."""
    number = next(_serial)
    given = {
        "tenant": "ours",
        "task": "plain",
        "slot": Slot.THREAD,
        "created_at": NOW,
        "run_at": NOW,
        **changes,
    }
    return Job(id=new_id(NOW, lambda: number.to_bytes(10, "big")), **given)


SELDOM = (
    {},
    {"timeout": 2.5},
    {"expires_at": NOW + 9},
    {"limit_key": "whose"},
    {"key": "the only one"},
    {"backoff": Backoff(first=3)},
    {"parent": "p"},
    {"root": "r"},
    {"step": 4},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"state": State.RUNNING, "started_at": NOW, "worker": "w", "token": 5, "attempt": 1},
)
"""What of a new job has a value seldom: one for each of the last columns of its row."""


def scheduled(seconds: float, **changes: Any) -> Job:
    """Return a job that is due so many seconds later."""
    return new_job(run_at=NOW + round(seconds * SECOND), hold=Hold.DUE_LATER, **changes)


def insert(store: Store, *jobs: Job) -> None:
    """Store jobs in one batch."""
    outcomes = store.apply([Insert([job]) for job in jobs], NOW).outcomes
    assert list(outcomes) == [[job] for job in jobs]


def one(store: Store, operation: Operation, now: int = NOW) -> Any:
    """Carry out a single operation and return its outcome."""
    (outcome,) = store.apply([operation], now).outcomes
    return outcome


def claim(store: Store, threads: int = 0, coroutines: int = 0, now: int = NOW) -> list[Job]:
    """Claim for so many free slots."""
    free = {Slot.THREAD: threads, Slot.COROUTINE: coroutines}
    jobs: list[Job] = one(store, Claim("worker", free), now)
    return jobs


def change(store: Store, job: Job, *events: Event, tenant: str | None = None, now: int = NOW) -> Any:
    """Apply events to one job and return the outcome."""
    return one(store, Change(job.id, events, tenant), now)


def get(store: Store, job: Job | str, tenant: str = "ours") -> Job | None:
    """Read a job."""
    return asyncio.run(store.get(tenant, job if isinstance(job, str) else job.id))


def page(store: Store, where: Filter, paging: Paging, tenant: str = "ours") -> Page:
    """Read a page of a list."""
    return asyncio.run(store.list(tenant, where, paging))


def pages(store: Store, where: Filter, limit: int, tenant: str = "ours") -> list[Page]:
    """Read a list to its end."""
    read = [page(store, where, Paging(limit), tenant)]
    while read[-1].next is not None:
        read.append(page(store, where, Paging(limit, read[-1].next), tenant))
    return read


def ids(jobs: Sequence[Job]) -> list[str]:
    return [job.id for job in jobs]


def bare(job: Job) -> Job:
    """Return a job without its arguments and attempts, which a list of changes may leave out."""
    return job._replace(arguments="", shown=None, attempts=())


def changes_of(applied: Applied) -> dict[str, Job]:
    """Return the changed jobs by id; each must be listed once."""
    by_id = {job.id: bare(job) for job in applied.changed}
    assert len(by_id) == len(applied.changed)
    return by_id


class Database(ABC):
    """Where the stores under test live."""

    @abstractmethod
    def database(self) -> AbstractContextManager[Open]:
        """Provide an empty database: a function that opens a store on it, given the constructor's options."""

    @pytest.fixture
    def open_store(self):
        with self.database() as opener:
            yield opener

    @pytest.fixture
    def store(self, open_store):
        store = open_store()
        yield store
        store.close()
