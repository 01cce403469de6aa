"""What is measured of one side: each takes its address and returns a figure."""

import asyncio
from typing import Any

from benchmarks.load import Caller, Connection, Load, at_rate, each, one_by_one, require, saturate

CONNECTIONS = 32
TOMORROW = 86_400
BATCH = 1_000


def submission(base: str, **fields: Any) -> bytes:
    """Return the request that submits the function which does nothing."""
    return Caller(base).request("POST", "/jobs", {"task": "nothing", **fields})


async def accepted(base: str, seconds: float, **fields: Any) -> float:
    """Return the submissions that are accepted in a second."""
    request = submission(base, **fields)
    return (await saturate(base, request, 202, connections=CONNECTIONS, seconds=seconds)).rate


async def slowest(base: str, seconds: float, rate: float) -> float:
    """Return the milliseconds within which 99 of 100 submissions are accepted at a fixed rate."""
    load = await at_rate(base, submission(base, delay=TOMORROW), 202, rate=rate, seconds=seconds)
    return load.percentile(99) * 1e3


async def batches(base: str, count: int) -> float:
    """Return the jobs that are accepted in a second in batches of 1,000."""
    jobs = [{"task": "nothing", "delay": TOMORROW}] * BATCH
    request = Caller(base).request("POST", "/jobs/batch", {"jobs": jobs})

    async def submit(connection: Connection, _: int) -> None:
        require(await connection.ask(request), 202)

    return BATCH * count / await each(base, count, 2, submit)


async def finished(base: str, count: int) -> float:
    """Return the jobs a second, from the first submission until all are known to be finished.

    Asked of one after the other in the order of their submission: of those that are not
    finished, again after a while.
    """
    ids: list[str] = [""] * count
    caller, request = Caller(base), submission(base)

    async def submit(connection: Connection, number: int) -> None:
        answer = await connection.ask(request)
        require(answer, 202)
        ids[number] = answer.json()["id"]

    async def follow(connection: Connection, number: int) -> None:
        asking = caller.request("GET", f"/jobs/{ids[number]}")
        # No event tells: of another process, and of most peers, one can only ask.
        while b'"state":"finished"' not in (await connection.ask(asking)).body:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    return count / (
        await each(base, count, CONNECTIONS, submit) + await each(base, count, CONNECTIONS, follow)
    )


async def waited(base: str, count: int) -> Load:
    """Submit one job after the other and wait for each one's result."""
    request = Caller(base).request("POST", "/jobs", {"task": "nothing"}, Prefer="wait=30")
    return await one_by_one(base, request, 200, count)


async def read(base: str, seconds: float, status: int = 200, **headers: str) -> float:
    """Return how often a second a finished job is read."""
    caller = Caller(base)
    async with caller.connections(1) as (connection,):
        made = await connection.ask(submission(base))
        job = made.json()["id"]
        done = caller.request("GET", f"/jobs/{job}?wait=10")
        await connection.ask(done)
    request = caller.request("GET", f"/jobs/{job}", **headers)
    load = await saturate(base, request, status, connections=CONNECTIONS, seconds=seconds)
    return load.rate


async def unchanged(base: str, seconds: float) -> float:
    """Return how often a second a finished job is found to be as it was known."""
    return await read(base, seconds, 304, If_None_Match="*")
