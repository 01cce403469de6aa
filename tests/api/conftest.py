"""A real service on a real store, behind a real server on a free port."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import httpx
import pytest
import uvicorn

from app.api.app import create_app
from app.config import load_settings
from app.jobs.lifecycle import Event, Failed, Succeeded
from app.jobs.model import Failure, Job, Slot, wall_clock
from app.jobs.registry import Kind, Registry, TaskDefinition
from app.jobs.retry import Retry
from app.service import Service
from app.service.workers import no_workers
from app.stores.base import Change, Claim, Limits
from app.stores.sqlite import SqliteStore
from app.stores.writer import Writer


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


def anything(*args, **kwargs):
    """Take whatever comes."""


def grind(n: int) -> int:
    """Compute."""
    return n


def flaky() -> None:
    """Fail at times."""


def bill(customer: str, *, password: str) -> None:
    """Charge a customer."""


async def nap(seconds: float) -> None:
    """Sleep."""


REGISTRY = Registry(
    [
        TaskDefinition("add", add, Kind.PLAIN, "default", 0),
        TaskDefinition("anything", anything, Kind.PLAIN, "default", 0),
        TaskDefinition("grind", grind, Kind.PLAIN, "default", 0, Slot.PROCESS, timeout=60),
        TaskDefinition("nap", nap, Kind.COROUTINE, "slow", 5),
        TaskDefinition("flaky", flaky, Kind.PLAIN, "default", 0, retry=Retry(5, 10, 3, 60, jitter=False)),
        TaskDefinition(
            "bill",
            bill,
            Kind.PLAIN,
            "default",
            0,
            max_running=1,
            limit_key="{customer}",
            secret=("password",),
        ),
    ]
)

NO_LIMITS = Limits()
KEYLESS = {"host": "127.0.0.1", "api_keys": "", "api_keys_file": None, "insecure": False}
"""Given, so that nobody's environment matters."""


class WatchedService(Service):
    """The service, with events for tests to wait for: each read of a job, and each end of a wait."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.reads = threading.Semaphore(0)
        self.left = threading.Semaphore(0)

    async def get(self, tenant, job_id):
        job = await super().get(tenant, job_id)
        self.reads.release()
        return job

    async def wait(self, *args):
        try:
            return await super().wait(*args)
        finally:
            self.left.release()


class Api:
    """A running service, a client for it, and the means to do what a worker would."""

    def __init__(self, url: str, client: httpx.Client, service: WatchedService, writer: Writer) -> None:
        self.url = url
        self.client = client
        self.service = service
        self.writer = writer

    def submit(self, **body) -> dict:
        answer = self.client.post("/jobs", json={"task": "add", "args": [1], **body})
        assert answer.status_code == 202, answer.text
        return answer.json()

    def claim(self) -> list[Job]:
        """Start every job that is ready."""
        return self.writer.submit(Claim("worker-1", {Slot.THREAD: 100, Slot.COROUTINE: 100})).result(10)

    def apply(self, job_id: str, *events: Event) -> Job:
        return self.writer.submit(Change(job_id, events)).result(10)

    def finish(self, job_id: str, result: str = "2") -> None:
        """Start the job and let it return; result: as JSON."""
        for job in self.claim():
            if job.id == job_id:
                self.apply(job_id, Succeeded(job.token, result))

    def fail(self, job_id: str) -> None:
        """Start the job and let it raise."""
        for job in self.claim():
            if job.id == job_id:
                self.apply(job_id, Failed(job.token, Failure("ValueError", "too bad", "Traceback ...\n")))

    def count(self) -> int:
        """Return how many jobs are stored."""
        return len(self.client.get("/jobs", params={"limit": 500}).json()["jobs"])


@contextmanager
def serving(app) -> Iterator[str]:
    """Run a server in a thread; yields its address."""
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", access_log=False)
    server = uvicorn.Server(config)
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        # It listens already: whoever connects before the thread is ready waits, and is not refused.
        port = sock.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def running(
    path, limits=NO_LIMITS, registry=REGISTRY, claiming=lambda: True, workers=no_workers, **settings
) -> Iterator[Api]:
    """Run everything but a worker."""
    with ExitStack() as stack:
        store = stack.enter_context(closing(SqliteStore(path)))
        writer = stack.enter_context(closing(Writer(store, wall_clock)))
        service = WatchedService(store, writer, registry, wall_clock, limits, claiming, workers)
        stack.callback(service.close)
        url = stack.enter_context(serving(create_app(service, load_settings(**{**KEYLESS, **settings}))))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=30, trust_env=False))
        yield Api(url, client, service, writer)


@pytest.fixture
def serve(tmp_path):
    """Return a function that starts a service with limits and settings of the test's choice."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(running(tmp_path / "jobs.db", **options))


@pytest.fixture
def api(serve):
    return serve()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A service for tests that store nothing; started once, because starting takes longer than they do."""
    with running(tmp_path_factory.mktemp("shared") / "jobs.db") as api:
        yield api
