"""The composition root: builds the house for one process, runs it, and takes it down.

The signals are ours. uvicorn by itself closes its sockets first and then waits for
requests, so nobody could watch a drain, and a long poll would hold it up.
"""

import asyncio
import contextvars
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import uvicorn
import uvloop

from app.api.app import create_app, installed_version
from app.api.wire import BoundedProtocol
from app.config import Settings, load_settings
from app.core import Future
from app.core.forking import part_children
from app.jobs.errors import TaskDefinitionError
from app.jobs.hooks import CoroutineFunction, Hooks, find
from app.jobs.model import Job, Outcome, Slot, wall_clock
from app.jobs.registry import Registry, load
from app.service import Service, SlotUse, WorkerStatus
from app.stores.base import Limits, Recovered, Store
from app.stores.retention import Retention, Sweeper
from app.stores.sqlite import SqliteStore
from app.stores.ticker import Ticker
from app.stores.writer import Writer
from app.worker import Terms, Worker
from app.worker.tee import TEE

LOGGER = logging.getLogger(__name__)

CLOSE_SECONDS = 5
"""Seconds that open connections get to take their answers, once all are given."""

FATES = {None: "to run again", Outcome.CANCELLED: "cancelled, as asked", Outcome.FAILED: "failed for good"}
"""What becomes of a job whose worker was lost, by its outcome."""

EXIT_SECONDS = 3
"""Seconds that the interpreter gets for its own exit before the process ends in any case."""

HOOK_SECONDS = 5
"""Seconds that the shutdown hooks get in all."""

LOG_SECONDS = 0.5
"""Seconds that the last lines of the log get to be written."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What ends the service."""

START_FAILED = 2
"""Exit code of a process whose start has failed."""

TURN = 0.0005
"""Seconds after which a thread that computes lets another one have the interpreter.

With the 5 ms that Python gives it, tasks that compute on every thread leave nobody else an answer
within seconds. Where none does, it makes no difference.
"""

SPARED = 10_000
"""Objects that there may be more of before the collector looks through the new ones for circles.

Nothing that the service does to a job leaves any. With the 700 of Python 3.11, those of the requests
that are under way are enough for hundreds of looks a second, and each is a pause for everybody.
"""

LOOPBACK = "127.0.0.1"

BACKLOG = 2048
"""Connections that may wait to be accepted."""


class StartError(Exception):
    """The service cannot start. The message says why and what to do."""


def serve(settings: Settings, registry: Registry) -> int:
    """Run the service until a signal ends it, and return the exit code.

    Raises StartError, StoreError.
    """
    listening = _listen(settings.host, settings.port)
    try:
        with closing(listening), closing(SqliteStore(settings.database_path)) as store:
            ended = _run(settings, registry, store, listening)
    except StartError:
        # Nor may threads that startup hooks have left running.
        _exit_within(EXIT_SECONDS, START_FAILED)
        raise
    # Everything is stored by now. Threads that tasks have left running must not keep the process:
    # when it is known that some do, only the log is waited for.
    _exit_within(EXIT_SECONDS if ended else LOG_SECONDS, 0)
    return 0


def _exit_within(seconds: float, code: int) -> None:
    def leave() -> None:
        time.sleep(seconds)
        os._exit(code)

    threading.Thread(target=leave, name="errand-exit", daemon=True).start()


def _run(settings: Settings, registry: Registry, store: Store, listening: socket.socket) -> bool:
    """Run until the end; return whether all user code has ended."""
    ended: list[bool] = []
    sys.setswitchinterval(TURN)
    with ExitStack() as parts:
        house = _build(parts, settings, registry, store, ended)
        server = _Server(settings, house.service, house.worker, listening)
        # Before the first hook or job runs: it may fork.
        part_children(server.disown, SIGNALS)
        _start_up(house.hooks)
        # After the hooks, which Ctrl-C may end. Jobs begin before there is a loop that takes signals.
        server.take_signals()
        server.announcement = _announcement(settings, registry, house.worker.start(), listening)
        parts.enter_context(closing(_sweep(settings, house.writer)))
        uvloop.run(server.serve(sockets=[listening]))
    return all(ended)


class _House(NamedTuple):
    """What a service is made of, but for its server."""

    writer: Writer
    worker: Worker
    hooks: Hooks
    service: Service


def _build(
    parts: ExitStack, settings: Settings, registry: Registry, store: Store, ended: list[bool]
) -> _House:
    """Put the house together; `parts` takes it down again.

    ended: gets whether the user code of each part has ended.
    """
    slots = {
        Slot.THREAD: settings.threads,
        Slot.PROCESS: settings.processes,
        Slot.COROUTINE: settings.coroutines,
    }
    terms = Terms(settings.max_result_bytes, settings.cancel_grace)
    limits = Limits(settings.max_pending, settings.tenant_quota)
    # Closed in the reverse order, each whatever becomes of the others; the writer last, with what is left.
    writer = parts.enter_context(closing(Writer(store, wall_clock)))
    worker = Worker(writer, registry, wall_clock, slots, terms)
    parts.callback(lambda: ended.append(worker.close()))
    hooks = Hooks(find(settings.tasks), partial(_begin, worker))
    parts.callback(lambda: ended.append(_shut_down(hooks, worker)))
    workers = partial(_workers, worker, wall_clock())
    service = Service(store, writer, registry, wall_clock, limits, lambda: worker.claiming, workers)
    parts.callback(lambda: ended.append(service.close()))
    return _House(writer, worker, hooks, service)


@contextmanager
def embedded(**options: Any) -> Iterator[str]:
    """Run a service within this process, on threads of its own, and yield its address.

    For tests of what is built on it: it takes no signals, prints nothing, and has whatever
    port is free. options: settings (see Settings); those not given come from the environment.
    At the end jobs that run are put back, and a function on a thread that does not stop is
    left behind. Raises ConfigError, TaskDefinitionError, StartError, StoreError.
    """
    settings = load_settings(**{"host": LOOPBACK, "port": 0, **options})
    registry = load(settings.tasks)
    with ExitStack() as parts:
        listening = parts.enter_context(closing(_listen(settings.host, settings.port)))
        store = parts.enter_context(closing(SqliteStore(settings.database_path)))
        house = _build(parts, settings, registry, store, [])
        _start_up(house.hooks)
        house.worker.start()
        parts.enter_context(closing(_sweep(settings, house.writer)))
        server = _EmbeddedServer(_config(house.service, settings), house.service)
        parts.enter_context(_serving(server, listening))
        yield f"http://{_address(listening)}"


hear_again = TEE.again
"""Hears again what jobs print, when others have taken the places of stdout and stderr, as pytest does."""


@contextmanager
def _serving(server: uvicorn.Server, listening: socket.socket) -> Iterator[None]:
    """Have a thread answer. It listens already, so that who comes too early waits and is not refused."""
    thread = threading.Thread(target=server.run, args=([listening],), name="errand-http")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


class _EmbeddedServer(uvicorn.Server):
    """uvicorn on a thread, which lets all waiters go before it waits for its connections."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer everybody, then close. On the loop, as all of the service."""
        self._service.drain()
        self._service.release_waiters()
        await super().shutdown(sockets)


def _workers(worker: Worker, started_at: int) -> Sequence[WorkerStatus]:
    """Describe the only worker of this process. Its heartbeat is that it can be asked."""
    status = worker.status()
    return [
        WorkerStatus(
            id=worker.name,
            host=worker.host,
            pid=worker.pid,
            version=installed_version(),
            started_at=started_at,
            heartbeat_at=wall_clock(),
            draining=not status.claiming,
            slots=[SlotUse(kind, total, status.used[kind]) for kind, total in status.slots.items()],
            running=status.running,
        )
    ]


def _sweep(settings: Settings, writer: Writer) -> Ticker:
    """Begin to erase what is old, and return what has to be closed in the end."""
    results = settings.keep_jobs if settings.keep_results is None else settings.keep_results
    ticker = Ticker("errand-sweeper")
    Sweeper(writer, wall_clock, ticker.call_later, Retention(settings.keep_jobs, results)).sweep()
    ticker.start()
    return ticker


def _begin(worker: Worker, fn: CoroutineFunction) -> Future[Any]:
    """Have a coroutine function run where those of jobs do."""
    future = worker.pools.coroutines.future()
    future.start(fn, contextvars.Context())
    return future


def _start_up(hooks: Hooks) -> None:
    try:
        hooks.start()
    except TaskDefinitionError as exc:
        raise StartError(str(exc)) from exc


def _shut_down(hooks: Hooks, worker: Worker) -> bool:
    """Run the shutdown hooks, and return whether they have ended."""
    # Without a drain before, when the server has failed, jobs still use what the hooks will close.
    worker.drain(0)
    return hooks.stop(HOOK_SECONDS)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as exc:
        reason = f"cannot listen on {host} port {port}: {exc.strerror}; name another --port or --host"
        raise StartError(reason) from exc


def _config(service: Service, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(service, settings),
        http=BoundedProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        # Nothing looks at whom a proxy speaks for.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )


def _spare_the_collector() -> None:
    # What was loaded by now stays. The collector would walk all of it again and again, and
    # everybody waits meanwhile: some 40 ms, more than all else that a request may take.
    gc.collect()
    gc.freeze()
    # 0 is how a task module has it off; and what one has set higher is meant to be.
    if 0 < gc.get_threshold()[0] < SPARED:
        gc.set_threshold(SPARED)


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, and with a drain before its end."""

    def __init__(
        self, settings: Settings, service: Service, worker: Worker, listening: socket.socket
    ) -> None:
        super().__init__(_config(service, settings))
        self._service = service
        self._worker = worker
        self._drain_seconds = settings.drain_seconds
        self._listening = listening
        self.announcement: Sequence[str] = ()
        """What to print when it answers."""
        self._drain: asyncio.Task[None] | None = None
        self._signalled = False
        """Whether a signal came before there was a loop."""

    def take_signals(self) -> None:
        """Keep SIGINT and SIGTERM until the loop handles them: jobs begin to run before it does."""
        for number in SIGNALS:
            signal.signal(number, self._note_signal)

    def _note_signal(self, *_: object) -> None:
        self._signalled = True

    @contextmanager
    def capture_signals(self) -> Any:
        """Handle SIGINT and SIGTERM on the loop, in place of uvicorn's own way."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._asked_to_end)
        if self._signalled:
            self._asked_to_end()
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        _spare_the_collector()
        print("\n".join(self.announcement), flush=True)

    def disown(self) -> None:
        """Part a forked child from the service; a task may fork, `multiprocessing` for one.

        It has inherited the handlers, which would tell this process of the child's own
        SIGTERM, and the connections, which would stay open as long as it lives.
        """
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        accepted = [
            connection.transport.get_extra_info("socket") for connection in self.server_state.connections
        ]
        for inherited in (self._listening, *accepted):
            with suppress(OSError):
                os.close(inherited.fileno())

    def _asked_to_end(self) -> None:
        if self._drain is None:
            LOGGER.info("stopping: running jobs get %g s, or until a second signal", self._drain_seconds)
            self._service.drain()
            self._drain = asyncio.get_running_loop().create_task(self._drain_and_exit())
        else:
            self._worker.hurry()

    async def _drain_and_exit(self) -> None:
        ended = await asyncio.to_thread(self._worker.drain, self._drain_seconds)
        self._service.release_waiters()
        LOGGER.info("stopped: %s", "nothing runs any more" if ended else "what still ran was put back")
        self.should_exit = True


# -- what it says at the start -----------------------------------------------


def _announcement(
    settings: Settings, registry: Registry, recovered: Recovered, listening: socket.socket
) -> Sequence[str]:
    address = _address(listening)
    lines = [f"Errand listens on http://{address} (a dashboard for browsers; docs: http://{address}/docs)"]
    lines.append(f"Database: {settings.database}")
    lines.append(f"Tasks: {', '.join(sorted(task.name for task in registry)) or 'none'}")
    if recovered.lost:
        lines.append(f"Recovered: {_fates(recovered.lost)}")
    for name, count in recovered.unknown.items():
        lines.append(f"Waiting: {_jobs(count)} of task {name!r}, which is not known here")
    lines.append(f"Try: {_example(settings, registry, f'http://{address}')}")
    return lines


def _address(listening: socket.socket) -> str:
    """Return host and port as a URL has them."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _fates(lost: Sequence[Job]) -> str:
    """Tell what becomes of the jobs that ran when the last process was lost."""
    counts = Counter(FATES[job.outcome] for job in lost)
    told = ", ".join(f"{count} {fate}" for fate, count in counts.items())
    return f"{_jobs(len(lost))} of a process that was lost: {told}"


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _example(settings: Settings, registry: Registry, base: str) -> str:
    """Return a curl line that works, and does no harm: what a user's own task does nobody here can know."""
    key = "-H 'Authorization: Bearer YOUR_KEY' " if settings.keys else ""
    if "count_words" not in registry:
        return f"curl {key}{base}/tasks"
    headers = f"{key}-H 'Content-Type: application/json' -H 'Prefer: wait=10'"
    body = '{"task": "count_words", "args": ["to be or not to be"]}'
    return f"curl {headers} -d '{body}' {base}/jobs"
