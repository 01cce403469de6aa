"""A real service; and the command, called in this process or run in one of its own, or at a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from app.cli import main
from app.testing import (
    pytest_runtest_call,  # noqa: F401  (a hook)
    running,
)
from tests.acceptance.serving import TIMEOUT, environment
from tests.cli import cli_tasks

NOWHERE = "http://127.0.0.1:9"
"""An address at which nobody listens."""


@pytest.fixture(scope="module")
def service():
    """The service of a module's tests, which look at their own jobs only."""
    with running(["app.tasks", "tests.cli.cli_tasks"]) as service:
        yield service


@pytest.fixture
def client(service):
    return service.client


@pytest.fixture
def gate():
    """Shut the gate that held jobs stand at; it is opened at the end. Returns the module."""
    cli_tasks.GO_ON.clear()
    cli_tasks.BEGUN = threading.Semaphore(0)
    yield cli_tasks
    cli_tasks.GO_ON.set()


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def clean(monkeypatch):
    """Take out what the caller's shell may have set."""
    for name in os.environ:
        if name.upper().startswith("ERRAND_") or name in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}:
            monkeypatch.delenv(name)


@pytest.fixture
def errand(service, clean, monkeypatch, capsys):
    """Call the command in this process, as with a pipe behind it."""
    monkeypatch.setenv("ERRAND_URL", service.url)

    def call(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def errand_process(service, clean):
    """Run the command in a process of its own."""

    def run(*arguments, stdin="", **settings):
        done = subprocess.run(
            [sys.executable, "-m", "app", *map(str, arguments)],
            env=environment(**{"ERRAND_URL": service.url, **settings}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


class Terminal:
    """The command at a terminal of its own."""

    def __init__(self, arguments, width, height, settings):
        self._end, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app", *map(str, arguments)],
                env={**environment(**settings), "TERM": "xterm-256color"},
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self.text = ""

    def read(self, until=None):
        """Return all that has come by the time that some text has; None: by the end."""
        deadline = time.monotonic() + TIMEOUT
        while until is None or until not in self.text:
            ready, _, _ = select.select([self._end], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"neither {until!r} nor the end: {self.text!r}"
            try:
                data = os.read(self._end, 65536)
            except OSError:
                # Linux has an error for the end of a terminal.
                data = b""
            if not data:
                assert until is None, self.text
                break
            # What is cut in the middle of a character is of no interest here.
            self.text += data.decode("utf-8", "replace")
        return self.text

    @property
    def plain(self):
        """What has come, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.text)

    def type(self, text):
        os.write(self._end, text.encode())

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def end(self):
        """Return the exit code, when all has been read."""
        self.read()
        return self._process.wait(TIMEOUT)

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._end)


@pytest.fixture
def terminal(service, clean):
    """Run the command at a terminal."""
    with ExitStack() as opened:

        def run(*arguments, width=80, height=24, **settings):
            found = Terminal(arguments, width, height, {"ERRAND_URL": service.url, **settings})
            opened.callback(found.close)
            return found

        yield run
