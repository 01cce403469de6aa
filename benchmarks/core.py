"""The core against the standard library, side by side in one run.

    python -m benchmarks.core [--quick]

Both are given the same no-op work in turn: ours, theirs, ours, and so on, so that
whatever else the machine does falls on both. A figure is the median of its rounds,
its spread the lowest and the highest. `--quick` runs one small round of each: it
shows that everything still runs, and its figures mean nothing.
"""

import argparse
import asyncio
import concurrent.futures
import gc
import os
import platform
import sys
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import app.core

WORKERS = 8
Measure = Callable[[], float]
Kind = type[app.core.ThreadPoolExecutor] | type[concurrent.futures.ThreadPoolExecutor]


class Target(NamedTuple):
    """What a figure has to reach."""

    text: str
    met: Callable[[float, float], bool]


class Figure(NamedTuple):
    """A figure that both have: how it is measured of ours and of theirs, and how it is written."""

    name: str
    measures: tuple[Measure, Measure]
    form: str
    target: Target


class Sizes(NamedTuple):
    """How much one round does."""

    rounds: int
    tasks: int
    futures: int
    turns: int
    hops: int


FULL = Sizes(rounds=11, tasks=50_000, futures=10_000, turns=3_000, hops=10_000)
QUICK = Sizes(rounds=1, tasks=500, futures=100, turns=50, hops=50)


def nothing() -> None:
    """Do the work whose cost is not measured."""


# -- what is measured --------------------------------------------------------


def tasks_per_second(kind: Kind, tasks: int) -> float:
    """Submit from one thread, then collect the results."""
    with kind(WORKERS) as pool:
        begun = perf_counter()
        futures = [pool.submit(nothing) for _ in range(tasks)]
        for future in futures:
            future.result()
        return tasks / (perf_counter() - begun)


def bytes_of_a_future(kind: Callable[[], object], futures: int) -> float:
    """Count what a pending future that nobody waits for takes, all that it holds included."""
    kept: list[object] = [None] * futures
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for index in range(futures):
            kept[index] = kind()
        after, _ = tracemalloc.get_traced_memory()
        return (after - before) / futures
    finally:
        tracemalloc.stop()


def ping_pong(kind: Kind, turns: int) -> float:
    """Submit one call and wait for it, over and over; microseconds each."""
    # One worker and one CPU: how far apart the scheduler puts two threads would be most of the figure.
    # Where other processes are busy on that CPU it is another figure: no thread gives way there.
    with one_cpu(), kind(1) as pool:
        pool.submit(nothing).result()
        begun = perf_counter()
        for _ in range(turns):
            pool.submit(nothing).result()
        return (perf_counter() - begun) / turns * 1e6


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keep this thread, and those that it starts meanwhile, on one CPU where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def task_hop(hops: int) -> float:
    """Have a Task yield one call after the other; microseconds each."""

    def hop() -> Generator[app.core.Future[None], None, None]:
        for _ in range(hops):
            yield pool.submit(nothing)

    with app.core.ThreadPoolExecutor(WORKERS) as pool:
        task = app.core.Task(hop())
        begun = perf_counter()
        task.step()
        task.result()
        return (perf_counter() - begun) / hops * 1e6


def asyncio_hop(hops: int) -> float:
    """Have a coroutine await one call after the other; microseconds each."""

    async def hop() -> float:
        loop = asyncio.get_running_loop()
        begun = perf_counter()
        for _ in range(hops):
            await loop.run_in_executor(pool, nothing)
        return (perf_counter() - begun) / hops * 1e6

    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        return asyncio.run(hop())


# -- what is asked -----------------------------------------------------------


def at_least(factor: float) -> Target:
    """Ask for so many times theirs."""
    return Target(f">= {factor:.2f} times", lambda ours, theirs: ours >= factor * theirs)


def at_most(factor: float) -> Target:
    """Ask for no more than so many times theirs."""
    return Target(f"<= {factor:.2f} times", lambda ours, theirs: ours <= factor * theirs)


def no_more_than(value: float) -> Target:
    """Ask for a fixed amount at most, whatever theirs is."""
    return Target(f"<= {value:,.0f}", lambda ours, _: ours <= value)


def figures(sizes: Sizes) -> list[Figure]:
    """List what is measured, and what is asked of it."""
    # Their pool became faster after 3.11, as the interpreter did.
    speed = 5.0 if sys.version_info < (3, 12) else 4.0
    future = both(bytes_of_a_future, "Future", sizes.futures)
    rate = both(tasks_per_second, "ThreadPoolExecutor", sizes.tasks)
    turn = both(ping_pong, "ThreadPoolExecutor", sizes.turns)
    hop = partial(task_hop, sizes.hops), partial(asyncio_hop, sizes.hops)
    return [
        Figure("tasks per second", rate, ",.0f", at_least(speed)),
        Figure("bytes of a Future", future, ",.0f", no_more_than(250)),
        Figure("ping-pong on one CPU, us", turn, ".1f", at_most(0.75)),
        Figure("a Task's hop, us", hop, ".1f", at_most(0.25)),
    ]


def both(measure: Callable[[Any, int], float], attribute: str, size: int) -> tuple[Measure, Measure]:
    """Measure what ours and theirs call by the same name."""
    ours, theirs = getattr(app.core, attribute), getattr(concurrent.futures, attribute)
    return partial(measure, ours, size), partial(measure, theirs, size)


# -- the table ---------------------------------------------------------------


def row(figure: Figure, rounds: int) -> tuple[str, ...]:
    """Measure both in turn and write the figure's row."""
    turns = [[measure() for measure in figure.measures] for _ in range(rounds)]
    columns = list(zip(*turns, strict=True))
    ours, theirs = map(median, columns)
    cells = [spread(column, figure.form) for column in columns]
    met = "yes" if figure.target.met(ours, theirs) else "NO"
    return (figure.name, *cells, f"{ours / theirs:.2f}", figure.target.text, met)


def spread(values: tuple[float, ...], form: str) -> str:
    """Write the median, and the lowest and the highest behind it."""
    middle, low, high = (format(value, form) for value in (median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def table(rows: list[tuple[str, ...]]) -> str:
    """Align the columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in rows
    )


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description="Measure the core against the standard library.")
    parser.add_argument("--quick", action="store_true", help="one small round of each, as a smoke test")
    sizes = QUICK if parser.parse_args().quick else FULL
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {WORKERS} workers;"
        f" median (lowest to highest) of {sizes.rounds} rounds"
    )
    header = ("figure", "ours", "theirs", "ratio", "target", "met?")
    print(table([header, *(row(figure, sizes.rounds) for figure in figures(sizes))]))


if __name__ == "__main__":
    main()
