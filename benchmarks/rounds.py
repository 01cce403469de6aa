"""Rounds: sides are measured in turn, and only the ratio within a round counts."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, TypeVar

import uvloop

from benchmarks.core import spread
from benchmarks.report import Row

OURS = "Errand"

T = TypeVar("T")
Measure = Callable[[str], Coroutine[Any, Any, T]]
"""Measures the side at an address."""


def in_turn(addresses: Mapping[str, str], measure: Measure[T], rounds: int) -> dict[str, list[T]]:
    """Measure each side once a round."""
    return each_in_turn({name: partial(measure, base) for name, base in addresses.items()}, rounds)


def each_in_turn(
    measures: Mapping[str, Callable[[], Coroutine[Any, Any, T]]], rounds: int
) -> dict[str, list[T]]:
    """Take each measure once a round."""
    found: dict[str, list[T]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(uvloop.run(measure()))
    return found


def against(  # noqa: PLR0913  (what a row is made of)
    figure: str,
    found: Mapping[str, Sequence[float]],
    other: str,
    target: float,
    *,
    least: bool = True,
    form: str = ",.0f",
) -> Row:
    """Return the row that compares ours with another: the median of the rounds' ratios."""
    mine, theirs = found[OURS], found[other]
    ratio = median(one / another for one, another in zip(mine, theirs, strict=True))
    shown = f"{other}: {spread(tuple(theirs), form)}"
    return Row(figure, spread(tuple(mine), form), shown, ratio, target, least)


def within(figure: str, found: Sequence[float], bound: float, form: str) -> Row:
    """Return the row that holds a figure of ours against a bound."""
    ratio = median(found) / bound
    return Row(figure, spread(tuple(found), form), f"limit: {bound:g}", ratio, 1, least=False)
