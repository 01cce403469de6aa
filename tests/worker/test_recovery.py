"""A process that is killed loses nothing that it had acknowledged."""

import asyncio
import subprocess
import sys
from pathlib import Path

from app.core import State
from app.jobs.lifecycle import CancelRequested, backoff_after_loss
from app.jobs.model import Hold, Outcome, Slot, Stopped
from app.stores.base import Filter, Paging, Recover
from tests.worker.house import PATIENCE, ManualClock

CHILD = """
import sys, threading
from pathlib import Path
from tests.worker.house import House, ManualClock

def forever():
    print("running", flush=True)
    threading.Event().wait()

house = House(Path(sys.argv[1]), forever, threads=1, clock=ManualClock(int(sys.argv[2])))
for _ in sys.argv[3:]:
    house.submit(forever)
house.start()
threading.Event().wait()
"""


def kill_while_running(folder, clock, *arguments):
    """Start a process of its own, wait until the job's code runs in it, and kill it."""
    command = [sys.executable, "-c", CHILD, str(folder), str(clock.now), *arguments]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "running\n"
        finally:
            child.kill()


def forever():
    return "this time it ends"


def test_a_job_whose_worker_was_killed_runs_again_after_a_backoff(build, tmp_path):
    clock = ManualClock()
    kill_while_running(tmp_path, clock, "submit")
    house = build(forever, clock=clock).start()
    [lost] = house.recovered.lost
    assert (lost.state, lost.losses, lost.attempt) == (State.PENDING, 1, 0)
    assert (lost.hold, lost.run_at) == (Hold.DUE_LATER, clock.now + backoff_after_loss(1))
    clock.now = lost.run_at
    ended = house.wait_for(lost)
    assert (ended.result, ended.attempt, ended.losses) == ('"this time it ends"', 1, 1)


def test_the_third_loss_is_the_end(build, tmp_path):
    clock = ManualClock()
    kill_while_running(tmp_path, clock, "submit")
    for _ in range(2):
        # The child starts at a time when the job is due again; it finds it lost, so it is due later still.
        house = build(clock=clock)
        lost = lose(house)
        assert house.close()
        clock.now = lost.run_at
        kill_while_running(tmp_path, clock)
    house = build(forever, clock=clock).start()
    [ended] = house.recovered.lost
    assert (ended.state, ended.outcome, ended.losses) == (State.FINISHED, Outcome.FAILED, 3)
    assert (ended.exception.type, ended.attempt) == ("WorkerLost", 1)
    assert "lost 3 times" in ended.exception.message


def lose(house):
    """Take over what the killed process left, as a start does, and return the job."""
    [lost] = house.writer.submit(Recover({"forever": Slot.THREAD})).result(PATIENCE).lost
    return lost


def test_a_lost_job_that_was_asked_to_stop_ends_as_killed(build, tmp_path):
    clock = ManualClock()
    kill_while_running(tmp_path, clock, "submit")
    house = build(forever, clock=clock)
    [job] = asyncio.run(house.store.list("tests", Filter(), Paging())).jobs
    house.change(job, CancelRequested())
    house.start()
    [lost] = house.recovered.lost
    assert (lost.state, lost.cancellation.outcome, lost.losses) == (State.CANCELLED, Stopped.KILLED, 0)


def test_pending_jobs_of_a_killed_process_run_at_once(build, tmp_path):
    clock = ManualClock()
    kill_while_running(tmp_path, clock, "submit", "submit", "submit")
    house = build(forever, clock=clock).start()
    assert [lost.losses for lost in house.recovered.lost] == [1]
    jobs = asyncio.run(house.store.list("tests", Filter(), Paging())).jobs
    others = [job for job in jobs if job.id != house.recovered.lost[0].id]
    assert [house.wait_for(job).result for job in others] == ['"this time it ends"'] * 2
