"""The web application that all peers get: the same requests and answers, over the peer's own client.

It is written as FastAPI's documentation has it: a client library that blocks is called from
plain functions, which run in threads, and one that awaits from coroutines.

A peer tells little of a job. What it does not tell, its arguments for one, is a fixed value in
what GET answers, so that no peer pays for more than its own way to a result.
"""

import re
from typing import Annotated, Any, Protocol
from uuid import uuid4

from fastapi import FastAPI, Header, HTTPException, Query, Response
from starlette.types import Lifespan

from app.api.documents import time_text
from app.api.incoming import SubmissionBody
from app.api.schemas import JobDocument, LinksDocument
from app.jobs.model import JobState, Outcome, wall_clock

Found = tuple[bool, Any]
"""Whether a job is done, and what its function returned."""


class Backend(Protocol):
    """A peer whose client blocks.

    A job that it can tell not to exist is a KeyError; one that failed raises what it failed with.
    """

    def submit(self, task: str, args: list[Any]) -> str:
        """Hand in a call; return the job's id."""

    def result(self, job: str) -> Found:
        """Look at a job."""

    def wait(self, job: str, seconds: float) -> Found:
        """Wait for a job to be done, for so many seconds at most."""


class AsyncReader(Protocol):
    """Where results are had from by awaiting them. Otherwise as Backend."""

    async def result(self, job: str) -> Found:
        """Look at a job."""

    async def wait(self, job: str, seconds: float) -> Found:
        """Wait for a job to be done, for so many seconds at most."""


class AsyncBackend(AsyncReader, Protocol):
    """A peer whose client awaits."""

    async def submit(self, task: str, args: list[Any]) -> str:
        """Hand in a call; return the job's id."""


Prefer = Annotated[str | None, Header()]
Wait = Annotated[float, Query(ge=0)]


# -- what is answered --------------------------------------------------------


def document(job: str, task: str, args: list[Any], found: Found) -> JobDocument:
    """Return a job as our own service shows it."""
    now, (done, value), here = time_text(wall_clock()), found, f"/jobs/{job}"
    return JobDocument(
        id=job,
        task=task,
        queue="default",
        priority=0,
        tags={},
        key=None,
        state=JobState.FINISHED if done else JobState.PENDING,
        outcome=Outcome.SUCCEEDED if done else None,
        exception=None,
        run=1,
        attempt=int(done),
        max_attempts=1,
        losses=0,
        progress=None,
        cancellation=None,
        timeout=None,
        created_at=now,
        run_at=now,
        started_at=now if done else None,
        finished_at=now if done else None,
        expires_at=None,
        version=1,
        links=LinksDocument(self=here, result=f"{here}/result", events=f"{here}/events", logs=f"{here}/logs"),
        args=args,
        kwargs={},
        result=value,
        attempts=[],
    )


def submitted(job: str, body: SubmissionBody, found: Found, response: Response) -> JobDocument:
    """Answer a POST: with 200 when the job was done within the wait, otherwise with 202."""
    response.status_code = 200 if found[0] else 202
    return document(job, body.task, body.args, found)


def seconds(prefer: str | None) -> float:
    """Return how long a POST is to wait."""
    asked = re.search(r"\bwait=(\d+)", prefer or "")
    return float(asked[1]) if asked else 0.0


def unknown(job: str) -> HTTPException:
    """Return the answer for a job that is not there."""
    return HTTPException(404, f"no job {job}")


# -- the applications --------------------------------------------------------


def create(backend: Backend) -> FastAPI:
    """Return the application of a peer whose client blocks."""
    app = FastAPI()

    @app.post("/jobs", status_code=202)
    def submit(body: SubmissionBody, response: Response, prefer: Prefer = None) -> JobDocument:
        job = backend.submit(body.task, body.args)
        limit = seconds(prefer)
        found = backend.wait(job, limit) if limit else (False, None)
        return submitted(job, body, found, response)

    @app.get("/jobs/{job}")
    def get(job: str, wait: Wait = 0.0) -> JobDocument:
        try:
            found = backend.wait(job, wait) if wait else backend.result(job)
        except KeyError:
            raise unknown(job) from None
        return document(job, "", [], found)

    return app


def create_async(backend: AsyncBackend, lifespan: Lifespan[FastAPI]) -> FastAPI:
    """Return the application of a peer whose client awaits. lifespan: runs the peer meanwhile."""
    app = FastAPI(lifespan=lifespan)

    @app.post("/jobs", status_code=202)
    async def submit(body: SubmissionBody, response: Response, prefer: Prefer = None) -> JobDocument:
        job = await backend.submit(body.task, body.args)
        limit = seconds(prefer)
        found = await backend.wait(job, limit) if limit else (False, None)
        return submitted(job, body, found, response)

    read_async(app, backend)
    return app


def read_async(app: FastAPI, backend: AsyncReader) -> None:
    """Give an application its GET, over a client that awaits."""

    @app.get("/jobs/{job}")
    async def get(job: str, wait: Wait = 0.0) -> JobDocument:
        try:
            found = await (backend.wait(job, wait) if wait else backend.result(job))
        except KeyError:
            raise unknown(job) from None
        return document(job, "", [], found)


def bare() -> FastAPI:
    """Return an application that stores nothing and runs nothing: the limit for all others."""
    app = FastAPI()
    same = document(str(uuid4()), "nothing", [], (True, None))

    @app.post("/jobs", status_code=202)
    async def submit(body: SubmissionBody) -> JobDocument:
        return document(str(uuid4()), body.task, body.args, (False, None))

    @app.get("/jobs/{job}")
    async def get(job: str) -> JobDocument:  # noqa: ARG001  (FastAPI reads it, as it does for a peer)
        return same

    return app
