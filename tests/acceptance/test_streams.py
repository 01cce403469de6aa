"""Readers of events, and others who wait, while a real service stops; and readers that are many."""

import signal
import threading

import pytest

from tests.acceptance.serving import TIMEOUT, service
from tests.api.following import following

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
    running.until_running(job["id"])
    return job["id"]


def read(running, path):
    """Read a stream to its end on a thread; return that, and the list it fills, when it has begun."""
    begun, blocks = threading.Event(), []

    def follow():
        with following(running.client, path) as stream:
            for block in stream.blocks():
                blocks.append(block)
                begun.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert begun.wait(TIMEOUT)
    return thread, blocks


def states(blocks):
    return [block.data["state"] for block in blocks if block.event == "state"]


def test_a_service_that_stops_sends_the_end_of_a_job_that_ends_in_time_and_then_ends_the_streams(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        job_id = begin(running, folder)
        of_job, sent = read(running, f"/jobs/{job_id}/events")
        of_all, all_sent = read(running, "/events")
        answers = []
        waiter = threading.Thread(target=lambda: answers.append(running.job(job_id, wait=TIMEOUT)))
        waiter.start()
        running.send(signal.SIGTERM)
        while running.client.get("/health/ready").status_code != 503:
            pass
        (folder / "go").touch()
        for thread in (of_job, of_all, waiter):
            thread.join(TIMEOUT)
        assert running.wait() == 0
    assert states(sent) == ["pending", "running", "finished"]
    assert sent[-1].event == "state"
    assert states(all_sent) == ["finished"]
    assert all_sent[-1].comment == "the service stops"
    assert answers[0]["result"] == "done"


def test_a_service_that_stops_tells_that_a_job_was_put_back_and_then_ends_the_streams(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="0.05") as running:
        job_id = begin(running, folder)
        of_job, sent = read(running, f"/jobs/{job_id}/events")
        of_all, all_sent = read(running, "/events")
        answers = []
        waiter = threading.Thread(target=lambda: answers.append(running.job(job_id, wait=TIMEOUT)))
        waiter.start()
        assert running.end(signal.SIGTERM) == 0
        for thread in (of_job, of_all, waiter):
            thread.join(TIMEOUT)
    assert states(sent) == ["pending", "running", "pending"]
    assert states(all_sent) == ["pending"]
    assert [blocks[-1].comment for blocks in (sent, all_sent)] == ["the service stops"] * 2
    assert answers[0]["state"] == "pending"


def test_a_reader_comes_back_after_a_restart_and_misses_nothing(folder):
    with service(folder, ERRAND_TASKS="mine", ERRAND_DRAIN_SECONDS="0.05") as running:
        job_id = begin(running, folder)
        with following(running.client, f"/jobs/{job_id}/events") as stream:
            known = [stream.next(), stream.next()]
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
    (folder / "go").touch()
    with (
        service(folder, ERRAND_TASKS="mine") as again,
        following(again.client, f"/jobs/{job_id}/events", known[-1].id) as stream,
    ):
        rest = list(stream.events())
    assert states(rest) == ["pending", "running", "finished"]
