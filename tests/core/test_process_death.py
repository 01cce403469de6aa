"""How processes of a pool end, and that it is the affair of nobody but the call they ran."""

import logging
import os
import select
import signal
import sys
import threading
from multiprocessing import Pipe
from pathlib import Path
from types import ModuleType

import pytest

from app.core import BrokenProcessPool, FutureCancelledError, ProcessDied, ProcessPoolExecutor, child, spawned
from tests.core import process_calls as calls
from tests.core.future_contract import SOON

MEGABYTE = 2**20

pytest_plugins = ["tests.core.process_fixtures"]
pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


def exitcode_of(future):
    with pytest.raises(ProcessDied) as died:
        future.result(SOON)
    return died.value.exitcode


def process_of(pool):
    (one,) = pool._keepers._keepers
    return one._child


def until_dead(process):
    """Wait until it has ended, without taking its exit code away."""
    poll = select.poll()
    poll.register(process._pipe.fileno(), 0)
    assert poll.poll(SOON * 1000)


# -- by itself


@pytest.mark.parametrize(
    ("how", "exitcode"),
    [
        ("exit", 7),
        ("abort", -signal.SIGABRT),
        ("segfault", -signal.SIGSEGV),
        ("SIGKILL", -signal.SIGKILL),
        ("SIGTERM", -signal.SIGTERM),
    ],
)
def test_a_process_that_dies_fails_its_own_call_and_is_replaced(pool, fifo, how, exitcode):
    told, gate = fifo("told"), fifo("gate")
    neighbour = pool.submit(calls.meet, told, gate, "unharmed")
    calls.read(told)
    assert exitcode_of(pool.submit(calls.die, how)) == exitcode
    assert pool.submit(calls.identity, 1).result(SOON) == 1
    calls.write(gate)
    assert neighbour.result(SOON) == "unharmed"


def test_pending_calls_outlive_the_death_of_a_process(narrow):
    dying = narrow.submit(calls.die, "exit")
    pending = [narrow.submit(calls.identity, n) for n in range(3)]
    assert exitcode_of(dying) == 7
    assert [future.result(SOON) for future in pending] == [0, 1, 2]


def test_a_call_that_closes_all_files_is_ended(pool):
    assert exitcode_of(pool.submit(calls.die, "fds")) == -signal.SIGKILL
    assert pool.submit(calls.identity, 1).result(SOON) == 1


def test_a_process_that_dies_idle_is_replaced_before_the_next_call(narrow):
    pid = narrow.submit(os.getpid).result(SOON)
    process = process_of(narrow)
    os.kill(pid, signal.SIGKILL)
    until_dead(process)
    assert narrow.submit(os.getpid).result(SOON) != pid


def test_notes_of_a_process_that_died_idle_still_arrive(fifo):
    told, gate = fifo("told"), fifo("gate")
    received = calls.Received()
    with ProcessPoolExecutor(1, receive=received) as pool:
        pool.submit(calls.leave_a_thread_that_sends_and_exits, told, gate).result(SOON)
        process = process_of(pool)
        calls.read(told)
        calls.write(gate)
        until_dead(process)
        assert pool.submit(calls.identity, 1).result(SOON) == 1
    assert received.notes == ["last"]


def test_a_process_that_exits_before_it_is_ready_breaks_the_pool():
    with ProcessPoolExecutor(1, None, calls.die, ("exit",)) as pool:
        future, pending = pool.submit(calls.nothing), pool.submit(calls.nothing)
        for refused in (future, pending):
            with pytest.raises(BrokenProcessPool, match="a process has exited with 7 before it was ready"):
                refused.result(SOON)


def test_a_process_that_is_killed_before_it_is_ready_fails_its_call_only(fifo):
    told, gate = fifo("told"), fifo("gate")
    with ProcessPoolExecutor(1, None, calls.meet, (told, gate)) as pool:
        killed, later = pool.submit(calls.nothing), pool.submit(calls.identity, 1)
        os.kill(int(calls.read(told)), signal.SIGKILL)
        assert exitcode_of(killed) == -signal.SIGKILL
        calls.read(told)
        calls.write(gate)
        assert later.result(SOON) == 1


# -- by kill()


def test_a_running_call_can_be_killed_and_the_process_is_replaced(narrow, fifo):
    told = fifo("told")
    future = narrow.submit(calls.hold_out, told, signal.SIGTERM, signal.SIGHUP)
    with Path(told).open() as file:
        assert file.read(1)
        assert future.kill()
        file.read()
    assert exitcode_of(future) == -signal.SIGKILL
    assert not future.kill()
    assert narrow.submit(calls.identity, 1).result(SOON) == 1


def test_a_call_that_has_stopped_itself_can_be_killed(narrow, fifo):
    told = fifo("told")
    future = narrow.submit(calls.stop_itself, told)
    with Path(told).open() as file:
        assert file.read(1)
        assert future.kill()
        file.read()
    assert exitcode_of(future) == -signal.SIGKILL


def test_a_call_that_is_cancelled_and_then_killed_is_cancelled(narrow, fifo):
    future = narrow.submit(calls.meet, told := fifo("told"), fifo("gate"))
    calls.read(told)
    assert not future.cancel()
    assert future.kill()
    with pytest.raises(FutureCancelledError):
        future.result(SOON)


def test_a_call_can_be_killed_while_its_process_starts(fifo):
    told, gate = fifo("told"), fifo("gate")
    with ProcessPoolExecutor(1, None, calls.meet, (told, gate)) as pool:
        future = pool.submit(calls.nothing)
        calls.read(told)
        assert future.kill()
        assert exitcode_of(future) == -signal.SIGKILL


def test_a_kill_before_there_is_a_process_hits_it_as_soon_as_there_is_one(narrow, monkeypatch):
    starting, go = threading.Event(), threading.Event()
    start = narrow._keepers._start_process

    def wait_and_start():
        starting.set()
        go.wait(SOON)
        return start()

    monkeypatch.setattr(narrow._keepers, "_start_process", wait_and_start)
    future = narrow.submit(calls.nothing)
    assert starting.wait(SOON)
    assert future.kill()
    go.set()
    assert exitcode_of(future) == -signal.SIGKILL
    assert narrow.submit(calls.identity, 1).result(SOON) == 1


@pytest.mark.parametrize("by", ["pid", "future"])
def test_a_process_may_be_killed_in_the_middle_of_a_large_answer(fifo, by):
    sent, go = threading.Event(), threading.Event()
    received = calls.Received()
    received.act = lambda _: (sent.set(), go.wait(SOON))
    with ProcessPoolExecutor(1, receive=received) as pool:
        pid = pool.submit(os.getpid).result(SOON)
        future = pool.submit(calls.send_large, 16 * MEGABYTE)
        assert sent.wait(SOON)
        if by == "pid":
            os.kill(pid, signal.SIGKILL)
        else:
            assert future.kill()
        go.set()
        assert exitcode_of(future) == -signal.SIGKILL
        assert pool.submit(calls.identity, 1).result(SOON) == 1


def test_a_call_can_be_killed_while_its_large_argument_is_on_the_way(fifo):
    told = fifo("told")
    with ProcessPoolExecutor(1) as pool:
        pid = pool.submit(os.getpid).result(SOON)
        os.kill(pid, signal.SIGSTOP)
        future = pool.submit(calls.hold_out, told, bytes(16 * MEGABYTE))
        while not future.running():
            pass
        future.cancel()
        assert future.kill()
        with pytest.raises(FutureCancelledError):
            future.result(SOON)


def test_an_answer_that_is_quicker_than_the_kill_counts_and_the_process_is_replaced(narrow, monkeypatch):
    pid = narrow.submit(os.getpid).result(SOON)
    process = process_of(narrow)
    answer = process.answer

    def killed_after_the_answer(receive):
        message = answer(receive)
        assert future.kill()
        return message

    monkeypatch.setattr(process, "answer", killed_after_the_answer)
    future = narrow.submit(calls.identity, "quick")
    assert future.result(SOON) == "quick"
    assert narrow.submit(os.getpid).result(SOON) != pid


def test_kill_workers_ends_everything(fifo):
    told = fifo("told")
    pool = ProcessPoolExecutor(2)
    assert pool.submit(calls.identity, 1).result(SOON) == 1
    running = [pool.submit(calls.hold_out, told), pool.submit(calls.hold_out, told)]
    with Path(told).open() as file:
        pending = pool.submit(calls.nothing)
        while sum(future.running() for future in running) < 2:
            pass
        pool.kill_workers()
        file.read()
    assert [exitcode_of(future) for future in running] == [-signal.SIGKILL] * 2
    assert pending.cancelled()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(calls.nothing)
    pool.shutdown()


def test_ctrl_c_in_the_block_of_a_pool_does_not_wait_for_calls_that_never_end(fifo):
    told = fifo("told")
    running = []

    def script():
        with ProcessPoolExecutor(1) as pool:
            running.append(pool.submit(calls.hold_out, told))
            Path(told).open().close()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        script()
    assert exitcode_of(running[0]) == -signal.SIGKILL


def test_terminate_workers_ends_by_sigterm_what_does_not_handle_it(fifo):
    told = fifo("told")
    with ProcessPoolExecutor(2) as pool:
        assert pool.submit(calls.identity, 1).result(SOON) == 1
        running = pool.submit(calls.hold_out, told)
        with Path(told).open() as file:
            pool.terminate_workers()
            file.read()
        assert exitcode_of(running) == -signal.SIGTERM
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            pool.submit(calls.nothing)


def test_terminate_workers_passes_by_a_keeper_without_a_process():
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(lambda: 1).exception(SOON) is not None
        pool.terminate_workers()


def test_no_file_of_a_start_gets_the_number_of_a_standard_stream(monkeypatch):
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    monkeypatch.setattr(spawned, "_FIRST_FREE", free + 2)
    with spawned._apart_from_standard_streams():
        later = os.open(os.devnull, os.O_RDONLY)
        os.close(later)
    assert later >= free + 2


@pytest.mark.parametrize(
    ("name", "script", "prepared"),
    [
        ("__main__", "x.py", [{"init_main_from_path": "x.py"}]),
        ("__mp_main__", "x.py", []),
        ("__main__", None, []),
    ],
)
def test_a_process_runs_the_script_when_multiprocessing_has_not(monkeypatch, name, script, prepared):
    done = []
    monkeypatch.setitem(sys.modules, "__main__", ModuleType(name))
    monkeypatch.setattr(child.spawn, "prepare", done.append)
    child._run_script(script)
    assert done == prepared


def test_no_call_begins_after_kill_workers():
    pool = ProcessPoolExecutor(1)
    pool._keepers.killed = True
    assert exitcode_of(pool.submit(calls.identity, 1)) == -signal.SIGKILL
    pool.shutdown()


def test_an_answer_that_there_is_no_memory_for_costs_the_process(narrow, monkeypatch):
    pid = narrow.submit(os.getpid).result(SOON)
    monkeypatch.setattr(process_of(narrow), "answer", calls.raises_first(MemoryError))
    assert type(narrow.submit(calls.identity, 1).exception(SOON)) is MemoryError
    assert narrow.submit(os.getpid).result(SOON) != pid


def test_a_process_that_does_not_end_in_time_is_killed(narrow, monkeypatch):
    monkeypatch.setattr("app.core.spawned.EXIT_SECONDS", 0)
    pid = narrow.submit(os.getpid).result(SOON)
    narrow.submit(calls.flood).result(SOON)
    narrow.shutdown()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.fixture
def flooded():
    """A process that has sent a note, and a `receive` that has it send the next, a thousand times."""
    process = object.__new__(spawned.Spawned)
    process._pipe, theirs = Pipe()
    process._poll = select.poll()
    process._poll.register(process._pipe.fileno(), select.POLLIN)

    received = calls.Received()

    def send(_):
        if len(received.notes) < 1000:
            theirs.send_bytes(child.encode(child.NOTE, "again"))

    received.act = send
    send("first")
    with process._pipe, theirs:
        yield process, received


def test_notes_without_an_end_do_not_hold_up_the_next_call(flooded):
    process, receive = flooded
    assert process.is_alive(receive)
    assert len(receive.notes) < 1000


def test_notes_without_an_end_do_not_hold_up_the_end(flooded, monkeypatch):
    process, receive = flooded
    monkeypatch.setattr("app.core.spawned.EXIT_SECONDS", 0)
    process.dismiss(receive)
    assert len(receive.notes) < 1000


def test_a_process_that_is_not_needed_any_more_may_clean_up(narrow, tmp_path):
    narrow.submit(calls.append_at_exit, tmp_path / "file", "done").result(SOON)
    narrow.shutdown()
    assert (tmp_path / "file").read_text() == "done"


def test_a_completion_that_raises_is_logged_and_ends_no_thread(narrow, fifo, caplog):
    future = narrow.submit(calls.meet, told := fifo("told"), gate := fifo("gate"))
    calls.read(told)
    with caplog.at_level(logging.ERROR):
        future.set_result("too early")
        calls.write(gate)
        assert narrow.submit(calls.identity, 1).result(SOON) == 1
    assert any("the completion of" in message for message in caplog.messages)


def test_there_are_no_more_processes(narrow, monkeypatch):
    def refuse(process):
        raise BlockingIOError("too many")

    with monkeypatch.context() as patch:
        patch.setattr("app.core.spawned._start", refuse)
        assert type(narrow.submit(calls.nothing).exception(SOON)) is BlockingIOError
    assert narrow.submit(calls.identity, 1).result(SOON) == 1


# -- what a call has started


@pytest.mark.parametrize("start", [calls.run_a_program, calls.system])
def test_programs_that_a_call_has_started_are_killed_with_it(narrow, fifo, start):
    told = fifo("told")
    future = narrow.submit(start, told)
    with Path(told).open() as file:
        assert file.readline() == "program\n"
        assert future.kill()
        assert file.read() == ""
    assert exitcode_of(future) == -signal.SIGKILL


def test_a_fork_that_a_call_has_made_is_killed_with_it_and_does_not_hide_its_death(narrow, fifo):
    told = fifo("told")
    future = narrow.submit(calls.fork_and_hold, told)
    with Path(told).open() as file:
        assert file.read(1)
        assert future.kill()
        file.read()
    assert exitcode_of(future) == -signal.SIGKILL


def test_programs_that_a_call_has_left_behind_end_with_the_process(fifo):
    told = fifo("told")
    pool = ProcessPoolExecutor(1)
    future = pool.submit(calls.start_a_program, told)
    with Path(told).open() as file:
        assert file.readline() == "program\n"
        assert future.result(SOON)
        pool.shutdown()
        assert file.read() == ""


@pytest.mark.parametrize(
    ("how", "exitcode"),
    [
        (None, 0),
        (SystemExit(3), 3),
        (SystemExit(), 0),
        (SystemExit("text"), 1),
        (ValueError("in the fork"), 1),
    ],
)
def test_a_forked_process_ends_where_the_call_does(pool, received, how, exitcode):
    assert pool.submit(calls.fork_and_return, how).result(SOON) == exitcode
    assert pool.submit(calls.identity, 1).result(SOON) == 1
    assert received.notes == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_call_may_use_multiprocessing(pool, method):
    assert pool.submit(calls.run_multiprocessing, method).result(SOON) == 0


def test_a_call_may_use_a_pool_of_its_own(pool):
    assert pool.submit(calls.run_a_pool).result(SOON)


def test_a_call_may_do_to_its_stdout_what_it_likes(pool):
    pool.submit(calls.flood_stdout).result(SOON)
    pool.submit(calls.replace_stdout).result(SOON)
    pool.submit(calls.replace_stdout).result(SOON)
    assert pool.submit(calls.identity, 1).result(SOON) == 1
