"""What the shell offers for a name, from the service if it answers soon."""

from collections.abc import Callable, Iterable

from app.client import Client
from app.client.errors import ClientError
from app.config import ConfigError, load_caller_settings

PATIENCE = 1.0
"""Seconds that somebody who has pressed Tab may wait."""


def complete_task(incomplete: str) -> list[tuple[str, str]]:
    """Offer the names of tasks, each with the first line of its documentation."""
    return _offer(
        lambda client: [(task.name, task.doc.partition("\n")[0]) for task in client.tasks()], incomplete
    )


def complete_queue(incomplete: str) -> list[tuple[str, str]]:
    """Offer the names of the queues that hold jobs or are paused."""
    return _offer(lambda client: [(queue.name, "") for queue in client.queues()], incomplete)


def _offer(names: Callable[[Client], Iterable[tuple[str, str]]], incomplete: str) -> list[tuple[str, str]]:
    try:
        settings = load_caller_settings()
        key = None if settings.key is None else settings.key.get_secret_value()
        with Client(settings.url, api_key=key, timeout=PATIENCE) as client:
            # A shell would run or cut what a name has of white space and control characters.
            return [
                (name, help_)
                for name, help_ in names(client)
                if name.startswith(incomplete) and name.isprintable()
            ]
    except (ClientError, ConfigError):
        return []
