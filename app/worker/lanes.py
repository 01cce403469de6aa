"""A thread pool that many share: each has a lane, and the lanes take turns.

In one queue for all, a job that submits a hundred thousand calls would hold up the
one call of every other job until they are done.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from app.core import Executor, Future, ThreadPoolExecutor
from app.core.executor import run_call

P = ParamSpec("P")
T = TypeVar("T")

_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class LanePool:
    """The pool.

    For each call the threads' queue holds one turn, and a turn runs the first call of
    the lane that comes next. There are as many turns as calls, because both are put
    there together, and each turn takes one call.
    """

    def __init__(self, threads: int, thread_name_prefix: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix)
        # Reentrant: the garbage collector may run here, and a finalizer of the user's may submit.
        self._lock = threading.RLock()
        self._lanes: dict[object, deque[_Call]] = {}
        self._next: deque[object] = deque()

    def lane(self, key: object) -> "Lane":
        """Return the lane of that key, as an executor."""
        return Lane(self, key)

    def put(self, key: object, call: _Call) -> None:
        """Add a call to a lane. Raises RuntimeError after `shutdown`."""
        with self._lock:
            waiting = self._lanes.get(key)
            if waiting is None:
                waiting = self._lanes[key] = deque()
                self._next.append(key)
            waiting.append(call)
        try:
            self._pool.submit(self._take_turn)
        except RuntimeError:
            if self._withdraw(key, call):
                raise
            # The turn of another call has taken it, so there is one now whose turn would not come.
            self._take_turn()

    def _withdraw(self, key: object, call: _Call) -> bool:
        """Take back a call for which no turn was to be had; False when it was taken already."""
        with self._lock:
            waiting = self._lanes.get(key)
            if not waiting or call not in waiting:
                return False
            waiting.remove(call)
            if not waiting:
                del self._lanes[key]
                self._next.remove(key)
            return True

    def _take_turn(self) -> None:
        with self._lock:
            key = self._next.popleft()
            waiting = self._lanes[key]
            call = waiting.popleft()
            if waiting:
                self._next.append(key)
            else:
                del self._lanes[key]
        run_call(*call)
        # A failure's traceback leads to this frame, which must not keep the arguments alive.
        del call, waiting

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more. See Executor.shutdown."""
        self._pool.shutdown(wait=False, cancel_futures=cancel_futures)
        if cancel_futures:
            self._cancel_waiting()
        if wait:
            self._pool.shutdown()

    def _cancel_waiting(self) -> None:
        with self._lock:
            waiting = [future for calls in self._lanes.values() for future, *_ in calls]
        for future in waiting:
            future.cancel()


class Lane(Executor):
    """One lane of a pool."""

    def __init__(self, pool: LanePool, key: object) -> None:
        self._pool = pool
        self._key = key

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have the call run in its lane's turn."""
        future: Future[T] = Future()
        self._pool.put(self._key, (future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the threads are the pool's, and other lanes use them."""
