"""What is measured of one side: each takes its address and returns a figure."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple
from uuid import uuid4

from benchmarks.load import Caller, Connection, Load, at_rate, each, one_by_one, require, saturate

CONNECTIONS = 32
TOMORROW = 86_400
BATCH = 1_000
POLL = 0.1
"""Seconds between two looks at what is left: each walks all that waits, and takes its part of the time."""


def submission(base: str, **fields: Any) -> bytes:
    """Return the request that submits the function which does nothing."""
    return Caller(base).request("POST", "/jobs", {"task": "nothing", **fields})


async def accepted(base: str, seconds: float, **fields: Any) -> float:
    """Return the submissions that are accepted in a second."""
    request = submission(base, **fields)
    return (await saturate(base, request, 202, connections=CONNECTIONS, seconds=seconds)).rate


class Throughput(NamedTuple):
    """Jobs a second. accepted: while they are submitted. ended: until the last of them has run too."""

    accepted: float
    ended: float


async def throughput(base: str, seconds: float) -> Throughput:
    """Submit jobs that are run meanwhile, and wait for the end of those that are left."""
    load = await saturate(base, submission(base), 202, connections=CONNECTIONS, seconds=seconds)
    begun = perf_counter()
    await drained(base)
    return Throughput(load.rate, len(load.latencies) / (load.seconds + perf_counter() - begun))


async def drained(base: str, left: int = 0) -> None:
    """Return when no more than so many jobs wait or run."""
    async with Caller(base).connections(1) as (connection,):
        # No event tells how many are left of all.
        while await unfinished(base, connection) > left:  # noqa: ASYNC110
            await asyncio.sleep(POLL)


async def unfinished(base: str, connection: Connection) -> int:
    """Return how many jobs wait or run."""
    answer = await connection.ask(Caller(base).request("GET", "/queues"))
    require(answer, 200)
    return sum(queue["pending"] + queue["running"] for queue in answer.json()["queues"])


async def slowest(base: str, seconds: float, rate: float) -> float:
    """Return the milliseconds within which 99 of 100 submissions are accepted at a fixed rate."""
    load = await at_rate(base, submission(base, delay=TOMORROW), 202, rate=rate, seconds=seconds)
    return load.percentile(99) * 1e3


async def batches(base: str, count: int) -> float:
    """Return the jobs that are accepted in a second in batches of 1,000, all alike."""
    return await _batches(base, [_batch(base, [{"task": "nothing", "delay": TOMORROW}] * BATCH)] * count)


async def mixed_batches(base: str, count: int) -> float:
    """Return the jobs that are accepted in a second in batches of 1,000, no two alike."""
    return await _batches(base, [_batch(base, [_unlike(n) for n in range(BATCH)]) for _ in range(count)])


def _unlike(n: int) -> dict[str, Any]:
    """Return a submission that no other is like, in this batch or in any."""
    key = uuid4().hex
    return {"task": "add", "args": [n, n], "key": key, "tags": {"order": key}, "delay": TOMORROW}


def _batch(base: str, jobs: Sequence[dict[str, Any]]) -> bytes:
    """Return the request that submits a batch."""
    return Caller(base).request("POST", "/jobs/batch", {"jobs": jobs})


async def _batches(base: str, requests: Sequence[bytes]) -> float:
    async def submit(connection: Connection, number: int) -> None:
        require(await connection.ask(requests[number]), 202)

    return BATCH * len(requests) / await each(base, len(requests), 2, submit)


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


async def rate(base: str, requests: Sequence[bytes], count: int, status: int = 200) -> float:
    """Return the answers a second to so many requests, one after the other and from the first again."""

    async def call(connection: Connection, number: int) -> None:
        require(await connection.ask(requests[number % len(requests)]), status)

    return count / await each(base, count, CONNECTIONS, call)
