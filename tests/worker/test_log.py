"""What an operator finds in the log: one line for each job that has failed, and no secrets."""

import asyncio
import logging
import re

import pytest

from app.core import Future
from app.jobs.context import submit
from app.jobs.model import Outcome
from tests.worker.test_cancelling import Steps, begin, cancelled

NAME = "app.worker.record"


@pytest.fixture
def steps():
    return Steps()


@pytest.fixture
def lines(caplog):
    """Returns the lines so far, with their levels; the house is closed first, so that all are there."""
    caplog.set_level(logging.DEBUG, NAME)

    def lines(house):
        house.close()
        return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == NAME]

    return lines


def one(job, lines):
    """Return the level and the ending of the only line, which must name the job."""
    [(level, line)] = lines
    found = re.fullmatch(rf"job {job.id} \({job.task}, attempt 1, \d+\.\d{{3}} s\) (.*)", line)
    assert found, line
    return level, found[1]


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_a_failed_job_leaves_one_warning(run, lines, kind):
    def plain():
        raise LookupError("not there")

    def generator():
        yield submit(plain)

    async def coroutine():
        await submit(plain)

    house = run(plain, generator, coroutine)
    job = house.run(house.registry.get(kind).fn)
    assert one(job, lines(house)) == ("WARNING", "failed: LookupError: not there")


def test_a_job_that_succeeds_is_told_of_when_debugging(run, lines):
    def plain(secret: str):
        return secret

    house = run(plain)
    job = house.run(plain, "secret")
    assert one(job, lines(house)) == ("DEBUG", "succeeded")


def test_a_message_becomes_one_short_line(run, lines):
    def plain(secret: str):
        raise LookupError("é\n\r\x1b[31m\u2028" + "x" * 500)

    house = run(plain)
    job = house.run(plain, "secret")
    _, ending = one(job, lines(house))
    shown = r"failed: LookupError: é\n\r\x1b[31m\u2028"
    assert ending == shown + "x" * (200 - 3 - 9) + "..."


@pytest.mark.parametrize("kind", ["plain", "generator", "coroutine"])
def test_a_cleanup_that_fails_leaves_a_trace_although_the_record_says_cancelled(run, steps, lines, kind):
    def plain():
        steps.enter()
        steps.wait()
        raise ValueError("cannot clean up")

    def generator():
        try:
            steps.enter()
            yield Future()
        finally:
            raise ValueError("cannot clean up")

    async def coroutine():
        try:
            steps.enter()
            await asyncio.Event().wait()
        finally:
            raise ValueError("cannot clean up")

    house = run(plain, generator, coroutine)
    job = begin(house, steps, house.registry.get(kind).fn)
    house.cancel(job)
    house.flush()
    steps.go.set()
    assert cancelled(house.wait_for(job))
    assert one(job, lines(house)) == ("WARNING", "failed when asked to stop: ValueError: cannot clean up")


@pytest.mark.parametrize("kind", ["generator", "coroutine"])
def test_a_job_that_gives_in_is_no_warning(run, steps, lines, kind):
    def generator():
        steps.enter()
        yield Future()

    async def coroutine():
        steps.enter()
        await asyncio.Event().wait()

    house = run(generator, coroutine)
    job = begin(house, steps, house.registry.get(kind).fn)
    house.cancel(job)
    assert cancelled(house.wait_for(job))
    assert one(job, lines(house)) == ("DEBUG", "cancelled")


def test_a_job_that_was_put_back_has_not_failed(run, steps, lines):
    async def coroutine():
        steps.enter()
        await asyncio.Event().wait()

    house = run(coroutine)
    begin(house, steps, coroutine)
    assert lines(house) == []


def test_a_handler_that_raises_keeps_no_job_from_being_settled(run, monkeypatch):
    def plain():
        raise LookupError

    class Raising(logging.Handler):
        def emit(self, record):
            raise RuntimeError("no space left")

    handler = Raising()
    logging.getLogger(NAME).addHandler(handler)
    try:
        assert run(plain).run(plain).outcome is Outcome.FAILED
    finally:
        logging.getLogger(NAME).removeHandler(handler)
