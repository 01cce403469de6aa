"""ProcessPoolExecutor: calls that run in processes, each at the end of a pipe of its own.

process.py    the executor: what its users see
keeper.py     a thread for each process, which hands calls to it and replaces it when it dies
spawned.py    one process, and the parent's end of its pipe
child.py      what runs in the process
"""

import concurrent.futures
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, ParamSpec, TypeVar
from weakref import finalize

from app.core.executor import AT_EXIT, Executor
from app.core.keeper import Keepers, ProcessFuture
from app.core.spawned import BrokenProcessPool, ProcessDied, Spawned

__all__ = ["BrokenProcessPool", "ProcessDied", "ProcessFuture", "ProcessPoolExecutor"]

P = ParamSpec("P")
T = TypeVar("T")


class ProcessPoolExecutor(Executor, concurrent.futures.ProcessPoolExecutor):
    """A pool of processes, each started afresh when a call finds no idle one.

    Functions, arguments and results are pickled. A call sees nothing of this process's
    memory, so `if __name__ == "__main__":` belongs around the code of a script. A process
    that dies fails its own call with ProcessDied, and the next call gets a new one. What a
    call starts is in the process group of its process, and ends with that. All of them end
    when this process does, even if it is killed. They ignore SIGINT; a Ctrl-C within a `with`
    block of the pool kills them at its end. As with ThreadPoolExecutor, it is derived from
    the standard library's only to be known as one.

    max_workers: processes at most; None means one for each CPU.
    mp_context: there for code written for the standard library; its start method must be "spawn".
    initializer, initargs: called in each process before its first call; when it raises,
    the pool is broken: pending and later calls get BrokenProcessPool.
    max_tasks_per_child: calls after which a process is replaced; None means no limit.
    receive: called with what a call hands to `app.core.child.send`, in the order it was sent
    and before the call's future is done, on a thread that must not be held up for long.
    """

    _names = itertools.count()

    def __init__(  # noqa: PLR0913  (the standard library's, and `receive`)
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        receive: Callable[[Any], object] | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = getattr(os, "process_cpu_count", os.cpu_count)() or 1
        _require(max_workers, mp_context, initializer, max_tasks_per_child)
        # As in ThreadPoolExecutor.
        self._max_workers = max_workers
        start = partial(Spawned, initializer, initargs)
        prefix = f"ProcessPoolExecutor-{next(self._names)}"
        self._keepers = Keepers(max_workers, prefix, start, max_tasks_per_child, receive or _ignore)
        AT_EXIT.add(self._keepers)
        # As in ThreadPoolExecutor.
        finalize(self, self._keepers.close).atexit = False

    @property
    def max_workers(self) -> int:
        """How many processes there may be."""
        return self._max_workers

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> ProcessFuture[T]:
        """Have the call run in a process. See Executor.submit.

        What cannot be pickled is the future's failure.
        """
        future: ProcessFuture[T] = ProcessFuture()
        self._keepers.put((future, fn, args, kwargs))
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """See Executor.map. chunksize: calls that travel in one message; buffersize counts the messages."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize)
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        return _flat(super().map(partial(_run_chunk, fn), chunks, timeout=timeout, buffersize=buffersize))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more. See Executor.shutdown."""
        self._keepers.close()
        if cancel_futures:
            self._keepers.cancel_pending()
        if wait:
            self._keepers.join()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Shut down and wait. After a Ctrl-C in the block the processes are killed: they have not seen it."""
        if exc_type is KeyboardInterrupt:
            self.kill_workers()
        super().__exit__(exc_type, exc, traceback)

    def kill_workers(self) -> None:
        """Kill the processes, cancel what has not begun, and accept nothing more.

        The calls that run fail with ProcessDied.
        """
        self.shutdown(wait=False, cancel_futures=True)
        self._keepers.kill()

    def terminate_workers(self) -> None:
        """Do the same by SIGTERM, to the processes alone, which may take their time."""
        self.shutdown(wait=False, cancel_futures=True)
        self._keepers.terminate()


def _require(
    max_workers: int,
    mp_context: BaseContext | None,
    initializer: object,
    max_tasks_per_child: int | None,
) -> None:
    """Raise ValueError or TypeError, with the standard library's messages where it has any."""
    if max_workers <= 0:
        raise ValueError("max_workers must be greater than 0")
    if mp_context is not None and mp_context.get_start_method() != "spawn":
        method = mp_context.get_start_method()
        raise ValueError(f"processes are started afresh: mp_context must be None or 'spawn', not {method!r}")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if max_tasks_per_child is not None:
        if not isinstance(max_tasks_per_child, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks_per_child <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")


def _ignore(_: object) -> None:
    """Receive what nobody wants."""


def _chunks(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _run_chunk(fn: Callable[..., T], chunk: list[tuple[Any, ...]]) -> list[T]:
    return [fn(*args) for args in chunk]


def _flat(chunks: Iterator[list[T]]) -> Iterator[T]:
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            # Popped: this frame keeps no result that was handed out.
            yield chunk.pop()
