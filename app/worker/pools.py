"""The threads that user code runs on."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from app.core import (
    BrokenProcessPool,
    Executor,
    ProcessFuture,
    ProcessPoolExecutor,
    ThreadedExecutor,
    ThreadPoolExecutor,
)
from app.jobs.process import Report, prepare_process
from app.stores.ticker import CallLater
from app.worker.contention import Contention
from app.worker.coroutines import Coroutines
from app.worker.lanes import LanePool
from app.worker.speaker import Speaker

T = TypeVar("T")
LOGGER = logging.getLogger(__name__)

CLOSE_TIMEOUT = 2.0
"""Seconds that threads get to end when the pools are closed."""


class Pools:
    """Where user code runs: never on the API's event loop, never on the writer's thread.

    jobs: plain functions, one slot each. steps: the steps of generators. calls: plain
    functions that jobs `submit`. parts: the steps of generators that jobs `submit`.
    coroutines: of both. Apart from each other, so that nothing waits for a thread that
    waits for it: a job or a step may wait for calls, parts and coroutines, and those
    wait for none of these threads, because what a call or a part submits runs inline.
    Calls and parts have a lane for each job, so that no job's flood holds up another's.

    processes: plain functions in processes, one slot each; a process is started when a
    job finds no idle one, and what its code says comes to `receive`. speaker: prints that.

    contention: watches who computes on the threads of jobs and calls, by looks that it takes `later`.

    stops: tells code to stop; futures that are cancelled call back, and the callbacks
    may be the user's. A thread for each job that needs one: one that never returns must
    hold up no other. Coroutines need none, they are told by their loop.
    """

    def __init__(
        self, threads: int, processes: int, receive: Callable[[Report], object], later: CallLater
    ) -> None:
        self._make_processes = partial(
            ProcessPoolExecutor, processes, initializer=prepare_process, receive=receive
        )
        self.processes = self._make_processes()
        self.speaker = Speaker()
        self.jobs = ThreadPoolExecutor(threads, "errand-job")
        self.steps = ThreadPoolExecutor(threads, "errand-step")
        self.calls = LanePool(threads, "errand-call")
        self.parts = LanePool(threads, "errand-part")
        self.stops = ThreadedExecutor("errand-stop")
        self.coroutines = Coroutines()
        self.contention = Contention(later)

    def submit_to_process(self, fn: Callable[..., T], /, *args: Any) -> ProcessFuture[T]:
        """Have a call run in a process. Raises RuntimeError when no thread can be had.

        To be called by one thread only.
        """
        try:
            return self.processes.submit(fn, *args)
        except BrokenProcessPool:
            # A process could not even be started, and the pool has given up. Whatever it was, no
            # memory or files that were being replaced, may be over when the next job comes.
            LOGGER.exception("a process could not be started, and it is tried anew")
            self.processes.shutdown(wait=False)
            self.processes = self._make_processes()
            return self.processes.submit(fn, *args)

    def close(self) -> bool:
        """End the threads; what has not begun is cancelled. Return whether they have ended in time.

        If not, they run user code that only the end of the process will end.
        """
        # On a thread of its own, because what is cancelled calls back, and generators
        # that are closed run their `finally`: that is user code, and may not return.
        closer = threading.Thread(target=self._close, name="errand-close", daemon=True)
        closer.start()
        closer.join(CLOSE_TIMEOUT)
        return not closer.is_alive()

    def _close(self) -> None:
        # The one kind of code that can be ended.
        _shielded(self.processes.kill_workers)
        executors: list[Executor | LanePool | Speaker] = [
            self.jobs,
            self.steps,
            self.calls,
            self.parts,
            self.stops,
            self.processes,
            self.speaker,
        ]
        for executor in executors:
            _shielded(partial(executor.shutdown, wait=False, cancel_futures=True))
        _shielded(self.coroutines.close)
        for executor in executors:
            executor.shutdown()


def _shielded(close: Callable[[], None]) -> None:
    try:
        close()
    except BaseException:
        LOGGER.exception("a callback raised while the pools were closed")
