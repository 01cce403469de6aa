"""The service's own log, as an operator reads it: whose job says what."""

import re
import signal
import time

import pytest

from tests.acceptance.serving import TIMEOUT, service

TASKS = """
import logging, os, sys, threading
from app import checkpoint, submit, task

LOGGER = logging.getLogger("mine")

def say():
    print("printed")
    print("to stderr", file=sys.stderr)
    LOGGER.warning("logged")

@task
def in_a_thread() -> None:
    say()

@task
def in_steps():
    yield submit(say)

@task
async def on_the_loop() -> None:
    say()

@task(executor="process")
def in_a_process() -> None:
    say()

@task
def crunch() -> None:
    number = 0
    while True:
        checkpoint()
        for _ in range(1_000):
            number += 1

@task
def by_others() -> None:
    thread = threading.Thread(target=say)
    thread.start()
    thread.join()
    if os.fork() == 0:
        LOGGER.warning("from a fork")
        os._exit(0)
    os.wait()
    logging.getLogger("app.worker.x").warning("Errand's own")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(TASKS)
    return tmp_path


@pytest.mark.parametrize("task", ["in_a_thread", "in_steps", "on_the_loop", "in_a_process"])
def test_a_line_of_a_jobs_code_names_its_job(folder, task):
    with service(folder, ERRAND_TASKS="mine") as running:
        job = running.job(running.submit(task)["id"], wait=TIMEOUT)
        assert job["outcome"] == "succeeded"
        assert running.process.stdout.readline() == "printed\n"
        assert running.end(signal.SIGTERM) == 0
    lines = running.errors.splitlines()
    assert "to stderr" in lines
    [line] = [line for line in lines if line.endswith("logged")]
    assert re.fullmatch(rf"[-\d]+ [:,\d]+ WARNING mine \[{job['id']}\]: logged", line)
    # The service itself speaks of no job of its own.
    assert [line for line in lines if re.search(r" app\.[a-z.]+: stopped: ", line)]


def test_what_is_no_jobs_names_none_and_a_forked_child_names_it_too(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        job = running.job(running.submit("by_others")["id"], wait=TIMEOUT)
        assert job["outcome"] == "succeeded"
        assert running.end(signal.SIGTERM) == 0
    lines = running.errors.splitlines()
    assert [line for line in lines if line.endswith("WARNING mine: logged")]
    assert [line for line in lines if line.endswith("WARNING app.worker.x: Errand's own")]
    assert [line for line in lines if line.endswith(f"WARNING mine [{job['id']}]: from a fork")]


@pytest.mark.skipif(not hasattr(time, "pthread_getcpuclockid"), reason="no other thread's clock can be read")
def test_a_task_that_computes_in_a_thread_is_told_of_once_with_what_to_do(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        jobs = [running.submit("crunch") for _ in range(8)]
        line = running.until_logged("HTTP waits")
        assert re.search(
            r" WARNING app\.worker\.contention: HTTP waits some \d+ ms for the interpreter .* in threads: "
            r'crunch \(\d+% of a CPU\); .* @task\(executor="process"\)$',
            line,
        )
        for job in jobs:
            running.client.delete(f"/jobs/{job['id']}")
        for job in jobs:
            assert running.job(job["id"], wait=TIMEOUT)["state"] == "cancelled"
        assert running.end(signal.SIGTERM) == 0
    assert running.errors.count("HTTP waits") == 1


def test_what_a_task_prints_is_in_the_output_at_once_and_survives_a_kill(folder):
    # Without what the other tests have for the sake of the first lines.
    with service(folder, ERRAND_TASKS="mine", PYTHONUNBUFFERED="") as running:
        for name in ("in_a_thread", "on_the_loop", "in_a_process"):
            assert running.job(running.submit(name)["id"], wait=TIMEOUT)["outcome"] == "succeeded"
        running.send(signal.SIGKILL)
        assert running.process.stdout.read().count("printed\n") == 3
