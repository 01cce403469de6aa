"""The parent's side of a process of a ProcessPoolExecutor; the other side is in `child`."""

import concurrent.futures.process
import logging
import multiprocessing
import multiprocessing.process
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any

from app.core.child import CALL, EXIT, NOTE, encode, main, split

LOGGER = logging.getLogger(__name__)

_MAIN = sys.modules["__main__"]
_SCRIPT: str | None = getattr(_MAIN, "__file__", None) if _MAIN.__spec__ is None else None
"""The file of a program that has no module's name; `__main__` forgets it as soon as its code has ended."""

_FIRST_FREE = 3
"""The number of a file that is no standard stream."""

EXIT_SECONDS = 5.0
"""Seconds that a process gets for its own exit, once there are no more calls for it."""


class BrokenProcessPool(concurrent.futures.process.BrokenProcessPool):
    """No process can be made ready, the initializer failed for instance: the pool runs nothing any more."""


class ProcessDied(BrokenProcessPool):
    """The process that ran the call has ended under it. The pool goes on.

    A BrokenProcessPool all the same, because code written for the standard library catches that.
    exitcode: the process's; negative for the number of the signal that killed it; None if
    this program ignores SIGCHLD or waits for any process at all, and so took it away.
    """

    def __init__(self, exitcode: int | None) -> None:
        super().__init__(f"the process that ran the call {_end_of(exitcode)}")
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.exitcode,)


def _end_of(exitcode: int | None) -> str:
    if exitcode is None:
        return "has ended"
    if exitcode >= 0:
        return f"has exited with {exitcode}"
    try:
        return f"was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"was killed by signal {-exitcode}"


class Spawned:
    """A process, and this end of its pipe.

    The lifeline is a second pipe, never written to: its other end is closed by the kernel
    when this process ends, however that happens, and then the child is killed.
    """

    def __init__(self, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
        """Start it. Raises OSError when there can be no more processes, and whatever pickling raises."""
        self.calls = 0
        self._first = None if initializer is None else _First(initializer, initargs)
        context = multiprocessing.get_context("spawn")
        # Its own end of the pipe must be in no other process, or its death would go unnoticed.
        with _FORKING, _apart_from_standard_streams(), ExitStack() as ours, ExitStack() as theirs:
            self._pipe, pipe = context.Pipe()
            ours.enter_context(self._pipe)
            theirs.enter_context(pipe)
            lifeline, self._lifeline = context.Pipe(duplex=False)
            ours.enter_context(self._lifeline)
            theirs.enter_context(lifeline)
            first = self._first or False
            self._process = context.Process(target=main, args=(pipe, lifeline, first, _SCRIPT))
            _start(self._process)
            _CHILDREN.add(self)
            ours.pop_all()
        self._poll = select.poll()
        self._poll.register(self._pipe.fileno(), select.POLLIN)

    def welcome(self) -> None:
        """Have it call the initializer. Raises as `send`."""
        if self._first is not None:
            first, self._first = self._first, None
            self.send(first.message)

    def send(self, message: memoryview) -> None:
        """Send a message. Raises OSError when it has died."""
        self._pipe.send_bytes(message)

    def read(self) -> bytes:
        """Wait for a message. Raises EOFError or OSError when it has died."""
        return self._pipe.recv_bytes()

    def answer(self, receive: Callable[[Any], object]) -> bytes:
        """Wait for the answer to a call; hand over the notes that come before it. Raises as `read`."""
        while (message := self.read())[:1] == NOTE:
            _hand_over(message, receive)
        return message

    def is_alive(self, receive: Callable[[Any], object]) -> bool:
        """Tell whether it can take a call; if not, hand over the last notes of old calls' threads.

        While it lives their notes are left for `answer`: a thread may send faster than they
        can be taken in here, and then the call would never begin.
        """
        if not any(event & (select.POLLHUP | select.POLLERR) for _, event in self._poll.poll(0)):
            return True
        with suppress(EOFError, OSError):
            while True:
                _hand_over(self.read(), receive)
        return False

    def dismiss(self, receive: Callable[[Any], object]) -> None:
        """Have it end, and wait for that, but not for longer than it may take."""
        deadline = time.monotonic() + EXIT_SECONDS
        with suppress(EOFError, OSError):
            self.send(encode(EXIT))
            # The time is looked at first: a thread of an old call may send notes without an end.
            while (left := deadline - time.monotonic()) > 0 and self._pipe.poll(left):
                _hand_over(self.read(), receive)

    def kill(self) -> None:
        """Kill it and its process group. To be called before `bury` only: then its number is free."""
        pid = self._process.pid
        # It may not have a group yet; macOS refuses to signal one in which all have ended.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # type: ignore[arg-type]
        self._process.kill()

    def terminate(self) -> None:
        """Send SIGTERM to it. To be called before `bury` only."""
        self._process.terminate()

    def bury(self) -> int | None:
        """Wait for its end, after `kill`; return its exit code, None if that was taken away."""
        self._process.join()
        exitcode = self._process.exitcode
        # It will not believe in an end without an exit code.
        with suppress(ValueError):
            self._process.close()
        self.part()
        return exitcode

    def part(self) -> None:
        """Close this end of the pipes."""
        with _FORKING:
            _CHILDREN.discard(self)
            self._pipe.close()
            self._lifeline.close()


class _First:
    """The initializer and its arguments: pickled with the process, sent through the pipe.

    While a process is started its arguments may be locks and queues of multiprocessing,
    and only then. But multiprocessing would write them into a pipe whose other end it has
    itself open too: more than fits in would wait for ever for a process that has died,
    with `_FORKING` held.
    """

    message: memoryview

    def __init__(self, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        self._call: tuple[Any, ...] = (initializer, initargs, {})

    def __reduce__(self) -> tuple[type[bool], tuple[bool]]:
        self.message = encode(CALL, self._call)
        # What the process gets instead.
        return bool, (True,)


def _hand_over(message: bytes, receive: Callable[[Any], object]) -> None:
    try:
        receive(pickle.loads(split(message)[1]))  # noqa: S301  (from our own child)
    except BaseException:
        LOGGER.exception("what a call has sent could not be received")


@contextmanager
def _apart_from_standard_streams() -> Iterator[None]:
    """Give no new file a number below 3: the process would take it for its stdout, and print into it."""
    with ExitStack() as taken:
        # This program may have been started with its streams closed.
        while (fd := os.open(os.devnull, os.O_RDONLY)) < _FIRST_FREE:
            taken.callback(os.close, fd)
        os.close(fd)
        yield


def _start(process: SpawnProcess) -> None:
    """Start a process with SIGINT blocked, so that it has no time in which Ctrl-C could end it."""
    # First, because it lets go of the signal at its end.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    # Out of `multiprocessing.active_children()`: whoever calls that, and every start does,
    # collects dead processes, and their numbers would be free while we still use them.
    multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]  # noqa: SLF001


_CHILDREN: set[Spawned] = set()
"""The live ones, whose pipes are open."""

_FORKING = threading.RLock()
"""Held around a fork, and while pipes are made or closed: a forked process closes them, and only them."""


def _part_forked() -> None:
    """Close the pipes in a forked process: through it a child would live on when this process has ended."""
    try:
        for child in list(_CHILDREN):
            child.part()
    finally:
        _FORKING.release()


os.register_at_fork(before=_FORKING.acquire, after_in_parent=_FORKING.release, after_in_child=_part_forked)
