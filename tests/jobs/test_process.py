"""What runs a job's function in a process, run here in this one, with the other end of the pipe made up."""

import contextlib
import json
import logging
import os
import pickle
import signal
import sys

import pytest

from app import checkpoint, context, progress, submit, task
from app.core import FutureCancelledError, FutureTimeoutError, ProcessPoolExecutor, child
from app.jobs import output
from app.jobs.context import SCOPE, Context
from app.jobs.model import Progress
from app.jobs.process import NICENESS, Order, Raised, Returned, prepare_process, run_order


@task(executor="process")
def add(a: int, b: int = 1) -> int:
    return a + b


@task(executor="process")
def raises(message: str) -> None:
    raise LookupError(message)


@task(executor="process")
def exits() -> None:
    sys.exit(3)


@task(executor="process")
def no_json() -> object:
    return object()


@task(executor="process")
def looks() -> str:
    try:
        checkpoint()
    except FutureCancelledError:
        checkpoint()
    return "not asked"


@task(executor="process")
def waits_in_vain() -> None:
    raise FutureTimeoutError("mine")


@task(executor="process")
def tells() -> dict:
    print("printed")
    progress(1, 2, "half")
    shown = context()
    return {"id": shown.id, "attempt": shown.attempt, "deadline": shown.deadline, "tags": dict(shown.tags)}


@task(executor="process")
def submits() -> list:
    def generator():
        return (yield submit(os.getpid))

    async def coroutine():
        return await submit(os.getpid)

    return [submit(call).result() for call in (os.getpid, generator, coroutine)]


class Parent:
    """The other end of the pipe."""

    def __init__(self):
        self.asked_for = None
        self.asked_after = 0
        """How often it is looked at before."""
        self.notes = []

    def request(self):
        if self.asked_after:
            self.asked_after -= 1
            return None
        return None if self.asked_for is None else pickle.dumps(self.asked_for)

    def send(self, message):
        self.notes.append(pickle.loads(child.split(message)[1]))


@pytest.fixture
def parent(monkeypatch):
    monkeypatch.setattr(child, "_parent", Parent())
    return child._parent


@pytest.fixture
def run(monkeypatch, parent):
    capture = output._Capture()
    monkeypatch.setattr(output, "CAPTURE", capture)
    level = logging.root.level

    def run(name, *args, module=__name__, limit=1000):
        arguments = json.dumps({"args": args, "kwargs": {}})
        asked = Context("the id", 2, 5.5, {"team": "books"})
        # pytest reads what is printed; it is put back as it was.
        with contextlib.redirect_stdout(sys.stdout), contextlib.redirect_stderr(sys.stderr):
            return run_order(Order(asked, 7, module, name, arguments, limit, level))

    yield run
    capture._streams = []
    logging.root.removeHandler(capture._handler)
    logging.root.setLevel(level)


def test_arguments_are_coerced_and_the_result_comes_as_json(run):
    assert run("add", "1") == Returned("2")


def test_arguments_that_do_not_fit_here_are_the_failure(run):
    ending = run("add", "one")
    assert (ending.failure.type, ending.gave_in) == ("InvalidArgumentsError", False)


def test_an_exception_comes_as_data_with_the_users_part_of_the_traceback(run):
    failure = run("raises", "nobody there").failure
    assert (failure.type, failure.message) == ("LookupError", "nobody there")
    assert "raise LookupError(message)" in failure.traceback
    assert "run_order" not in failure.traceback


def test_an_exit_is_the_jobs_failure(run):
    assert run("exits").failure[:2] == ("SystemExit", "3")


@pytest.mark.parametrize(("name", "args", "limit"), [("no_json", (), 1000), ("add", (1000,), 3)])
def test_a_result_that_cannot_be_kept_is_a_failure(run, name, args, limit):
    assert run(name, *args, limit=limit).failure.type == "ResultError"


def test_a_task_that_its_module_does_not_declare_here_is_a_failure(run):
    assert run("add", 1, module="app.tasks").failure[:2] == ("UnknownTaskError", "no task is called 'add'")


def test_a_module_that_cannot_be_imported_here_is_a_failure(run):
    assert run("add", 1, module="no_such_module").failure.type == "ModuleNotFoundError"


@pytest.mark.parametrize("request_", [FutureCancelledError("stop"), FutureTimeoutError("time is up")])
def test_a_job_that_was_asked_to_stop_gives_in_at_its_checkpoint(run, parent, request_):
    # Not before it is called, and on every call after that.
    parent.asked_for, parent.asked_after = request_, 1
    ending = run("looks")
    assert (ending.failure.message, ending.gave_in) == (str(request_), True)


def test_a_job_that_was_asked_to_stop_before_it_began_is_never_called(run, parent):
    parent.asked_for = FutureCancelledError("stop")
    ending = run("tells")
    assert (type(ending), ending.gave_in, parent.notes) == (Raised, True, [])


def test_an_error_of_that_kind_that_nobody_asked_for_is_an_ordinary_failure(run):
    ending = run("waits_in_vain")
    assert (ending.failure[:2], ending.gave_in) == (("FutureTimeoutError", "mine"), False)


def test_a_job_that_was_not_asked_goes_on(run):
    assert run("looks") == Returned('"not asked"')


def test_the_code_knows_its_job_and_what_it_says_comes_back(run, parent):
    returned = json.loads(run("tells").result)
    assert returned == {"id": "the id", "attempt": 2, "deadline": 5.5, "tags": {"team": "books"}}
    assert {(note.job_id, note.token) for note in parent.notes} == {("the id", 7)}
    assert [line.text for note in parent.notes for line in note.lines] == ["printed"]
    assert Progress(1, 2, "half") in [note.progress for note in parent.notes]
    assert SCOPE.get() is None


def test_what_the_code_submits_runs_at_once(run):
    assert json.loads(run("submits").result) == [os.getpid()] * 3


# -- its process -------------------------------------------------------------


def test_a_process_of_the_worker_survives_sigterm_and_what_it_forks_does_not():
    with ProcessPoolExecutor(1, initializer=prepare_process) as pool:
        assert pool.submit(signal.raise_signal, signal.SIGTERM).result() is None
        assert pool.submit(handler_in_a_fork).result() == signal.SIG_DFL


def test_a_process_of_the_worker_lets_the_service_go_first():
    nicest = 19
    with ProcessPoolExecutor(1, initializer=prepare_process) as pool:
        assert pool.submit(os.nice, 0).result() == min(os.nice(0) + NICENESS, nicest)


def handler_in_a_fork():
    child = os.fork()
    if child == 0:
        os._exit(signal.getsignal(signal.SIGTERM))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
