"""RQ: the front over its queue. Its workers need no module of ours but that of the functions."""

import math
import os
from typing import Any

from fastapi import FastAPI
from redis import Redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job

from benchmarks.peers.front import Found, create
from benchmarks.peers.work import FUNCTIONS


class RqBackend:
    """A queue of RQ's, by its name `default`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._queue = Queue(connection=connection)

    def submit(self, task: str, args: list[Any]) -> str:
        """Hand in a call; return the job's id."""
        return str(self._queue.enqueue(FUNCTIONS[task], *args).id)

    def result(self, job: str) -> Found:
        """Look at a job."""
        return self.wait(job, 0)

    def wait(self, job: str, seconds: float) -> Found:
        """Wait for a job to be done. RQ waits for whole seconds."""
        try:
            fetched = Job.fetch(job, connection=self._connection)
        except NoSuchJobError:
            raise KeyError(job) from None
        found = fetched.latest_result(timeout=math.ceil(seconds))
        if found is None:
            return False, None
        # The other clients raise by themselves; a figure must not be made of jobs that failed.
        if found.type is not found.Type.SUCCESSFUL:
            raise RuntimeError(found.exc_string)
        return True, found.return_value


def front() -> FastAPI:
    """Return the application to serve."""
    return create(RqBackend(Redis.from_url(os.environ["PEER_STORE"])))
