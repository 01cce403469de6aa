"""A Future and a Job have the same states, and come into them in the same ways."""

import threading

import pytest

from app.core import Future, FutureCancelledError, State, ThreadPoolExecutor
from app.core.executor import run_call
from app.jobs.errors import TransitionError
from app.jobs.lifecycle import CancelRequested, Claimed, Failed, Succeeded, transition
from app.jobs.model import Job, Slot
from app.jobs.outcome import failure_of

NOW = 1_750_000_000_000_000
SOON = 30  # seconds: a bound on waiting for what must come, never a delay


class FutureSide:
    """A call on a pool of one thread, which goes on when the test says so."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(1)
        self.running = threading.Event()
        self.ending = threading.Event()
        self.error = None
        self.start_gate = threading.Event()
        # The thread is kept busy, so that the future under test is pending.
        self.pool.submit(self.start_gate.wait, SOON)
        self.future = self.pool.submit(self.work)

    def work(self):
        self.running.set()
        assert self.ending.wait(SOON)
        if self.error is not None:
            raise self.error
        return 1

    def start(self):
        self.start_gate.set()
        assert self.running.wait(SOON)

    def cancel(self):
        self.future.cancel()

    def finish(self, error=None):
        self.error = error
        self.ending.set()
        # Joins the thread: what the call has ended by is in the future then.
        self.pool.shutdown()

    @property
    def state(self):
        return self.future.state

    def close(self):
        self.start_gate.set()
        self.ending.set()
        self.pool.shutdown()


class JobSide:
    """A job, moved by the events that a worker would report."""

    def __init__(self):
        self.job = Job("0198f00d-0000-7000-8000-000000000001", "default", "plain", Slot.THREAD, NOW, NOW)

    def tell(self, event):
        try:
            self.job = transition(self.job, event, NOW)
        except TransitionError:
            return False
        return True

    def start(self):
        assert self.tell(Claimed(1, "worker"))

    def cancel(self):
        self.tell(CancelRequested())

    def finish(self, error=None):
        self.tell(Succeeded(1, "1") if error is None else Failed(1, failure_of(error)))

    @property
    def state(self):
        return self.job.state

    def close(self):
        pass


HISTORIES = {
    "it returns": ["start", "finish"],
    "it raises": ["start", "fail"],
    "it is cancelled while it waits": ["cancel"],
    "it is cancelled twice": ["cancel", "cancel"],
    "it stops when asked to": ["start", "cancel", "stop"],
    "it is asked twice": ["start", "cancel", "cancel", "stop"],
    "it returns although asked": ["start", "cancel", "finish"],
    "it stops unasked": ["start", "stop"],
    "it is asked when it has finished": ["start", "finish", "cancel"],
    "it is asked when it has failed": ["start", "fail", "cancel"],
}
ENDS = {
    "it returns": State.FINISHED,
    "it raises": State.FINISHED,
    "it is cancelled while it waits": State.CANCELLED,
    "it is cancelled twice": State.CANCELLED,
    "it stops when asked to": State.CANCELLED,
    "it is asked twice": State.CANCELLED,
    "it returns although asked": State.FINISHED,
    "it stops unasked": State.FINISHED,
    "it is asked when it has finished": State.FINISHED,
    "it is asked when it has failed": State.FINISHED,
}


def states(side, history):
    """Return the state at the beginning and after each step."""
    steps = {
        "start": side.start,
        "cancel": side.cancel,
        "finish": side.finish,
        "fail": lambda: side.finish(ValueError("broken")),
        "stop": lambda: side.finish(FutureCancelledError("stopped")),
    }
    seen = [side.state]
    try:
        for step in history:
            steps[step]()
            seen.append(side.state)
    finally:
        side.close()
    return seen


@pytest.mark.parametrize("name", HISTORIES)
def test_a_future_and_a_job_go_through_the_same_states(name):
    on_future = states(FutureSide(), HISTORIES[name])
    assert on_future == states(JobSide(), HISTORIES[name])
    assert on_future[0] is State.PENDING
    assert on_future[-1] is ENDS[name]


def test_a_cancelled_future_and_a_cancelled_job_never_start():
    future, side = Future(), JobSide()
    future.cancel()
    side.cancel()
    run_call(future, pytest.fail, ("it ran",), {})
    assert not side.tell(Claimed(1, "worker"))
    assert future.state is side.state is State.CANCELLED
