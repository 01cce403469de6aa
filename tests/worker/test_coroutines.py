"""The loop of the jobs' coroutines, as it begins."""

import asyncio
import contextvars
import threading

import pytest

from app.worker.coroutines import Coroutines
from tests.worker.house import PATIENCE


async def nothing():
    return asyncio.get_running_loop()


def loop_of(future):
    future.start(nothing, contextvars.Context())
    return future.result(PATIENCE)


@pytest.fixture
def coroutines():
    coroutines = Coroutines()
    yield coroutines
    coroutines.close()


def test_a_finalizer_that_submits_while_the_loop_is_made_gets_the_same_one(coroutines, monkeypatch):
    made, new_event_loop = [], asyncio.new_event_loop

    def collect_garbage_and_make():
        if not made:
            made.append(None)
            made.append(coroutines.future())
        return new_event_loop()

    monkeypatch.setattr(asyncio, "new_event_loop", collect_garbage_and_make)
    outer = coroutines.future()
    assert loop_of(outer) is loop_of(made[1])


def test_when_no_thread_can_be_had_the_next_coroutine_tries_again(coroutines, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            coroutines.future()
    assert loop_of(coroutines.future()).is_running()
