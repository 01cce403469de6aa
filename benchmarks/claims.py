"""What a claim costs beside many jobs that wait, against the same claim on an empty store.

    python -m benchmarks.claims [--quick]

A store for each situation, all on one disk. In turn, round by round, each gets the same
work: a job is stored, claimed in the same transaction, and settled in the next. What is
counted is the time of the CPU, because the disk, which each of these transactions waits for,
would hide all else. A figure is the median of its rounds, its spread the lowest and the
highest. `--quick` shows that everything still runs, and its figures mean nothing.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any, NamedTuple

from app.jobs.lifecycle import Succeeded
from app.jobs.model import SECOND, Hold, Job, Slot, new_id, wall_clock
from app.stores.base import Caps, Change, Claim, Insert, Operation, Pause, Recover
from app.stores.sqlite import SqliteStore
from benchmarks.core import spread, table
from benchmarks.machine import disk, interpreter

FREE = {Slot.THREAD: 1}
SLOTS = {"probe": Slot.THREAD, "other": Slot.THREAD}
TARGET = 1.25
"""Times of the empty store's that a claim may take: flat, within what a deeper tree costs."""


class Sizes(NamedTuple):
    """rounds: of each situation. claims: in a round. waiting: jobs that wait."""

    rounds: int
    claims: int
    waiting: int


FULL = Sizes(rounds=7, claims=300, waiting=300_000)
QUICK = Sizes(rounds=1, claims=5, waiting=200)

Crowd = Callable[[int], Iterator[Job]]


def job(task: str = "other", **fields: Any) -> Job:
    """Return a new job that is due at once."""
    now = wall_clock()
    return Job(new_id(now), "default", task, Slot.THREAD, now, now)._replace(**fields)


# -- who waits ---------------------------------------------------------------


def nobody(_: int) -> Iterator[Job]:
    """Leave the store empty."""
    yield from ()


def scheduled(count: int) -> Iterator[Job]:
    """Wait for next week."""
    due = wall_clock() + 7 * 86_400 * SECOND
    return (job(run_at=due + n, hold=Hold.DUE_LATER) for n in range(count))


def of_one_key(count: int) -> Iterator[Job]:
    """Wait for one limit key of which as many run as may."""
    return (job("keyed", limit_key="saturated") for _ in range(count))


def of_many_keys(count: int) -> Iterator[Job]:
    """Wait for a limit key each, with ten jobs to a key; all keys wait for the limit of all."""
    return (job("keyed", limit_key=str(n // 10)) for n in range(count))


def paused(count: int) -> Iterator[Job]:
    """Wait in a queue that is paused."""
    return (job(queue="paused") for _ in range(count))


def unknown(count: int) -> Iterator[Job]:
    """Wait for a task that nobody here knows."""
    return (job("gone", hold=Hold.UNKNOWN_TASK) for _ in range(count))


def ready(count: int) -> Iterator[Job]:
    """Wait for a slot, behind the jobs that are claimed."""
    return (job(priority=-1) for _ in range(count))


SITUATIONS: dict[str, Crowd] = {
    "an empty store": nobody,
    "scheduled for later": scheduled,
    "of a saturated limit key": of_one_key,
    "of many keys, at the limit of all": of_many_keys,
    "in a paused queue": paused,
    "of an unknown task": unknown,
    "ready, of a lower priority": ready,
}


# -- what is measured --------------------------------------------------------


def prepare(store: SqliteStore, crowd: Crowd, waiting: int) -> None:
    """Fill a store with those who wait."""
    now = wall_clock()
    slots, caps = {**SLOTS, "keyed": Slot.THREAD}, {"keyed": Caps(each=1, all=1)}
    store.apply([Recover(slots, caps), Pause("default", "paused", paused=True)], now)
    # The one permit of all is in use.
    store.apply([Insert([job("keyed", limit_key="saturated", priority=9)]), Claim("worker", FREE)], now)
    jobs = list(crowd(waiting))
    for start in range(0, waiting, 5_000):
        if part := jobs[start : start + 5_000]:
            store.apply([Insert(part)], now)


def claims(store: SqliteStore, count: int) -> float:
    """Return the microseconds of CPU that storing, claiming and settling a job takes."""
    begun = thread_time()
    for _ in range(count):
        operations: list[Operation] = [Insert([job("probe", priority=5)]), Claim("worker", FREE)]
        outcomes: Any = store.apply(operations, wall_clock()).outcomes
        ((claimed,),) = outcomes[1:]
        assert claimed.task == "probe", claimed
        store.apply([Change(claimed.id, (Succeeded(claimed.token, "1"),))], wall_clock())
    return (thread_time() - begun) / count * 1e6


# -- the table ---------------------------------------------------------------


def rows(folder: Path, sizes: Sizes) -> Iterator[tuple[str, ...]]:
    """Measure all situations in turn and write a row for each."""
    with ExitStack() as opened:
        stores = {}
        for number, (name, crowd) in enumerate(SITUATIONS.items()):
            stores[name] = opened.enter_context(closing(SqliteStore(folder / f"{number}.db")))
            prepare(stores[name], crowd, sizes.waiting)
        turns = [
            {name: claims(store, sizes.claims) for name, store in stores.items()} for _ in range(sizes.rounds)
        ]
    for name in SITUATIONS:
        taken = tuple(turn[name] for turn in turns)
        ratio = median(turn[name] / turn["an empty store"] for turn in turns)
        yield (
            name,
            spread(taken, ".0f"),
            f"{ratio:.2f}",
            f"at most {TARGET}",
            "yes" if ratio <= TARGET else "NO",
        )


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description="Measure a claim beside many jobs that wait.")
    parser.add_argument("--quick", action="store_true", help="one small round of each, as a smoke test")
    parser.add_argument("--folder", help="where the databases lie; unless given, a temporary one")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        print(
            f"{interpreter()}, {sizes.waiting} jobs that wait; {disk(folder)}; median (lowest to highest) of "
            f"{sizes.rounds} rounds of {sizes.claims}"
        )
        header = ("beside jobs", "CPU of a job's way, us", "ratio", "target", "met?")
        print(table([header, *rows(folder, sizes)]))


if __name__ == "__main__":
    main()
