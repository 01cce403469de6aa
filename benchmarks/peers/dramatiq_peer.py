"""Dramatiq: its broker and actors, which the workers load, and the front over them."""

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import ResultMissing, Results, ResultTimeout
from dramatiq.results.backends import RedisBackend
from fastapi import FastAPI

from benchmarks.peers.front import Found, create
from benchmarks.peers.work import FUNCTIONS

STORE = os.environ["PEER_STORE"]

broker = RedisBroker(url=STORE)
broker.add_middleware(Results(backend=RedisBackend(url=STORE)))
dramatiq.set_broker(broker)

ACTORS: dict[str, Any] = {
    name: dramatiq.actor(call, actor_name=name, store_results=True) for name, call in FUNCTIONS.items()
}


class DramatiqBackend:
    """A result is found by the message, so that a job's id has the actor's name in front.

    Dramatiq cannot tell a job that does not exist from one that waits.
    """

    def submit(self, task: str, args: list[Any]) -> str:
        """Hand in a call; return the job's id."""
        return f"{task}.{ACTORS[task].send(*args).message_id}"

    def result(self, job: str) -> Found:
        """Look at a job."""
        try:
            return True, message(job).get_result()
        except ResultMissing:
            return False, None

    def wait(self, job: str, seconds: float) -> Found:
        """Wait for a job to be done. Dramatiq waits for whole seconds."""
        try:
            return True, message(job).get_result(block=True, timeout=int(seconds * 1000))
        except ResultTimeout:
            return False, None


def message(job: str) -> Any:
    """Return what was sent for a job, without its arguments: they are not part of the key."""
    task, _, number = job.partition(".")
    return ACTORS[task].message().copy(message_id=number)


def front() -> FastAPI:
    """Return the application to serve."""
    return create(DramatiqBackend())
