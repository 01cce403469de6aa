"""The errors of the core.

    concurrent.futures.CancelledError
    └── FutureCancelledError
    TimeoutError
    └── FutureTimeoutError
    concurrent.futures.InvalidStateError, RuntimeError
    └── InvalidStateError
    concurrent.futures.thread.BrokenThreadPool
    └── BrokenThreadPool
    Exception
    ├── RemoteError             an exception of a call that ran elsewhere, as text
    └── QueueError              a queue refuses a call, or what it says makes no sense
        └── QueueUnavailableError   it cannot be used now

Each one but the last three is also the standard library's error of that meaning, so
that code written for `concurrent.futures` catches it unchanged.
"""

import concurrent.futures
import concurrent.futures.thread
import traceback
from types import TracebackType


class FutureCancelledError(concurrent.futures.CancelledError):
    """The computation was cancelled, or was asked to stop."""


class FutureTimeoutError(TimeoutError):
    """The time allowed ran out before the computation was done."""


class InvalidStateError(concurrent.futures.InvalidStateError, RuntimeError):
    """The operation is not allowed in the future's state, such as a second completion.

    It is a RuntimeError too because that is what the standard library raises
    from `set_running_or_notify_cancel()` in an unexpected state.
    """


class BrokenThreadPool(concurrent.futures.thread.BrokenThreadPool):
    """An initializer failed, so the pool runs nothing any more."""


class RemoteError(Exception):
    """What a call raised in another process, or behind a queue: only text comes from there.

    type: its class's name. message: its text. traceback: as printed there; may be empty.
    """

    def __init__(self, type: str, message: str, traceback: str = "") -> None:  # noqa: A002  (the attribute's name)
        super().__init__(type, message, traceback)
        self.type = type
        self.message = message
        self.traceback = traceback
        if traceback:
            # So that it is printed with this one.
            self.add_note(traceback)

    @classmethod
    def of(cls, exception: BaseException) -> "RemoteError":
        """Return an exception as text, whatever its `str()` does."""
        return cls(text_of(type(exception).__name__), text_of(exception), trace_of(exception))

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


def text_of(value: object) -> str:
    """Return `str(value)`, or a stand-in when that fails."""
    try:
        # Joined, because `str()` may return an instance of the user's own subclass of str.
        return "".join([str(value)])
    except BaseException:  # noqa: BLE001  (the user's __str__ may raise anything)
        return f"<{type(value).__name__} whose str() fails>"


def trace_of(exception: BaseException, begin: TracebackType | None = None) -> str:
    """Return an exception as printed, from the frame `begin` on; None means its first."""
    begin = begin or exception.__traceback__
    try:
        return "".join(traceback.format_exception(type(exception), exception, begin))
    except BaseException:  # noqa: BLE001  (it calls the user's __str__ and __repr__)
        return "".join(traceback.format_tb(begin))


class QueueError(Exception):
    """A queue refuses the call, or says what makes no sense."""


class QueueUnavailableError(QueueError):
    """The queue cannot be used now, or is closed."""
