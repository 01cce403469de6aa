"""The end of the process that has a pool, its forks, and scripts of which it is the main program."""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.core.future_contract import SOON

ROOT = Path(__file__).parents[2]

pytest_plugins = ["tests.core.process_fixtures"]

PREAMBLE = """
import os, signal, sys, threading
from app.core import ProcessPoolExecutor
from tests.core import process_calls as calls
"""


@pytest.fixture
def script(tmp_path):
    """Start a script; what is left of it and its forks at the test's end is killed."""
    started = []
    # Not measured: coverage's locks are not made for forks beside threads.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(ROOT)

    def start(code, *arguments, preamble=PREAMBLE):
        path = tmp_path / f"script{len(started)}.py"
        path.write_text(preamble + code)
        process = subprocess.Popen(
            # From 3.12 on Python warns of every fork beside threads.
            [sys.executable, "-W", "ignore::DeprecationWarning", path, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def finish(process):
    """Wait for the script's end; return what it has said."""
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return out


def until_said(fd, *words):
    said = ""
    while not all(word in said for word in words):
        more = os.read(fd, 1000).decode()
        assert more, said
        said += more


def ends(fd):
    """Tell whether the last one that has it open ends soon."""
    while select.select([fd], [], [], SOON)[0]:
        if not os.read(fd, 1000):
            return True
    return False


@pytest.fixture
def told(fifo):
    """A FIFO and its reader's end, which is opened without waiting for a writer."""
    path = fifo("told")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    # So that it does not end before the first writer comes.
    writer = os.open(path, os.O_WRONLY)
    os.set_blocking(fd, True)

    def begin(*words):
        until_said(fd, *words)
        os.close(writer)

    yield path, fd, begin
    os.close(fd)


def test_all_processes_and_what_they_have_started_end_when_the_parent_is_killed(script, told):
    path, fd, begin = told
    process = script(
        """
if __name__ == "__main__":
    pool = ProcessPoolExecutor(4)
    pool.submit(calls.write_and_hold, sys.argv[1], "idle ").result()
    for call in (calls.match_for_ever, calls.run_a_program, calls.fork_and_hold, calls.stop_itself):
        pool.submit(call, sys.argv[1])
    threading.Event().wait()
""",
        path,
    )
    begin("idle ", "regex ", "program\n", "held ", "stopped ")
    process.kill()
    process.wait()
    assert ends(fd)


def test_they_do_so_where_the_kernel_does_not_see_to_it(script, told):
    path, fd, begin = told
    process = script(
        """
import fcntl
vars(fcntl).pop("F_SETSIG", None)

if __name__ == "__main__":
    pool = ProcessPoolExecutor(2)
    for call in (calls.hold_out, calls.run_a_program):
        pool.submit(call, sys.argv[1])
    threading.Event().wait()
""",
        path,
    )
    begin("held ", "program\n")
    process.kill()
    process.wait()
    assert ends(fd)


def test_a_process_whose_parent_was_killed_during_its_start_ends(script, told, fifo):
    path, fd, begin = told
    gate = fifo("gate")
    process = script(
        """
if __name__ != "__main__":
    calls.write_and_hold(sys.argv[1], "starts ")
    calls.read(sys.argv[2])

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1)
    pool.submit(calls.nothing)
    threading.Event().wait()
""",
        path,
        gate,
    )
    begin("starts ")
    process.kill()
    process.wait()
    Path(gate).write_text("")
    assert ends(fd)


def test_a_fork_of_the_parent_keeps_no_process_alive(script, told, fifo):
    path, fd, begin = told
    gate = fifo("gate")
    process = script(
        """
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1)
    future = pool.submit(calls.hold_out, sys.argv[1])
    calls.read(sys.argv[2])
    if os.fork() == 0:
        calls.write(sys.argv[2])
    signal.pause()
""",
        path,
        gate,
    )
    begin("held ")
    Path(gate).write_text("")
    Path(gate).read_text()
    process.kill()
    process.wait()
    assert ends(fd)


def test_a_fork_of_the_parent_does_its_processes_no_harm(script, told, fifo):
    path, _, begin = told
    gate = fifo("gate")
    process = script(
        """
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1)
    future = pool.submit(calls.meet_and_hold, sys.argv[1], sys.argv[2], "unharmed")
    calls.read(sys.argv[3])
    child = os.fork()
    if child == 0:
        print(future.kill(), future.stop(ValueError()), future.cancel(), flush=True)
        pool.kill_workers()
        pool.shutdown()
        with ProcessPoolExecutor(1) as mine:
            print(mine.submit(calls.identity, "new").result(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    calls.write(sys.argv[2])
    print(future.result())
""",
        path,
        gate,
        forks := fifo("forks"),
    )
    begin("held ")
    Path(forks).write_text("")
    assert finish(process) == "False False False\nnew\nunharmed\n"


def test_a_fork_in_a_callback_that_returns_does_the_processes_no_harm(script):
    process = script("""
def fork(future):
    if os.fork() == 0:
        return
    os.wait()

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, max_tasks_per_child=2)
    first = pool.submit(os.getpid)
    first.add_done_callback(fork)
    print(first.result() == pool.submit(os.getpid).result())
""")
    assert finish(process) == "True\n"


def test_what_was_accepted_is_run_at_the_interpreters_exit(script, tmp_path):
    process = script(
        """
if __name__ == "__main__":
    pool = ProcessPoolExecutor(2)
    for n in range(5):
        pool.submit(calls.append, sys.argv[1], str(n))
""",
        tmp_path / "numbers",
    )
    assert finish(process) == ""
    assert sorted((tmp_path / "numbers").read_text()) == list("01234")


def test_so_is_what_the_script_itself_defines(script, tmp_path):
    # The second process is started when the script's code has ended.
    process = script(
        """
def append(path, text):
    calls.append(path, text)

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, max_tasks_per_child=1)
    pool.submit(append, sys.argv[1], "0")
    pool.submit(append, sys.argv[1], "1")
""",
        tmp_path / "numbers",
    )
    assert finish(process) == ""
    assert (tmp_path / "numbers").read_text() == "01"


def test_a_script_whose_standard_streams_are_closed_can_have_a_pool(script, tmp_path):
    process = script(
        """
def say(text):
    for _ in range(2):
        print(text, flush=True)
        if sys.stderr is not None:
            sys.stderr.write(text)
    return text

if __name__ == "__main__":
    os.closerange(0, 3)
    with ProcessPoolExecutor(2) as pool:
        calls.append(sys.argv[1], "".join(pool.map(say, ["0", "1"])))
""",
        tmp_path / "numbers",
    )
    process.communicate()
    assert (tmp_path / "numbers").read_text() == "01"


@pytest.mark.parametrize("size", [1, 2**20])
def test_a_script_without_a_guard_is_told_so(script, size):
    process = script(f"""
pool = ProcessPoolExecutor(1, None, calls.nothing, (bytes({size}),))
pool.submit(calls.identity, 1).result()
""")
    _, err = process.communicate()
    assert process.returncode == 1
    assert "before it was ready" in err
    assert "__main__" in err


def test_ctrl_c_is_the_parents_affair(script, told, fifo):
    path, _, begin = told
    gate = fifo("gate")
    process = script(
        """
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1)
    future = pool.submit(calls.meet_and_hold, sys.argv[1], sys.argv[2], "unharmed")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(future.result())
""",
        path,
        gate,
    )
    begin("held ")
    os.killpg(process.pid, signal.SIGINT)
    Path(gate).write_text("")
    assert finish(process) == "unharmed\n"


def test_a_program_that_ignores_the_end_of_its_children_can_have_a_pool(script):
    process = script("""
if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with ProcessPoolExecutor(1) as pool:
        died = pool.submit(calls.die, "exit")
        print(pool.submit(calls.identity, 1).result(), died.exception())
""")
    assert finish(process) == "1 the process that ran the call has ended\n"
