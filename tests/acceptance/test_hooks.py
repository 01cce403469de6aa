"""Hooks in a real service: before the first job, after the last, and in the processes of jobs."""

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.serving import TIMEOUT, service
from tests.acceptance.test_start import start

CONNECTED = """
import asyncio, os, threading
from pathlib import Path
from app import context, on_shutdown, on_startup, task

loop = None

def tell(text):
    with Path("told").open("a") as told:
        told.write(f"{text}\\n")

@on_startup
def connect():
    global connected
    connected = threading.current_thread() is threading.main_thread()
    tell(f"connect {'in a child' if os.getpid() == os.getpgrp() else 'here'}")

@on_startup
async def open_session():
    global session
    session = asyncio.Queue()
    session.put_nowait(asyncio.get_running_loop())
    tell("open session")

@on_shutdown
async def close_session():
    tell(f"close session {asyncio.get_running_loop() is loop}")

@on_shutdown
def disconnect():
    tell("disconnect")

@task
def is_connected() -> bool:
    return connected

@task
async def in_session() -> bool:
    global loop
    loop = await session.get()
    return loop is asyncio.get_running_loop()

@task(executor="process")
def in_a_child() -> list:
    return [connected, "session" in globals()]

@task
def ends_at_last(begun: str, go: str) -> None:
    open(begun, "w").close()
    open(go).close()
    tell("the job has ended")

@task
def never_ends() -> None:
    threading.Event().wait()
"""


def told(folder):
    return (folder / "told").read_text().splitlines()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(CONNECTED)
    return tmp_path


@pytest.fixture
def pipe(tmp_path):
    def pipe(name):
        os.mkfifo(tmp_path / name)
        return str(tmp_path / name)

    return pipe


def result(running, task, *args):
    job = running.job(running.submit(task, *args)["id"], wait=TIMEOUT)
    assert job["outcome"] == "succeeded", job["exception"]
    return job["result"]


def test_jobs_find_what_the_hooks_have_made_and_the_end_comes_in_the_reverse_order(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        assert told(folder) == ["connect here", "open session"]
        assert result(running, "is_connected")
        assert result(running, "in_session")
        assert running.end(signal.SIGTERM) == 0
    assert told(folder) == ["connect here", "open session", "disconnect", "close session True"]


def test_a_job_that_waited_for_the_service_finds_it_ready(folder, pipe):
    begun = pipe("begun")
    with service(folder, ERRAND_TASKS="mine", ERRAND_THREADS="1") as running:
        running.submit("ends_at_last", begun, pipe("go"))
        Path(begun).open().close()
        waiting = running.submit("is_connected")
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
    with service(folder, ERRAND_TASKS="mine", ERRAND_THREADS="2") as again:
        assert again.job(waiting["id"], wait=TIMEOUT)["result"] is True


def test_the_shutdown_hooks_run_after_the_last_job(folder, pipe):
    begun, go = pipe("begun"), pipe("go")
    with service(folder, ERRAND_TASKS="mine") as running:
        running.submit("ends_at_last", begun, go)
        Path(begun).open().close()
        running.send(signal.SIGTERM)
        while running.client.get("/health/ready").status_code != 503:
            pass
        assert told(folder) == ["connect here", "open session"]
        Path(go).open("w").close()
        assert running.wait() == 0
    assert told(folder)[2:4] == ["the job has ended", "disconnect"]


def test_the_shutdown_hooks_run_when_what_does_not_end_was_put_back(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="0") as running:
        running.until_running(running.submit("never_ends")["id"])
        assert running.end(signal.SIGTERM) == 0
    assert told(folder)[2:] == ["disconnect", "close session False"]


def test_in_a_process_the_plain_hooks_run_before_its_first_job(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_PROCESSES="1") as running:
        assert result(running, "in_a_child") == [True, False]
        assert result(running, "in_a_child") == [True, False]
        assert told(folder) == ["connect here", "open session", "connect in a child"]
        assert running.end(signal.SIGTERM) == 0


FAILS = """
import threading
from app import on_startup

@on_startup
def leave_a_thread():
    threading.Thread(target=threading.Event().wait).start()

@on_startup
async def fails():
    raise OSError("no host\\nand no port")
"""


def test_a_hook_that_fails_stops_the_start_in_one_line_and_what_had_started_is_shut_down(folder):
    (folder / "fails.py").write_text(FAILS)
    stopped = start(folder, "--tasks", "mine,fails")
    assert (stopped.returncode, stopped.stdout) == (2, "")
    assert (
        "errand: the startup hook 'fails' of 'fails' failed: OSError: no host\\nand no port ("
        in stopped.stderr
    )
    assert "Traceback" not in stopped.stderr
    assert told(folder) == ["connect here", "open session", "disconnect", "close session False"]


HANGS = """
import threading
from app import on_shutdown

@on_shutdown
def puts_away(): print("put away", flush=True)

@on_shutdown
def hangs(): threading.Event().wait()
"""


def test_a_shutdown_hook_that_hangs_does_not_keep_the_process(folder):
    (folder / "hangs.py").write_text(HANGS)
    with service(folder, ERRAND_TASKS="hangs") as running:
        assert running.end(signal.SIGTERM) == 0
    assert "the shutdown hook 'hangs' of 'hangs' still runs after 5 s and is left alone" in running.errors


def test_a_shutdown_hook_that_fails_is_in_the_log_and_stops_no_other(folder):
    (folder / "hangs.py").write_text(HANGS.replace("threading.Event().wait()", "1 / 0"))
    with service(folder, ERRAND_TASKS="hangs") as running:
        assert running.end(signal.SIGTERM) == 0
    assert "the shutdown hook 'hangs' of 'hangs' failed" in running.errors
    assert "ZeroDivisionError" in running.errors
