"""What is special to the executors that run in threads."""

import gc
import logging
import os
import subprocess
import sys
import threading
import weakref

import pytest

from app.core import (
    BrokenThreadPool,
    Future,
    ThreadedExecutor,
    ThreadPoolExecutor,
)
from app.core import executor as executor_module
from app.core import thread as thread_module
from app.core.starting import Starting
from tests.core.future_contract import SOON

KINDS = [ThreadedExecutor, ThreadPoolExecutor]


class Thing:
    """Something that can be weakly referenced."""


def name_of_thread():
    return threading.current_thread().name


def threads_of(executor):
    backlog = executor._crew if isinstance(executor, ThreadPoolExecutor) else executor._threads
    return list(backlog._threads if isinstance(executor, ThreadPoolExecutor) else backlog._live)


class IdleWatch(list):
    """A pool's list of idle threads that tells when one has entered itself."""

    def __init__(self):
        super().__init__()
        self.entered = threading.Semaphore(0)

    def append(self, gate):
        super().append(gate)
        self.entered.release()


@pytest.fixture
def pool():
    pool = ThreadPoolExecutor(3)
    pool._crew._idle = IdleWatch()
    yield pool
    pool.shutdown()


def until_idle(pool):
    assert pool._crew._idle.entered.acquire(timeout=SOON)


# -- growth


def test_a_pool_begins_without_threads(pool):
    assert threads_of(pool) == []


def test_an_idle_thread_is_used_again(pool):
    idents = set()
    for _ in range(5):
        idents.add(pool.submit(threading.get_ident).result(SOON))
        until_idle(pool)
    assert len(idents) == 1
    assert len(threads_of(pool)) == 1


def test_blocked_threads_make_the_pool_grow_but_never_beyond_its_limit(pool):
    go_on = threading.Event()
    futures = [pool.submit(go_on.wait, SOON) for _ in range(10)]
    assert len(threads_of(pool)) == 3
    go_on.set()
    assert all(future.result(SOON) for future in futures)
    assert len(threads_of(pool)) == 3


def test_two_submissions_in_a_row_do_not_count_on_the_same_idle_thread(pool):
    pool.submit(name_of_thread).result(SOON)
    until_idle(pool)
    barrier = threading.Barrier(2)
    assert sorted(f.result(SOON) for f in [pool.submit(barrier.wait, SOON) for _ in range(2)]) == [0, 1]
    assert len(threads_of(pool)) == 2


def test_the_default_limit_is_that_of_the_standard_library(monkeypatch):
    for cpus, limit in [(2, 6), (None, 5), (64, 32)]:
        for name in ("cpu_count", "process_cpu_count"):
            monkeypatch.setattr(os, name, lambda cpus=cpus: cpus, raising=False)
        assert ThreadPoolExecutor()._crew._limit == limit


def test_as_many_idle_threads_come_as_are_needed(pool):
    for count in (3, 3, 2):
        barrier = threading.Barrier(count)
        futures = [pool.submit(barrier.wait, SOON) for _ in range(count)]
        assert sorted(future.result(SOON) for future in futures) == list(range(count))
        for _ in range(count):
            until_idle(pool)


def test_while_an_idle_thread_is_on_its_way_no_other_is_woken_and_what_is_missing_is_hired(pool):
    gates = [threading.Lock() for _ in range(2)]
    for gate in gates:
        gate.acquire()
        pool._crew._idle.append(gate)
    first, second = (pool.submit(name_of_thread) for _ in range(2))
    assert [gate.locked() for gate in gates] == [True, False]
    assert threads_of(pool) == []
    assert not first.done()
    # A third call: more than the two that are idle, or will be there, can take.
    third = pool.submit(name_of_thread)
    assert len({future.result(SOON) for future in (first, second, third)}) == 1
    assert len(threads_of(pool)) == 1
    assert gates[0].locked()


@pytest.mark.parametrize("workers", [0, -1])
def test_a_pool_without_workers_is_refused(workers):
    with pytest.raises(ValueError, match=r"^max_workers must be greater than 0$"):
        ThreadPoolExecutor(workers)


def test_threads_bear_the_prefix():
    with ThreadPoolExecutor(1, thread_name_prefix="pool") as pool:
        assert pool.submit(name_of_thread).result(SOON) == "pool_0"
    with ThreadedExecutor(thread_name_prefix="each") as executor:
        assert executor.submit(name_of_thread).result(SOON) == "each_0"
        assert executor.submit(name_of_thread).result(SOON) == "each_1"


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_prefix_threads_bear_the_kind_and_a_number(kind):
    with kind() as first, kind() as second:
        names = [executor.submit(name_of_thread).result(SOON) for executor in (first, second)]
    assert all(name.startswith(f"{kind.__name__}-") for name in names)
    assert names[0] != names[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_thread_that_a_call_starts_is_no_daemon_and_so_is_waited_for_at_the_exit(kind):
    with kind() as executor:
        assert executor.submit(lambda: threading.Thread().daemon).result(SOON) is False


# -- initializer


def test_the_initializer_runs_once_in_each_thread_before_its_first_call():
    local = threading.local()
    barrier = threading.Barrier(2)

    def prepare(value):
        local.value = value
        local.count = getattr(local, "count", 0) + 1

    def look():
        barrier.wait(SOON)
        return local.value, local.count

    with ThreadPoolExecutor(2, initializer=prepare, initargs=("ready",)) as pool:
        futures = [pool.submit(look) for _ in range(6)]
    assert [future.result() for future in futures] == [("ready", 1)] * 6


def test_an_initializer_that_is_not_callable_is_refused():
    with pytest.raises(TypeError, match=r"^initializer must be a callable$"):
        ThreadPoolExecutor(initializer=5)


def test_an_initializer_that_fails_breaks_the_pool(caplog):
    go_on = threading.Event()
    error = OSError("no connection")

    def prepare():
        go_on.wait(SOON)
        raise error

    with caplog.at_level(logging.CRITICAL), ThreadPoolExecutor(1, initializer=prepare) as pool:
        pending = [pool.submit(name_of_thread) for _ in range(3)]
        dropped = pool.submit(name_of_thread)
        dropped.cancel()
        go_on.set()
        for future in pending:
            assert isinstance(future.exception(SOON), BrokenThreadPool)
            assert future.exception().__cause__ is error
        with pytest.raises(BrokenThreadPool, match="not usable anymore"):
            pool.submit(name_of_thread)
    assert dropped.cancelled()
    assert "Exception in initializer:" in caplog.text


def test_an_interrupt_in_a_callback_of_one_orphan_does_not_lose_the_others():
    go_on = threading.Event()

    def prepare():
        go_on.wait(SOON)
        raise OSError

    def stop(_):
        raise SystemExit

    with ThreadPoolExecutor(1, initializer=prepare) as pool:
        first, last = pool.submit(name_of_thread), pool.submit(name_of_thread)
        first.add_done_callback(stop)
        go_on.set()
        assert isinstance(last.exception(SOON), BrokenThreadPool)


def test_idle_threads_of_a_broken_pool_end():
    number = iter(range(2))

    def prepare():
        if next(number):
            raise OSError

    pool = ThreadPoolExecutor(2, initializer=prepare)
    busy, go_on = threading.Event(), threading.Event()
    first = pool.submit(lambda: (busy.set(), go_on.wait(SOON)))
    busy.wait(SOON)
    assert isinstance(pool.submit(name_of_thread).exception(SOON), BrokenThreadPool)
    go_on.set()
    first.result(SOON)
    for thread in threads_of(pool):
        thread.join(SOON)
        assert not thread.is_alive()


# -- shutdown


@pytest.mark.parametrize("kind", KINDS)
def test_shutdown_ends_the_threads(kind):
    executor = kind()
    barrier = threading.Barrier(3)
    futures = [executor.submit(barrier.wait, SOON) for _ in range(2)]
    threads = threads_of(executor)
    barrier.wait(SOON)
    executor.shutdown()
    assert len(threads) == 2
    assert not any(thread.is_alive() for thread in threads)
    assert all(future.done() for future in futures)


@pytest.mark.parametrize("kind", KINDS)
def test_shutdown_without_waiting_returns_while_a_call_runs(kind):
    executor, go_on = kind(), threading.Event()
    future = executor.submit(go_on.wait, SOON)
    executor.shutdown(wait=False)
    assert not future.done()
    go_on.set()
    assert future.result(SOON) is True


def test_an_interrupt_from_a_callback_does_not_keep_shutdown_from_cancelling_the_rest():
    def stop(_):
        raise SystemExit

    begun, go_on = threading.Event(), threading.Event()
    pool = ThreadPoolExecutor(1)
    running = pool.submit(lambda: (begun.set(), go_on.wait(SOON))[1])
    pending = [pool.submit(name_of_thread) for _ in range(3)]
    pending[0].add_done_callback(stop)
    assert begun.wait(SOON)
    with pytest.raises(SystemExit):
        pool.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in pending)
    go_on.set()
    pool.shutdown()
    assert running.result() is True


def test_close_that_wakes_the_last_idle_thread_during_a_submission_harms_nobody():
    """The submission has seen an idle thread, which is gone when it takes it."""
    pool = ThreadPoolExecutor(1)
    pool.submit(name_of_thread).result(SOON)

    class GoneWhenTaken(list):
        def __bool__(self):
            return True

        def pop(self):
            raise IndexError

    idle = pool._crew._idle
    pool._crew._idle = GoneWhenTaken()
    future = pool.submit(name_of_thread)
    pool._crew._idle = idle
    pool.shutdown()
    assert future.done()


def test_a_call_accepted_as_the_pool_closes_is_run(pool, monkeypatch):
    """The thread has seen no call, and looks again under the lock before it ends."""
    crew = pool._crew
    pool.submit(name_of_thread).result(SOON)
    until_idle(pool)
    over, late = crew._over, Future()

    def accept_one_more():
        if not late.running() and not late.done():
            crew._calls.append((late, name_of_thread, (), {}))
        return over()

    monkeypatch.setattr(crew, "_over", accept_one_more)
    pool.shutdown(wait=False)
    assert late.result(SOON)


def test_a_thread_that_was_woken_by_close_as_it_withdraws_goes_on():
    crew = thread_module.Crew(1, "crew", None, ())
    gate = threading.Lock()
    gate.acquire()

    class WokenAtOnce(list):
        def remove(self, gate):
            gate.release()
            raise ValueError

    crew._idle = WokenAtOnce()
    crew.close = lambda: None
    crew._closed = True
    assert crew._rest(gate) is True


def test_a_finalizer_may_submit_while_a_thread_is_being_started(monkeypatch):
    """As the garbage collector may make it, on the thread that submits."""
    for kind in KINDS:
        executor = kind()
        inner, start = [], threading.Thread.start

        def start_within_start(self, executor=executor, inner=inner, start=start):
            if not inner:
                inner.append(None)
                inner.append(executor.submit(name_of_thread))
            start(self)

        monkeypatch.setattr(threading.Thread, "start", start_within_start)
        future = executor.submit(name_of_thread)
        monkeypatch.setattr(threading.Thread, "start", start)
        assert future.result(SOON)
        assert inner[1].result(SOON)
        executor.shutdown()


def test_a_finalizer_does_not_make_a_pool_grow_beyond_its_limit(monkeypatch):
    pool = ThreadPoolExecutor(1)
    inner, start = [], threading.Thread.start

    def start_within_start(self):
        inner.append(pool.submit(name_of_thread))
        start(self)

    monkeypatch.setattr(threading.Thread, "start", start_within_start)
    future = pool.submit(name_of_thread)
    assert future.result(SOON) == inner[0].result(SOON)
    assert len(threads_of(pool)) == 1
    pool.shutdown()


# -- threads that are being started


@pytest.mark.parametrize("kind", KINDS)
def test_a_thread_that_has_not_begun_yet_can_submit(kind, monkeypatch):
    """As a finalizer does when the garbage collector comes in there."""
    executor = kind()
    early = []
    begin = threading.Thread._bootstrap_inner

    def submit_and_begin(self):
        if not early:
            early.append(None)
            early.append(executor.submit(name_of_thread))
        begin(self)

    monkeypatch.setattr(threading.Thread, "_bootstrap_inner", submit_and_begin)
    assert executor.submit(lambda: 5).result(SOON) == 5
    assert early[1].result(SOON)
    executor.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_shutdown_waits_for_a_thread_that_is_being_started(kind, monkeypatch):
    executor = kind(thread_name_prefix="late")
    starting, waiting, ended = threading.Event(), threading.Event(), []
    start, wait = threading.Thread.start, Starting.wait

    def start_late(self):
        if self.name.startswith("late"):
            starting.set()
            assert waiting.wait(SOON)
        start(self)

    def wait_and_tell(self):
        waiting.set()
        wait(self)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    monkeypatch.setattr(Starting, "wait", wait_and_tell)
    submitter = threading.Thread(target=lambda: executor.submit(ended.append, "call"))
    submitter.start()
    assert starting.wait(SOON)
    executor.shutdown()
    assert ended == ["call"]
    submitter.join()


def test_a_shutdown_that_comes_out_of_a_start_does_not_wait_for_that_thread(monkeypatch):
    """As when a finalizer comes in there."""
    executor, start, left = ThreadedExecutor(), threading.Thread.start, []

    def shut_down_and_start(self):
        executor.shutdown()
        left.append("shutdown")
        start(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", shut_down_and_start)
        future = executor.submit(name_of_thread)
    assert left == ["shutdown"]
    assert future.result(SOON)


# -- no more threads


def cannot_start(self):
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("kind", KINDS)
def test_submit_raises_when_there_can_be_no_thread_at_all(kind, monkeypatch):
    executor = kind()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot_start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            executor.submit(name_of_thread)
    assert threads_of(executor) == []
    assert executor.submit(name_of_thread).result(SOON)
    executor.shutdown()


def test_what_was_submitted_during_a_start_that_fails_fails_too(monkeypatch):
    pool = ThreadPoolExecutor(1)
    meanwhile = []

    def submit_and_fail(self):
        meanwhile.append(pool.submit(name_of_thread))
        cannot_start(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", submit_and_fail)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(name_of_thread)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        meanwhile[0].result(SOON)
    assert pool.submit(name_of_thread).result(SOON)
    pool.shutdown()


def test_a_pool_that_cannot_grow_makes_do_with_the_threads_it_has(pool, monkeypatch):
    go_on = threading.Event()
    first = pool.submit(go_on.wait, SOON)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot_start)
        second = pool.submit(name_of_thread)
    assert len(threads_of(pool)) == 1
    go_on.set()
    assert second.result(SOON)
    assert first.result(SOON)
    both = threading.Barrier(2)
    assert len({f.result(SOON) for f in [pool.submit(both.wait, SOON) for _ in range(2)]}) == 2


# -- dropped executors


def test_a_dropped_pool_runs_what_it_was_given_and_ends_its_threads():
    pool, go_on = ThreadPoolExecutor(2), threading.Event()
    futures = [pool.submit(go_on.wait, SOON) for _ in range(5)]
    threads, gone = threads_of(pool), weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    go_on.set()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()
    assert all(future.done() for future in futures)


def test_a_dropped_pool_of_idle_threads_ends_them(pool):
    dropped = ThreadPoolExecutor(1)
    dropped._crew._idle = IdleWatch()
    dropped.submit(name_of_thread).result(SOON)
    until_idle(dropped)
    (thread,) = threads_of(dropped)
    del dropped
    gc.collect()
    thread.join(SOON)
    assert not thread.is_alive()


def test_a_pool_collected_on_its_own_worker_ends_its_threads():
    pool = ThreadPoolExecutor(1)
    threads, gone = [], weakref.ref(pool)
    go_on = threading.Event()

    def collect():
        go_on.wait(SOON)
        gc.collect()
        return gone() is None

    future = pool.submit(collect)
    threads += threads_of(pool)
    # A cycle, so that only the garbage collector can free the pool.
    pool.itself = pool
    gc.disable()
    try:
        del pool
        go_on.set()
        assert future.result(SOON) is True
    finally:
        gc.enable()
    threads[0].join(SOON)
    assert not threads[0].is_alive()


def test_closing_takes_no_lock_so_that_the_garbage_collector_may_do_it_anywhere(pool):
    with pool._crew._lock:
        closer = threading.Thread(target=pool._crew.close)
        closer.start()
        closer.join(SOON)
        assert not closer.is_alive()


def test_a_dropped_threaded_executor_runs_what_it_was_given():
    executor, go_on = ThreadedExecutor(), threading.Event()
    future, gone = executor.submit(go_on.wait, SOON), weakref.ref(executor)
    (thread,) = threads_of(executor)
    del executor
    assert gone() is None
    go_on.set()
    assert future.result(SOON) is True
    thread.join(SOON)
    assert not thread.is_alive()


# -- references


def test_an_idle_worker_keeps_no_reference_to_a_finished_call(pool):
    class Call:
        def __call__(self, thing):
            return thing

    call, argument = Call(), Thing()
    gone = [weakref.ref(call), weakref.ref(argument)]
    future = pool.submit(call, argument)
    assert future.result(SOON) is argument
    until_idle(pool)
    gone.append(weakref.ref(future))
    del call, argument, future
    assert [ref() for ref in gone] == [None] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_call_makes_no_cycle(kind):
    class Call:
        def __call__(self):
            raise ValueError

    gc.collect()
    gc.disable()
    try:
        executor, call = kind(), Call()
        future = executor.submit(call)
        executor.shutdown()
        gone = [weakref.ref(call), weakref.ref(future)]
        del call, future
        assert [ref() for ref in gone] == [None] * 2
    finally:
        gc.enable()


def test_a_refused_call_of_a_broken_pool_makes_no_cycle():
    def prepare():
        raise OSError

    gc.collect()
    gc.disable()
    try:
        pool = ThreadPoolExecutor(1, initializer=prepare)
        future = pool.submit(name_of_thread)
        pool.shutdown()
        assert isinstance(future.exception(), BrokenThreadPool)
        gone = weakref.ref(future)
        del future
        assert gone() is None
    finally:
        gc.enable()


def test_a_threaded_executor_forgets_threads_that_have_ended():
    executor = ThreadedExecutor()
    executor.submit(name_of_thread).result(SOON)
    executor.shutdown()
    assert threads_of(executor) == []


# -- outcomes


def test_a_future_completed_by_hand_is_logged_and_does_not_end_the_worker(pool, caplog):
    go_on = threading.Event()
    future = pool.submit(go_on.wait, SOON)
    future.set_result("mine")
    go_on.set()
    until_idle(pool)
    assert future.result() == "mine"
    assert "the completion of" in caplog.text
    assert pool.submit(name_of_thread).result(SOON)


# -- the interpreter's exit


def run_script(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )


@pytest.mark.parametrize("kind", ["ThreadPoolExecutor(1)", "ThreadedExecutor()"])
def test_the_interpreters_exit_runs_pending_work(kind):
    done = run_script(f"""
import os, threading
from app.core import ThreadPoolExecutor, ThreadedExecutor
executor, main = {kind}, threading.main_thread()
for number in range(3):
    executor.submit(lambda number=number: (main.join(), os.write(1, b"%d\\n" % number)))
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["0", "1", "2"]


@pytest.mark.parametrize("kind", ["ThreadPoolExecutor", "ThreadedExecutor"])
def test_idle_executors_do_not_hold_up_the_interpreters_exit(kind):
    done = run_script(f"""
from app.core import {kind}
executor = {kind}()
print(executor.submit(abs, -1).result())
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_submit_at_the_interpreters_exit_is_refused():
    done = run_script("""
import threading
from app.core import ThreadPoolExecutor, ThreadedExecutor
from app.core.starting import Starting
from app.core.executor import AT_EXIT
pool, other, exiting = ThreadPoolExecutor(1), ThreadedExecutor(), threading.Event()
class Watch(type(AT_EXIT)):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        exiting.set()
AT_EXIT.__class__ = Watch
def late():
    exiting.wait()
    for executor in (pool, other):
        try:
            executor.submit(abs, 1)
        except RuntimeError as error:
            print(error)
pool.submit(late)
""")
    assert done.stdout.splitlines() == ["cannot schedule new futures after interpreter shutdown"] * 2
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", KINDS)
def test_submit_at_the_exit_is_refused_also_after_shutdown(kind, monkeypatch):
    executor = kind()
    executor.shutdown()
    monkeypatch.setattr(executor_module.AT_EXIT, "exiting", True)
    with pytest.raises(RuntimeError, match="after interpreter shutdown"):
        executor.submit(name_of_thread)


@pytest.mark.parametrize("kind", KINDS)
def test_an_executor_made_at_the_exit_takes_nothing(kind, monkeypatch):
    monkeypatch.setattr(executor_module.AT_EXIT, "exiting", True)
    with pytest.raises(RuntimeError, match="after interpreter shutdown"):
        kind().submit(name_of_thread)


def test_the_exit_closes_every_backlog_and_leaves_the_waiting_to_the_interpreter():
    events = []

    class Backlog(executor_module.Backlog):
        def close(self):
            events.append("close")

        def join(self):
            events.append("join")

    at_exit = executor_module.AtExit()
    backlogs = [Backlog(), Backlog()]
    for backlog in backlogs:
        at_exit.add(backlog)
    at_exit.finish()
    assert at_exit.exiting
    assert events == ["close", "close"]


def test_dropped_executors_are_not_kept_for_the_exit():
    backlog = weakref.ref(ThreadPoolExecutor()._crew)
    gc.collect()
    assert backlog() is None


def test_ctrl_c_during_the_start_of_a_thread_costs_the_pool_no_thread(monkeypatch):
    def interrupt(thread):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.submit(pow, 2, 2)
        assert pool.submit(pow, 2, 3).result(SOON) == 8


def test_ctrl_c_right_after_the_start_of_a_thread_leaves_it_to_the_pool(monkeypatch):
    start = threading.Thread.start

    def interrupt(thread):
        start(thread)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.submit(pow, 2, 2)
        assert pool.submit(pow, 2, 3).result(SOON) == 8
        assert len(pool._crew._threads) == 1
