"""DBOS: it runs its workflows in the process of the front, as its documentation has it with FastAPI."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbos import DBOS
from fastapi import FastAPI

from benchmarks.peers.front import Found, create_async
from benchmarks.peers.work import FUNCTIONS

QUEUE = "peers"
POLLING = 0.01
"""Seconds between two looks, both for work and for a result. DBOS's own setting is 1.0 for each:
a job would wait for a second before it starts, and its caller for as long after it has ended."""

WORKFLOWS: dict[str, Any] = {name: DBOS.workflow(name=name)(function) for name, function in FUNCTIONS.items()}


class DbosBackend:
    """A queue of DBOS's."""

    async def submit(self, task: str, args: list[Any]) -> str:
        """Hand in a call; return the job's id."""
        handle = await DBOS.enqueue_workflow_async(QUEUE, WORKFLOWS[task], *args)
        return str(handle.workflow_id)

    async def result(self, job: str) -> Found:
        """Look at a job."""
        status = await DBOS.get_workflow_status_async(job)
        if status is None:
            raise KeyError(job)
        if status.error is not None:
            raise status.error
        return status.status == "SUCCESS", status.output

    async def wait(self, job: str, seconds: float) -> Found:
        """Wait for a job to be done, for so many seconds at most."""
        # That it is there need not be asked for: a job that is not is one that is never done.
        handle = await DBOS.retrieve_workflow_async(job, existing_workflow=False)
        try:
            async with asyncio.timeout(seconds):
                return True, await handle.get_result(polling_interval_sec=POLLING)
        except TimeoutError:
            return False, None


@asynccontextmanager
async def launched(_: FastAPI) -> AsyncIterator[None]:
    """Run DBOS for as long as its application is served."""
    DBOS(config={"name": "peers", "system_database_url": os.environ["PEER_STORE"], "log_level": "WARNING"})
    DBOS.launch()
    await DBOS.register_queue_async(QUEUE, polling_interval_sec=POLLING)
    yield
    DBOS.destroy()


def front() -> FastAPI:
    """Return the application to serve."""
    return create_async(DbosBackend(), launched)
