"""Our own service as a side of the comparison: one process and one SQLite file, as it comes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers.servers import LOOPBACK, child, free_port, runs, until

SETTINGS = {"ERRAND_TASKS": "benchmarks.tasks", "ERRAND_MAX_PENDING": "10000000"}
"""The functions of the comparison, and room for all that a load submits."""

DATABASE = "errand.db"
"""The file's name, in the folder of a service."""


class Running(NamedTuple):
    """Our service as it runs: its address and its process."""

    base: str
    pid: int

    @property
    def resident(self) -> int:
        """Bytes of memory that it has at the moment (RSS)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def run(folder: Path) -> Iterator[Running]:
    """Run it on a database in the folder; yield it when a first job has run."""
    port = free_port()
    env = {**SETTINGS, "ERRAND_DATABASE": f"sqlite:///{folder / DATABASE}"}
    command = (sys.executable, "-m", "app", "serve", "--port", str(port))
    with child(command, folder / "errand.log", env) as started:
        first: list[str] = []
        until(lambda: runs(port, first), (started,))
        yield Running(f"http://{LOOPBACK}:{port}", started.pid)


@contextmanager
def start(folder: Path) -> Iterator[str]:
    """Run it; yield its address."""
    with run(folder) as running:
        yield running.base
