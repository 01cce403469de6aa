"""Who is told of for computing in a thread, and who is not. No clock but the test's own runs here."""

import logging
import os
import threading
from functools import partial

import pytest

from app.core import State
from app.jobs.context import submit
from app.worker import contention
from app.worker.contention import AGAIN, INTERVAL, LOOKS, Contention
from tests.worker.house import PATIENCE
from tests.worker.process_tasks import TASKS

pytestmark = pytest.mark.skipif(contention._clock_of is None, reason="no other thread's clock can be read")

never_ends = TASKS.get("never_ends")
LATE = 2 * contention.LATE


class Machine:
    """A timer, a clock and the CPU clocks of threads, all moved by the test alone."""

    def __init__(self):
        self.now = 1_000.0
        self.waiting = []
        self.used = {}
        self.watching = Contention(self.later, lambda: self.now, self.cpu_time)

    def later(self, seconds, call):
        self.waiting.append((self.now + seconds, call))

    def cpu_time(self, thread):
        return self.used.setdefault(thread, 0.0)

    def pass_by(self, late, *, shares=(), looks=1):
        """Let looks come, each so late, while threads use such a share of a CPU."""
        for _ in range(looks):
            [(due, call)] = self.waiting
            self.waiting.clear()
            seconds = due + late - self.now
            self.now += seconds
            for thread, share in dict(shares).items():
                self.used[thread] = self.cpu_time(thread) + share * seconds
            call()


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.DEBUG, contention.__name__)
    return lambda: [record.getMessage() for record in caplog.records if record.name == contention.__name__]


@pytest.fixture
def begin(machine):
    """Begins functions, each on a thread of its own; returns the thread's clock, and what ends it."""
    ends = []

    def begin(task):
        begun, end, clocks = threading.Event(), threading.Event(), []

        def function():
            clocks.append(contention._clock_of(threading.get_ident()))
            begun.set()
            assert end.wait(PATIENCE)

        thread = threading.Thread(target=machine.watching.run, args=(task, [function]))
        thread.start()
        assert begun.wait(PATIENCE)

        def stop():
            end.set()
            thread.join()

        ends.append(stop)
        return clocks[0], stop

    yield begin
    for stop in ends:
        stop()


def test_a_task_that_computes_in_a_thread_while_others_wait_is_told_of(machine, begin, lines):
    crunch, _ = begin("crunch")
    machine.pass_by(0.025, shares={crunch: 1}, looks=LOOKS)
    [line] = lines()
    assert line == (
        "HTTP waits some 25 ms for the interpreter at every step, because tasks compute in threads: "
        'crunch (95% of a CPU); what computes for long should run in a process: @task(executor="process")'
    )


def test_it_is_told_of_when_there_are_enough_looks_and_not_before(machine, begin, lines):
    crunch, _ = begin("crunch")
    machine.pass_by(LATE, shares={crunch: 1}, looks=LOOKS - 1)
    assert not lines()
    machine.pass_by(LATE, shares={crunch: 1})
    assert lines()


def test_all_are_named_who_compute_the_greatest_first_and_nobody_who_waits(machine, begin, lines):
    (little, _), (much, _), (none, _) = begin("little"), begin("much"), begin("none")
    machine.pass_by(LATE, shares={little: 0.2, much: 0.6, none: 0.01}, looks=LOOKS)
    [line] = lines()
    assert "threads: much (57% of a CPU), little (19% of a CPU);" in line


def test_threads_of_one_task_count_together(machine, begin, lines):
    clocks = [begin("crunch")[0] for _ in range(5)]
    machine.pass_by(LATE, shares=dict.fromkeys(clocks, 0.2), looks=LOOKS)
    [line] = lines()
    assert "crunch (95% of a CPU)" in line


def test_code_that_computes_without_the_interpreter_is_not_told_of(machine, begin, lines):
    hashing, _ = begin("hashing")
    machine.pass_by(contention.LATE * 0.9, shares={hashing: 1}, looks=3 * LOOKS)
    assert not lines()


def test_a_machine_that_is_slow_for_other_reasons_is_not_told_of(machine, begin, lines):
    waits, _ = begin("waits")
    machine.pass_by(0.2, shares={waits: 0.2}, looks=3 * LOOKS)
    assert not lines()


def test_neither_a_sleep_of_the_machine_nor_one_long_stall_is_told_of(machine, begin, lines):
    short, _ = begin("short")
    machine.pass_by(0, shares={short: 1}, looks=LOOKS)
    machine.pass_by(8 * 3600, shares={short: 1})
    machine.pass_by(0, shares={short: 1}, looks=LOOKS)
    assert not lines()


def test_a_task_is_told_of_again_only_after_a_while_and_another_at_once(machine, begin, lines):
    crunch, _ = begin("crunch")
    half = round(AGAIN / (INTERVAL + LATE) / 2)
    machine.pass_by(LATE, shares={crunch: 1}, looks=LOOKS + half)
    assert len(lines()) == 1
    other, _ = begin("other")
    machine.pass_by(LATE, shares={crunch: 0.5, other: 0.5}, looks=LOOKS)
    assert len(lines()) == 2
    assert "other" in lines()[-1]
    machine.pass_by(LATE, shares={crunch: 0.5, other: 0.5}, looks=half - LOOKS)
    assert len(lines()) == 2
    machine.pass_by(LATE, shares={crunch: 0.5, other: 0.5}, looks=half + LOOKS)
    assert len(lines()) == 3


def test_short_functions_of_one_thread_are_watched_like_a_long_one(machine, lines):
    shares = {contention._clock_of(threading.get_ident()): 1}
    for _ in range(LOOKS):
        machine.watching.run("short", [partial(machine.pass_by, LATE, shares=shares)])
    [line] = lines()
    assert "short (95% of a CPU)" in line


def test_a_thread_that_has_ended_is_forgotten(machine, begin, lines, monkeypatch):
    gone, stop = begin("gone")
    crunch, _ = begin("crunch")
    machine.pass_by(LATE, shares={gone: 1, crunch: 1})
    stop()

    def cpu_time(thread):
        if thread == gone:
            raise OSError
        return machine.cpu_time(thread)

    monkeypatch.setattr(machine.watching, "_cpu_time", cpu_time)
    machine.pass_by(LATE, shares={crunch: 1}, looks=LOOKS)
    [line] = lines()
    assert "gone" not in line
    assert gone not in machine.watching._read


def test_it_looks_while_something_runs_and_no_longer(machine, begin):
    assert not machine.waiting
    _, stop = begin("crunch")
    _, stop_other = begin("other")
    machine.pass_by(0, looks=3)
    assert len(machine.waiting) == 1
    stop()
    stop_other()
    machine.pass_by(0)
    assert not machine.waiting
    begin("again")
    assert len(machine.waiting) == 1


def test_what_begins_while_the_last_look_ends_is_looked_at(machine, begin):
    _, stop = begin("first")
    stop()
    read = machine.watching._read
    looks = iter((partial(begin, "second"),))

    class Cleared(dict):
        def clear(self):
            # Who looks still holds the right to look, and has seen nobody.
            next(looks)()
            read.clear()

    machine.watching._read = Cleared()
    machine.pass_by(0)
    assert len(machine.waiting) == 1


def test_what_the_function_returns_and_raises_comes_through(machine):
    assert machine.watching.run("task", [lambda: 5]) == 5
    with pytest.raises(ZeroDivisionError):
        machine.watching.run("task", [lambda: 1 // 0])
    machine.pass_by(0)
    assert not machine.waiting


def test_where_no_clock_can_be_read_the_function_runs_all_the_same(machine, monkeypatch):
    monkeypatch.setattr(contention, "_clock_of", None)
    assert machine.watching.run("task", [lambda: 5]) == 5
    assert not machine.waiting


# -- in a worker -------------------------------------------------------------


def test_functions_and_their_calls_on_threads_are_watched(run):
    seen = []

    def look():
        seen.append(list(house.worker.pools.contention._running.values()))

    def on_a_thread():
        submit(look).result(PATIENCE)

    def in_steps():
        yield submit(look)

    house = run(on_a_thread, in_steps)
    house.run(on_a_thread)
    house.run(in_steps)
    house.close()
    assert seen == [["on_a_thread", "on_a_thread"], ["in_steps"]]
    assert not house.worker.pools.contention._running


def test_neither_an_idle_worker_nor_one_whose_jobs_run_in_processes_looks_at_all(
    build, tmp_path, monkeypatch
):
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    house, looks = build(never_ends, cancel_grace=0), []
    monkeypatch.setattr(house.worker.pools.contention, "_later", lambda *look: looks.append(look))
    house.start()
    job = house.submit(never_ends, str(begun))
    with begun.open():
        house.cancel(house.wait_for_state(job, State.RUNNING))
        house.wait_for(job)
    assert not looks
