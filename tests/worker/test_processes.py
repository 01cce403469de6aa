"""Jobs in processes: what comes back, what becomes of them when they are to stop, and of their processes."""

import json
import os
import signal
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from app.core import State, wait
from app.jobs.errors import JobFinishedError
from app.jobs.model import Line, Outcome, Progress, Stopped
from app.jobs.process import Report
from tests.worker.house import PATIENCE
from tests.worker.process_tasks import TASKS
from tests.worker.process_tasks import goes_on as goes_on_function

NAMES = "echo pid kind_of raises dies tells gives_in never_ends goes_on submits borrowed"
echo, pid, kind_of, raises, dies, tells, gives_in, never_ends, goes_on, submits, borrowed = map(
    TASKS.get, NAMES.split()
)


@pytest.fixture
def pipe(tmp_path):
    """Makes named pipes: whoever opens one waits for the other end."""

    def pipe(name):
        os.mkfifo(tmp_path / name)
        return str(tmp_path / name)

    return pipe


@pytest.fixture
def begin():
    """Begins jobs, each with the end of its pipe, which ends when the job's process does."""
    with ExitStack() as ends:

        def begin(house, task, begun, *args):
            job = house.submit(task, begun, *args)
            alive = ends.enter_context(Path(begun).open())
            return house.wait_for_state(job, State.RUNNING), alive

        yield begin


def ended(job, outcome, how):
    assert (job.outcome, job.cancellation.outcome) == (outcome, how)
    return True


def cancel(house, job):
    """Cancel it unless it has finished."""
    with suppress(JobFinishedError):
        house.cancel(job)


def occupy(house, begun, go):
    """Have the pool run something that is no job."""
    call = house.worker.pools.processes.submit(goes_on_function, begun, go)
    Path(begun).open().close()
    return call


# -- what comes back ---------------------------------------------------------


def test_arguments_are_coerced_in_a_process_and_its_result_comes_back(run):
    house = run(*TASKS)
    result = json.loads(house.run(kind_of, "2030-01-31").result)
    assert result["type"] == "date"
    assert result["pid"] != os.getpid()
    # One after the other, they need no second process.
    assert json.loads(house.run(pid).result) == result["pid"]
    assert json.loads(house.run(submits).result) == [True] * 3


def test_a_function_of_another_module_runs_as_the_task_that_was_made_of_it(run):
    assert run(*TASKS).run(borrowed, "/a/b").result == '"b"'


def test_a_sigterm_for_every_process_of_the_service_leaves_it_to_the_worker_when_jobs_end(run):
    house = run(*TASKS)
    assert house.run(dies, signal.SIGTERM).outcome is Outcome.SUCCEEDED
    # What the job starts can be ended by it all the same.
    assert json.loads(house.run(TASKS.get("ends_its_own_by_sigterm")).result) == -signal.SIGTERM


def test_failures_are_told_as_anywhere_and_a_death_fails_its_own_job_only(run):
    house = run(*TASKS, processes=1)
    raised = house.run(raises, "nobody there")
    assert (raised.outcome, raised.exception[:2]) == (Outcome.FAILED, ("LookupError", "nobody there"))
    died = house.run(dies, signal.SIGKILL)
    assert (died.outcome, died.exception.type) == (Outcome.FAILED, "ProcessDied")
    assert (died.attempt, died.losses, died.cancellation) == (1, 0, None)
    assert "SIGKILL" in died.exception.message
    assert house.run(echo, "next").result == '"next"'


def test_when_no_process_could_be_started_the_next_job_tries_anew(run, caplog):
    house = run(*TASKS)
    broken = house.worker.pools.processes
    broken._keepers._break(OSError("no memory"))
    assert house.run(echo, "runs").result == '"runs"'
    assert house.worker.pools.processes is not broken
    assert "could not be started" in caplog.text


def test_what_a_job_says_comes_back_while_it_runs(run, pipe, capsys, caplog):
    house, begun = run(*TASKS), pipe("begun")
    job = house.submit(tells, begun, tags={"team": "books"}, timeout=3600)
    running = house.wait_for(job, lambda job: job.progress is not None)
    assert (running.state, running.progress) == (State.RUNNING, Progress(1, 2, "half"))
    Path(begun).open().close()
    result = json.loads(house.wait_for(job).result)
    assert 0 < result.pop("left") < 3600
    assert result == {"id": job.id, "attempt": 1, "tags": {"team": "books"}}
    assert capsys.readouterr().out == "printed by the job\n"
    assert [r.getMessage() for r in caplog.records if r.name == "by.the.job"] == ["logged by the job"]


def test_a_report_of_a_claim_that_is_over_is_not_taken_in(run, begin, pipe, capsys):
    house = run(*TASKS, cancel_grace=0)
    job, _ = begin(house, never_ends, pipe("begun"))
    line = Line("", 20, 0.0, "of another claim")
    house.worker._reported(Report(job.id, job.token + 1, Progress(1), [line]))
    house.worker._reported(Report("gone", job.token, Progress(1), [line]))
    assert capsys.readouterr().out == ""
    assert house.worker._executions[job.id].said.take() == ()
    house.cancel(job)
    house.wait_for(job)


# -- stopping ----------------------------------------------------------------


def test_one_that_looks_is_stopped_at_its_checkpoint(run, begin, pipe):
    house = run(*TASKS, cancel_grace=3600)
    job, _ = begin(house, gives_in, pipe("begun"))
    assert house.cancel(job).cancellation.outcome is Stopped.PENDING
    assert ended(house.wait_for(job), Outcome.CANCELLED, Stopped.COOPERATIVE)


def test_one_that_does_not_is_killed_after_the_grace(run, begin, pipe):
    house = run(*TASKS, processes=1, cancel_grace=0.01)
    job, alive = begin(house, never_ends, pipe("begun"))
    house.cancel(job)
    assert ended(house.wait_for(job), Outcome.CANCELLED, Stopped.KILLED)
    assert alive.read() == ""
    assert house.run(echo, "next").result == '"next"'


def test_without_a_grace_it_is_killed_at_once_or_was_quicker(run, begin, pipe):
    house = run(*TASKS, cancel_grace=0)
    job, _ = begin(house, gives_in, pipe("begun"))
    house.cancel(job)
    assert house.wait_for(job).cancellation.outcome in (Stopped.KILLED, Stopped.COOPERATIVE)


def test_a_result_that_comes_after_the_request_counts_and_nobody_is_killed(run, begin, pipe):
    house, go = run(*TASKS, processes=1, cancel_grace=3600), pipe("go")
    before = house.run(pid).result
    job, _ = begin(house, goes_on, pipe("begun"), go)
    house.cancel(job)
    Path(go).open("w").close()
    assert ended(house.wait_for(job), Outcome.SUCCEEDED, Stopped.TOO_LATE)
    assert house.run(pid).result == before
    assert [call for call in house.worker._ticker._calls if call.call is not None] == []


def test_one_that_waits_for_its_process_is_never_called(run, pipe):
    house, go = run(*TASKS, processes=1), pipe("go")
    busy = occupy(house, pipe("busy"), go)
    job = house.wait_for_state(house.submit(never_ends, "not opened"), State.RUNNING)
    house.cancel(job)
    assert ended(house.wait_for(job), Outcome.CANCELLED, Stopped.COOPERATIVE)
    Path(go).open("w").close()
    assert busy.result(PATIENCE) == "result"


def test_a_kill_is_told_even_of_one_that_had_just_begun(run, begin, pipe, monkeypatch):
    house = run(*TASKS, cancel_grace=0.01)
    job, alive = begin(house, never_ends, pipe("begun"))
    future = house.worker._executions[job.id]._process._future
    # As if it began between the two calls of JobProcess.stop.
    monkeypatch.setattr(type(future), "stop", lambda self, request: False)
    house.cancel(job)
    assert ended(house.wait_for(job), Outcome.CANCELLED, Stopped.KILLED)
    assert alive.read() == ""


def test_a_process_that_takes_in_no_request_is_killed_all_the_same(run, begin, pipe, monkeypatch):
    house, waited = run(*TASKS, cancel_grace=0.01), []
    job, alive = begin(house, never_ends, pipe("begun"))
    future = house.worker._executions[job.id]._process._future
    monkeypatch.setattr(
        type(future), "stop", lambda self, request: waited.append(wait([self], PATIENCE)) or True
    )
    house.cancel(job)
    assert waited[0].done == {future}
    assert ended(house.wait_for(job), Outcome.CANCELLED, Stopped.KILLED)
    assert alive.read() == ""


def test_when_the_request_races_with_the_end_exactly_one_outcome_is_told(run):
    house = run(*TASKS, cancel_grace=0)
    outcomes = set()
    for _ in range(40):
        job = house.submit(echo)
        canceller = threading.Thread(target=cancel, args=(house, job))
        canceller.start()
        done = house.wait_for(job)
        canceller.join()
        how = done.cancellation and done.cancellation.outcome
        outcomes.add((done.outcome, how))
        assert how is not Stopped.PENDING
        assert (done.outcome is Outcome.SUCCEEDED) == (how in (None, Stopped.TOO_LATE))
    assert outcomes


# -- draining ----------------------------------------------------------------


def test_one_that_does_not_end_in_time_is_put_back_and_its_process_is_gone(run, begin, pipe, caplog):
    house = run(*TASKS)
    job, alive = begin(house, never_ends, pipe("begun"))
    house.worker.drain(0)
    assert alive.read() == ""
    stored = house.read(job)
    assert (stored.state, stored.attempt, stored.losses) == (State.PENDING, 0, 0)
    house.close()
    # That it was put back is told once, and not again as a failure to settle it.
    assert [r.getMessage() for r in caplog.records] == [f"job {job.id} still runs and is put back"]


def test_one_that_is_put_back_before_it_began_is_never_called(run, pipe):
    house, go = run(*TASKS, processes=1), pipe("go")
    busy = occupy(house, pipe("busy"), go)
    job = house.wait_for_state(house.submit(never_ends, "not opened"), State.RUNNING)
    future = house.worker._executions[job.id]._process._future
    house.worker.drain(0)
    assert future.cancelled()
    assert house.read(job).state is State.PENDING
    Path(go).open("w").close()
    assert busy.result(PATIENCE) == "result"
    house.close()
