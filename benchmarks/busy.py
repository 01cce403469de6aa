"""HTTP beside jobs that compute: the same service idle, computing in processes, computing in threads.

Little is asked of it, at fixed times on two connections: whoever waits, waits for a CPU or for the
interpreter, and not for all who came before. What is due while the one before it is not answered is
left out: beside threads that is most of it, and a line of them would grow without an end.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from math import ceil
from statistics import median
from time import perf_counter
from typing import NamedTuple

import uvloop

from app.config import THREADS as DEFAULT_THREADS
from app.config import default_processes
from benchmarks.core import spread
from benchmarks.load import Answer, Caller, Load, require
from benchmarks.measures import TOMORROW, submission
from benchmarks.report import Row

RATE = 50
"""Requests a second of each kind."""

FEWEST = 2
"""Answers that are waited for, however long they take: one has no percentiles."""

TARGET = 3
"""Times of the idle service's p99 that it may be beside processes that compute."""

IDLE, PROCESSES, THREADS = "idle", "spin_in_a_process", "spin_in_a_thread"
SLOTS = {IDLE: 0, PROCESSES: default_processes(), THREADS: DEFAULT_THREADS}
"""How many jobs of that task fill all slots of their kind, as long as nobody sets the number."""


class Asked(NamedTuple):
    """What became of the requests of each kind."""

    get: Load
    post: Load


Found = Mapping[str, Sequence[Asked]]
"""By the state of the service, one for each round."""


def in_turn(base: str, rounds: int, seconds: float) -> Found:
    """Measure each state once a round."""
    found: dict[str, list[Asked]] = {state: [] for state in SLOTS}
    for _ in range(rounds):
        for state, asked in found.items():
            asked.append(uvloop.run(beside(base, state, seconds)))
    return found


def rows(found: Found) -> Iterator[Row]:
    """Compare the service beside processes with the idle one."""
    for kind in Asked._fields:
        idle, busy = times(found, IDLE, kind, 99), times(found, PROCESSES, kind, 99)
        ratio = median(one / other for one, other in zip(busy, idle, strict=True))
        what = f"p99 of {kind.upper()} beside processes that compute, ms"
        yield Row(what, spread(busy, ".1f"), f"idle: {spread(idle, '.1f')}", ratio, TARGET, least=False)


def details(found: Found) -> Iterator[tuple[str, ...]]:
    """Tell what each state came to, threads too: of them nothing is promised."""
    for kind in Asked._fields:
        for percent in (50, 99):
            idle = spread(times(found, IDLE, kind, percent), ".1f")
            for name, state in (("processes", PROCESSES), ("threads", THREADS)):
                busy = spread(times(found, state, kind, percent), ".1f")
                yield "itself, idle", f"{kind.upper()} beside {name} that compute, p{percent}, ms", busy, idle


def times(found: Found, state: str, kind: str, percent: int) -> tuple[float, ...]:
    """Return the milliseconds within which so many percent were answered, of each round."""
    return tuple(getattr(asked, kind).percentile(percent) * 1e3 for asked in found[state])


# -- a state -----------------------------------------------------------------


async def beside(base: str, state: str, seconds: float) -> Asked:
    """Ask the service while jobs fill all slots of a kind."""
    async with computing(base, state):
        reading = Caller(base).request("GET", f"/tasks/{THREADS}")
        get = at_times(base, reading, 200, seconds)
        post = at_times(base, submission(base, delay=TOMORROW), 202, seconds)
        return Asked(*await asyncio.gather(get, post))


async def at_times(base: str, request: bytes, expected: int, seconds: float) -> Load:
    """Make the same request RATE times a second, but no two at a time."""
    latencies: list[float] = []
    async with Caller(base).connections(1) as (connection,):
        begun = due = perf_counter()
        while due - begun < seconds or len(latencies) < FEWEST:
            await asyncio.sleep(max(0.0, due - perf_counter()))
            # The loop's timers may come a little early.
            start = min(due, perf_counter())
            require(await connection.ask(request), expected)
            ended = perf_counter()
            latencies.append(ended - start)
            # The next of the times that is still to come.
            due += ceil(max(1.0, (ended - due) * RATE)) / RATE
        return Load(sorted(latencies), perf_counter() - begun)


@asynccontextmanager
async def computing(base: str, task: str) -> AsyncIterator[None]:
    """Have so many jobs of a task compute until the end of the block."""
    jobs = [await _begin(base, task) for _ in range(SLOTS[task])]
    for job in jobs:
        # No event tells that all compute; the job's state says only that it has a slot.
        while not (await _ask(base, "GET", job)).json()["progress"]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    try:
        yield
    finally:
        for job in jobs:
            await _ask(base, "DELETE", job)
        for job in jobs:
            await _ask(base, "GET", f"{job}?wait=60")


async def _begin(base: str, task: str) -> str:
    """Submit a job; return its path."""
    answer = await _ask(base, "POST", "/jobs", {"task": task})
    require(answer, 202)
    return f"/jobs/{answer.json()['id']}"


async def _ask(base: str, method: str, path: str, body: object = None) -> Answer:
    """Make a request on a connection of its own: one that is kept would be closed meanwhile."""
    caller = Caller(base)
    async with caller.connections(1) as (connection,):
        return await connection.ask(caller.request(method, path, body))
