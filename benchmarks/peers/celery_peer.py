"""Celery: its application, which the worker loads, and the front over it."""

import os
from typing import Any

from celery import Celery
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult
from fastapi import FastAPI

from benchmarks.peers.front import Found, create
from benchmarks.peers.work import FUNCTIONS

STORE = os.environ["PEER_STORE"]

app = Celery("peers", broker=STORE, backend=STORE)
# A job outlives its worker only when it is acknowledged after it has run; and a worker that
# fetches ahead would keep jobs from one that is idle.
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)

TASKS: dict[str, Any] = {name: app.task(name=name)(function) for name, function in FUNCTIONS.items()}


class CeleryBackend:
    """Celery cannot tell a job that does not exist from one that waits."""

    def submit(self, task: str, args: list[Any]) -> str:
        """Hand in a call; return the job's id."""
        return str(TASKS[task].delay(*args).id)

    def result(self, job: str) -> Found:
        """Look at a job."""
        found = AsyncResult(job, app=app)
        return (True, found.get()) if found.ready() else (False, None)

    def wait(self, job: str, seconds: float) -> Found:
        """Wait for a job to be done, for so many seconds at most."""
        try:
            return True, AsyncResult(job, app=app).get(timeout=seconds)
        except CeleryTimeoutError:
            return False, None


def front() -> FastAPI:
    """Return the application to serve."""
    return create(CeleryBackend())
