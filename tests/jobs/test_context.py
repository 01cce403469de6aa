"""What a task function can ask of its job, and what happens when there is none."""

import asyncio
import contextvars
import dataclasses
import fractions
import math
import threading

import pytest

from app.core import Future, FutureCancelledError, Task
from app.jobs.context import LARGEST, MESSAGE_LIMIT, SCOPE, Context, checkpoint, context, progress, submit
from app.jobs.model import Progress

SOON = 30  # seconds: a bound on waiting for what must come, never a delay


class Recorder:
    """A scope that keeps what it is told."""

    context = Context("0198f00d-0000-7000-8000-000000000001", 2, 5.0, {"team": "books"})

    def __init__(self):
        self.reports = []
        self.calls = []
        self.asked = False

    def progress(self, report):
        self.reports.append(report)

    def checkpoint(self):
        if self.asked:
            raise FutureCancelledError

    def submit(self, fn, args, kwargs):
        self.calls.append((fn, args, kwargs))
        return Future()


@pytest.fixture
def scope():
    recorder = Recorder()
    token = SCOPE.set(recorder)
    yield recorder
    SCOPE.reset(token)


# -- outside a job -----------------------------------------------------------


def test_outside_a_job_the_helpers_do_no_harm():
    assert context() == Context(id=None, attempt=0, deadline=None, tags={})
    assert checkpoint() is None
    assert progress(1, 2, "reading") is None


def test_a_plain_function_runs_inline():
    def where(a, *, b):
        return a, b, threading.get_ident()

    future = submit(where, 1, b=2)
    assert future.done()
    assert future.result(0) == (1, 2, threading.get_ident())


def test_a_generator_function_runs_inline_as_a_task():
    def combine(n):
        first = yield submit(lambda: n)
        rest = yield [submit(lambda: 10), submit(lambda: 100)]
        return first + sum(rest)

    task = submit(combine, 1)
    assert isinstance(task, Task)
    assert task.result(0) == 111


def test_a_coroutine_function_runs_to_its_end_on_a_loop_of_its_own():
    async def later(n):
        await asyncio.sleep(0)
        return n + 1

    assert submit(later, 1).result(0) == 2

    async def outer():
        return submit(later, 2).result(0)

    assert asyncio.run(outer()) == 3


def test_a_coroutine_run_inline_sees_the_callers_context():
    variable = contextvars.ContextVar("variable", default="unset")

    async def look():
        return variable.get()

    token = variable.set("set")
    assert submit(look).result(0) == "set"
    variable.reset(token)


def fails(*_):
    raise ValueError("broken")


def fails_in_a_step(*_):
    yield submit(int)
    raise ValueError("broken")


async def fails_later(*_):
    raise ValueError("broken")


@pytest.mark.parametrize("fn", [fails, fails_in_a_step, fails_later])
def test_what_a_call_raises_is_in_its_future(fn):
    exception = submit(fn).exception(0)
    assert isinstance(exception, ValueError)
    assert str(exception) == "broken"


@pytest.mark.parametrize("fn", [fails, fails_in_a_step, fails_later])
def test_arguments_that_do_not_fit_fail_the_future_and_not_the_caller(fn):
    assert isinstance(submit(fn, unknown=1).exception(0), TypeError)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, FutureCancelledError])
def test_a_call_that_would_end_the_program_only_fails(error):
    def leave():
        raise error

    assert isinstance(submit(leave).exception(0), error)


# -- in a job ----------------------------------------------------------------


def test_in_a_job_the_context_is_the_jobs(scope):
    assert context() is scope.context
    assert (context().id, context().attempt, context().deadline) == (scope.context.id, 2, 5.0)
    assert context().tags["team"] == "books"
    with pytest.raises(dataclasses.FrozenInstanceError):
        context().attempt = 3


def test_a_checkpoint_raises_on_every_call_once_asked(scope):
    checkpoint()
    scope.asked = True
    for _ in range(2):
        with pytest.raises(FutureCancelledError):
            checkpoint()


def test_in_a_job_calls_go_to_the_job(scope):
    future = submit(max, 1, 2, key=abs)
    assert not future.done()
    assert scope.calls == [(max, (1, 2), {"key": abs})]


def test_the_scope_travels_with_the_context(scope):
    seen = []
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(lambda: seen.append(context().id),)
    )
    thread.start()
    thread.join(SOON)
    assert seen == [scope.context.id]


# -- progress ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "report"),
    [
        ((3,), Progress(3)),
        ((3, 10), Progress(3, 10)),
        ((2.5, 10, "reading"), Progress(2.5, 10, "reading")),
        ((LARGEST, -LARGEST), Progress(LARGEST, -LARGEST)),
        ((fractions.Fraction(1, 2), True), Progress(0.5, 1)),
        ((1, None, 404), Progress(1, None, "404")),
        ((1, None, "a\0b\ud800"), Progress(1, None, "a\\x00b\\ud800")),
    ],
)
def test_progress_reports_numbers_and_text(scope, given, report):
    progress(*given)
    assert scope.reports == [report]
    assert {type(number) for number in scope.reports[0][:2]} <= {int, float, type(None)}


def test_a_long_message_is_cut(scope):
    progress(1, message="m" * MESSAGE_LIMIT)
    progress(1, message="m" * MESSAGE_LIMIT + "n")
    progress(1, message="\0" * MESSAGE_LIMIT)
    assert [report.message for report in scope.reports] == [
        "m" * MESSAGE_LIMIT,
        "m" * MESSAGE_LIMIT,
        "\\x00" * (MESSAGE_LIMIT // 4),
    ]


@pytest.mark.parametrize("wrong", ["3", None, [1], 1j, object()])
def test_progress_is_counted_in_numbers(scope, wrong):
    with pytest.raises(TypeError, match=f"progress is counted in numbers, not in {type(wrong).__name__}"):
        progress(wrong)
    assert scope.reports == []


@pytest.mark.parametrize(
    "wrong",
    [math.nan, math.inf, -math.inf, LARGEST + 1, -LARGEST - 1, pytest.param(10**5000, id="huge"), 1e300],
)
def test_progress_is_finite(scope, wrong):
    for given in ((wrong,), (1, wrong)):
        with pytest.raises(ValueError, match="finite numbers, at most"):
            progress(*given)
    assert scope.reports == []


def test_wrong_progress_is_found_outside_a_job_too():
    with pytest.raises(ValueError, match="finite"):
        progress(math.nan)
    with pytest.raises(TypeError, match="numbers"):
        progress(1, total="many")
