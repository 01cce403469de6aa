"""Queues: calls that wait outside of any executor, and the two ends of them.

A `QueuingExecutor` puts calls on a `Queue` and gets told what became of them; a
`QueueWorker` takes them and runs them on any executor, in this process or another. What
lies in between is text (`app.core.named`), so it can be a database. The life of a call:

    waiting ──> held ──> over
       │ ^       │
       │ └───────┘  put back: its holder will not run it after all
       └──> over    withdrawn: somebody cancelled it first

A queue pushes: it hands a call to a consumer that knows its name and has room, and the
consumer does not ask. Whatever a holder says bears the delivery's token, so that one
whose call was given to somebody else in the meantime changes nothing.
"""

# ruff: noqa: SLF001  (the modules of the core are one library; the underscores keep its users out)

import json
import logging
import os
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, Protocol, Self, TypeVar, overload

from app.core.errors import InvalidStateError
from app.core.executor import AT_EXIT, Executor
from app.core.future import Future, State
from app.core.named import (
    Call,
    Ending,
    ending_of,
    name_of,
    raised,
    to_json,
)
from app.core.submitting import QueuedFuture, QueuedReply, Reply, SubmittingExecutor, Withdrawing

P = ParamSpec("P")
T = TypeVar("T")
Functions = Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]]
LOGGER = logging.getLogger(__name__)
_PENDING, _RUNNING, _CANCELLED, _FINISHED = State


class Message(NamedTuple):
    """A call as a consumer gets it. id: the call's. token: the delivery's; no other has had it."""

    id: str
    token: int
    call: Call


class Consumer(Protocol):
    """Who runs calls, as the queue sees it. It ends each with `Queue.settle` or `Queue.release`."""

    @property
    def limit(self) -> int:
        """How many calls it may hold at a time; does not change."""

    @property
    def names(self) -> Collection[str]:
        """What it can run. It may get to know more, and none is taken away."""

    def run(self, message: Message) -> None:
        """Begin a call and return; raises nothing."""

    def cancel(self, message: Message) -> None:
        """Ask a call to stop. May come again, or late, or for a call not begun yet."""


class Queue(Withdrawing, Protocol):
    """Where calls wait. Every method may be called from any thread.

    functions: what this process has put on it by handing over the function itself, by
    name. Workers of this queue object run those too. Nothing that stands in the queue
    is ever imported: who can write to it shall not choose code.
    """

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """See above."""

    def put(self, call: Call, reply: Reply) -> str:
        """Add a call and return its id, once it is as durable as it gets.

        `reply` may be called before that. Raises QueueError when the call is not stored,
        QueueUnavailableError when that may change.
        """

    def attach(self, consumer: Consumer) -> None:
        """Hand calls to a consumer from now on. Raises QueueUnavailableError."""

    def detach(self, consumer: Consumer) -> None:
        """Hand it no more; what it holds it keeps. One more may be under way to it."""

    def settle(self, message: Message, ending: Ending) -> None:
        """Say how a held call has ended. Ignored unless the message is its present holder's."""

    def release(self, message: Message) -> None:
        """Put a held call back; if somebody has asked it to stop, it is cancelled. Ignored as above."""


# -- the submitter's end -----------------------------------------------------


class QueuingExecutor(SubmittingExecutor[QueuedFuture[Any]]):
    """Puts calls on a queue, for the workers of that queue to run.

    Differences from other executors:
    - A call is a name and JSON. `submit` takes a function that is found in its module by
      its name, or the name itself as a str, and raises TypeError for lambdas, closures
      and methods. Arguments and results are JSON values: a tuple arrives as a list, and
      for what is no JSON `submit` raises TypeError or ValueError. A call that returns what
      is no JSON fails with one of these.
    - An exception comes back as text: one of `builtins` that takes a message alone as
      that, with a RemoteError as its cause; any other as a RemoteError.
    - Nothing runs here. A future stays pending until some worker knows the name and has
      room, and `shutdown(wait=True)` waits for that too; a call must not wait for the
      executor that it was submitted to. At the interpreter's exit nothing is waited for:
      what is in the queue stays there, for as long as the queue keeps it.
    - `submit` raises QueueError, and QueueUnavailableError, when the call was not stored.
      A queue that is closed, or gone for good, fails its futures with the latter.

    The functions handed over become known to the workers of the same queue object.
    """

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self._queue = queue

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def submit(self, fn: str, /, *args: Any, **kwargs: Any) -> Future[Any]: ...
    def submit(self, fn: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Put a call on the queue, and return its future once it is there. See above."""
        name = fn if isinstance(fn, str) else name_of(fn)
        call = Call(name, to_json({"args": args, "kwargs": kwargs}, f"an argument of {name}"))
        future: QueuedFuture[Any] = QueuedFuture(self._queue)
        with self._accepting([future]):
            if not isinstance(fn, str):
                self._queue.functions[name] = fn
            future._call_id = self._queue.put(call, QueuedReply(future))
        return future


# -- the runner's end --------------------------------------------------------


class _Run:
    """A call that a worker holds. future: None until the executor has taken it."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.future: Future[Any] | None = None
        self.asked = False


class QueueWorker:
    """Has an executor run the calls of a queue. `with worker:` stops it at the end.

    functions: what it can run besides `queue.functions`: functions of modules, or a
    mapping of names to functions. Calls of other names stay in the queue.
    limit: calls that it holds at a time; None means the executor's `max_workers` if it
    has one, else min(32, CPUs + 4). It should not exceed what the executor runs at once:
    a call that it holds counts as running.

    It begins at once. When the executor refuses a call, because it was shut down for
    instance, the worker puts it back and stops. Raises QueueUnavailableError, ValueError
    for a limit below 1, and TypeError for what is no function of a module.
    """

    def __init__(
        self, queue: Queue, executor: Executor, functions: Functions = (), *, limit: int | None = None
    ) -> None:
        own = functions if isinstance(functions, Mapping) else {name_of(fn): fn for fn in functions}
        if limit is None:
            limit = getattr(executor, "max_workers", None) or min(32, (os.cpu_count() or 1) + 4)
        if limit < 1:
            raise ValueError("limit must be >= 1")
        self.limit: int = limit
        self.names: ChainMap[str, Callable[..., Any]] = ChainMap(dict(own), queue.functions)
        self._queue = queue
        self._executor = executor
        self._runs: dict[int, _Run] = {}
        self._stopped = False
        self._idle: Future[None] = Future()
        queue.attach(self)

    def stop(self, wait: bool = True) -> None:
        """Take no more calls. May be called again.

        wait: return only when those that run have ended; so not from within one of them,
        nor from a callback of its future.
        """
        self._stopped = True
        self._queue.detach(self)
        self._look_idle()
        if wait:
            self._idle.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # -- the queue's side

    def run(self, message: Message) -> None:
        """Have the executor run a call. See Consumer.run."""
        run = _Run(message)
        self._runs[message.token] = run
        # After the entry: either this sees that the worker has stopped, or `stop` waits for the call.
        if self._stopped:
            self._put_back(run)
            return
        try:
            arguments = json.loads(message.call.arguments)
            call = partial(self.names[message.call.name], *arguments["args"], **arguments["kwargs"])
        except Exception as exc:  # noqa: BLE001  (whatever is wrong with it is the call's outcome)
            self._settle(run, raised(exc))
        else:
            self._begin(run, call)

    def _begin(self, run: _Run, call: "partial[Any]") -> None:
        try:
            run.future = self._executor.submit(call.func, *call.args, **call.keywords)
        except Exception as exc:  # noqa: BLE001  (as in run(): it cannot be sent to a process, for instance)
            # Not a RecursionError: a call that is too deep to be sent must not stop the worker.
            if isinstance(exc, RuntimeError) and not isinstance(exc, RecursionError):
                self._refused(run, exc)
            else:
                self._settle(run, raised(exc))
        else:
            if run.asked:
                run.future.cancel()
            run.future.add_done_callback(partial(self._done, run))

    def _refused(self, run: _Run, exc: RuntimeError) -> None:
        level = logging.DEBUG if AT_EXIT.exiting else logging.WARNING
        LOGGER.log(level, "a worker of a queue stops, because its executor refuses calls: %s", exc)
        # First, or the call would be handed to this worker again.
        self.stop(wait=False)
        self._put_back(run)

    def cancel(self, message: Message) -> None:
        """Pass a request to stop on to the executor's future. See Consumer.cancel."""
        run = self._runs.get(message.token)
        if run is None:
            return
        # Before the look at the future: either this sees it, or `_begin` sees the request.
        run.asked = True
        if run.future is not None:
            run.future.cancel()

    # -- the executor's side

    def _done(self, run: _Run, future: Future[Any]) -> None:
        if future.cancelled() and not run.asked:
            # By a shutdown of the executor: nobody has asked for that in the queue.
            self._put_back(run)
        else:
            self._settle(run, ending_of(future))

    def _settle(self, run: _Run, ending: Ending) -> None:
        try:
            self._queue.settle(run.message, ending)
        finally:
            self._leave(run)

    def _put_back(self, run: _Run) -> None:
        try:
            self._queue.release(run.message)
        finally:
            self._leave(run)

    def _leave(self, run: _Run) -> None:
        # Last: who waits for the worker to stop may close the queue next.
        del self._runs[run.message.token]
        self._look_idle()

    def _look_idle(self) -> None:
        if self._stopped and not self._runs:
            with suppress(InvalidStateError):
                self._idle.set_result(None)
