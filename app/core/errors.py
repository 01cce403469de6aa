"""The errors of the core.

    concurrent.futures.CancelledError
    └── FutureCancelledError
    TimeoutError
    └── FutureTimeoutError
    concurrent.futures.InvalidStateError, RuntimeError
    └── InvalidStateError
    concurrent.futures.thread.BrokenThreadPool
    └── BrokenThreadPool

Each one is also the standard library's error of that meaning, so that code
written for `concurrent.futures` catches it unchanged.
"""

import concurrent.futures
import concurrent.futures.thread


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
