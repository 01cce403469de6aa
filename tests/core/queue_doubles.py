"""Stand-ins for both ends of a queue, and what the tests of queues share."""

import threading

from app.core import Executor, Future
from app.core.executor import run_call
from app.core.named import Call, Returned, to_json


class Hand:
    """A consumer that does nothing by itself."""

    def __init__(self, queue, *names, limit=1):
        self.queue = queue
        self.names = names
        self.limit = limit
        self.runs = []
        self.cancels = []
        self.came = threading.Semaphore(0)

    def run(self, message):
        self.runs.append(message)
        self.came.release()

    def cancel(self, message):
        self.cancels.append(message)

    def answer(self, value):
        self.queue.settle(self.runs[-1], Returned(to_json(value, "it")))


class Ear:
    """A reply that takes note."""

    def __init__(self):
        self.heard = []

    def started(self):
        self.heard.append("started")

    def ended(self, ending):
        self.heard.append(ending)


CALL = Call("shelf:count", '{"args":[],"kwargs":{}}')


class ShelfError(Exception):
    pass


def raise_shelf_error():
    raise ShelfError("full")


class Inline(Executor):
    """Runs each call at once; first does what a test wants done in the meantime."""

    def __init__(self, meanwhile=lambda: None):
        self.meanwhile = meanwhile

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.meanwhile()
        run_call(future, fn, args, kwargs)
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        pass
