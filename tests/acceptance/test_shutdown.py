"""SIGTERM: what runs may end, what does not is put back, and everybody who waits is answered."""

import re
import signal
import threading

import pytest

from tests.acceptance.serving import TIMEOUT, service

TASKS = """
import pathlib, time
from app import task

@task
def until_told(begun: str, go: str) -> str:
    pathlib.Path(begun).touch()
    while not pathlib.Path(go).exists():
        time.sleep(0.01)
    return "done"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(TASKS)
    return tmp_path


def begin(running, folder):
    job = running.submit("until_told", str(folder / "begun"), str(folder / "go"))
    while not (folder / "begun").exists():
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
