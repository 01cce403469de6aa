import asyncio
import enum
import sqlite3
import sys
import threading
from contextlib import closing
from typing import Annotated

import pytest
from pydantic import AfterValidator

from app.core import State
from app.jobs.errors import InvalidArgumentsError, UnknownTaskError
from app.jobs.model import SECOND, Hold, Outcome, wall_clock
from app.jobs.registry import Kind, TaskDefinition
from app.service import (
    DrainingError,
    InvalidBatchError,
    QueueFullError,
    Submission,
    TooManyJobsError,
)
from app.service.submitting import Checked, new_job, new_jobs
from app.stores.base import Limits
from tests.worker.house import PATIENCE, ManualClock

NOW = 1_750_000_000_000_000


def double(n: int):
    return n * 2


def rows(house):
    """Count the jobs as another program would."""
    with closing(sqlite3.connect(house.path)) as other:
        return other.execute("SELECT count(*) FROM jobs").fetchone()[0]


OPTIONS = {
    "queue": "queue",
    "priority": 3,
    "delay": 4.5,
    "run_at": NOW + 6 * SECOND,
    "tags": {"a": "b"},
    "timeout": 5,
    "expires_in": 7,
    "retry": {"max_attempts": 8},
    "key": "key",
}
"""All that a submission may have beside its task and its arguments."""


def test_jobs_of_a_batch_are_as_if_they_were_made_one_by_one():
    assert {"task", "args", "kwargs", *OPTIONS} == set(Submission._fields)
    own = TaskDefinition("double", double, Kind.PLAIN, "queue", 0)
    usual = Checked(own, Submission("double", (1,), tags={"b": "1", "a": "2"}), None, None)
    others = [usual.submission._replace(**{name: value}) for name, value in OPTIONS.items()]
    others += [usual.submission._replace(tags={"a": "2", "b": "1"})]
    others += [usual.submission._replace(args=(2,)), usual.submission._replace(kwargs={"n": 2})]
    checked = [
        *(usual._replace(submission=submission) for submission in others),
        *(
            usual._replace(limit_key=limit_key, shown=shown)
            for limit_key, shown in [("a", None), (None, "*")]
        ),
        usual._replace(definition=TaskDefinition("another", double, Kind.PLAIN, "queue", 0)),
    ]
    # Each beside the one from which it differs in a single thing.
    batch = [one for other in checked for one in (usual, usual, other, other)]
    jobs, expected = new_jobs("t", batch, NOW), [new_job("t", one, NOW) for one in batch]
    # As text, in which the order of tags is told.
    assert [str(job._replace(id="")) for job in jobs] == [str(job._replace(id="")) for job in expected]
    assert len({job.id for job in jobs}) == len(batch)


def test_a_submission_is_durable_before_it_is_answered(serve):
    async def test(service):
        for n in range(1, 4):
            await service.submit("t", Submission("double", (n,)))
            assert rows(service.house) == n

    serve(test, double, start=False)


def test_a_submitted_job_is_as_it_was_asked_for(serve):
    clock = ManualClock()

    async def test(service):
        submission = Submission(
            "double", [1], {}, queue="slow", priority=7, delay=1.5, tags={"team": "books"}
        )
        job = (await service.submit("t", submission)).job
        assert job == (await service.get("t", job.id))
        assert (job.tenant, job.task, job.arguments) == ("t", "double", '{"args":[1],"kwargs":{}}')
        assert (job.queue, job.priority, job.tags) == ("slow", 7, {"team": "books"})
        assert (job.state, job.hold, job.run_at) == (State.PENDING, Hold.DUE_LATER, clock.now + 1_500_000)

    serve(test, double, start=False, clock=clock)


def test_queue_and_priority_are_the_tasks_own_unless_said_otherwise(serve):
    async def test(service):
        definition = service.house.registry.get("double")
        own = TaskDefinition(definition.name, definition.fn, definition.kind, "books", 3)
        service.house.registry._tasks["double"] = own
        job = (await service.submit("t", Submission("double", (1,)))).job
        other = (await service.submit("t", Submission("double", (1,), queue="default", priority=0))).job
        return (job.queue, job.priority), (other.queue, other.priority)

    assert serve(test, double, start=False) == (("books", 3), ("default", 0))


@pytest.mark.parametrize(("ahead", "hold"), [(-SECOND, Hold.NONE), (0, Hold.NONE), (1, Hold.DUE_LATER)])
def test_a_job_is_held_back_only_for_a_time_to_come(serve, ahead, hold):
    clock = ManualClock()

    async def test(service):
        return (await service.submit("t", Submission("double", (1,), run_at=clock.now + ahead))).job

    job = serve(test, double, start=False, clock=clock)
    assert (job.run_at, job.hold) == (clock.now + ahead, hold)


def test_an_unknown_task_is_refused_with_the_nearest_names_and_nothing_is_stored(serve):
    async def test(service):
        with pytest.raises(UnknownTaskError) as caught:
            await service.submit("t", Submission("dubble"))
        return caught.value.nearest, rows(service.house)

    assert serve(test, double) == (("double",), 0)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2), {}), (("one",), {}), ((), {"m": 1})])
def test_arguments_that_do_not_fit_are_refused_and_nothing_is_stored(serve, args, kwargs):
    async def test(service):
        with pytest.raises(InvalidArgumentsError) as caught:
            await service.submit("t", Submission("double", args, kwargs))
        return bool(caught.value.faults), rows(service.house)

    assert serve(test, double) == (True, 0)


def test_arguments_are_stored_as_they_were_sent(serve):
    async def test(service):
        job = (await service.submit("t", Submission("double", ("20",)))).job
        return job.arguments, (await service.wait("t", job.id, PATIENCE)).result

    assert serve(test, double) == ('{"args":["20"],"kwargs":{}}', "40")


def test_submissions_at_the_same_time_are_all_stored(serve):
    async def test(service):
        answers = await asyncio.gather(*(service.submit("t", Submission("double", (n,))) for n in range(200)))
        jobs = [answer.job for answer in answers]
        done = await asyncio.gather(*(service.wait("t", job.id, PATIENCE) for job in jobs))
        return [job.result for job in done]

    assert serve(test, double) == [str(2 * n) for n in range(200)]


def test_one_bad_submission_among_many_fails_alone(serve):
    async def test(service):
        submissions = [Submission("double", ("x" if n == 5 else n,)) for n in range(10)]
        answers = await asyncio.gather(*(service.submit("t", s) for s in submissions), return_exceptions=True)
        return [isinstance(answer, InvalidArgumentsError) for answer in answers], rows(service.house)

    assert serve(test, double) == ([n == 5 for n in range(10)], 9)


# -- limits


def test_a_full_queue_is_said_so_and_other_queues_are_open(serve):
    async def test(service):
        await service.submit("t", Submission("double", (1,)))
        with pytest.raises(QueueFullError) as caught:
            await service.submit("other", Submission("double", (1,)))
        await service.submit("t", Submission("double", (1,), queue="other"))
        return caught.value.retry_after

    assert serve(test, double, start=False, limits=Limits(queue=1)) > 0


def test_a_used_up_quota_is_said_so_to_its_tenant_alone(serve):
    async def test(service):
        await service.submit("t", Submission("double", (1,)))
        with pytest.raises(TooManyJobsError):
            await service.submit("t", Submission("double", (1,), queue="other"))
        return (await service.submit("other", Submission("double", (1,)))).job.tenant

    assert serve(test, double, start=False, limits=Limits(tenant=1)) == "other"


def test_a_cancelled_job_makes_room(serve):
    async def test(service):
        job = (await service.submit("t", Submission("double", (1,)))).job
        await service.cancel("t", job.id)
        return (await service.submit("t", Submission("double", (1,)))).job

    assert serve(test, double, start=False, limits=Limits(1, 1)).state is State.PENDING


# -- draining


def test_a_draining_service_takes_no_jobs_and_shows_those_it_has(serve):
    async def test(service):
        job = (await service.submit("t", Submission("double", (4,)))).job
        service.drain()
        with pytest.raises(DrainingError):
            await service.submit("t", Submission("double", (4,)))
        return await service.wait("t", job.id, PATIENCE), rows(service.house)

    job, stored = serve(test, double)
    assert (job.result, stored) == ("8", 1)


def test_a_drain_that_begins_while_arguments_are_checked_lets_no_job_slip_in(serve):
    checking, release = threading.Event(), threading.Event()

    def check(n):
        checking.set()
        assert release.wait(PATIENCE)
        return n

    async def test(service):
        submitting = asyncio.ensure_future(service.submit("t", Submission("task", (1,))))
        assert await asyncio.to_thread(checking.wait, PATIENCE)
        service.drain()
        release.set()
        with pytest.raises(DrainingError):
            await submitting
        return rows(service.house)

    assert serve(test, definition_of(check)) == 0


# -- validators of the user's own


def definition_of(check):
    def task(n: Annotated[int, AfterValidator(check)]):
        return n

    # The annotation is local, so it is given as it is, and not by name.
    task.__annotations__ = {"n": Annotated[int, AfterValidator(check)]}
    return task


def test_a_validator_of_the_users_runs_off_the_event_loop(serve):
    threads = []

    def check(n):
        threads.append(threading.current_thread().name)
        return n

    async def test(service):
        await service.submit("t", Submission("task", (1,)))

    serve(test, definition_of(check), start=False)
    assert [name.partition("_")[0] for name in threads] == ["errand-check"]


@pytest.mark.parametrize("value", [[0] * 2000, [[]], {"a": {}}, "x" * 10_000, [0] * 1000])
def test_what_takes_long_to_check_is_checked_off_the_event_loop(value, serve):
    before = set(threading.enumerate())
    large = not isinstance(value, str) and value != [0] * 1000

    def task(n):
        return None

    async def test(service):
        await service.submit("t", Submission("task", (value,)))
        return [thread.name.partition("_")[0] for thread in set(threading.enumerate()) - before]

    assert ("errand-check" in serve(test, task, start=False)) is large


def test_a_validator_that_hangs_holds_up_nobody_else(serve):
    release = threading.Event()

    def check(n):
        if n == 0:
            release.wait(PATIENCE)
        return n

    async def test(service):
        hanging = asyncio.ensure_future(service.submit("t", Submission("task", (0,))))
        other = (await service.submit("t", Submission("task", (1,)))).job
        third = (await service.submit("t", Submission("double", (1,)))).job
        waiting = not hanging.done()
        ended_early = service.close()
        release.set()
        await hanging
        return waiting, ended_early, other.task, third.task

    assert serve(test, definition_of(check), double, start=False) == (True, False, "task", "double")


@pytest.mark.parametrize("exception", [ValueError, LookupError, SystemExit, KeyboardInterrupt])
def test_whatever_a_validator_raises_is_a_fault_of_the_arguments(serve, exception):
    def check(n):
        raise exception

    async def test(service):
        with pytest.raises(InvalidArgumentsError) as caught:
            await service.submit("t", Submission("task", (1,)))
        return len(caught.value.faults), rows(service.house)

    assert serve(test, definition_of(check)) == (1, 0)


class Exits:
    """A value that ends whoever compares it."""

    __hash__ = None

    def __eq__(self, other):
        sys.exit()


class Exit(enum.Enum):
    NOW = Exits()


def test_code_that_nobody_expects_in_a_check_is_a_fault_of_the_arguments_too(serve):
    def task(n: Exit):
        return n

    task.__annotations__ = {"n": Exit}

    async def test(service):
        assert service.house.registry.get("task").checks_only_types
        with pytest.raises(InvalidArgumentsError, match="SystemExit"):
            await service.submit("t", Submission("task", ([],)))
        with pytest.raises(InvalidBatchError):
            await service.submit_batch("t", [Submission("task", ([],))])
        return rows(service.house)

    assert serve(test, task, start=False) == 0


def test_a_validator_that_exits_ends_neither_the_service_nor_its_thread(serve):
    def check(n):
        if n == 0:
            sys.exit()
        return n

    async def test(service):
        with pytest.raises(InvalidArgumentsError):
            await service.submit("t", Submission("task", (0,)))
        job = (await service.submit("t", Submission("task", (1,)))).job
        return await service.wait("t", job.id, PATIENCE)

    assert serve(test, definition_of(check), clock=wall_clock).outcome is Outcome.SUCCEEDED
