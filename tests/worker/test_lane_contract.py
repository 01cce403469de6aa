"""A lane under the suite of all executors."""

from app.worker.lanes import Lane, LanePool
from tests.core.executor_contract import CLOSURES, INTERRUPTS, OBJECTS, QUEUES, ExecutorContract


class OnlyLane(Lane):
    """The one lane of a pool of its own, which is shut down with it."""

    def __init__(self, threads):
        self._own = LanePool(threads, "lane")
        super().__init__(self._own, "only")

    def shutdown(self, wait=True, *, cancel_futures=False):
        self._own.shutdown(wait, cancel_futures=cancel_futures)


class TestLane(ExecutorContract):
    takes = frozenset({CLOSURES, OBJECTS, INTERRUPTS, QUEUES})

    def make_executor(self):
        return OnlyLane(4)

    def make_narrow_executor(self):
        return OnlyLane(1)
