from app.core import ThreadedExecutor, ThreadPoolExecutor
from tests.core.executor_contract import CLOSURES, INTERRUPTS, OBJECTS, QUEUES, ExecutorContract


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
