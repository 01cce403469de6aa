"""Points in a job's life at which a test may stop the process, or kill it.

What the process has done by the time it gets there is all that is left of it, so this is
the list of the moments at which being killed makes a difference. Nothing is ever
installed but by tests: `reached` then costs one look at an empty mapping.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "recovery-next": "the worker starts, and has not taken over what the last process left",
        "recovery-committed": "it has, and claims nothing yet",
        "batch-gathered": "operations are about to be carried out, with a claim if a slot is free",
        "batch-written": "they were, within a transaction that is not committed",
        "batch-committed": "they are durable, and nobody was told",
        "claim-taken": "the worker has a claimed job, and has not begun it",
        "announcement-next": "the worker has its jobs; neither listeners nor those who asked were told",
        "function-next": "a job's function is about to be called, or handed to a process",
        "function-ended": "it has returned or raised, and nobody knows",
        "settlement-handed-in": "the end of a job is with the writer",
        "settlement-answered": "it is durable and was announced",
        "promotion-next": "what has become due is about to be made ready",
        "release-next": "a job that still runs at the end of a drain is about to be put back",
    }
)
"""The names, and where the process is at each."""

_actions: dict[str, Callable[[], object]] = {}


def reached(name: str) -> None:
    """Do what was installed for the point of this name; nothing by default."""
    if _actions:
        _act(name)


def at(name: str, action: Callable[[], object]) -> None:
    """Have `action` called each time that a point is reached, by whichever thread does.

    Raises KeyError for a name that is not in POINTS.
    """
    POINTS[name]
    _actions[name] = action


def clear() -> None:
    """Forget all actions."""
    _actions.clear()


def _act(name: str) -> None:
    action = _actions.get(name)
    if action is not None:
        action()
