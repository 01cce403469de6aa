"""A job's function in a process of its own, as the worker sees it."""

from collections.abc import Callable

from app.core import FutureCancelledError, ProcessDied, ProcessFuture
from app.jobs.process import Order, Raised, Returned, run_order
from app.worker.pools import Pools


class JobProcess:
    """One run of a function. It can be asked to stop, and killed."""

    def __init__(self, pools: Pools, order: Order) -> None:
        self._future: ProcessFuture[Returned | Raised] = pools.submit_to_process(run_order, order)

    def when_ended(self, call: Callable[[], object]) -> None:
        """Have `call` called when the run has ended, or at once if it has."""
        self._future.add_done_callback(lambda _: call())

    def stop(self, request: BaseException) -> None:
        """Have `checkpoint()` raise `request` in the function; one that has not begun never does."""
        if not self._future.stop(request):
            self._future.cancel()

    def kill(self) -> None:
        """End the function, whatever it does, unless it has ended; one that has not begun never does."""
        if not (self._future.kill() or self._future.cancel()):
            # It may just have begun.
            self._future.kill()

    def ending(self) -> Returned | Raised | BaseException:
        """Return how the run has ended: the function by itself, or by an exception of the process's.

        ProcessDied if it was killed, FutureCancelledError if it never began.
        """
        future = self._future
        if future.cancelled():
            # Both, if `stop` took it for one that has not begun when it just had.
            return ProcessDied(None) if future.killed else FutureCancelledError()
        exception = future.exception()
        return future.result() if exception is None else exception
