import pytest

from app.core import (
    MemoryQueue,
    ProcessPoolExecutor,
    QueueWorker,
    QueuingExecutor,
    ThreadedExecutor,
    ThreadPoolExecutor,
)
from tests.core.executor_contract import CHUNKS, CLOSURES, INTERRUPTS, OBJECTS, QUEUES, ExecutorContract


class TestThreadedExecutor(ExecutorContract):
    takes = frozenset({CLOSURES, OBJECTS, INTERRUPTS})

    def make_executor(self):
        return ThreadedExecutor()


class TestThreadPoolExecutor(ExecutorContract):
    takes = frozenset({CLOSURES, OBJECTS, INTERRUPTS, QUEUES})

    def make_executor(self):
        return ThreadPoolExecutor(4)

    def make_narrow_executor(self):
        return ThreadPoolExecutor(1)


class TestProcessPoolExecutor(ExecutorContract):
    takes = frozenset({INTERRUPTS, QUEUES, CHUNKS})

    def make_executor(self):
        return ProcessPoolExecutor(2)

    def make_narrow_executor(self):
        return ProcessPoolExecutor(1)


class TestQueuingExecutor(ExecutorContract):
    """To a thread pool; the others to other executors."""

    def make_workers_executor(self):
        return ThreadPoolExecutor(4)

    @pytest.fixture(autouse=True)
    def _worker(self):
        self.queue = MemoryQueue()
        with self.make_workers_executor() as executor, QueueWorker(self.queue, executor, limit=2):
            yield

    def make_executor(self):
        return QueuingExecutor(self.queue)


class TestQueuingExecutorToThreads(TestQueuingExecutor):
    def make_workers_executor(self):
        return ThreadedExecutor()
