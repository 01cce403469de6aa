"""Crowds: many who wait for a job each, all at once, each on a connection of its own.

The queue is paused until all of them wait, so that nobody is answered before. Then it is
resumed, and the jobs run. A job's end is taken from the answer: it is the time at which the
transaction that commits it was begun, by the wall clock that both processes share.
"""

import asyncio
import json
import re
import resource
from collections.abc import Callable, Sequence
from datetime import datetime
from time import time
from typing import NamedTuple

from benchmarks.load import Answer, Caller, Connection, require
from benchmarks.ours import Running

QUEUE = "crowd"
BATCH = 100
"""Jobs of a batch: few, so that the crowd does not get the memory that a large one leaves free."""
PATIENCE = 60
"""Seconds that a waiter waits for its job: as many as are granted. And for all to have come."""
SPARE = 200
"""Files that a process has open besides the crowd's connections."""
KIBIBYTE = 1024
CALM = 256 * KIBIBYTE
"""Bytes by which memory grows in half a second when nobody comes any more."""


class Kind(NamedTuple):
    """Who a crowd is. path: what each asks for. ended: when the job has ended, as the answer has it."""

    path: str
    connection: type[Connection]
    ended: Callable[[Answer], str]


class Served(NamedTuple):
    """What became of a crowd.

    longest: seconds from the end of a job to its answer, of whoever waited longest. after_last:
    from the end of the last job to the last answer. in_all: from the resumption to the last
    answer. memory: KiB of the service's memory, for each.
    """

    longest: float
    after_last: float
    in_all: float
    memory: float


class Follower(Connection):
    """A connection whose answer is a stream: it is there when the stream has ended."""

    END = b"\r\n0\r\n\r\n"
    """The chunk without content."""

    def data_received(self, data: bytes) -> None:
        """Answer the request when the stream has ended."""
        self._received += data
        if self._received.endswith(self.END) and self._answered is not None:
            self._answered.set_result(Answer(int(self._received[9:12]), self._received))
            self._received = b""


def end_of_document(answer: Answer) -> str:
    """Return when the job of a document has ended, which it has to have."""
    job = answer.json()
    if job["state"] != "finished":
        raise RuntimeError(f"a job is {job['state']} when the wait is over")
    return str(job["finished_at"])


def end_of_stream(answer: Answer) -> str:
    """Return when the last state of a stream was reached, which has to be the final one."""
    last = json.loads(re.findall(rb"event: state\nid: .*\ndata: (.*)\n", answer.body)[-1])
    if last["state"] != "finished":
        raise RuntimeError(f"the stream ends with {last}")
    return str(last["at"])


WAITER = Kind(f"/jobs/{{}}?wait={PATIENCE}", Connection, end_of_document)
READER = Kind("/jobs/{}/events", Follower, end_of_stream)


def room(count: int) -> int:
    """Allow this process, and those that it starts, so many connections; return how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return min(count, allowed - SPARE)


async def served(service: Running, kind: Kind, count: int) -> Served:
    """Have so many wait for a job each, and have the jobs run."""
    caller = Caller(service.base)
    await switch(caller, "pause")
    ids = await submitted(caller, count)
    before = service.resident
    async with caller.connections(count, kind.connection) as opened, asyncio.timeout(3 * PATIENCE):
        requests = (caller.request("GET", kind.path.format(job)) for job in ids)
        waiting = [asyncio.create_task(answered(*each)) for each in zip(opened, requests, strict=True)]
        try:
            memory = (await calm(service) - before) / count / KIBIBYTE
            if any(task.done() for task in waiting):
                raise RuntimeError("some were answered before their jobs could run")
            begun = time()
            await switch(caller, "resume")
            return summary(kind, begun, await asyncio.gather(*waiting), memory)
        finally:
            # When it failed: thousands would tell of it otherwise, each by itself.
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def switch(caller: Caller, how: str) -> None:
    """Pause or resume the crowd's queue."""
    # On a connection of its own: while a crowd gathers, one that is kept is closed.
    async with caller.connections(1) as (connection,):
        require(await connection.ask(caller.request("POST", f"/queues/{QUEUE}/{how}")), 200)


async def submitted(caller: Caller, count: int) -> Sequence[str]:
    """Submit jobs of the crowd's queue; return their ids."""
    ids: list[str] = []
    async with caller.connections(1) as (connection,):
        while len(ids) < count:
            jobs = [{"task": "nothing", "queue": QUEUE}] * min(BATCH, count - len(ids))
            answer = await connection.ask(caller.request("POST", "/jobs/batch", {"jobs": jobs}))
            require(answer, 202)
            ids += [job["id"] for job in answer.json()["jobs"]]
    return ids


async def answered(connection: Connection, request: bytes) -> tuple[Answer, float]:
    """Make a request; return its answer, and when it came."""
    answer = await connection.ask(request)
    return answer, time()


async def calm(service: Running) -> int:
    """Return the bytes of the service's memory when they grow no more: when all have come."""
    last = 0
    async with asyncio.timeout(PATIENCE):
        while (now := service.resident) - last > CALM:
            last = now
            await asyncio.sleep(0.5)
    return now


def summary(kind: Kind, begun: float, answers: Sequence[tuple[Answer, float]], memory: float) -> Served:
    """Return what became of a crowd, by its answers and when they came."""
    times = []
    for answer, came in answers:
        require(answer, 200)
        times.append((datetime.fromisoformat(kind.ended(answer)).timestamp(), came))
    last_end, last_answer = max(end for end, _ in times), max(came for _, came in times)
    longest = max(came - end for end, came in times)
    return Served(longest, last_answer - last_end, last_answer - begun, memory)
