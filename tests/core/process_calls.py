"""What the tests of process pools have run in the processes, and how they watch them.

Both sides wait for each other at FIFOs: opening one waits for the other side, reading one to
its end waits until all who write to it have closed it or are gone.
"""

import atexit
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from app.core import ProcessPoolExecutor
from app.core.child import checkpoint, send

HERE = "here"
"""What a call leaves behind."""
LEFT = {}


class Received:
    """What calls have sent, and what the test does about it."""

    def __init__(self):
        self.notes = []
        self.act = nothing

    def __call__(self, note):
        self.notes.append(note)
        self.act(note)


def read(fifo):
    """Wait for a writer, and for the end of all writers; return what they wrote."""
    return Path(fifo).read_text()


def write(fifo, text=""):
    """Wait for a reader and write to it."""
    Path(fifo).write_text(text)


def write_and_hold(fifo, text):
    """As `write`, but keep the FIFO open: its end shows the end of this process."""
    LEFT[fifo] = os.open(fifo, os.O_WRONLY)
    os.write(LEFT[fifo], text.encode())


def meet(told, gate, result=None):
    """Say that the call runs, and wait."""
    write(told, str(os.getpid()))
    read(gate)
    return result


def meet_and_hold(told, gate, result):
    write_and_hold(told, "held ")
    read(gate)
    return result


def append(path, text):
    with Path(path).open("a") as file:
        file.write(text)


def append_at_exit(path, text):
    atexit.register(append, path, text)


def nothing(*args):
    pass


def identity(value):
    return value


def leave(name, value):
    LEFT[name] = value


def left(name):
    return LEFT.get(name)


def process(_):
    return os.getpid()


def process_and_group():
    return os.getpid(), os.getpgrp()


def sigint():
    return signal.getsignal(signal.SIGINT), signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def raises(exception, *args):
    raise exception(*args)


def raise_deep(depth=10**6):
    return raise_deep(depth - 1) + 1


# -- objects that make trouble


class Local:
    """Cannot be pickled."""

    def __reduce__(self):
        raise TypeError("not to be pickled")


class Exits:
    """Ends whoever pickles it, if that is let to."""

    def __reduce__(self):
        raise SystemExit(3)


def _refuse(*args):
    raise ValueError("not to be loaded")


class Unloadable:
    def __reduce__(self):
        return _refuse, ()


class UnpicklableError(Exception):
    def __reduce__(self):
        raise SystemExit(3)


class UnloadableError(Exception):
    def __reduce__(self):
        return _refuse, ()


class ChangedError(Exception):
    def __reduce__(self):
        return str, ("no exception",)


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def make(cls, *args):
    return cls(*args)


def send_made(cls):
    try:
        send(cls())
    except BaseException as exc:
        return type(exc).__name__
    return None


def raises_first(exception):
    """Return a function that raises when it is called for the first time."""
    due = [exception]

    def act(*_):
        while due:
            raise due.pop()

    return act


# -- notes and requests


def send_all(*notes):
    for note in notes:
        send(note)


def send_from_thread(note):
    thread = threading.Thread(target=send, args=(note,))
    thread.start()
    thread.join()


def flood():
    """Leave a thread behind that sends without an end."""

    def work():
        while True:
            send("flood")

    threading.Thread(target=work, daemon=True).start()


def run_until_stopped(told):
    write(told, str(os.getpid()))
    while True:
        checkpoint()


def catch_two_requests(told):
    caught = []
    for _ in range(2):
        try:
            run_until_stopped(told) if not caught else checkpoint()
        except BaseException as exc:
            caught.append(exc)
    return [repr(exc) for exc in caught], caught[0] is not caught[1]


def leave_a_thread_that_sends_and_exits(told, gate):
    def work():
        meet(told, gate)
        send("last")
        os._exit(0)

    threading.Thread(target=work, daemon=True).start()


def leave_a_thread_at_checkpoints():
    """The thread looks for requests without an end, and so comes upon the next call's message."""

    def work():
        while True:
            try:
                checkpoint()
            except BaseException:
                return

    threading.Thread(target=work, daemon=True).start()


def checkpointed():
    try:
        checkpoint()
    except BaseException as exc:
        return repr(exc)
    return None


def send_large(size):
    send("large")
    return bytes(size)


def set_alarm():
    signal.alarm(1000)


def alarm():
    return signal.getitimer(signal.ITIMER_REAL)


# -- ends


def die(how):
    if how == "exit":
        os._exit(7)
    if how == "abort":
        os.abort()
    if how == "segfault":
        ctypes.string_at(0)
    if how == "fds":
        os.closerange(3, 1000)
        signal.pause()
    os.kill(os.getpid(), signal.Signals[how])


def hold_out(told, *signals):
    """Run until it is killed, whatever else comes."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    write_and_hold(told, "held ")
    while True:
        signal.pause()


def stop_itself(told):
    write_and_hold(told, "stopped ")
    os.kill(os.getpid(), signal.SIGSTOP)


def match_for_ever(told):
    write_and_hold(told, "regex ")
    re.match(r"(a+)+$", "a" * 64 + "b")


def start_a_program(told):
    """Leave a program running, which holds the FIFO as its third file."""
    subprocess.Popen(["/bin/sh", "-c", "exec 3>$0; echo program >&3; sleep 1000", told])
    return os.getpid()


def run_a_program(told):
    start_a_program(told)
    signal.pause()


def system(told):
    # Unlike subprocess this lets the program inherit what may be inherited.
    os.system(f"(exec 3>'{told}'; echo program >&3; exec sleep 1000) &")
    signal.pause()


# -- forks


def fork_and_return(how=None):
    """Fork; both return, or end as `how` says, and the call waits for the other one's exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    send("from the fork")
    checkpoint()
    if how is not None:
        raise how
    return None


def fork_and_hold(told):
    if os.fork() == 0:
        hold_out(told)
    signal.pause()


def fork_in_initializer(told):
    if os.fork() == 0:
        raise ValueError("in the fork")
    os.wait()


def run_multiprocessing(method):
    import multiprocessing

    process = multiprocessing.get_context(method).Process(target=nothing)
    process.start()
    process.join()
    return process.exitcode


def run_a_pool():
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(os.getppid).result() == os.getpid()


def replace_stdout():
    sys.stdout = None


def flood_stdout():
    for _ in range(1000):
        print("x" * 1000)


# -- initializers


def send_and_leave(note, value):
    send(note)
    LEFT["initializer"] = value


def use_lock(lock):
    with lock:
        LEFT["initializer"] = "locked"
