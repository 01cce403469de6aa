"""The composition root: builds the house for one process, runs it, and takes it down.

The signals are ours. uvicorn by itself closes its sockets first and then waits for
requests, so nobody could watch a drain, and a long poll would hold it up.
"""

import asyncio
import json
import logging
import os
import shlex
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import closing, contextmanager
from typing import Any

import uvicorn
import uvloop

from app.api.app import create_app
from app.config import Settings
from app.jobs.errors import InvalidArgumentsError
from app.jobs.model import Slot, wall_clock
from app.jobs.registry import Registry, TaskDefinition
from app.service import Service
from app.stores.base import Limits, Recovered, Store
from app.stores.sqlite import SqliteStore
from app.stores.writer import Writer
from app.worker import Worker

LOGGER = logging.getLogger(__name__)

CLOSE_SECONDS = 5
"""Seconds that open connections get to take their answers, once all are given."""

BACKLOG = 2048
"""Connections that may wait to be accepted."""


class StartError(Exception):
    """The service cannot start. The message says why and what to do."""


def serve(settings: Settings, registry: Registry) -> int:
    """Run the service until a signal ends it, and return the exit code.

    Raises StartError, StoreError.
    """
    listening = _listen(settings.host, settings.port)
    with closing(listening), closing(SqliteStore(settings.database_path)) as store:
        ended = _run(settings, registry, store, listening)
    if not ended:
        # A thread that nobody can end still runs user code; its job was put back.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
    return 0


def _run(settings: Settings, registry: Registry, store: Store, listening: socket.socket) -> bool:
    """Run until the end; return whether all user code has ended."""
    writer = Writer(store, wall_clock)
    slots = {Slot.THREAD: settings.threads, Slot.COROUTINE: settings.coroutines}
    worker = Worker(writer, registry, wall_clock, slots, settings.max_result_bytes)
    limits = Limits(settings.max_pending, settings.tenant_quota)
    service = Service(store, writer, registry, wall_clock, limits, lambda: worker.claiming)
    try:
        recovered = worker.start()
        announcement = _announcement(settings, registry, recovered, listening)
        server = _Server(settings, service, worker, announcement)
        uvloop.run(server.serve(sockets=[listening]))
    finally:
        # Each is closed, whatever the others say.
        ended = all([worker.close(), service.close()])
        writer.close()
    return ended


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as exc:
        reason = f"cannot listen on {host} port {port}: {exc.strerror}; name another --port or --host"
        raise StartError(reason) from exc


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, and with a drain before its end."""

    def __init__(
        self, settings: Settings, service: Service, worker: Worker, announcement: Sequence[str]
    ) -> None:
        config = uvicorn.Config(
            create_app(service, settings),
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=CLOSE_SECONDS,
        )
        super().__init__(config)
        self._service = service
        self._worker = worker
        self._drain_seconds = settings.drain_seconds
        self._announcement = announcement
        self._drain: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Any:
        """Handle SIGINT and SIGTERM on the loop, in place of uvicorn's own way."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_end)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        print("\n".join(self._announcement), flush=True)

    def _asked_to_end(self) -> None:
        if self._drain is None:
            LOGGER.info("stopping: running jobs get %g s, or until a second signal", self._drain_seconds)
            self._service.drain()
            self._drain = asyncio.get_running_loop().create_task(self._drain_and_exit())
        else:
            self._worker.hurry()

    async def _drain_and_exit(self) -> None:
        await asyncio.to_thread(self._worker.drain, self._drain_seconds)
        self._service.release_waiters()
        self.should_exit = True


# -- what it says at the start -----------------------------------------------


def _announcement(
    settings: Settings, registry: Registry, recovered: Recovered, listening: socket.socket
) -> Sequence[str]:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    lines = [f"Errand listens on http://{shown}:{port} (docs: http://{shown}:{port}/docs)"]
    lines.append(f"Database: {settings.database}")
    lines.append(f"Tasks: {', '.join(sorted(task.name for task in registry)) or 'none'}")
    if recovered.lost:
        lines.append(f"Recovered: {len(recovered.lost)} jobs ran when the last process was lost")
    for name, count in recovered.unknown.items():
        lines.append(f"Waiting: {count} jobs of task {name!r}, which is not known here")
    lines.append(f"Try: {_example(settings, registry, f'http://{shown}:{port}')}")
    return lines


def _example(settings: Settings, registry: Registry, base: str) -> str:
    """Return a curl line that works with the tasks there are."""
    key = "-H 'Authorization: Bearer YOUR_KEY' " if settings.keys else ""
    submission = next((sample for task in registry if (sample := _sample(task)) is not None), None)
    if submission is None:
        return f"curl {key}{base}/tasks"
    headers = f"{key}-H 'Content-Type: application/json' -H 'Prefer: wait=10'"
    return f"curl {headers} -d {shlex.quote(json.dumps(submission))} {base}/jobs"


SAMPLES: dict[str, Any] = {
    "string": "to be or not to be",
    "integer": 7,
    "number": 1.5,
    "boolean": True,
    "array": [],
    "object": {},
}
"""A value for each type of JSON Schema."""


def _sample(task: TaskDefinition) -> dict[str, Any] | None:
    """Return a submission that the task accepts; None when its parameters are not simple."""
    schema = task.signature.parameters_schema()
    parameters = schema.get("properties", {})
    required = schema.get("required", ())
    kwargs = {name: SAMPLES.get(parameters[name].get("type", "string")) for name in required}
    try:
        task.signature.check((), kwargs)
    except InvalidArgumentsError:
        return None
    return {"task": task.name, "kwargs": kwargs} if kwargs else {"task": task.name}
