"""A real service in a process of its own, as a user starts it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 30.0
"""Seconds after which a step of a test has failed."""


def environment(**settings: str) -> dict[str, str]:
    """Return the environment for a service, without settings that the caller's shell may hold."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ERRAND_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **settings}


class Running:
    """A started service: its first lines, its address, and a client for it."""

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        read_errors: bool = True,
        under: Sequence[str] = (),
        **settings: str,
    ) -> None:
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "app", "serve", "--port", str(port)],
            cwd=folder,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._news = threading.Condition()
        self._collector = threading.Thread(target=self._collect_errors)
        if read_errors:
            self._collector.start()
        self.announcement = list(self._announced())
        self.url = self.announcement[0].split()[3] if self.announcement else ""
        self.client = httpx.Client(base_url=self.url, timeout=TIMEOUT)

    def _collect_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self._errors.append(line)
                self._news.notify_all()

    def _announced(self) -> Iterator[str]:
        """Yield what it prints up to its last line, which shows how to try it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield line.rstrip("\n")
            if line.startswith("Try: "):
                return

    def submit(self, task: str, *args: Any, **fields: Any) -> dict[str, Any]:
        """Submit a job and return it."""
        answer = self.client.post("/jobs", json={"task": task, "args": list(args), **fields})
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    def job(self, job_id: str, wait: float = 0) -> dict[str, Any]:
        """Return a job, after waiting for its end for so many seconds."""
        return self.client.get(f"/jobs/{job_id}", params={"wait": wait}).raise_for_status().json()

    def until_running(self, job_id: str) -> dict[str, Any]:
        """Return the job when it has begun."""
        answer = self.client.get(f"/jobs/{job_id}")
        while answer.json()["state"] == "pending":
            answer = self.client.get(
                f"/jobs/{job_id}", params={"wait": TIMEOUT}, headers={"If-None-Match": answer.headers["ETag"]}
            )
            assert answer.status_code == 200, "it has not begun"
        return answer.json()

    def until_ready(self) -> None:
        """Wait until it is ready; for no longer than a step may take."""
        deadline = time.monotonic() + TIMEOUT
        while (answer := self.client.get("/health/ready")).status_code != 200:
            assert time.monotonic() < deadline, answer.text

    def until_logged(self, text: str) -> str:
        """Return the first line of its error stream with this text, as soon as it is there."""
        with self._news:
            lines = self._news.wait_for(lambda: [line for line in self._errors if text in line], TIMEOUT)
        assert lines, self.errors
        return lines[0].rstrip("\n")

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        if self.process.poll() is None:
            self.send(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        code = self.process.wait(TIMEOUT)
        self.client.close()
        if self._collector.is_alive():
            self._collector.join(TIMEOUT)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code

    @property
    def errors(self) -> str:
        """What it has written to its error stream; complete only after the end."""
        return "".join(self._errors)


@contextmanager
def service(
    folder: Path, port: int = 0, *, read_errors: bool = True, under: Sequence[str] = (), **settings: str
) -> Iterator[Running]:
    """Run a service in a folder; it is killed at the end if it still runs.

    under: a command, with its options, that becomes the service.
    """
    running = Running(folder, port, read_errors=read_errors, under=under, **settings)
    try:
        yield running
    finally:
        running.end()
