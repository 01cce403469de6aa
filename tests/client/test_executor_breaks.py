"""RemoteExecutor when the way to the service breaks, and when it is let go of."""

import gc
import subprocess
import sys
import threading

import pytest

from app.client import RemoteExecutor, ServiceUnreachableError
from app.core import FutureCancelledError, QueueError, QueueUnavailableError
from app.testing import running
from tests.acceptance.serving import environment
from tests.client.client_tasks import add

SOON = 30
TASKS = ["tests.client.client_tasks"]


def watch_of(executor):
    return executor._jobs._watch


# -- when the way breaks


def test_futures_outlive_a_lost_connection(executor, way, gate):
    executor.submit("nothing").result(SOON)
    future = executor.submit("hold")
    assert gate.BEGUN.acquire(timeout=SOON)
    way.cut()
    gate.GO_ON.set()
    assert future.result(SOON) == "held"


def test_futures_outlive_the_service(tmp_path, gate):
    database = f"sqlite:///{tmp_path / 'jobs.db'}"
    with running(TASKS, database=database) as first:
        port = int(first.url.rpartition(":")[2])
        executor = RemoteExecutor(first.url)
        later = RemoteExecutor(executor._client.options(delay=0.2))
        executor.submit("nothing").result(SOON)
        first.client.pause("default")
        futures = [later.submit(add, 1, n) for n in range(3)]
    with running(TASKS, database=database, port=port) as second:
        second.client.resume("default")
        assert [future.result(SOON) for future in futures] == [1, 2, 3]
    later.close()
    executor.close()


def test_a_map_that_is_given_up_while_the_service_is_gone_takes_no_longer_for_many(
    client_of, way, service, monkeypatch
):
    service.client.pause("gone")
    client = client_of(way.url, patience=0).options(queue="gone")
    executor = RemoteExecutor(client)
    futures = [executor.submit(add, n) for n in range(3)]
    monkeypatch.setattr(way, "_to", ("127.0.0.1", 9))
    way.cut()
    asked = len(way.requests)
    assert [future.cancel() for future in futures] == [False] * 3
    # The first has found nobody; the others did not try.
    assert len(way.requests) <= asked + 1
    executor.close()


def test_a_key_that_is_taken_back_fails_what_waits(client_of, tmp_path, gate):
    database = f"sqlite:///{tmp_path / 'jobs.db'}"
    with running(TASKS, database=database, api_keys="books:old") as first:
        port = int(first.url.rpartition(":")[2])
        executor = RemoteExecutor(client_of(first.url, api_key="old").options(delay=3600))
        future = executor.submit(add, 1)
        executor.submit("nothing")
    with running(TASKS, database=database, port=port, api_keys="books:new"):
        with pytest.raises(QueueUnavailableError):
            future.result(SOON)
        with pytest.raises(QueueUnavailableError):
            executor.submit(add, 1)
    executor.close()


def test_what_cannot_be_reached_refuses_calls(client_of, way, service):
    executor = RemoteExecutor(client_of("http://127.0.0.1:9", patience=0))
    with pytest.raises(ServiceUnreachableError) as caught:
        executor.submit(add, 1)
    assert isinstance(caught.value, QueueError)
    executor.close()


def test_a_job_that_is_erased_fails_its_future(executor, service, gate):
    service.client.pause("erased")
    with RemoteExecutor(service.client.options(queue="erased")) as other:
        future = other.submit(add, 1)
        service.client.cancel(future.job_id)
        with pytest.raises(FutureCancelledError):
            future.result(SOON)
    service.client.purge(future.job_id)
    with pytest.raises(QueueUnavailableError):
        executor.future(future.job_id).result(SOON)


# -- letting go


def test_a_shutdown_ends_its_threads(way):
    executor = RemoteExecutor(way.url)
    executor.submit(add, 1).result(SOON)
    thread = watch_of(executor)._thread
    executor.shutdown()
    assert not thread.is_alive()


def test_one_that_is_dropped_hears_of_its_jobs_and_then_ends_its_threads(way, gate):
    executor = RemoteExecutor(way.url)
    future = executor.submit("hold")
    thread = watch_of(executor)._thread
    del executor
    gc.collect()
    assert thread.is_alive()
    gate.GO_ON.set()
    assert future.result(SOON) == "held"
    del future
    gc.collect()
    thread.join(SOON)
    assert not thread.is_alive()


def run_program(source):
    return subprocess.run(
        [sys.executable, "-c", source],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )


def test_a_program_may_end_without_a_word(way):
    done = run_program(f"""
from app.client import Client, RemoteExecutor
executor = RemoteExecutor({way.url!r})
later = RemoteExecutor(Client({way.url!r}).options(delay=3600))
print(executor.submit("add", 1, 1).result(30))
future = later.submit("add", 1)
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_a_forked_child_leaves_the_parents_connections_alone(way):
    done = run_program(f"""
import os, sys
from app.client import RemoteExecutor
executor = RemoteExecutor({way.url!r})
executor.submit("nothing").result(30)
pid = os.fork()
if not pid:
    try:
        executor.submit("nothing")
    except RuntimeError as exc:
        print(exc, flush=True)
    sys.exit()
os.waitpid(pid, 0)
print(executor.submit("add", 1, 1).result(30))
executor.shutdown()
""")
    assert done.stderr == ""
    assert done.stdout.endswith("belongs to its parent process\n2\n")


def test_one_that_was_not_used_has_no_threads(way):
    executor = RemoteExecutor(way.url)
    assert watch_of(executor)._thread is None
    executor.shutdown()
    assert way.connections == 0


def test_a_program_that_ends_while_a_thread_waits_lets_it_finish(way):
    done = run_program(f"""
import threading
from app.client import RemoteExecutor
future = RemoteExecutor({way.url!r}).submit("add", 1, 1)
threading.Thread(target=lambda: print(future.result(30))).start()
""")
    assert (done.stdout, done.stderr, done.returncode) == ("2\n", "", 0)


def test_a_submission_that_is_under_way_when_it_is_closed_is_not_left_waiting(client_of, way):
    client = client_of(way.url)
    executor = RemoteExecutor(client)
    executor.submit("nothing").result(SOON)
    way.let_pass.clear()
    futures = []
    thread = threading.Thread(target=lambda: futures.append(executor.submit("nothing")))
    thread.start()
    assert way.held.acquire(timeout=SOON)
    executor.close()
    way.let_pass.set()
    thread.join()
    with pytest.raises(QueueUnavailableError, match="the executor was shut down"):
        futures[0].result(SOON)
