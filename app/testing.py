"""What users test their tasks with: the real service, in their own process, on a temporary database.

In `conftest.py`:

    pytest_plugins = ["app.testing"]

    @pytest.fixture
    def errand_tasks():
        return ["shop.tasks"]

and in a test:

    def test_an_order_is_billed(errand):
        assert errand.executor.submit("bill", "Ada").result(10) == "paid"

Jobs run as they do in production: on threads, in processes, on an event loop. Their
functions see what the test has patched, unless they run in processes.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from app.client import Client, RemoteExecutor
from app.server import embedded, hear_again

NO_KEYS: dict[str, Any] = {"api_keys": "", "api_keys_file": None}
"""Given, so that the keys of a shell in which tests run do not lock the tests out."""


class Errand(NamedTuple):
    """A running service: its address, a client, and an executor whose calls are its jobs."""

    url: str
    client: Client
    executor: RemoteExecutor


@contextmanager
def running(tasks: Iterable[str] = (), **settings: Any) -> Iterator[Errand]:
    """Run a service for as long as the context lasts.

    tasks: names of modules with task functions; none means those of ERRAND_TASKS. settings:
    as those of `errand serve`, such as threads=1. What is left of its jobs goes with it.
    Raises what is wrong with them: app.config.ConfigError, app.jobs.errors.TaskDefinitionError.
    """
    if modules := ",".join(tasks):
        settings["tasks"] = modules
    with ExitStack() as parts:
        folder = Path(parts.enter_context(TemporaryDirectory(prefix="errand-")))
        url = parts.enter_context(
            embedded(**{"database": f"sqlite:///{folder / 'errand.db'}", **NO_KEYS, **settings})
        )
        client = parts.enter_context(Client(url))
        executor = RemoteExecutor(client)
        # Not waited for: a job that hangs must fail its test, and not the whole run.
        parts.callback(executor.close)
        yield Errand(url, client, executor)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Keep what jobs print with them, although pytest has taken stdout and stderr over once more."""
    hear_again()


@pytest.fixture
def errand_tasks() -> Iterable[str]:
    """Return the modules with the tasks under test; override it. Without that, ERRAND_TASKS says."""
    return ()


@pytest.fixture
def errand_settings() -> dict[str, Any]:
    """Return settings for the service under test; override it to have others than `errand serve` has."""
    return {}


@pytest.fixture
def errand(errand_tasks: Iterable[str], errand_settings: dict[str, Any]) -> Iterator[Errand]:
    """Run the real service for a test."""
    with running(errand_tasks, **errand_settings) as service:
        yield service
