"""What a killed process leaves behind: `kill -9` is a test here, not a figure of speech."""

import signal
import threading

import httpx
import pytest

from tests.acceptance.serving import TIMEOUT, service

TASKS = """
import os, pathlib, time
from app import task, checkpoint

@task
def note(path: str, text: str) -> str:
    with open(path, "a") as file:
        file.write(text + "\\n")
    return text

@task
def hang(path: str) -> None:
    pathlib.Path(path).touch()
    while True:
        checkpoint()
        time.sleep(0.01)

@task
def second_time(path: str) -> str:
    if os.path.exists(path):
        return "again"
    pathlib.Path(path).touch()
    time.sleep(3600)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(TASKS)
    return tmp_path


def test_kill_9_loses_nothing_that_was_acknowledged(folder):
    acknowledged: list[str] = []
    log = folder / "log"
    with service(folder, ERRAND_TASKS="mine") as first:
        enough = threading.Event()

        def submit_until_it_dies(number: int) -> None:
            with httpx.Client(base_url=first.url, timeout=TIMEOUT) as client:
                for n in range(10_000):
                    body = {"task": "note", "args": [str(log), f"{number}-{n}"]}
                    try:
                        answer = client.post("/jobs", json=body)
                    except httpx.TransportError:
                        return
                    assert answer.status_code == 202
                    acknowledged.append(answer.json()["id"])
                    if len(acknowledged) >= 200:
                        enough.set()

        threads = [threading.Thread(target=submit_until_it_dies, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        assert enough.wait(TIMEOUT)
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
        for thread in threads:
            thread.join()

    with service(folder, ERRAND_TASKS="mine") as second:
        jobs = [second.job(job_id, wait=TIMEOUT) for job_id in acknowledged]
        assert {job["outcome"] for job in jobs} == {"succeeded"}
    written = set(log.read_text().split())
    assert {job["result"] for job in jobs} <= written


def test_a_job_that_ran_when_its_process_was_killed_runs_again_at_no_attempt(folder):
    mark = folder / "begun"
    with service(folder, ERRAND_TASKS="mine") as first:
        job = first.submit("second_time", str(mark))
        first.until_running(job["id"])
        while not mark.exists():
            first.job(job["id"])
        first.end(signal.SIGKILL)
    with service(folder, ERRAND_TASKS="mine") as second:
        assert any(line.startswith("Recovered: 1 job ") for line in second.announcement)
        job = second.job(job["id"], wait=TIMEOUT)
    assert (job["result"], job["attempt"], job["losses"]) == ("again", 1, 1)


def test_a_job_asked_to_stop_ends_cancelled_when_its_process_was_killed(folder):
    with service(folder, ERRAND_TASKS="mine") as first:
        job = first.submit("second_time", str(folder / "begun"))
        first.until_running(job["id"])
        assert first.client.delete(f"/jobs/{job['id']}").status_code == 202
        first.end(signal.SIGKILL)
    with service(folder, ERRAND_TASKS="mine") as second:
        job = second.job(job["id"])
    assert (job["state"], job["cancellation"]["outcome"]) == ("cancelled", "killed")


def test_a_scheduled_job_survives_the_restart(folder):
    with service(folder, ERRAND_TASKS="mine") as first:
        job = first.submit("note", str(folder / "log"), "later", delay=3600)
        first.end(signal.SIGKILL)
    with service(folder, ERRAND_TASKS="mine") as second:
        assert second.job(job["id"])["run_at"] == job["run_at"]
        assert second.client.delete(f"/jobs/{job['id']}").json()["state"] == "cancelled"


def test_jobs_of_a_task_that_is_gone_wait_and_are_reported(folder):
    with service(folder, ERRAND_TASKS="mine") as first:
        job = first.submit("note", str(folder / "log"), "later", delay=0.001, priority=-1)
        blocked = first.submit("note", str(folder / "log"), "later", delay=3600)
        assert first.job(job["id"], wait=TIMEOUT)["outcome"] == "succeeded"
        first.end(signal.SIGKILL)
    with service(folder, ERRAND_TASKS="app.tasks") as second:
        assert "Waiting: 1 job of task 'note', which is not known here" in second.announcement
        assert second.job(blocked["id"])["state"] == "pending"
