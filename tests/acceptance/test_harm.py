"""Tasks and callers that harm the process, and what of the service they must not reach."""

import os
import signal
import socket
from urllib.parse import urlsplit

import pytest

from tests.acceptance.serving import TIMEOUT, service

TASKS = """
import logging, multiprocessing, os, pathlib, threading, time
from app import task

@task
def terminate_a_child() -> int:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    child.start()
    child.terminate()
    child.join()
    return child.exitcode

@task
def leave_a_child() -> int:
    child = os.fork()
    if child == 0:
        for output in (1, 2):
            # The test reads them to their end.
            os.close(output)
        time.sleep(3600)
        os._exit(0)
    return child

@task
def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(3600,)).start()

@task
def log_much(lines: int) -> int:
    for n in range(lines):
        logging.getLogger("mine").warning("line %d %s", n, "x" * 200)
    return lines
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(TASKS)
    return tmp_path


def test_a_child_that_is_terminated_takes_only_itself_along(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        for _ in range(5):
            job = running.submit("terminate_a_child")
            assert running.job(job["id"], wait=TIMEOUT)["result"] == -signal.SIGTERM
        assert running.client.get("/health/ready").status_code == 200


def test_a_child_that_outlives_the_service_keeps_neither_port_nor_connection(folder):
    with service(folder, ERRAND_TASKS="mine") as first:
        job = first.submit("leave_a_child")
        child = first.job(job["id"], wait=TIMEOUT)["result"]
        try:
            port = urlsplit(first.url).port
            assert first.end(signal.SIGKILL) == -signal.SIGKILL
            with service(folder, port, ERRAND_TASKS="mine") as second:
                assert second.job(job["id"])["result"] == child
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_thread_that_a_task_has_left_does_not_hold_up_the_exit(folder):
    with service(folder, ERRAND_TASKS="mine") as running:
        job = running.submit("leave_a_thread")
        assert running.job(job["id"], wait=TIMEOUT)["outcome"] == "succeeded"
        assert running.end(signal.SIGTERM) == 0


def test_a_log_that_nobody_reads_stops_nothing(folder):
    with service(folder, read_errors=False, ERRAND_TASKS="mine") as running:
        job = running.submit("log_much", 5000)
        assert running.job(job["id"], wait=TIMEOUT)["result"] == 5000
        assert running.client.get("/health/ready").status_code == 200


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    with service(tmp_path_factory.mktemp("idle")) as running:
        yield running


def raw(running, *parts):
    """Send bytes as they are, and return all that is answered until the connection is closed."""
    address = urlsplit(running.url)
    with socket.create_connection((address.hostname, address.port), TIMEOUT) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


def test_headers_without_end_are_refused(idle):
    answer = raw(
        idle, b"GET / HTTP/1.1\r\nHost: localhost\r\n", *[b"X-More: " + b"x" * 8000 + b"\r\n"] * 2000
    )
    # The system may drop the answer with what it has not read; the connection is over in any case.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert idle.client.get("/health/live").status_code == 200


def test_what_is_not_http_is_answered_with_a_problem(idle):
    answer = raw(idle, b"BREW /pot HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert b'"/problems/bad-request"' in body


def test_a_query_of_thousands_of_parameters_is_refused(idle):
    query = "&".join(f"p{n}" for n in range(10_000))
    answer = idle.client.get(f"/jobs?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query"])


def test_a_prefer_header_of_unclosed_quotes_is_ignored(idle):
    answer = idle.client.get("/jobs/none", headers={"Prefer": '"' + '\\"' * 20_000})
    assert answer.status_code == 404


def test_thousands_of_wrong_items_are_answered_with_the_first_hundred(idle):
    texts = [[] for _ in range(50_000)]
    answer = idle.client.post("/jobs", json={"task": "count_words_of_all", "args": [texts]})
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 100)
