"""Forks: what a forked child finds of its parent's executors, and what it can do itself.

Each scenario is a script of its own, because a fork of the process that runs the tests would be one of
everything that runs in it. A child that hangs is killed with its whole group.
"""

import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from app.core import Future, ThreadedExecutor, ThreadPoolExecutor
from app.core import executor as executor_module
from app.core import task as task_module
from app.core.forking import part_children
from tests.core.future_contract import SOON

KINDS = ["ThreadPoolExecutor", "ThreadedExecutor"]

PREAMBLE = """
import os, sys, threading
from app.core import Future, Task, ThreadPoolExecutor, ThreadedExecutor, gather
from app.core.executor import AT_EXIT

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def refusal(executor):
    try:
        executor.submit(abs, 1)
    except RuntimeError as error:
        return str(error)

def exit_code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
REFUSAL = "cannot schedule new futures in a forked child: the executor belongs to its parent process"


def run_script(code, path=None):
    """Run a script and return the lines it wrote; it must end by itself, and in peace."""
    if path is not None:
        path.write_text(PREAMBLE + code)
    # From 3.12 on Python warns of every fork beside threads, which is what is tested here.
    command = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        *([path] if path else ["-c", PREAMBLE + code]),
    ]
    # Not with a coverage of its own, whose locks are not made for forks beside threads.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )
    try:
        out, err = process.communicate(timeout=45)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"the script hangs: {out}\n{err}")
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


# -- the parent's executors in the child


@pytest.mark.parametrize("kind", KINDS)
def test_a_parents_executor_refuses_calls_in_the_child_and_shuts_down_at_once(kind):
    lines = run_script(f"""
executor = {kind}()
done = executor.submit(divmod, 7, 2)
failed = executor.submit(int, "x")
failed.exception(30)
go_on = threading.Event()
running = executor.submit(go_on.wait, 30)
if (pid := os.fork()) == 0:
    say(refusal(executor))
    executor.shutdown(cancel_futures=True)
    with executor:
        pass
    say(refusal(executor))
    say(done.result(30), type(failed.exception()).__name__)
    os._exit(0)
say(exit_code(pid))
go_on.set()
say(running.result(30), executor.submit(abs, -1).result(30))
""")
    assert lines == [REFUSAL, REFUSAL, "(3, 1) ValueError", "0", "True 1"]


@pytest.mark.parametrize("kind", KINDS)
def test_locks_held_by_other_threads_at_the_fork_hold_up_nothing_in_the_child(kind):
    lines = run_script(f"""
executor = {kind}()
executor.submit(abs, 1).result(30)
backlog = executor.{"_crew" if kind == "ThreadPoolExecutor" else "_threads"}
held, go_on = threading.Barrier(3), threading.Event()
def hold(lock):
    with lock:
        held.wait(30)
        go_on.wait(30)
holders = [threading.Thread(target=hold, args=(lock,)) for lock in (backlog._lock, AT_EXIT._lock)]
for holder in holders:
    holder.start()
held.wait(30)
if (pid := os.fork()) == 0:
    say(refusal(executor))
    executor.shutdown()
    with {kind}() as mine:
        say(mine.submit(abs, -1).result(30))
    sys.exit(3)
say(exit_code(pid))
go_on.set()
for holder in holders:
    holder.join()
say(executor.submit(abs, -2).result(30))
""")
    assert lines == [REFUSAL, "1", "3", "2"]


# -- the child's own


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_that_leaves_by_sys_exit_runs_its_own_pending_work_and_none_of_the_parents(kind):
    """The child would otherwise wait for the parent's threads, or do the parent's work once more."""
    lines = run_script(f"""
executor, go_on = {kind}({"1" if kind == "ThreadPoolExecutor" else ""}), threading.Event()
executor.submit(go_on.wait, 30)
for number in range(3):
    executor.submit(lambda number=number: (go_on.wait(30), say("parent", number)))
if (pid := os.fork()) == 0:
    mine, main = {kind}({"1" if kind == "ThreadPoolExecutor" else ""}), threading.main_thread()
    for number in range(3):
        mine.submit(lambda number=number: (main.join(), say("child", number)))
    sys.exit(7)
say(exit_code(pid))
go_on.set()
""")
    assert sorted(lines[:3]) == ["child 0", "child 1", "child 2"]
    assert lines[3] == "7"
    assert sorted(lines[4:]) == ["parent 0", "parent 1", "parent 2"]


def test_every_kind_of_wait_works_in_a_child_of_a_child():
    lines = run_script("""
from app.core import as_completed, wait
def generation(number):
    with ThreadPoolExecutor(3) as pool:
        def total():
            counts = yield [pool.submit(abs, -n) for n in range(5)]
            return sum(counts)
        task = Task(total(), pool)
        task.step()
        futures = [pool.submit(abs, -n) for n in range(5)]
        done, total = wait(futures, 30).done, sum(f.result() for f in as_completed(futures))
        say(number, task.result(30), len(done), total)
        if number < 3:
            if (pid := os.fork()) == 0:
                generation(number + 1)
                sys.exit(number)
            say(exit_code(pid))
generation(1)
""")
    assert lines == ["1 10 5 10", "2 10 5 10", "3 10 5 10", "2", "1"]


def test_a_child_forked_during_the_exit_can_still_work():
    """Python refuses such a fork from 3.12 on; before, it comes here with the parent's `exiting`."""
    lines = run_script("""
AT_EXIT.exiting = True
if (pid := os.fork()) == 0:
    with ThreadPoolExecutor() as pool:
        say(pool.submit(abs, -1).result(30))
    os._exit(0)
say(exit_code(pid))
""")
    assert lines == ["1", "0"]


# -- forks in a user's function


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_in_a_call_leaves_the_parents_executor_as_it_was(kind):
    lines = run_script(f"""
with {kind}({"1" if kind == "ThreadPoolExecutor" else ""}) as executor:
    def call():
        if (pid := os.fork()) == 0:
            with ThreadPoolExecutor(2) as mine:
                code = sum(mine.map(abs, range(-5, 0)))
            os._exit(code if refusal(executor) else 1)
        return exit_code(pid)
    say(*[future.result(30) for future in [executor.submit(call) for _ in range(5)]])
""")
    assert lines == ["15 15 15 15 15"]


@pytest.mark.parametrize("end", ["return", "sys.exit(5)", "raise ValueError"])
def test_a_child_that_comes_back_from_the_call_takes_none_of_the_parents_calls(end):
    lines = run_script(f"""
pid, begun = Future(), threading.Event()
with ThreadPoolExecutor(1) as pool:
    def call():
        begun.wait(30)
        child = os.fork()
        if child == 0:
            {end}
        pid.set_result(child)
    pool.submit(call)
    for number in range(3):
        pool.submit(say, number)
    begun.set()
    say("child", exit_code(pid.result(30)))
""")
    assert sorted(lines) == ["0", "1", "2", "child 0"]


def test_a_child_forked_in_a_step_of_a_task_can_use_tasks():
    lines = run_script("""
def small():
    one = yield gather(finished())
    return one
def finished():
    future = Future()
    future.set_result(1)
    return future
def outer():
    yield finished()
    if (pid := os.fork()) == 0:
        tasks = [Task(small()) for _ in range(3)]
        say(gather(tasks).result(30))
        os._exit(0)
    return exit_code(pid)
task = Task(outer())
task.step()
say(task.result(30))
""")
    assert lines == ["[[1], [1], [1]]", "0"]


# -- multiprocessing


def test_multiprocessing_may_fork_from_a_thread_of_a_pool():
    lines = run_script("""
import multiprocessing
fork = multiprocessing.get_context("fork")
def child(connection):
    with ThreadPoolExecutor(2) as mine:
        connection.send((refusal(pool) is not None, list(mine.map(abs, [-1, -2]))))
def call(_):
    ours, theirs = fork.Pipe()
    process = fork.Process(target=child, args=(theirs,))
    process.start()
    received = ours.recv() if ours.poll(30) else None
    # Another thread's start() reaps what has ended, and join() returns before that thread has noted it.
    while process.exitcode is None:
        process.join()
    return received, process.exitcode
with ThreadPoolExecutor(4) as pool:
    say(set(map(str, pool.map(call, range(8)))))
""")
    assert lines == ["""{'((True, [1, 2]), 0)'}"""]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_a_child_of_multiprocessing_runs_pending_work(method, kind, tmp_path):
    """Before Python 3.14 most of them end without `atexit`."""
    lines = run_script(
        f"""
import multiprocessing
def child():
    executor, go_on = {kind}(), threading.Event()
    for number in range(3):
        executor.submit(lambda number=number: (go_on.wait(30), say(number)))
    # Without a shutdown. The last one can only go on when the end has begun.
    executor.submit(lambda: (wait_for_the_end(), go_on.set()))
def wait_for_the_end():
    while not AT_EXIT.exiting:
        os.sched_yield()
if __name__ == "__main__":
    process = multiprocessing.get_context("{method}").Process(target=child)
    process.start()
    process.join()
    say("exit", process.exitcode)
""",
        tmp_path / "script.py",
    )
    assert sorted(lines) == ["0", "1", "2", "exit 0"]


# -- many


def test_forks_while_other_threads_submit_never_hang():
    """Also the proof that a future's own lock is never held at a fork: no thread is switched there."""
    lines = run_script("""
from collections import deque
sys.setswitchinterval(1e-5)
pools, stop, recent = [ThreadPoolExecutor(2), ThreadPoolExecutor(3)], threading.Event(), deque(maxlen=500)
each = ThreadedExecutor()
def hammer():
    while not stop.is_set():
        for pool in pools:
            recent.append(pool.submit(abs, -1))
        each.submit(abs, -1).result(30)
        recent.append(Future())
        with ThreadPoolExecutor(1) as short:
            recent.append(short.submit(abs, -1))
        for future in list(recent)[-20:]:
            future.cancel()
            future.add_done_callback(id)
threads = [threading.Thread(target=hammer) for _ in range(4)]
for thread in threads:
    thread.start()
codes = []
for number in range(50):
    if (pid := os.fork()) == 0:
        if any(future._lock.locked() for future in recent):
            os._exit(2)
        if not all(map(refusal, [*pools, each])):
            os._exit(3)
        with ThreadPoolExecutor(2) as mine:
            total = sum(mine.map(abs, range(10)))
        for pool in pools:
            pool.shutdown()
        if number % 2:
            sys.exit(total)
        os._exit(total)
    codes.append(exit_code(pid))
stop.set()
for thread in threads:
    thread.join()
say(codes == [45] * 50 or codes)
""")
    assert lines == ["True"]


# -- from inside


def test_the_childs_exit_knows_nothing_of_the_parents():
    class Backlog(executor_module.Backlog):
        def close(self):
            events.append("close")

        def join(self):
            events.append("join")

    events, at_exit = [], executor_module.AtExit()
    backlog = Backlog()
    at_exit.add(backlog)
    at_exit.exiting = True
    at_exit.begin_in_child()
    assert backlog.disowned
    assert not at_exit.exiting
    at_exit.finish()
    assert events == []


@pytest.mark.parametrize("make", [ThreadedExecutor, lambda: ThreadPoolExecutor(1)])
def test_a_disowned_executor_is_closed_for_good(make):
    executor = make()
    backlog = executor._crew if isinstance(executor, ThreadPoolExecutor) else executor._threads
    with backlog._lock:
        # Held, by whom does not matter: it is replaced.
        backlog.disown()
        other = threading.Thread(target=executor.shutdown)
        other.start()
        other.join(SOON)
        assert not other.is_alive()
    with pytest.raises(RuntimeError, match=f"^{REFUSAL}$"):
        executor.submit(abs, 1)


def test_a_disowned_pools_calls_are_neither_run_nor_finalized():
    class Argument:
        pass

    argument = Argument()
    pool, gone = ThreadPoolExecutor(1), weakref.ref(argument)
    future = Future()
    pool._crew._calls.append((future, repr, (argument,), {}))
    del argument
    pool._crew.disown()
    pool.shutdown(cancel_futures=True)
    assert not future.done()
    assert gone() is not None


def test_the_steps_due_in_the_parent_are_not_taken_in_the_child():
    queue, steps = task_module._RunQueue(), []

    def fork():
        queue.run(lambda: steps.append("the parent's"))
        queue.begin_in_child()
        queue.run(lambda: steps.append("the child's"))

    queue.run(fork)
    assert steps == ["the child's"]
    queue.begin_in_child()
    queue.run(lambda: steps.append("another"))
    assert steps == ["the child's", "another"]


# -- signals


def test_a_signal_for_a_child_just_forked_finds_it_parted_from_its_parents_handler():
    script = """
import signal
from app.core.forking import part_children
signal.signal(signal.SIGTERM, lambda *_: say("the parent's handler"))
part_children(lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL), [signal.SIGTERM])
for _ in range(30):
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    os.kill(child, signal.SIGTERM)
    assert exit_code(child) == -signal.SIGTERM
os.kill(os.getpid(), signal.SIGTERM)
"""
    assert run_script(script) == ["the parent's handler"]


def test_what_parts_a_child_does_not_keep_its_signals_from_it_when_it_fails():
    def fail():
        raise OSError

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    hooks = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "register_at_fork", lambda **given: hooks.update(given))
        part_children(fail, [signal.SIGUSR1])
    hooks["before"]()
    with pytest.raises(OSError, match=r"^$"):
        hooks["after_in_child"]()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
