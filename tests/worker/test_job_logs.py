"""What jobs print and log lands on the job whose code says it, and still goes where it went."""

import asyncio
import io
import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context

import pytest

from app.core import Future, State
from app.jobs.context import SCOPE, context, progress, submit
from app.jobs.model import LINE_COST, Outcome, Progress
from app.jobs.output import LIMIT
from app.stores.base import StoreUnavailableError
from app.worker.tee import TEE, Router
from tests.worker.house import PATIENCE, House
from tests.worker.process_tasks import TASKS
from tests.worker.test_cancelling import Steps, begin
from tests.worker.test_settling import locked, wait_for_failed_reports

LOGGER = logging.getLogger("a.users.own")


@pytest.fixture
def steps():
    return Steps()


@pytest.fixture(autouse=True)
def _level(caplog):
    caplog.set_level(logging.INFO)


# -- whose it is -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_what_a_function_and_its_calls_print_and_log_lands_on_their_job(run, kind, capsys, caplog):
    def say(n):
        print("printed", n)
        print("to stderr", n, file=sys.stderr)
        LOGGER.warning("logged %d", n)

    def plain():
        say(1)
        submit(say, 2).result()

    def generator():
        say(1)
        yield submit(say, 2)

    async def coroutine():
        say(1)
        await submit(say, 2)

    house = run(plain, generator, coroutine)
    job = house.run(house.registry.get(kind).fn)
    said = [(line["logger"], line["level"], line["message"]) for line in house.log(job)]
    for n in (1, 2):
        assert [line for line in said if line[2].endswith(str(n))] == [
            ("", "INFO", f"printed {n}"),
            ("", "WARNING", f"to stderr {n}"),
            ("a.users.own", "WARNING", f"logged {n}"),
        ]
    assert len(said) == 6
    # And where it went.
    assert capsys.readouterr() == ("printed 1\nprinted 2\n", "to stderr 1\nto stderr 2\n")
    assert [r.getMessage() for r in caplog.records if r.name == LOGGER.name] == ["logged 1", "logged 2"]


def test_what_a_process_says_lands_on_its_job_and_still_goes_where_it_went(run, tmp_path, capsys, caplog):
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    house = run(*TASKS)
    job = house.submit(TASKS.get("tells"), str(begun))
    # It comes while the job runs.
    house.wait_for(job, lambda job: job.logged > 0)
    begun.open().close()
    house.wait_for(job)
    said = [(line["logger"], line["level"], line["message"]) for line in house.log(job)]
    assert said == [
        ("", "INFO", "printed by the job"),
        ("by.the.job", "WARNING", "logged by the job"),
    ]
    assert capsys.readouterr().out == "printed by the job\n"
    assert [r.getMessage() for r in caplog.records if r.name == "by.the.job"] == ["logged by the job"]


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_jobs_that_speak_at_once_are_not_mixed(run, kind):
    def say():
        for n in range(50):
            print(context().id, end=" ")
            print(n)
            LOGGER.info("%s logs", context().id)

    def plain():
        say()

    def generator():
        for n in range(50):
            print(context().id, end=" ")
            print(n)
            LOGGER.info("%s logs", context().id)
            yield submit(int)

    async def coroutine():
        for n in range(50):
            print(context().id, end=" ")
            print(n)
            LOGGER.info("%s logs", context().id)
            await asyncio.sleep(0)

    house = run(plain, generator, coroutine, threads=4)
    for job in [house.submit(house.registry.get(kind).fn) for _ in range(4)]:
        house.wait_for(job)
        expected = [text for n in range(50) for text in (f"{job.id} {n}", f"{job.id} logs")]
        assert house.texts(job) == expected


def test_each_line_says_which_attempt_and_run_it_is_of(run):
    def plain():
        print("attempt", context().attempt)
        if context().attempt == 1:
            raise LookupError

    house = run(plain)
    job = house.run(plain, attempts=2)
    assert [(line["attempt"], line["message"]) for line in house.log(job)] == [
        (1, "attempt 1"),
        (2, "attempt 2"),
    ]


def test_a_failure_is_logged_with_its_traceback_by_whoever_logs_it(run):
    def plain():
        try:
            {}["not there"]
        except LookupError:
            LOGGER.exception("caught")

    house = run(plain)
    [text] = house.texts(house.run(plain))
    assert text.startswith("caught\nTraceback")
    assert text.endswith("KeyError: 'not there'")


def test_errands_own_loggers_never_land_on_a_job_and_the_sample_tasks_do(run):
    def plain():
        for name in (
            "app.core.thread",
            "app.jobs",
            "app.stores.writer",
            "app.worker",
            "app.service",
            "app.api.x",
        ):
            logging.getLogger(name).warning("ours")
        logging.getLogger("app.tasks").warning("a task's")
        logging.getLogger("app.corely").warning("somebody's")

    house = run(plain)
    assert house.texts(house.run(plain)) == ["a task's", "somebody's"]


def test_a_plain_thread_that_a_function_starts_is_nobodys(run, capsys):
    def plain():
        thread = threading.Thread(target=print, args=("from a thread",))
        thread.start()
        thread.join()

    async def coroutine():
        await asyncio.to_thread(print, "in a copy of the context")

    house = run(plain, coroutine)
    assert house.texts(house.run(plain)) == []
    assert house.texts(house.run(coroutine)) == ["in a copy of the context"]
    assert capsys.readouterr().out == "from a thread\nin a copy of the context\n"


def test_a_forked_process_prints_for_itself(run, capfd):
    def plain():
        print("before")
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            here = isinstance(sys.stdout, Router) or TEE._handler in logging.root.handlers
            os._exit(here)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    house = run(plain)
    job = house.run(plain)
    assert (job.result, house.texts(job)) == ("0", ["before"])


# -- when --------------------------------------------------------------------


def test_lines_are_stored_while_the_job_runs_and_the_last_ones_with_its_end(run, steps):
    def plain():
        print("early")
        steps.enter()
        steps.wait()
        print("late")
        print("without an end", end="")

    house = run(plain)
    job = begin(house, steps, plain)
    house.wait_for(job, lambda job: job.logged > 0)
    assert (house.read(job).state, house.texts(job)) == (State.RUNNING, ["early"])
    steps.go.set()
    batches = len(house.batches)
    house.wait_for(job)
    assert house.texts(job) == ["early", "late", "without an end"]
    final = [found for batch in house.batches[batches:] for found in batch if found.id == job.id]
    assert [found.state for found in final if found.logged > LINE_COST + 5][:1] == [State.FINISHED]


def test_lines_that_could_not_be_stored_come_with_the_next_report(run, steps):
    def plain():
        print("one")
        steps.enter()
        steps.wait()

    house = run(plain)
    job = begin(house, steps, plain)
    with locked(house):
        wait_for_failed_reports(house, job)
    house.wait_for(job, lambda job: job.logged > 0)
    assert house.texts(job) == ["one"]
    steps.go.set()
    house.wait_for(job)
    assert house.texts(job) == ["one"]


def test_lines_whose_report_fails_after_the_end_come_with_the_settlement(run, steps):
    def plain():
        print("one")
        steps.enter()
        steps.wait()
        print("two")
        return "result"

    house = run(plain)
    job = begin(house, steps, plain)
    said = house.worker._executions[job.id].said
    # As if the ticker had handed it to a writer that takes its time.
    while not (events := said.take()):
        house.flush()
    report = Future()
    report.add_done_callback(said.stored)
    steps.go.set()
    while not said._settles:
        house.flush()
    assert house.read(job).state is State.RUNNING
    report.set_exception(StoreUnavailableError())
    assert house.wait_for(job).result == '"result"'
    assert (len(events), house.texts(job)) == (1, ["one", "two"])


def test_the_end_comes_after_a_report_that_is_under_way_and_nothing_is_stored_twice(run):
    def plain():
        for n in range(2000):
            print(n)

    house = run(plain)
    jobs = [house.submit(plain) for _ in range(4)]
    for job in jobs:
        house.wait_for(job)
        assert house.texts(job) == [str(n) for n in range(2000)]


def test_what_was_said_before_a_job_is_put_back_is_stored(run, steps):
    def plain():
        print("said")
        progress(1)
        steps.enter()
        steps.wait()
        print("too late")

    house = run(plain)
    job = begin(house, steps, plain)
    house.worker.drain(0)
    stored = house.read(job)
    assert (stored.state, stored.attempt, stored.progress) == (State.PENDING, 0, None)
    steps.go.set()
    house.worker.pools.jobs.shutdown()
    house.flush()
    assert house.texts(job) == ["said"]
    assert house.close() is False


def test_what_is_said_after_the_end_is_dropped(run):
    scopes = []

    def plain():
        scopes.append(SCOPE.get())
        print("in time")

    house = run(plain)
    job = house.run(plain)
    late = Context()
    late.run(SCOPE.set, scopes[0])
    late.run(print, "late")
    late.run(LOGGER.warning, "late")
    house.flush()
    assert (house.texts(job), house.read(job).version) == (["in time"], job.version)


def test_an_outcome_that_no_store_can_keep_is_replaced_though_there_are_lines(run):
    def plain():
        print("said")
        SCOPE.get().progress(Progress(object()))
        return "result"

    job = run(plain).run(plain)
    assert job.exception.message == "the store cannot keep what the job has returned, raised or reported"


# -- how much ----------------------------------------------------------------


def test_of_a_flood_what_fits_is_kept_and_the_rest_counted(run):
    def plain():
        for _ in range(2 * LIMIT // LINE_COST):
            print()

    house = run(plain)
    job = house.run(plain)
    *kept, last = house.texts(job)
    assert last == f"... {2 * LIMIT // LINE_COST - len(kept)} more lines were dropped"
    assert (job.outcome, len(kept)) == (Outcome.SUCCEEDED, LIMIT // LINE_COST)


def test_the_limit_is_for_all_attempts_together(run):
    def plain():
        print("x" * 8000)
        print("y" * 8000)
        raise LookupError

    house = run(plain)
    job = house.run(plain, attempts=2, logged=LIMIT - 3 * 8100)
    assert [(line["attempt"], line["message"][:3]) for line in house.log(job)] == [
        (1, "xxx"),
        (1, "yyy"),
        (2, "xxx"),
        (2, "..."),
    ]


def test_what_a_process_drops_is_counted_too(run, capsys):
    house = run(*TASKS)
    job = house.run(TASKS.get("floods"), LIMIT)
    *kept, last = house.texts(job)
    assert last == f"... {LIMIT - len(kept)} more lines were dropped"
    assert capsys.readouterr().err == f"... {LIMIT - len(kept)} more lines were dropped\n"


def test_many_lines_share_a_change(run):
    def plain():
        for n in range(10_000):
            print(n)

    house = run(plain)
    job = house.run(plain)
    changes = [found for batch in house.batches for found in batch if found.id == job.id]
    # Insertion, claim, end; and a tick may have come in between, four times a second.
    assert len(changes) < 100


# -- in place of the streams ---------------------------------------------------


def test_the_streams_and_the_log_are_as_before_when_the_last_worker_has_closed(build, tmp_path):
    before, handlers = (sys.stdout, sys.stderr), logging.root.handlers[:]
    (tmp_path / "second").mkdir()
    first, second = build(), House(tmp_path / "second")
    first.start()
    second.start()
    routed = sys.stdout
    assert (routed.real, sys.stderr.real) == before
    first.close()
    assert sys.stdout is routed
    second.close()
    assert (sys.stdout, sys.stderr) == before
    assert logging.root.handlers == handlers


def test_what_somebody_else_has_put_there_stays(build):
    before = sys.stdout, sys.stderr
    house = build().start()
    try:
        sys.stdout, sys.stderr = mine = io.StringIO(), None
        house.close()
        assert (sys.stdout, sys.stderr) == mine
        again = build_streams()
        assert again == (True, True)
    finally:
        sys.stdout, sys.stderr = before


def build_streams():
    """Begin and end without a stderr; return whether stdout was routed, and what is None has stayed."""
    TEE.begin()
    try:
        return isinstance(sys.stdout, Router), sys.stderr is None
    finally:
        TEE.end()


def test_a_worker_that_never_started_takes_nothing_away(run, tmp_path):
    run()
    (tmp_path / "second").mkdir()
    House(tmp_path / "second").close()
    assert isinstance(sys.stdout, Router)


def test_the_streams_do_what_code_asks_of_them(run, capsys):
    def plain():
        sys.stdout.buffer.write("bytes ü\n".encode())
        sys.stdout.buffer.flush()
        sys.stdout.writelines(["a\n", "b\n"])
        print("flushed", flush=True)
        return [sys.stdout.isatty(), sys.stdout.encoding == sys.stdout.real.encoding]

    house = run(plain)
    job = house.run(plain)
    assert job.result == "[false,true]"
    assert house.texts(job) == ["bytes ü", "a", "b", "flushed"]
    assert capsys.readouterr().out == "bytes ü\na\nb\nflushed\n"


def test_text_and_arguments_that_raise_harm_neither_the_job_nor_its_log(run, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)

    class Text(str):
        __slots__ = ()

        def __format__(self, spec):
            raise LookupError

    class Argument:
        def __str__(self):
            raise LookupError

    def plain():
        sys.stdout.write(Text("text\n"))
        LOGGER.warning("%s", Argument())
        print("after")
        return "result"

    house = run(plain)
    # pytest's own handlers raise.
    handlers, logging.root.handlers[:] = logging.root.handlers[:], [TEE._handler]
    try:
        job = house.run(plain)
    finally:
        logging.root.handlers[:] = handlers
    assert (job.result, house.texts(job)[-1]) == ('"result"', "after")


def test_an_argument_that_waits_for_somebody_who_logs_is_not_held_up(run):
    with ThreadPoolExecutor(1) as others:

        class Argument:
            def __str__(self):
                others.submit(LOGGER.warning, "from elsewhere").result(PATIENCE)
                return "shown"

        def plain():
            LOGGER.warning("%s", Argument())

        house = run(plain)
        # Handlers like pytest's have a lock, this one has none.
        handlers, logging.root.handlers[:] = logging.root.handlers[:], [TEE._handler]
        try:
            job = house.run(plain)
        finally:
            logging.root.handlers[:] = handlers
    assert house.texts(job) == ["shown"]
