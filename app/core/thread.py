"""Executors whose work runs in threads: one thread per call, or a pool."""

import concurrent.futures
import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar
from weakref import finalize

from app.core.courtesy import COURTESY
from app.core.errors import BrokenThreadPool
from app.core.executor import AT_EXIT, Backlog, Executor, refuse_when, run_call
from app.core.future import Future, run_all
from app.core.starting import Starting

P = ParamSpec("P")
T = TypeVar("T")
LOGGER = logging.getLogger(__name__)
_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class ThreadedExecutor(Executor):
    """A new thread for every call, at once and without a limit."""

    _names = itertools.count()

    def __init__(self, thread_name_prefix: str = "") -> None:
        self._threads = _Threads(thread_name_prefix or f"ThreadedExecutor-{next(self._names)}")
        AT_EXIT.add(self._threads)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a thread for the call. Raises RuntimeError also when there can be no more threads."""
        future: Future[T] = Future()
        self._threads.start((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Accept nothing more. `cancel_futures` finds nothing to cancel: every call has begun."""
        self._threads.close()
        if wait:
            self._threads.join()


class _Threads(Backlog):
    """The live threads of a ThreadedExecutor."""

    def __init__(self, prefix: str) -> None:
        # Reentrant: objects are made under it, so the garbage collector may run, and finalizers may submit.
        self._lock = threading.RLock()
        self._starting = Starting(self._lock)
        self._live: set[threading.Thread] = set()
        self._closed = False
        self._prefix = prefix
        self._numbers = itertools.count()

    def start(self, call: _Call) -> None:
        name = f"{self._prefix}_{next(self._numbers)}"
        # The list is emptied by the thread, so that the Thread object keeps no argument alive.
        thread = threading.Thread(target=self._run, args=([call],), name=name, daemon=False)
        with self._lock:
            refuse_when(closed=self._closed, disowned=self.disowned)
            # Now: it may have ended before this thread goes on after its start.
            self._live.add(thread)
            self._starting.announce(thread)
        self._starting.start(thread, partial(self._started, thread))

    def _started(self, thread: threading.Thread, there: bool) -> None:
        if not there:
            self._live.discard(thread)

    def _run(self, box: list[_Call]) -> None:
        try:
            run_call(*box.pop())
        finally:
            with self._lock:
                self._live.discard(threading.current_thread())

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def join(self) -> None:
        self._starting.wait()
        with self._lock:
            # But for one that this thread is about to start: it has come here out of that.
            live = [thread for thread in self._live if thread.ident is not None]
        for thread in live:
            _join_other(thread)

    def disown(self) -> None:
        super().disown()
        self._lock = threading.RLock()
        self._starting = Starting(self._lock)
        self._closed = True
        self._live = set()


class ThreadPoolExecutor(Executor, concurrent.futures.ThreadPoolExecutor):
    """A pool of threads that grows, to `max_workers` at most, when more calls wait than threads are idle.

    As with Future, it is derived from the standard library's only to be known as one:
    asyncio's `set_default_executor` insists on that.

    max_workers: threads at most; None means min(32, CPUs + 4).
    thread_name_prefix: what the threads' names begin with.
    initializer, initargs: called in each thread before its first call; when it raises,
    the pool is broken: pending and later calls get BrokenThreadPool.
    """

    _names = itertools.count()

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if max_workers is None:
            # Those that this process may use, where Python can tell.
            max_workers = min(32, (getattr(os, "process_cpu_count", os.cpu_count)() or 1) + 4)
        if max_workers <= 0:
            msg = "max_workers must be greater than 0"
            raise ValueError(msg)
        if initializer is not None and not callable(initializer):
            # For callers without a type checker: each thread would find out for itself.
            msg = "initializer must be a callable"
            raise TypeError(msg)
        prefix = thread_name_prefix or f"ThreadPoolExecutor-{next(self._names)}"
        # As the standard library calls it, and much code reads it.
        self._max_workers = max_workers
        self._crew = Crew(max_workers, prefix, initializer, initargs)
        AT_EXIT.add(self._crew)
        # The threads know the crew, not the pool, so a dropped pool is collected and ends them.
        finalize(self, self._crew.close).atexit = False

    @property
    def max_workers(self) -> int:
        """How many threads there may be."""
        return self._max_workers

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Hand the call to an idle thread, or queue it. See Executor.submit."""
        future: Future[T] = Future()
        self._crew.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more. See Executor.shutdown."""
        self._crew.close()
        if cancel_futures:
            self._crew.cancel_pending()
        if wait:
            self._crew.join()


class Crew(Backlog):
    """The queue and the threads of a pool.

    Hand-off, and why no wake-up is lost. `put` appends the call and then looks for an
    idle thread; a thread enters itself among the idle ones and then looks for a call.
    Each of these steps is one atomic operation of a deque or a list, so one of the two
    sees the other. A thread taken off the idle list finds its gate open and looks for
    calls again before it rests, so a call taken by another in the meantime does no
    harm.

    One at a time. Of the idle threads only one is on its way, `_coming`: when it has come it
    takes a call, and wakes the next one before it runs it, if there are more. Threads
    that are woken together would wait for the interpreter together, and take it from one
    another after each short call; so the first one has often run them all before the
    second is there. Whoever comes says so before it looks for calls, and `put` appends
    before it looks whether somebody comes: again one of the two sees the other. Two calls
    never count on the same thread: when there are more calls than idle threads and
    the one that comes, `put` starts another.

    Ending. `close` sets `_closed` and then opens the gates of the idle threads; a
    thread enters itself among the idle ones and then looks at `_closed`: again one of
    the two sees the other. A thread ends only when, `_closed` being set, it finds no
    call while it holds the lock; `put` looks at `_closed` and appends under the same
    lock. So what was accepted is run: either `put` was first and the thread finds the
    call, or `put` comes later and refuses. `close` itself takes no lock, because the
    garbage collector may call it, for a dropped pool, at any place.

    The lock is reentrant: objects are made under it, so the garbage collector may run in
    `put`, and a finalizer may submit to this same pool. `put` leaves everything in order
    before each call that it makes, and starts a thread when it has let go of the lock.
    """

    def __init__(
        self, limit: int, prefix: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
    ) -> None:
        self._lock = threading.RLock()
        self._starting = Starting(self._lock)
        self._calls: deque[_Call] = deque()
        self._idle: list[threading.Lock] = []
        self._coming = False
        """Whether an idle thread was woken that has not come yet.

        Set under the lock; taken back without it by whoever comes, also when `close` has woken it.
        """
        self._threads: list[threading.Thread] = []
        self._hired = 0
        self._limit = limit
        self._prefix = prefix
        self._initializer = initializer
        self._initargs = initargs
        self._closed = False
        self._broken: BaseException | None = None

    def put(self, call: _Call) -> None:
        """Have a call run. Raises RuntimeError when the crew is closed, BrokenExecutor when it is broken."""
        with self._lock:
            if self._closed:
                self._refuse_call()
            self._calls.append(call)
            if self._idle and not self._coming:
                self._wake_one()
            more = len(self._calls) > len(self._idle) + self._coming and self._hired < self._limit
            thread = self._hire() if more else None
        if thread is not None:
            self._start(thread, call)

    def _refuse_call(self) -> None:
        if self._broken is not None:
            raise self._breakage()
        refuse_when(closed=True, disowned=self.disowned)

    def _wake_one(self) -> None:
        """Wake an idle thread, if there is one. The lock is held."""
        # It may withdraw, or `close` wake it, at any time.
        with suppress(IndexError):
            gate = self._idle.pop()
            # Before the gate opens: after that it could undo what the thread says when it comes.
            self._coming = True
            gate.release()

    def _hire(self) -> threading.Thread:
        """Return a thread that this one has to start. The lock is held."""
        name = f"{self._prefix}_{self._hired}"
        # Counted now: whoever submits during the start must not hire this one again.
        self._hired += 1
        thread = threading.Thread(target=self._work, name=name, daemon=False)
        self._starting.announce(thread)
        return thread

    def _start(self, thread: threading.Thread, call: _Call) -> None:
        """Start a thread. When none can be had, the others must do; with none, the call is refused."""
        try:
            self._starting.start(thread, partial(self._started, thread))
        except RuntimeError as exc:
            if self._give_up(call, str(exc)):
                raise

    def _started(self, thread: threading.Thread, there: bool) -> None:
        if there:
            self._threads.append(thread)
        else:
            # A thread that was counted and is not there would never take a call.
            self._hired -= 1

    def _give_up(self, call: _Call, reason: str) -> bool:
        """When nobody will take any call, fail all but this one; tell whether this one waits too."""
        with self._lock:
            if self._threads or self._starting:
                return False
            waits = call in self._calls
            orphans = deque(other for other in self._calls if other is not call)
            self._calls.clear()
        _fail_all(orphans, partial(RuntimeError, reason))
        return waits

    def _work(self) -> None:
        if self._initialize():
            self._serve(run_call)

    def _serve(self, run: Callable[..., None]) -> None:
        """Run calls until there are none and will be none."""
        gate = threading.Lock()
        gate.acquire()
        calls = self._calls
        while True:
            try:
                call = calls.popleft()
            except IndexError:
                if not self._rest(gate):
                    return
                continue
            if calls and self._idle and not self._coming:
                self._wake_next()
            run(*call)
            # An idle thread must not keep the last task's arguments and result alive.
            del call

    def _wake_next(self) -> None:
        """Have another thread come for the calls that are left. This one's may block."""
        with self._lock:
            if not self._coming:
                self._wake_one()

    def _rest(self, gate: threading.Lock) -> bool:
        """Wait for work; False when there will be none any more."""
        self._idle.append(gate)
        if (self._calls or self._closed) and self._withdraw(gate):
            return bool(self._calls) or not self._over()
        # Among the idle ones already: a call that comes meanwhile counts on this thread, and starts none.
        COURTESY.give_way()
        gate.acquire()
        self._coming = False
        return True

    def _withdraw(self, gate: threading.Lock) -> bool:
        """Leave the idle ones; False when somebody was quicker and has opened the gate."""
        try:
            self._idle.remove(gate)
        except ValueError:
            return False
        return True

    def _over(self) -> bool:
        """Tell whether there is no work and will be none."""
        with self._lock:
            return self._closed and not self._calls

    def _initialize(self) -> bool:
        if self._initializer is None:
            return True
        try:
            self._initializer(*self._initargs)
        except BaseException as exc:
            LOGGER.critical("Exception in initializer:", exc_info=True)
            self._break(exc)
            return False
        return True

    def _break(self, cause: BaseException) -> None:
        with self._lock:
            self._broken = cause
            self._closed = True
            orphans = deque(self._calls)
            self._calls.clear()
        self.close()
        _fail_all(orphans, self._breakage)

    def _breakage(self) -> BrokenExecutor:
        error = BrokenThreadPool("A thread initializer failed, the thread pool is not usable anymore")
        error.__cause__ = self._broken
        return error

    def close(self) -> None:
        """See Backlog.close."""
        self._closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        try:
            while True:
                self._idle.pop().release()
        except IndexError:
            return

    def cancel_pending(self) -> None:
        """Cancel the calls that have not begun."""
        with self._lock:
            pending = list(self._calls)
            self._calls.clear()
        run_all(deque(future.cancel for future, *_ in pending))

    def join(self) -> None:
        """See Backlog.join; a call that waits for its own crew is not waited for."""
        self._starting.wait()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            _join_other(thread)

    def disown(self) -> None:
        """See Backlog.disown."""
        super().disown()
        self._lock = threading.RLock()
        self._starting = Starting(self._lock)
        self._closed = True
        # The deque stays the same: the thread that forked may be one of ours, and has it in a variable.
        self._parents_calls = list(self._calls)
        self._calls.clear()
        self._idle, self._threads = [], []


def _fail_all(calls: deque[_Call], make_error: Callable[[], BaseException]) -> None:
    """Fail calls that nobody will run, each by an exception of its own."""

    def refuse() -> None:
        raise make_error()

    while calls:
        # In no variable: the exception's traceback leads here.
        run_call(calls.popleft()[0], refuse, (), {})


def _join_other(thread: threading.Thread) -> None:
    """Join a thread, unless it is this one: a task may shut its own executor down."""
    if thread is not threading.current_thread():
        thread.join()
