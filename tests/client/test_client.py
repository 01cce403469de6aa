"""Client and AsyncClient: every call, on a real service."""

import inspect
from datetime import UTC, datetime, timedelta

import pytest

from app import Retry
from app.client import (
    Client,
    ConflictError,
    InvalidRequestError,
    Job,
    JobCancelledError,
    JobFailedError,
    JobNotFoundError,
    JobTimeoutError,
    NotFoundError,
    Submission,
    Submitted,
    Tally,
    UnauthorizedError,
    UnknownTaskError,
)
from app.client.submission import new_key
from app.core import FutureCancelledError, FutureTimeoutError, RemoteError
from app.testing import running
from tests.client.client_tasks import add, named_otherwise

SOON = 30
NO_ID = "0198c0de-0000-7000-8000-000000000000"
LATER = {"delay": 3600}


# -- submitting


def test_submit_returns_the_job_that_is_stored(client):
    job = client.submit("add", 1, b=2)
    assert isinstance(job, Job)
    assert (job.task, job.args, job.kwargs) == ("add", [1], {"b": 2})
    assert client.get(job.id).created_at == job.created_at


@pytest.mark.parametrize(("task", "name"), [(add, "add"), (named_otherwise, "renamed"), ("add", "add")])
def test_a_task_is_named_by_its_function_or_its_name(client, task, name):
    assert client.options(**LATER).submit(task, "1").task == name


def test_what_has_no_name_cannot_be_submitted(client):
    with pytest.raises(TypeError, match="a task's name or its function is needed"):
        client.submit(lambda: 1)


def test_a_result_can_be_waited_for(client):
    assert client.result(client.submit("add", 1, 2).id) == 3
    assert client.result(client.submit("nothing").id, timeout=SOON) is None
    assert client.submit("echo", [1], a=None).task == "echo"


def test_options_are_those_of_the_submission_and_not_of_the_client_they_came_from(client):
    at = datetime.now(UTC) + timedelta(hours=1)
    options = {"queue": "slow", "priority": 7, "timeout": 60, "key": new_key(), "tags": {"team": "books"}}
    retry = Retry(3, 2.0, jitter=False)
    job = client.options(**options, run_at=at, retry=retry).submit("add", 1)
    assert (job.queue, job.priority, job.timeout, job.key, job.tags) == tuple(options.values())
    assert (job.run_at, job.max_attempts) == (at, 3)
    plain = client.submit("add", 1)
    assert (plain.queue, plain.priority, plain.key) == ("default", 0, None)


def test_options_come_on_top_of_others(client):
    job = client.options(priority=7, **LATER).options(queue="slow").submit("add", 1)
    assert (job.priority, job.queue) == (7, "slow")


def test_the_same_idempotency_key_stands_for_the_same_job(client):
    once = client.options(idempotency_key=new_key())
    assert once.submit("add", 1).id == once.submit("add", 1).id
    assert client.submit("add", 1).id != client.submit("add", 1).id


def test_a_time_without_a_zone_is_refused(client):
    with pytest.raises(ValueError, match="run_at needs a time zone"):
        client.options(run_at=datetime(2040, 1, 1)).submit("add", 1)  # noqa: DTZ001  (the point)


def test_a_policy_that_names_classes_is_refused(client):
    with pytest.raises(ValueError, match="exception classes cannot be sent"):
        client.options(retry=Retry(2, on=(OSError,))).submit("add", 1)


@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), ({1}, TypeError), ({1: 2}, TypeError)]
)
def test_what_is_no_json_is_refused_before_anything_is_sent(client, value, error):
    with pytest.raises(error, match="cannot be JSON"):
        client.submit("echo", value)


def test_an_unknown_task_is_an_error_that_names_the_near_ones(client):
    with pytest.raises(UnknownTaskError, match="did you mean 'add'") as caught:
        client.submit("addd", 1)
    assert (caught.value.status, caught.value.kind) == (422, "unknown-task")
    assert caught.value.errors[0]["loc"] == ["task"]


def test_arguments_that_do_not_fit_are_an_error_that_says_where(client):
    with pytest.raises(InvalidRequestError) as caught:
        client.submit("add", "many")
    assert [fault["loc"][:2] for fault in caught.value.errors] == [["args", 0]]


def test_many_are_submitted_as_a_batch(client):
    made = client.submit_many([Submission("add", [n], {"b": 0}) for n in range(3)])
    assert all(isinstance(job, Submitted) for job in made)
    assert [client.result(job.id, SOON) for job in made] == [0, 1, 2]
    assert list(client.submit_many([])) == []


def test_a_batch_has_a_key_of_its_own(client):
    with pytest.raises(ValueError, match="a batch has one idempotency key"):
        client.submit_many([Submission("add", [1], idempotency_key="mine")])


@pytest.mark.parametrize("key", ["ü", "two\nlines", " a "])
def test_an_idempotency_key_must_fit_a_header(client, key):
    with pytest.raises(ValueError, match="visible ASCII"):
        client.options(idempotency_key=key).submit("add", 1)


def test_a_bad_one_keeps_the_others_of_a_batch_from_being_stored(client):
    tags = {"batch": f"bad-{type(client).__name__}"}
    with pytest.raises(InvalidRequestError) as caught:
        client.submit_many([Submission("add", [1], tags=tags), Submission("add", tags=tags)])
    assert caught.value.errors[0]["loc"][0] == 1
    assert list(client.jobs(tags=tags)) == []


# -- ends


def test_a_failure_keeps_type_message_and_traceback_as_its_cause(client):
    with pytest.raises(JobFailedError, match=r"fail .* failed: ValueError: too bad") as caught:
        client.result(client.submit("fail", "too bad").id, SOON)
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteError)
    assert (cause.type, cause.message) == ("ValueError", "too bad")
    assert "client_tasks.py" in cause.traceback
    assert caught.value.job.outcome == "failed"


def test_a_cancellation_is_the_cores_error_too(client):
    job = client.options(**LATER).submit("add", 1)
    assert client.cancel(job.id).cancellation.outcome == "not_started"
    with pytest.raises(JobCancelledError, match=f"add {job.id} was cancelled") as caught:
        client.result(job.id)
    assert isinstance(caught.value, FutureCancelledError)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_wait_that_is_over_is_the_cores_error_too(client, timeout):
    job = client.options(**LATER).submit("add", 1)
    with pytest.raises(JobTimeoutError, match="is not done yet: pending") as caught:
        client.result(job.id, timeout)
    assert isinstance(caught.value, FutureTimeoutError)
    assert client.get(job.id).state == "pending"


def test_a_timeout_is_a_number(client):
    with pytest.raises(ValueError, match="not NaN"):
        client.until_done(client.submit("nothing").id, float("nan"))


def test_a_get_can_wait(client):
    assert client.get(client.submit("add", 1, 1).id, wait=SOON).result == 2


# -- changing


def test_a_running_job_is_asked_to_stop(client, gate):
    job = client.submit("stop_when_asked")
    assert gate.BEGUN.acquire(timeout=SOON)
    with pytest.raises(ConflictError) as caught:
        client.cancel(job.id, waiting=True)
    assert caught.value.kind == "job-not-pending"
    assert client.cancel(job.id).state == "running"
    assert client.until_done(job.id, SOON).cancellation.outcome == "cooperative"


def test_a_finished_job_cannot_be_cancelled(client):
    job = client.submit("nothing")
    client.result(job.id, SOON)
    with pytest.raises(ConflictError) as caught:
        client.cancel(job.id)
    assert (caught.value.status, caught.value.kind) == (409, "job-finished")


def test_a_job_can_be_erased(client):
    job = client.submit("nothing")
    client.result(job.id, SOON)
    assert client.purge(job.id) is None
    with pytest.raises(JobNotFoundError):
        client.get(job.id)


def test_a_failed_job_can_be_run_again(client):
    job = client.submit("fail", "x")
    client.until_done(job.id, SOON)
    assert client.retry(job.id).run == 2
    assert client.until_done(job.id, SOON).attempts[1].run == 2


def test_a_pending_job_can_be_changed(client):
    job = client.options(**LATER).submit("add", 1)
    at = datetime(2040, 1, 1, tzinfo=UTC)
    changed = client.update(job.id, priority=3, run_at=at, tags={"a": "b"})
    assert (changed.priority, changed.run_at, changed.tags) == (3, at, {"a": "b"})
    assert client.update(job.id, tags={}).priority == 3


def test_all_that_a_filter_fits_are_cancelled_and_run_again(client):
    tags = {"bulk": type(client).__name__}
    for _ in range(3):
        client.options(**LATER, tags=tags).submit("add", 1)
    assert client.cancel_all(tags=tags, state="pending") == Tally(matched=3, changed=3)
    assert client.retry_all(tags=tags) == Tally(matched=3, changed=3)
    assert [client.result(job.id, SOON) for job in client.jobs(tags=tags)] == [2, 2, 2]
    assert client.retry_all(tags=tags) == Tally(matched=3, changed=0)


# -- looking


def test_jobs_come_page_by_page_newest_first(client):
    tags = {"pages": type(client).__name__}
    made = [client.options(**LATER, tags=tags).submit("add", n).id for n in range(5)]
    assert [job.id for job in client.jobs(tags=tags, page=2)] == made[::-1]


def test_jobs_are_filtered(client):
    tags = {"filtered": type(client).__name__, "with space": "a:b&c"}
    begun = datetime.now(UTC)
    job = client.options(**LATER, tags=tags, queue="ü/x").submit("add", 1)
    for where in [
        {"state": "pending"},
        {"task": "add"},
        {"queue": "ü/x"},
        {"created_after": begun},
        {"created_before": datetime.now(UTC) + timedelta(hours=1)},
        {"q": job.id[:13]},
    ]:
        assert [found.id for found in client.jobs(tags=tags, **where)] == [job.id]
    assert list(client.jobs(tags=tags, state="running")) == []
    (found,) = client.jobs(tags=tags)
    assert (found.args, found.result, found.attempts) == (None, None, None)


def test_a_bad_filter_is_the_services_to_refuse(client):
    with pytest.raises(InvalidRequestError):
        list(client.jobs(state="asleep"))


def test_tasks_are_described(client):
    info = client.task("add")
    assert (info.doc, info.executor, list(info.parameters["properties"])) == (
        "Add two numbers.",
        "thread",
        ["a", "b"],
    )
    assert info in client.tasks()


def test_queues_are_paused_and_resumed_whatever_their_names(client):
    name = f"a/b {type(client).__name__}?"
    assert client.pause(name).paused
    assert [queue.paused for queue in client.queues() if queue.name == name] == [True]
    job = client.options(queue=name).submit("nothing")
    assert client.get(job.id, wait=0.01).state == "pending"
    assert not client.resume(name).paused
    assert client.result(job.id, SOON) is None


@pytest.mark.parametrize("name", ["a/../b", "./a", ".."])
def test_a_queue_whose_address_would_be_anothers_is_refused(client, name):
    with pytest.raises(ValueError, match="has no part that is only dots"):
        client.pause(name)
    with pytest.raises(InvalidRequestError) as caught:
        client.options(queue=name).submit("nothing")
    assert caught.value.errors[0]["loc"] == ["queue"]


def test_a_log_is_read(client):
    job = client.submit("talk")
    client.result(job.id, SOON)
    assert [(line.level, line.logger, line.message) for line in client.logs(job.id)] == [
        ("INFO", "", "printed"),
        ("WARNING", "shelf", "logged\u2028on"),
    ]


def test_a_service_that_works_is_ready(client):
    assert client.ready() is True


def test_what_the_service_does_is_told(client, gate):
    job = client.submit("hold")
    assert gate.BEGUN.acquire(timeout=SOON)
    (worker,) = client.workers()
    assert (job.id, "hold") in [(running.job, running.task) for running in worker.running]
    assert {slots.kind for slots in worker.slots} == {"thread", "process", "coroutine"}
    stats = client.stats()
    assert stats.jobs.running >= 1
    assert sum(counts.running for counts in stats.tasks if counts.name == "hold") >= 1
    assert len(stats.minutes) == 60
    gate.GO_ON.set()
    assert client.result(job.id, SOON) == "held"


@pytest.mark.parametrize("job_id", [NO_ID, "none", "../tasks", "a b"])
def test_a_job_that_does_not_exist_is_not_found(client, job_id):
    with pytest.raises(NotFoundError):
        client.get(job_id)


# -- events


def test_a_jobs_events_come_until_it_is_done(client):
    job = client.submit("talk")
    events = list(client.events(job.id))
    assert {event.job for event in events} == {job.id}
    states = [event.data["state"] for event in events if event.kind == "state"]
    assert (states[0], states[-1]) == ("pending", "finished")
    assert [e.data["message"] for e in events if e.kind == "log"] == ["printed", "logged\u2028on"]
    assert "half" in [e.data["message"] for e in events if e.kind == "progress"]
    # From the middle, as from the end.
    assert list(client.events(job.id, after=events[1].id)) == events[2:]
    assert list(client.events(job.id, after=events[-1].id)) == []


def test_events_of_all_jobs_go_on_after_one_that_is_known(client):
    first = client.submit("nothing")
    known = list(client.events(first.id))[-1]
    second = client.submit("add", 1)
    events = client.events(after=known.id, task="add")
    heard = []
    while not heard or heard[-1].data["state"] != "finished":
        event = next(events)
        heard += [event] if event.job == second.id else []
    assert [event.data["state"] for event in heard] == ["pending", "running", "finished"]


def test_events_of_no_job_are_an_error(client):
    with pytest.raises(JobNotFoundError):
        next(client.events(NO_ID))


# -- keys, and what it looks like


def test_a_key_is_needed_where_there_are_some(connect, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("books:good\n")
    with running(["tests.client.client_tasks"], api_keys_file=keys) as service:
        for settings in ({}, {"api_key": "bad"}):
            with pytest.raises(UnauthorizedError) as caught:
                connect(service.url, **settings).submit("nothing")
            assert caught.value.status == 401
        client = connect(service.url, api_key="good")
        assert client.result(client.submit("nothing").id, SOON) is None
        assert "good" not in repr(client)


def test_methods_say_what_they_take():
    assert list(inspect.signature(Client.get).parameters) == ["self", "job_id", "wait"]
    assert Client.result.__doc__.startswith("Wait for a job's result")
    assert inspect.signature(Client.get).return_annotation is Job
    assert "Generator" not in str(inspect.signature(Client.jobs)) + str(inspect.signature(Client.cancel))
