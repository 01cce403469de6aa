"""The threads of a ProcessPoolExecutor: each keeps a process, and has calls run in it."""

import logging
import pickle
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from app.core.child import BROKEN, CALL, RETURNED, STOP, encode, split
from app.core.errors import FutureCancelledError, RemoteError
from app.core.executor import fail
from app.core.future import Future
from app.core.spawned import BrokenProcessPool, ProcessDied, Spawned
from app.core.thread import Crew

T = TypeVar("T")
LOGGER = logging.getLogger(__name__)


class ProcessFuture(Future[T]):
    """The future of a call in a process, which can be killed.

    `cancel()` of a running one returns False, as any future's, and has `checkpoint()` of
    `app.core.child` raise FutureCancelledError in the call.
    """

    __slots__ = ("_keeper", "killed")

    def __init__(self) -> None:
        super().__init__()
        self.killed = False
        """Whether `kill()` has killed the process under the call. Its answer may have come first."""
        self._keeper: Keeper | None = None
        """Who has the call run, while it runs."""

    def cancel(self) -> bool:
        """Cancel a pending call; ask a running one to stop. See Future.cancel."""
        if super().cancel():
            return True
        self.stop(FutureCancelledError())
        return False

    def stop(self, request: BaseException) -> bool:
        """Have `checkpoint()` raise a copy of `request` in the call; False when it does not run.

        Only the first request to a call is passed on. It does not wait for the call to begin, so it
        may arrive a little later; only a process that has not yet taken in all of a large call, and
        was suspended, holds it up, until it goes on or is killed. Raises whatever pickling raises.
        """
        keeper = self._keeper
        return keeper is not None and keeper.stop(self, request)

    def kill(self) -> bool:
        """Kill the process that runs the call, with its process group; False when it does not run.

        The future fails with ProcessDied, or is cancelled if `cancel()` was called before.
        """
        keeper = self._keeper
        return keeper is not None and keeper.kill(self)


class Keepers(Crew):
    """The queue of a pool, and a thread for each process, its keeper.

    A call waits in the crew's queue until a keeper is idle, so it can be cancelled until
    then, and a keeper has one call at a time. It blocks in reading its pipe, which ends
    when the process does, so that a death needs no watcher. No queue and no lock is
    shared with a process: it could be killed while it holds it.
    """

    def __init__(
        self,
        limit: int,
        prefix: str,
        start: Callable[[], "Spawned"],
        max_calls: int | None,
        receive: Callable[[Any], object],
    ) -> None:
        super().__init__(limit, prefix, None, ())
        self._start_process = start
        self._max_calls = max_calls
        self._receive = receive
        self._keepers: list[Keeper] = []
        self.killed = False
        """Whether no call may begin any more, because all processes were killed."""

    def _work(self) -> None:
        keeper = Keeper(self, self._start_process, self._max_calls, self._receive)
        self._keepers.append(keeper)
        try:
            self._serve(keeper.run)
        finally:
            keeper.retire()

    def kill(self) -> None:
        """Kill all processes, those that are about to be started too."""
        self.killed = True
        for keeper in list(self._keepers):
            keeper.kill_process()

    def terminate(self) -> None:
        """Send SIGTERM to all processes, and start no more."""
        self.killed = True
        for keeper in list(self._keepers):
            keeper.terminate_process()

    def disown(self) -> None:
        """Be closed, with processes as with threads. See Backlog.disown."""
        super().disown()
        for keeper in self._keepers:
            keeper.disown()
        self._keepers = []

    def breaks(self, cause: BaseException) -> BaseException:
        """Give the pool up; return the exception of its calls."""
        self._break(cause)
        return self._breakage()

    def _breakage(self) -> BrokenProcessPool:
        error = BrokenProcessPool(f"the process pool is not usable anymore: {self._broken}")
        error.__cause__ = self._broken
        return error


class Keeper:
    """Runs calls in one process at a time, and replaces it when it has died.

    Its thread alone reads the pipe and starts and ends processes. Others come to stop a
    call or to kill it, and must hit that call and no later one: they look at `_current`
    under the lock, and it is set and taken back under the lock. After a kill the process
    is never used again, also when the answer was quicker.

    `_sending` keeps a request from being written into the middle of the call. Whoever
    wants to pass one on and does not get it need not wait: the keeper itself looks for a
    request after it has sent the call and let go of the lock.
    """

    def __init__(
        self,
        crew: Keepers,
        start: Callable[[], "Spawned"],
        max_calls: int | None,
        receive: Callable[[Any], object],
    ) -> None:
        self._crew = crew
        self._start = start
        self._max_calls = max_calls
        self._receive = receive
        # Reentrant: the garbage collector may run under them, and a finalizer may cancel a call.
        self._lock = threading.RLock()
        self._sending = threading.RLock()
        self._child: Spawned | None = None
        self._current: Future[Any] | None = None
        self._killed = False
        self._asked = False
        self._request: memoryview | None = None
        """The message to pass on, from when it comes until then."""
        self._sent = False
        """Whether the call was, so that a request may follow."""

    # -- its own thread ------------------------------------------------------

    def run(
        self,
        future: ProcessFuture[Any],
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Have a call run, and complete its future; as `run_call` does."""
        try:
            self._enter(future)
            if future.set_running_or_notify_cancel():
                self._complete(future, *self._outcome(fn, args, kwargs))
        except BaseException:
            LOGGER.exception("the completion of %r raised", future)
        finally:
            future._keeper = None  # noqa: SLF001  (for this module)
            self._leave()
            del future, fn, args, kwargs

    def _enter(self, future: ProcessFuture[Any]) -> None:
        with self._lock:
            self._current, self._killed = future, self._crew.killed
            self._request, self._asked, self._sent = None, False, False
        # Before it runs, so that a running call can always be killed.
        future._keeper = self  # noqa: SLF001

    def _complete(self, future: Future[Any], result: Any, failure: BaseException | None) -> None:
        try:
            with self._lock:
                # From here on it cannot be killed any more.
                self._current, killed = None, self._killed
            if failure is None:
                future.set_result(result)
            elif killed and isinstance(failure, ProcessDied) and future.cancel_requested():
                fail(future, FutureCancelledError())
            else:
                fail(future, failure)
        finally:
            # As in run_call().
            del future, result, failure

    def _leave(self) -> None:
        with self._lock:
            self._current = self._request = None
            child, killed = self._child, self._killed
        if child is not None and (killed or child.calls == self._max_calls):
            self.retire()

    def _outcome(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, BaseException | None]:
        """Return the call's result and None, or None and its exception."""
        try:
            # Before there is a process: what cannot be pickled needs none.
            message = encode(CALL, (fn, args, kwargs))
            child = self._living_child()
            return _decoded(self._answer(child, message))
        except _UnusableError as exc:
            return None, self._crew.breaks(exc)
        except BaseException as exc:  # noqa: BLE001  (the call's outcome, whatever it is)
            return None, exc
        finally:
            # The traceback holds this frame.
            message = child = None  # type: ignore[assignment]
            del fn, args, kwargs

    def _answer(self, child: "Spawned", message: memoryview) -> bytes:
        try:
            with self._sending:
                child.send(message)
                self._sent = True
            self._pass_on()
            child.calls += 1
            return child.answer(self._receive)
        except (EOFError, OSError):
            raise ProcessDied(self._bury()) from None
        except BaseException:
            # No memory for the answer, for instance: what comes next would be the rest of it.
            self._bury()
            raise
        finally:
            del message

    def _living_child(self) -> "Spawned":
        """Return the process, a new one if there is none or it has died while it was idle."""
        if self._child is not None and not self._child.is_alive(self._receive):
            self._bury()
        if self._child is None:
            if self._killed:
                # Before there was anything to kill.
                raise ProcessDied(-signal.SIGKILL)
            child = self._start()
            with self._lock:
                self._child, killed = child, self._killed
            if killed:
                # While it was started.
                child.kill()
            self._await_ready(child)
        return self._child

    def _await_ready(self, child: "Spawned") -> None:
        try:
            child.welcome()
            # The initializer may have sent notes before.
            tag, body = split(child.answer(self._receive))
        except (EOFError, OSError):
            exitcode = self._bury()
            if exitcode is None or exitcode < 0:
                raise ProcessDied(exitcode) from None
            # It was not killed, so the next one would fare no better.
            raise _UnusableError(f"a process has exited with {exitcode} before it was ready") from None
        if tag == BROKEN:
            raise _UnusableError("A process initializer failed") from pickle.loads(body)  # noqa: S301

    def _bury(self) -> int | None:
        """Let go of the process, whose pipe has ended; return its exit code."""
        with self._lock:
            child, self._child = self._child, None
        if child is None:
            # Gone already, or this is a forked process, to which it does not belong.
            return None
        # Dead first: whoever is writing to it is then refused, and lets go of the lock. Closed
        # under it: the number of a closed pipe may belong to a file the next moment, and a
        # request be written into that.
        child.kill()
        with self._sending:
            return child.bury()

    def retire(self) -> None:
        """Let the process end by itself, if it does so in time."""
        child = self._child
        if child is not None:
            try:
                if not self._killed:
                    child.dismiss(self._receive)
            finally:
                self._bury()

    # -- other threads -------------------------------------------------------

    def stop(self, future: Future[Any], request: BaseException) -> bool:
        """See ProcessFuture.stop."""
        # Here, where a request that cannot be pickled is the fault of the caller.
        message = encode(STOP, request)
        with self._lock:
            if self._current is not future:
                return False
            if not self._asked:
                self._asked, self._request = True, message
        self._pass_on()
        return True

    def kill(self, future: ProcessFuture[Any]) -> bool:
        """See ProcessFuture.kill."""
        with self._lock:
            runs = self._current is future and future.running()
            if runs:
                # First: whoever is told of the end may ask.
                future.killed = True
                self.kill_process()
            return runs

    def kill_process(self) -> None:
        """Kill the process, whatever it does."""
        with self._lock:
            self._killed = True
            if self._child is not None:
                self._child.kill()

    def terminate_process(self) -> None:
        """Send SIGTERM to the process."""
        with self._lock:
            if self._child is not None:
                self._child.terminate()

    def disown(self) -> None:
        """Forget the process, in a forked child: it is the parent's."""
        self._lock, self._sending = threading.RLock(), threading.RLock()
        self._child = self._current = self._request = None

    def _pass_on(self) -> None:
        """Send the request, if there is one and the call was sent."""
        # Whoever does not get the lock leaves the request to the one who has it, and who looks
        # again after letting go of it.
        while self._sent and self._request is not None and self._sending.acquire(blocking=False):
            try:
                self._send_request()
            finally:
                self._sending.release()

    def _send_request(self) -> None:
        with self._lock:
            # Looked at again, now that it cannot change: since the look in `_pass_on` the next
            # call may have come, and a request to that, too. Before the call it would be lost.
            if not self._sent:
                return
            request, self._request = self._request, None
            child = self._child
        if request is not None and child is not None:
            # OSError: it has died, and whoever reads the pipe notices.
            with suppress(OSError):
                child.send(request)


class _UnusableError(Exception):
    """No process can be made ready."""


def _decoded(answer: bytes) -> tuple[Any, BaseException | None]:
    """Return a call's result and None, or None and its exception."""
    tag, body = split(answer)
    try:
        value = pickle.loads(body)  # noqa: S301  (from our own child)
    except BaseException as exc:  # noqa: BLE001  (the user's own code may raise anything)
        return None, pickle.UnpicklingError(f"the result cannot be unpickled: {RemoteError.of(exc)}")
    return (value, None) if tag == RETURNED else (None, _restored(*value))


def _restored(text: RemoteError, pickled: bytes) -> BaseException:
    """Return an exception from the child; as text only, if it cannot be pickled or unpickled."""
    try:
        exception = pickle.loads(pickled)  # noqa: S301  (from our own child)
    except BaseException:  # noqa: BLE001  (the user's own code may raise anything)
        return text
    if not isinstance(exception, BaseException):
        return text
    exception.__cause__ = text
    return exception
