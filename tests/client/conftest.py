"""A real service, and both clients for it behind one surface."""

import asyncio
import threading
from contextlib import ExitStack

import pytest

from app.client import AsyncClient, Client, RemoteExecutor
from app.testing import (
    pytest_runtest_call,  # noqa: F401  (a hook)
    running,
)
from tests.client import client_tasks
from tests.client.network import way_to


@pytest.fixture(scope="module")
def service():
    """The service of a module's tests, which look at their own jobs only."""
    with running(["tests.client.client_tasks"]) as service:
        yield service


@pytest.fixture
def gate():
    """Shut the gate that held jobs stand at; it is opened at the end. Returns the module."""
    client_tasks.GO_ON.clear()
    client_tasks.BEGUN = threading.Semaphore(0)
    yield client_tasks
    client_tasks.GO_ON.set()


class Awaited:
    """An AsyncClient, called as a Client is."""

    def __init__(self, url, runner, **settings):
        self._runner = runner
        self._client = AsyncClient(url, **settings)

    def options(self, **options):
        clone = object.__new__(Awaited)
        clone._runner, clone._client = self._runner, self._client.options(**options)
        return clone

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._run(method(*args, **kwargs))

    def _run(self, answer):
        if hasattr(answer, "__aiter__"):
            return self._items(answer)
        return self._runner.run(answer)

    def _items(self, items):
        while True:
            try:
                yield self._runner.run(anext(items))
            except StopAsyncIteration:
                return

    def close(self):
        self._runner.run(self._client.aclose())


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request):
    """Return a function that makes a client of either kind for an address."""
    made = []
    with asyncio.Runner() as runner:

        def make(url, **settings):
            client = (
                Client(url, **settings) if request.param == "blocking" else Awaited(url, runner, **settings)
            )
            made.append(client)
            return client

        yield make
        for client in made:
            client.close()


@pytest.fixture
def client(connect, service):
    return connect(service.url)


@pytest.fixture
def way(service):
    """Return a way to the service that breaks when a test says so."""
    with way_to(service.url) as way:
        yield way


@pytest.fixture
def client_of():
    """Return a function that makes a client, which is closed in the end."""
    with ExitStack() as made:
        yield lambda url, **settings: made.enter_context(Client(url, **settings))


@pytest.fixture
def executor(way):
    """Return an executor that goes by that way."""
    executor = RemoteExecutor(way.url)
    yield executor
    executor.close()
