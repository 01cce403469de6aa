"""The functions that every peer runs."""

from collections.abc import Callable
from typing import Any


def nothing() -> None:
    """Do nothing."""


def add(a: int, b: int) -> int:
    """Return the sum."""
    return a + b


FUNCTIONS: dict[str, Callable[..., Any]] = {"nothing": nothing, "add": add}
"""By the names that a submission calls them by."""
