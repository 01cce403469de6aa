"""What runs in a process of a ProcessPoolExecutor: its calls, one after the other, on the main thread.

The messages, each a tag and what was pickled:

    parent to child    CALL (fn, args, kwargs), the first of all may be the initializer;
                       STOP an exception to raise at checkpoints; EXIT
    child to parent    READY, BROKEN a RemoteError, then for each call any number of NOTEs
                       and one RETURNED or RAISED

Pickle passes only between a process and the child that it has started itself.
"""

import fcntl
import io
import logging
import os
import pickle
import select
import signal
import struct
import sys
import threading
from collections import deque
from multiprocessing import spawn
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import NoReturn

from app.core.errors import RemoteError

LOGGER = logging.getLogger(__name__)

CALL, STOP, EXIT, READY, BROKEN, NOTE, RETURNED, RAISED = (bytes([tag]) for tag in range(8))


def encode(tag: bytes, value: object = None) -> memoryview:
    """Return a message. Raises whatever pickling raises."""
    buffer = io.BytesIO()
    buffer.write(tag)
    ForkingPickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getbuffer()


def split(message: bytes | memoryview) -> tuple[bytes, memoryview]:
    """Return a message's tag and the pickle that follows; to be loaded by `pickle.loads`."""
    return bytes(message[:1]), memoryview(message)[1:]


# -- for the code of a call --------------------------------------------------


def checkpoint() -> None:
    """Raise what this call's future was asked for: FutureCancelledError after its `cancel()`.

    On every call from then on. Does nothing while nobody has asked, and outside of a
    process of a pool.
    """
    if _parent is not None and (request := _parent.request()) is not None:
        # A fresh one each time: an exception that is raised again gathers tracebacks.
        raise pickle.loads(request)  # noqa: S301  (from the parent)


def is_asked_to_stop() -> bool:
    """Tell whether `checkpoint()` raises."""
    return _parent is not None and _parent.request() is not None


def send(note: object) -> None:
    """Hand a value to the pool's `receive`, in the parent; outside of a process of a pool, do nothing.

    From any thread. Raises whatever pickling raises.
    """
    if _parent is not None:
        _parent.send(encode(NOTE, note))


# -- the process -------------------------------------------------------------


def main(connection: Connection, lifeline: Connection, first: bool, script: str | None = None) -> None:
    """Run calls until the parent says that there are no more, or is gone.

    lifeline: the read end of a pipe that nobody writes to; its other end is the parent's.
    first: whether the first call is the initializer.
    script: the file of the parent's program, which multiprocessing does not know any more at the exit.
    """
    global _parent  # noqa: PLW0603  (one process, one parent)
    try:
        _detach(connection, lifeline)
        _parent = parent = _Parent(connection.fileno())
        # This also keeps the pipe open until all that is done at the interpreter's exit is done:
        # to the parent a closed pipe is the end, and it kills what is still there.
        os.register_at_fork(after_in_child=lambda: _part(connection, lifeline))
        _run_script(script)
        if not first or _initialize(parent):
            parent.send(encode(READY))
            _run_calls(parent)
    except ConnectionError:
        # The parent is gone, and nobody needs to be told.
        _end(SystemExit(1))
    except BaseException as exc:
        # At once: as the interpreter ends it closes the pipe, and the parent, who takes that
        # for the end, would kill this process and be told that it was killed.
        LOGGER.critical("A process of a pool cannot go on:", exc_info=True)
        _end(exc)


def _run_script(script: str | None) -> None:
    """Have the functions of the parent's `__main__` here, if multiprocessing has not seen to it."""
    if script is not None and sys.modules["__main__"].__name__ == "__main__":
        spawn.prepare({"init_main_from_path": script})


def _detach(connection: Connection, lifeline: Connection) -> None:
    """Leave the parent's process group, and end when the parent does."""
    os.setpgid(0, 0)
    # The parent decides what becomes of a call when somebody presses Ctrl-C. It has blocked
    # the signal for the start.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    for end in (connection, lifeline):
        # Otherwise a program started by `os.system` would hold the pipe after this process's end.
        os.set_inheritable(end.fileno(), False)
    _end_with(lifeline)


def _end_with(lifeline: Connection) -> None:
    """Have this process group killed when the lifeline's other end closes, whatever it is doing.

    Where it can the kernel does it: a thread would have to wait for the interpreter, which
    a regular expression may hold for hours. Elsewhere a thread must do.
    """
    fd = lifeline.fileno()
    try:
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    except (AttributeError, OSError):
        threading.Thread(target=_end_at_the_end_of, args=(fd,), name="lifeline", daemon=True).start()
    else:
        # It may have closed before the kernel was asked.
        if select.select([fd], [], [], 0)[0]:
            _end_at_the_end_of(fd)


def _end_at_the_end_of(fd: int) -> None:
    os.read(fd, 1)
    os.killpg(0, signal.SIGKILL)


def _part(*ends: Connection) -> None:
    """Part a process that a call has forked from the pipe, or this one's end would go unnoticed."""
    global _parent  # noqa: PLW0603
    _parent = None
    for end in ends:
        end.close()


def _initialize(parent: "_Parent") -> bool:
    process, call = os.getpid(), parent.next_call()
    try:
        if call is not None:
            fn, args, kwargs = pickle.loads(call)  # noqa: S301  (from the parent)
            fn(*args, **kwargs)
    except BaseException as exc:
        _end_other_than(process, exc)
        LOGGER.critical("Exception in initializer:", exc_info=True)
        parent.send(encode(BROKEN, RemoteError.of(exc)))
        return False
    _end_other_than(process)
    return call is not None


def _run_calls(parent: "_Parent") -> None:
    while (message := parent.next_call()) is not None:
        box = [message]
        del message
        answer = _answer(box)
        # An alarm that the call has set must not go off in another.
        signal.setitimer(signal.ITIMER_REAL, 0)
        parent.send(answer)
        # An idle process must not keep a large result alive.
        del answer


def _answer(box: list[memoryview]) -> memoryview:
    """Run a call, taken out of the box, and return the message that says how it ended."""
    process = os.getpid()
    try:
        fn, args, kwargs = pickle.loads(box.pop())  # noqa: S301  (from the parent)
        result = fn(*args, **kwargs)
    except BaseException as exc:  # noqa: BLE001  (SystemExit too is the call's outcome)
        _end_other_than(process, exc)
        return _raised(exc)
    _end_other_than(process)
    try:
        return encode(RETURNED, result)
    except BaseException as exc:  # noqa: BLE001  (the user's `__reduce__` may raise anything)
        failure = pickle.PicklingError(
            f"the result, of type {type(result).__name__}, cannot be pickled: {RemoteError.of(exc)}"
        )
        return _raised(failure)


def _end_other_than(process: int, failure: BaseException | None = None) -> None:
    """End here if the call has forked and this is the other process, whose code comes to its end now."""
    if os.getpid() != process:
        if failure is not None and not isinstance(failure, SystemExit):
            sys.excepthook(type(failure), failure, failure.__traceback__)
        _end(failure)


def _end(failure: BaseException | None) -> NoReturn:
    """End at once, but say everything and with the exit code that a script would have."""
    code = 0 if failure is None else 1
    if isinstance(failure, SystemExit):
        code = failure.code if isinstance(failure.code, int) else int(failure.code is not None)
    try:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code & 0xFF)


def _raised(exc: BaseException) -> memoryview:
    """Return the message of an exception: as text, and pickled if that can be."""
    # Without the frame of this module.
    trace = exc.__traceback__
    exc.__traceback__ = trace.tb_next if trace is not None else None
    text = RemoteError.of(exc)
    try:
        return encode(RAISED, (text, bytes(ForkingPickler.dumps(exc, pickle.HIGHEST_PROTOCOL))))
    except BaseException:  # noqa: BLE001  (the user's `__reduce__` may raise anything)
        return encode(RAISED, (text, b""))


class _Parent:
    """The other end of this process's pipe."""

    def __init__(self, fd: int) -> None:
        self._in = _Inflow(fd)
        self._out = _Outflow(fd)
        self._reading = threading.Lock()
        self._early: memoryview | None = None
        """A message that `request` has come upon, and that is none."""
        self._request: memoryview | None = None
        # Reentrant: a finalizer may send from within `send`.
        self._sending = threading.RLock()
        self._busy = False

    def next_call(self) -> memoryview | None:
        """Wait for a call and return its pickle; None when there will be none any more."""
        # Held while waiting: a thread that an earlier call has left behind may look for requests.
        with self._reading:
            self._request = None
            while True:
                try:
                    message = self._early or self._in.read()
                except (EOFError, OSError):
                    return None
                if self._early is None:
                    self._in.drop()
                self._early = None
                tag, body = split(message)
                if tag != STOP:
                    return body if tag == CALL else None
                # It came too late for its call.

    def request(self) -> memoryview | None:
        """Return the pickled exception that the running call is asked to raise, if it is."""
        # Whoever does not get the lock goes on: another thread, or code that this one has
        # interrupted, takes the request in.
        taken: list[bool] = []
        try:
            if self._request is None:
                # In one step, as below: a handler that raises between the two would leave it taken.
                taken.extend(map(self._reading.acquire, (False,)))
            if True in taken:
                self._take_in()
        except (EOFError, ConnectionError):
            # Not OSError: a handler's TimeoutError is one. The lifeline says so too.
            LOGGER.debug("the parent is gone")
        finally:
            # Nothing is called before that, so no handler comes in.
            if True in taken:
                self._reading.release()
        return self._request

    def _take_in(self) -> None:
        if self._early is None and self._in.has_some():
            message = self._in.read()
            tag, body = split(message)
            if tag == STOP:
                self._request = body
            else:
                # The call has just ended, and a thread that it has left behind is here.
                self._early = message
            # Now that it is kept, or a handler that raises would lose it. Taken in twice it does no
            # harm: a request comes too late then.
            self._in.drop()

    def send(self, message: memoryview) -> None:
        """Send a message; from any thread, and from a finalizer that interrupts another's sending."""
        with self._sending:
            self._out.add(message)
            if self._busy:
                # This very thread is in the middle of writing, and will write this one too.
                return
            self._busy = True
            try:
                self._out.write()
            finally:
                self._busy = False


# How messages pass through the pipe: in the frames of `multiprocessing.connection`, which the
# parent uses. The call's code may be interrupted anywhere by a signal's handler that raises, a
# timeout by `signal.alarm` for example, and so in the middle of `send` or `checkpoint`. The
# rest of a message would then be taken for the next. Here the next one who comes goes on where
# the other had to stop. Between the system call and the object that remembers it there is only
# C: a handler runs before the one or after the other.

_SHORT, _LONG = struct.Struct("!i"), struct.Struct("!iQ")
_SHORT_MAX = 0x7FFFFFFF
_AT_ONCE = 0x40000
"""Bytes to read at once: memory is set aside for so many, however few there are."""


class _Outflow:
    """Messages on their way out."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._parts: deque[tuple[memoryview, list[int]]] = deque()
        """What is to be written, and for each part how much of it was."""

    def add(self, message: memoryview) -> None:
        size = len(message)
        header = _SHORT.pack(size) if size <= _SHORT_MAX else _LONG.pack(-1, size)
        # Both in one step, as above.
        self._parts.extend(((memoryview(header), []), (message, [])))

    def write(self) -> None:
        while self._parts:
            part, written = self._parts[0]
            written[:] = [sum(written)]
            rest = part[written[0] :]
            if rest:
                written.extend(map(os.write, (self._fd,), (rest,)))
            else:
                self._parts.popleft()


class _Inflow:
    """The next message, as far as it is here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._buffer = io.BytesIO()

    def has_some(self) -> bool:
        return bool(self._buffer.tell() or self._poll.poll(0))

    def read(self) -> memoryview:
        """Wait for a message, the same until `drop`. Raises EOFError or OSError when the parent is gone."""
        while (missing := self._missing()) > 0:
            here = self._buffer.tell()
            self._buffer.writelines(map(os.read, (self._fd,), (min(missing, _AT_ONCE),)))
            if self._buffer.tell() == here:
                raise EOFError
        view = self._buffer.getbuffer()
        return view[_SHORT.size if _SHORT.unpack_from(view)[0] >= 0 else _LONG.size :]

    def drop(self) -> None:
        """Let go of the message that was read, for the next one to come."""
        self._buffer = io.BytesIO()

    def _missing(self) -> int:
        """Return how many bytes to wait for: the header's first, for it tells the others."""
        here = self._buffer.tell()
        with self._buffer.getbuffer() as view:
            if here < _SHORT.size:
                return _SHORT.size - here
            (size,) = _SHORT.unpack_from(view)
            if size >= 0:
                return int(_SHORT.size + size - here)
            if here < _LONG.size:
                return _LONG.size - here
            return int(_LONG.size + _LONG.unpack_from(view)[1] - here)


_parent: _Parent | None = None
"""None in a process that is no child of a pool."""
