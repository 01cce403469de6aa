"""Starlette's BackgroundTasks: what a web application does that has no job queue.

They run after the answer is sent, in the threads of the server. A POST therefore never waits
for its job, whatever it prefers: a result is had by GET.
"""

import asyncio
from concurrent.futures import Future
from typing import Any
from uuid import uuid4

from fastapi import BackgroundTasks, FastAPI

from app.api.incoming import SubmissionBody
from app.api.schemas import JobDocument
from benchmarks.peers.front import Found, document, read_async
from benchmarks.peers.work import FUNCTIONS


class Results:
    """What the jobs returned, in memory."""

    def __init__(self) -> None:
        self._jobs: dict[str, Future[Any]] = {}

    def expect(self) -> str:
        """Make room for a job; return its id."""
        job = str(uuid4())
        self._jobs[job] = Future()
        return job

    def run(self, job: str, task: str, args: list[Any]) -> None:
        """Run a job."""
        self._jobs[job].set_result(FUNCTIONS[task](*args))

    async def result(self, job: str) -> Found:
        """Look at a job."""
        future = self._jobs[job]
        return (True, future.result()) if future.done() else (False, None)

    async def wait(self, job: str, seconds: float) -> Found:
        """Wait for a job to be done, for so many seconds at most."""
        await asyncio.wait([asyncio.wrap_future(self._jobs[job])], timeout=seconds)
        return await self.result(job)


def front() -> FastAPI:
    """Return the application to serve."""
    app, results = FastAPI(), Results()

    @app.post("/jobs", status_code=202)
    async def submit(body: SubmissionBody, tasks: BackgroundTasks) -> JobDocument:
        job = results.expect()
        tasks.add_task(results.run, job, body.task, body.args)
        return document(job, body.task, body.args, (False, None))

    read_async(app, results)
    return app
