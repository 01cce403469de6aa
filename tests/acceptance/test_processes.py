"""Functions in processes, in a real service: HTTP beside them, and what becomes of them when it ends."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.serving import TIMEOUT, service

TASKS = """
import logging, os, re, sys
from functools import partial
from app import task
from library import wrapped

in_process = partial(task, executor="process")

@in_process()
def spin(begun: str) -> None:
    kept = open(begun, "w")
    while True:
        pass

@in_process()
def hold_the_interpreter(begun: str) -> None:
    kept = open(begun, "w")
    re.match("(a+)+$", "a" * 60 + "b")

@in_process()
def start_a_program(begun: str) -> None:
    open(begun, "w")
    os.execvp("sh", ["sh", "-c", 'exec sleep 3600 > "$0"', begun]) if os.fork() == 0 else os.wait()

@in_process()
def end_when_told(begun: str, go: str) -> str:
    open(begun, "w").close()
    open(go).close()
    return "told"

@in_process()
def say() -> None:
    print("printed by the job")
    print("to stderr by the job", file=sys.stderr)
    logging.getLogger("mine").warning("logged by the job")

@in_process()
def flood(begun: str) -> None:
    print(*range(10_000), sep="\\n")
    kept = open(begun, "w")
    while True:
        print("again")

@in_process(name="through_a_wrapper")
@wrapped
def add(a, b): return a + b

@in_process()
def add_one(a: int) -> int:
    return a + 1
"""

LIBRARY = """
def wrapped(fn):
    def wrapper(a: int, b: int) -> int:
        return fn(a, b)
    return wrapper
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(TASKS)
    (tmp_path / "library.py").write_text(LIBRARY)
    return tmp_path


@pytest.fixture
def pipe(tmp_path):
    def pipe(name):
        os.mkfifo(tmp_path / name)
        return str(tmp_path / name)

    return pipe


def test_http_answers_while_every_process_computes_and_prints(folder, pipe):
    with service(folder, ERRAND_TASKS="mine", ERRAND_PROCESSES="2", ERRAND_CANCEL_GRACE="0") as running:
        drained = ThreadPoolExecutor(1)
        printed = drained.submit(running.process.stdout.read)
        begun = [pipe("spins"), pipe("floods")]
        jobs = [running.submit(task, path) for task, path in zip(("spin", "flood"), begun, strict=True)]
        with Path(begun[0]).open() as spins, Path(begun[1]).open() as floods:
            waiting = running.submit("add_one", 1)
            assert running.job(waiting["id"])["state"] == "pending"
            assert running.client.get("/health/ready").status_code == 200
            assert len(running.client.get("/jobs").json()["jobs"]) == 3
            for job in jobs:
                assert running.client.delete(f"/jobs/{job['id']}").status_code == 202
                assert running.job(job["id"], wait=TIMEOUT)["cancellation"]["outcome"] == "killed"
            assert (spins.read(), floods.read()) == ("", "")
            assert running.job(waiting["id"], wait=TIMEOUT)["result"] == 2
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(TIMEOUT) == 0
        assert printed.result(TIMEOUT).startswith("0\n")
        drained.shutdown()


@pytest.mark.parametrize("task", ["hold_the_interpreter", "start_a_program"])
def test_no_process_outlives_a_service_that_is_killed_and_its_job_runs_again(folder, pipe, task):
    begun = pipe("begun")
    with service(folder, ERRAND_TASKS="mine") as running:
        job = running.submit(task, begun)
        with Path(begun).open() as alive:
            running.until_running(job["id"])
            assert running.end(signal.SIGKILL) == -signal.SIGKILL
            # It ends with the last process that has it open.
            assert alive.read() == ""
    with service(folder, ERRAND_TASKS="mine", ERRAND_CANCEL_GRACE="0") as again:
        assert "Recovered: 1 job of a process that was lost: 1 to run again" in again.announcement
        with Path(begun).open() as alive:
            assert again.job(job["id"])["losses"] == 1
            again.client.delete(f"/jobs/{job['id']}")
            assert again.job(job["id"], wait=TIMEOUT)["cancellation"]["outcome"] == "killed"
            assert alive.read() == ""


def drain(running):
    """Send SIGTERM and return when new jobs are refused."""
    running.send(signal.SIGTERM)
    while running.client.get("/health/ready").status_code != 503:
        pass


def test_a_job_that_ends_within_the_drain_counts(folder, pipe):
    begun, go = pipe("begun"), pipe("go")
    with service(folder, ERRAND_TASKS="mine") as running:
        job = running.submit("end_when_told", begun, go)
        Path(begun).open().close()
        drain(running)
        Path(go).open("w").close()
        assert running.wait() == 0
    with service(folder, ERRAND_TASKS="mine") as again:
        assert again.job(job["id"])["result"] == "told"


@pytest.mark.parametrize("second", [False, True], ids=["its time is up", "a second signal"])
def test_a_job_that_does_not_end_is_put_back_and_its_process_is_gone(folder, pipe, second):
    begun = pipe("begun")
    seconds = "3600" if second else "0.05"
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS=seconds) as running:
        job = running.submit("spin", begun)
        with Path(begun).open() as alive:
            running.until_running(job["id"])
            if second:
                drain(running)
            assert running.end(signal.SIGTERM) == 0
            assert alive.read() == ""
    with service(folder, ERRAND_TASKS="mine", ERRAND_CANCEL_GRACE="0") as again:
        with Path(begun).open():
            found = again.job(job["id"])
            assert (found["state"], found["attempt"], found["losses"]) == ("running", 1, 0)
        again.client.delete(f"/jobs/{job['id']}")
        assert again.job(job["id"], wait=TIMEOUT)["cancellation"]["outcome"] == "killed"


def test_what_a_job_prints_and_logs_is_in_the_services_own_output(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        job = running.submit("say")
        assert running.job(job["id"], wait=TIMEOUT)["outcome"] == "succeeded"
        assert running.process.stdout.readline() == "printed by the job\n"
        assert running.job(running.submit("through_a_wrapper", 1, 2)["id"], wait=TIMEOUT)["result"] == 3
        assert running.end(signal.SIGTERM) == 0
    lines = running.errors.splitlines()
    assert "to stderr by the job" in lines
    assert [line for line in lines if line.endswith(f"WARNING mine [{job['id']}]: logged by the job")]


def test_a_task_says_where_it_runs(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        shown = running.client.get("/tasks/add_one").json()
    assert shown["executor"] == "process"
    assert json.dumps(shown["options"]).startswith('{"queue": "default", "priority": 0, "timeout": null, ')
