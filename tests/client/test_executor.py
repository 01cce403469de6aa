"""RemoteExecutor: what is its own; the contracts of executors and futures have modules of their own."""

import asyncio
import threading
from contextlib import closing

import pytest

from app.client import (
    InvalidRequestError,
    RemoteExecutor,
    UnauthorizedError,
    UnknownTaskError,
)
from app.core import (
    FutureCancelledError,
    QueueUnavailableError,
    RemoteError,
    Task,
    as_completed,
    gather,
    wait,
)
from app.testing import running
from tests.client.client_tasks import add, named_otherwise

SOON = 30
TASKS = ["tests.client.client_tasks"]
NO_ID = "0198c0de-0000-7000-8000-000000000000"


def watch_of(executor):
    return executor._jobs._watch


# -- what it takes, and what comes back


def test_a_task_is_submitted_by_its_function_or_its_name(executor):
    assert executor.submit(add, 1, b=2).result(SOON) == 3
    assert executor.submit(named_otherwise, "x").result(SOON) == "x"
    assert executor.submit("renamed", "x").result(SOON) == "x"
    with pytest.raises(TypeError):
        executor.submit(lambda: 1)


def test_a_client_gives_its_options_and_stays_open(service):
    client = service.client.options(priority=5, tags={"by": "executor"})
    with RemoteExecutor(client) as executor:
        future = executor.submit("nothing")
    job = client.get(future.job_id)
    assert (job.priority, job.tags, job.outcome) == (5, {"by": "executor"}, "succeeded")


def test_an_exception_is_what_it_was_with_the_remote_one_as_its_cause(executor):
    error = executor.submit("fail", "too bad").exception(SOON)
    assert isinstance(error, ValueError)
    assert str(error) == "too bad"
    assert isinstance(error.__cause__, RemoteError)
    assert "client_tasks.py" in error.__cause__.traceback


def test_an_exception_of_the_tasks_own_is_a_remote_error(executor):
    error = executor.submit("fail_its_own_way").exception(SOON)
    assert isinstance(error, RemoteError)
    assert (error.type, error.message) == ("ShelfError", "full")


@pytest.mark.parametrize(
    ("task", "arguments", "error"),
    [("addd", [1], UnknownTaskError), ("add", ["x"], InvalidRequestError), ("echo", [{1}], TypeError)],
)
def test_what_the_service_refuses_is_raised_and_nothing_is_left(executor, task, arguments, error):
    with pytest.raises(error):
        executor.submit(task, *arguments)
    with pytest.raises(error):
        list(executor.map(task, *([argument] for argument in arguments)))
    executor.shutdown()


def test_a_key_is_needed_where_there_are_some(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("books:good\n")
    with running(TASKS, api_keys_file=keys) as service:
        with RemoteExecutor(service.url, api_key="good") as executor:
            assert executor.submit(add, 1).result(SOON) == 2
        with RemoteExecutor(service.url, api_key="bad") as executor, pytest.raises(UnauthorizedError):
            executor.submit(add, 1)


# -- waiting, as the core does


def test_wait_as_completed_and_gather_take_its_futures(executor):
    futures = [executor.submit(add, n, 0) for n in range(5)]
    assert wait(futures, SOON).done == set(futures)
    assert sorted(future.result() for future in as_completed(futures, SOON)) == list(range(5))
    assert gather(futures).result(SOON) == list(range(5))


def test_its_futures_can_be_awaited(executor):
    async def main():
        return await asyncio.gather(*(asyncio.wrap_future(executor.submit(add, n, 0)) for n in range(3)))

    async def plainly():
        return await executor.submit(add, 1, 1)

    assert asyncio.run(main()) == [0, 1, 2]
    assert asyncio.run(plainly()) == 2


def test_a_task_may_yield_its_futures(executor):
    def total():
        first = yield executor.submit(add, 1, 2)
        rest = yield [executor.submit(add, n, 0) for n in range(3)]
        return first + sum(rest)

    task = Task(total())
    task.step()
    assert task.result(SOON) == 6


# -- map


def test_map_is_one_batch(executor, way):
    assert list(executor.map(add, range(50), range(50))) == [2 * n for n in range(50)]
    posts = [line.split()[1] for line in way.requests if line.startswith(b"POST")]
    assert posts == [b"/jobs/batch"]


def test_a_map_of_very_many_is_several_batches(executor, way, monkeypatch):
    monkeypatch.setattr("app.client.calls.BATCH_JOBS", 3)
    assert list(executor.map(add, range(8), range(8))) == [2 * n for n in range(8)]
    assert [line.split()[1] for line in way.requests].count(b"/jobs/batch") == 3


def test_a_map_has_no_idempotency_key_to_share(service):
    with RemoteExecutor(service.client.options(idempotency_key="one for all")) as executor:
        with pytest.raises(ValueError, match="a batch has one idempotency key of its own"):
            executor.map(add, [1, 2])
        executor.shutdown()


def test_a_batch_that_is_refused_cancels_those_before_it(service, monkeypatch):
    monkeypatch.setattr("app.client.calls.BATCH_JOBS", 2)
    service.client.pause("partly")
    partly = RemoteExecutor(service.client.options(queue="partly"))
    with partly as executor, pytest.raises(InvalidRequestError):
        executor.map(add, [1, 2, "x"])
    assert [job.outcome for job in service.client.jobs(queue="partly")] == ["cancelled"] * 2


def test_a_map_that_is_given_up_cancels_what_has_not_begun(client_of, service):
    service.client.pause("halted")
    client = client_of(service.url).options(queue="halted")
    with RemoteExecutor(client) as executor:
        results = executor.map("nothing", timeout=0)
        assert list(results) == []
        results = executor.map(add, range(3), timeout=0)
        with pytest.raises(TimeoutError):
            next(results)
    assert [job.outcome for job in client.jobs(queue="halted")] == ["cancelled"] * 3


# -- cancelling


def test_a_pending_call_is_cancelled_and_its_job_with_it(executor, service, gate):
    service.client.pause("later")
    with RemoteExecutor(service.client.options(queue="later")) as later:
        future = later.submit(add, 1)
        assert future.cancel()
    assert future.cancelled()
    assert service.client.get(future.job_id).cancellation.outcome == "not_started"


def test_a_running_call_is_asked_to_stop(executor, service, gate):
    future = executor.submit("stop_when_asked")
    assert gate.BEGUN.acquire(timeout=SOON)
    assert not future.cancel()
    with pytest.raises(FutureCancelledError):
        future.result(SOON)
    assert service.client.get(future.job_id).cancellation.outcome == "cooperative"


def test_a_job_that_others_cancel_is_cancelled_here(executor, service, gate):
    future = executor.submit("stop_when_asked")
    assert gate.BEGUN.acquire(timeout=SOON)
    service.client.cancel(future.job_id)
    with pytest.raises(FutureCancelledError):
        future.result(SOON)


def test_a_shutdown_that_cancels_stops_nothing_that_runs(service, gate):
    with closing(RemoteExecutor(service.client)) as executor:
        runs = executor.submit("hold")
        assert gate.BEGUN.acquire(timeout=SOON)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.GO_ON.set()
        assert runs.result(SOON) == "held"
    assert service.client.get(runs.job_id).cancellation is None


def test_a_shutdown_can_cancel_what_has_not_begun(service):
    service.client.pause("never")
    executor = RemoteExecutor(service.client.options(queue="never"))
    future = executor.submit("nothing")
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()


def test_a_job_that_is_over_cannot_be_cancelled(executor):
    future = executor.submit("nothing")
    future.result(SOON)
    assert not future.cancel()


# -- taking up


def test_a_job_is_taken_up_again_by_its_id(service, gate):
    with RemoteExecutor(service.client) as first:
        held = first.submit("hold")
        ended = first.submit(add, 1, 1)
        assert ended.result(SOON) == 2
        assert gate.BEGUN.acquire(timeout=SOON)
        first.close()
    with pytest.raises(QueueUnavailableError, match="the executor was shut down"):
        held.result(SOON)
    with RemoteExecutor(service.client) as second:
        again = second.future(held.job_id)
        assert second.future(ended.job_id).result(SOON) == 2
        gate.GO_ON.set()
        assert again.result(SOON) == "held"


def test_two_futures_of_one_job_both_hear_of_its_end(service, gate):
    unique = service.client.options(key="only one")
    with RemoteExecutor(unique) as executor:
        first, second = executor.submit("hold"), executor.submit("hold")
        third = executor.future(first.job_id)
        assert first.job_id == second.job_id
        gate.GO_ON.set()
        assert [future.result(SOON) for future in (first, second, third)] == ["held"] * 3


@pytest.mark.parametrize("job_id", [NO_ID, "none", "a/b"])
def test_what_does_not_exist_cannot_be_taken_up(executor, job_id):
    with pytest.raises(QueueUnavailableError):
        executor.future(job_id).result(SOON)


def test_after_a_shutdown_nothing_is_taken_up(executor):
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.future(NO_ID)


# -- one connection for all


def test_open_futures_cost_neither_requests_nor_threads(client_of, way, service):
    client = client_of(way.url).options(queue="crowded")
    with closing(RemoteExecutor(client)) as executor:
        assert executor.submit(add, 1, 1).result(SOON) == 2
        service.client.pause("crowded")
        connections, asked = way.connections, len(way.requests)
        results = executor.map(add, range(500), range(500))
        # Something else happens meanwhile, and is heard of.
        assert service.client.result(service.client.submit("nothing").id, SOON) is None
        assert (way.connections, len(way.requests)) == (connections, asked + 1)
        own = [thread for thread in threading.enumerate() if thread.name.startswith("errand-remote")]
        assert len(own) == 2
        service.client.resume("crowded")
        assert list(results) == [2 * n for n in range(500)]


def test_an_end_that_comes_before_the_id_is_not_missed(executor, way, service):
    executor.submit("nothing").result(SOON)
    way.let_pass.clear()
    futures = []
    thread = threading.Thread(target=lambda: futures.append(executor.submit(add, 1, 1)))
    thread.start()
    assert way.held.acquire(timeout=SOON)
    service.client.until_done(next(service.client.jobs(task="add")).id, SOON)
    way.let_pass.set()
    thread.join()
    assert futures[0].result(SOON) == 2


def test_an_end_that_another_future_heard_of_is_not_missed(client_of, way, service, gate):
    with closing(RemoteExecutor(client_of(way.url).options(key="two for one"))) as executor:
        first = executor.submit("hold")
        assert gate.BEGUN.acquire(timeout=SOON)
        way.let_pass.clear()
        futures = []
        thread = threading.Thread(target=lambda: futures.append(executor.submit("hold")))
        thread.start()
        assert way.held.acquire(timeout=SOON)
        gate.GO_ON.set()
        assert first.result(SOON) == "held"
        way.let_pass.set()
        thread.join()
        assert futures[0].result(SOON) == "held"


def test_no_end_is_missed_however_soon_it_comes(executor):
    totals = []

    def submit_some():
        totals.append(sum(executor.submit(add, n, 0).result(SOON) for n in range(50)))

    threads = [threading.Thread(target=submit_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == [sum(range(50))] * 4
