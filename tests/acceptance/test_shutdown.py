"""SIGTERM: what runs may end, what does not is put back, and everybody who waits is answered."""

import re
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.serving import TIMEOUT, service

TASKS = """
import asyncio, os, pathlib, signal, time
from app import context, submit, task
from app.jobs import points

def wait_for(go):
    while not pathlib.Path(go).exists():
        time.sleep(0.01)

@task
def until_told(begun: str, go: str) -> str:
    pathlib.Path(begun).touch()
    wait_for(go)
    return "done"

@task(executor="process")
def in_process(begun: str, go: str) -> str:
    return until_told(begun, go)

@task
def generator(begun: str, go: str):
    pathlib.Path(begun).touch()
    yield submit(wait_for, go)
    return "done"

@task
async def coroutine(begun: str, go: str) -> str:
    pathlib.Path(begun).touch()
    while not pathlib.Path(go).exists():
        await asyncio.sleep(0.01)
    return "done"

@task
def fails_at_first(begun: str, go: str) -> int:
    if context().attempt > 1:
        return context().attempt
    until_told(begun, go)
    raise LookupError("not at the first attempt")

@task
def touch(path: str) -> None:
    pathlib.Path(path).touch()

if os.path.exists("terminate"):
    os.rename("terminate", "terminated")
    points.at("recovery-committed", lambda: os.kill(os.getpid(), signal.SIGTERM))
"""

KINDS = ["until_told", "in_process", "generator", "coroutine"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(TASKS)
    return tmp_path


def begin(running, folder, task="until_told", **fields):
    job = running.submit(task, str(folder / f"begun-{task}"), str(folder / "go"), **fields)
    while not (folder / f"begun-{task}").exists():
        running.job(job["id"])
    return job["id"]


def drain(running):
    """Send SIGTERM and return when new jobs are refused."""
    running.send(signal.SIGTERM)
    while running.client.get("/health/ready").status_code != 503:
        pass


def test_a_job_that_ends_in_time_is_finished_and_its_waiter_answered(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        job_id = begin(running, folder)
        answers = []
        waiter = threading.Thread(target=lambda: answers.append(running.job(job_id, wait=TIMEOUT)))
        waiter.start()
        drain(running)
        assert running.client.get(f"/jobs/{job_id}").json()["state"] == "running"
        refused = running.client.post("/jobs", json={"task": "until_told", "args": ["a", "b"]})
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/draining")
        assert "Retry-After" in refused.headers
        (folder / "go").touch()
        waiter.join(TIMEOUT)
        assert running.wait() == 0
    assert answers[0]["result"] == "done"


def test_a_job_that_does_not_end_is_put_back_and_runs_after_the_restart_at_no_cost(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="0.05") as running:
        job_id = begin(running, folder)
        assert running.end(signal.SIGTERM) == 0
    (folder / "go").touch()
    with service(folder, ERRAND_TASKS="mine") as again:
        job = again.job(job_id, wait=TIMEOUT)
    assert (job["result"], job["attempt"], job["losses"]) == ("done", 1, 0)


def test_a_cancel_that_comes_during_the_drain_is_kept(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        job_id = begin(running, folder)
        drain(running)
        assert running.client.delete(f"/jobs/{job_id}").status_code == 202
        running.send(signal.SIGTERM)
        assert running.wait() == 0
    with service(folder, ERRAND_TASKS="mine") as again:
        job = again.job(job_id)
    assert (job["state"], job["cancellation"]["outcome"]) == ("cancelled", "killed")


def test_a_second_signal_cuts_the_drain_short(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="3600") as running:
        begin(running, folder)
        drain(running)
        running.send(signal.SIGINT)
        assert running.wait() == 0


def test_a_second_sigterm_cuts_the_drain_short_too(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="3600") as running:
        begin(running, folder)
        drain(running)
        running.send(signal.SIGTERM)
        assert running.wait() == 0


def test_what_ends_in_time_counts_whichever_kind_it_is(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        ids = [begin(running, folder, task) for task in KINDS]
        drain(running)
        (folder / "go").touch()
        assert running.wait() == 0
    with service(folder, ERRAND_TASKS="mine") as again:
        jobs = [again.job(job_id) for job_id in ids]
    assert [(job["result"], job["attempt"], job["losses"]) for job in jobs] == [("done", 1, 0)] * len(KINDS)


def test_what_does_not_end_in_time_is_put_back_at_no_cost_whichever_kind_it_is(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="0.05") as running:
        ids = [begin(running, folder, task) for task in KINDS]
        assert running.end(signal.SIGTERM) == 0
    (folder / "go").touch()
    with service(folder, ERRAND_TASKS="mine") as again:
        assert not any(line.startswith("Recovered") for line in again.announcement)
        jobs = [again.job(job_id, wait=TIMEOUT) for job_id in ids]
    assert [(job["result"], job["attempt"], job["losses"]) for job in jobs] == [("done", 1, 0)] * len(KINDS)


def test_everybody_who_waits_gets_the_job_as_it_was_put_back(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="3600") as running:
        job_id = begin(running, folder)
        blocked = running.submit("touch", str(folder / "never"), delay=3600)["id"]
        etag = running.client.get(f"/jobs/{blocked}").headers["ETag"]
        polls = [
            {"url": f"/jobs/{job_id}", "params": {"wait": 60}},
            {"url": f"/jobs/{job_id}/result", "params": {"wait": 60}},
            {"url": f"/jobs/{blocked}", "params": {"wait": 60}, "headers": {"If-None-Match": etag}},
        ]
        with ThreadPoolExecutor(len(polls)) as threads:
            answers = [threads.submit(running.client.get, **poll) for poll in polls]
            drain(running)
            assert not any(answer.done() for answer in answers)
            running.send(signal.SIGTERM)
            job, result, unchanged = (answer.result(TIMEOUT) for answer in answers)
        assert running.wait() == 0
    assert (job.status_code, job.json()["state"], job.json()["attempt"]) == (200, "pending", 0)
    assert (result.status_code, result.json()["state"]) == (202, "pending")
    assert unchanged.status_code == 304


def test_everything_but_new_jobs_is_served_during_the_drain(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        job_id = begin(running, folder)
        waiting = running.submit("touch", str(folder / "never"), delay=3600)["id"]
        drain(running)
        paths = ["/jobs", f"/jobs/{job_id}", f"/jobs/{job_id}/result", "/tasks", "/health/live", "/docs"]
        assert {running.client.get(path).status_code for path in paths} == {200, 202}
        ready = running.client.get("/health/ready")
        assert (ready.status_code, ready.json()["type"]) == (503, "/problems/draining")
        assert running.client.delete(f"/jobs/{waiting}").json()["state"] == "cancelled"
        (folder / "go").touch()
        assert running.wait() == 0


def test_what_becomes_due_during_the_drain_waits_for_the_next_process(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="3600") as running:
        begin(running, folder)
        late = running.submit("touch", str(folder / "late"), delay=0.3)
        drain(running)
        until(lambda: running.job(late["id"])["version"] > late["version"])
        running.send(signal.SIGTERM)
        assert running.wait() == 0
    assert not (folder / "late").exists()
    with service(folder, ERRAND_TASKS="mine") as again:
        assert again.job(late["id"], wait=TIMEOUT)["outcome"] == "succeeded"


def test_an_attempt_that_fails_during_the_drain_is_followed_by_the_next_one_after_the_restart(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="3600") as running:
        job_id = begin(running, folder, "fails_at_first", retry={"max_attempts": 2, "backoff": 0})
        drain(running)
        (folder / "go").touch()
        # Nobody waits for what waits.
        assert running.wait() == 0
    with service(folder, ERRAND_TASKS="mine") as again:
        job = again.job(job_id, wait=TIMEOUT)
    assert (job["result"], job["attempt"], job["losses"]) == (2, 2, 0)
    assert job["attempts"][0]["exception"]["type"] == "LookupError"


def test_a_job_that_waits_for_its_next_attempt_holds_up_no_drain_and_is_kept(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="3600") as running:
        (folder / "go").touch()
        job_id = begin(running, folder, "fails_at_first", retry={"max_attempts": 2, "backoff": 3600})
        until(lambda: has_failed_once(running.job(job_id)))
        waiting = running.job(job_id)
        assert running.end(signal.SIGTERM) == 0
    with service(folder, ERRAND_TASKS="mine") as again:
        assert again.job(job_id) == waiting
        assert (waiting["state"], waiting["attempt"], waiting["losses"]) == ("pending", 1, 0)


def has_failed_once(job):
    return (job["state"], job["attempt"]) == ("pending", 1)


def until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline


def test_a_signal_that_comes_before_anything_is_answered_drains_all_the_same(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="0.05") as running:
        job_id = begin(running, folder)
        assert running.end(signal.SIGTERM) == 0
    (folder / "terminate").touch()
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="0.05") as at_once:
        assert at_once.wait() == 0
    (folder / "go").touch()
    with service(folder, ERRAND_TASKS="mine") as again:
        job = again.job(job_id, wait=TIMEOUT)
    assert (job["result"], job["attempt"], job["losses"]) == ("done", 1, 0)


def test_a_drain_ends_in_time_though_nothing_can_be_written(folder):
    if not hasattr(resource, "prlimit"):
        pytest.skip("another process's limits cannot be set on this system")
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="0.5") as running:
        ended, left = begin(running, folder), begin(running, folder, "coroutine")
        _, hard = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (0, hard))
        drain(running)
        refused = running.client.post("/jobs", json={"task": "touch", "args": ["a"]})
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/draining")
        assert running.client.get(f"/jobs/{left}").json()["state"] == "running"
        (folder / "go").touch()
        assert running.wait() == 0
    assert "the store cannot be written" in running.errors
    with service(folder, ERRAND_TASKS="mine") as again:
        # Nobody could write down how they ended, so they run again.
        jobs = [again.job(job_id, wait=TIMEOUT) for job_id in (ended, left)]
    assert [(job["result"], job["attempt"], job["losses"]) for job in jobs] == [("done", 1, 1)] * 2


def test_an_idle_service_ends_at_once_on_ctrl_c(folder):
    with service(folder, ERRAND_DRAIN_SECONDS="3600") as running:
        assert running.end(signal.SIGINT) == 0


def test_the_log_has_a_line_each_for_the_stop_and_for_a_failure(folder):
    with service(folder) as running:
        job = running.submit("fail", "out of ink\nand paper")
        assert running.job(job["id"], wait=TIMEOUT)["outcome"] == "failed"
        assert running.end(signal.SIGTERM) == 0
    lines = running.errors.splitlines()
    assert all(
        re.fullmatch(r"[0-9-]+ [0-9:,]+ (INFO|WARNING) +app\.[a-z.]+: (?!INFO|WARNING).+", line)
        for line in lines
    )
    failure = next(line for line in lines if job["id"] in line)
    assert failure.endswith(r"failed: RuntimeError: out of ink\nand paper")
    assert "stopping" in lines[-2]
    assert "stopped" in lines[-1]
