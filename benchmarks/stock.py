"""Stock: a database with many jobs in it, which the service's own store has put there.

Each job was inserted, claimed and settled as those of a service are, many in a transaction:
so it leaves what every job leaves, in all tables, indexes and counts.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from app.jobs.lifecycle import Succeeded
from app.jobs.model import SECOND, Hold, Job, Slot, new_id, wall_clock
from app.stores.base import Change, Claim, Insert, Operation, Recover
from app.stores.sqlite import SqliteStore

TASK = "nothing"
PART = 1_000
"""Jobs of a transaction."""
SAMPLE = 10
"""Jobs of a transaction whose ids are kept."""
TOLD = 100_000
"""Jobs after which it is told how far it is."""
TOOK = 1_000
"""Microseconds that each job took."""
LATER = 7 * 86_400 * SECOND
"""Microseconds until the jobs that wait are due."""


def fill(path: Path, finished: int, pending: int, *, part: int = PART, interval: int = 0) -> Sequence[str]:
    """Put jobs that are due in a week, then jobs that have run; return ids of the latter, at random.

    So the newest are those that have run. part: how many at a time. interval: microseconds from
    one time to the next; the last is now.
    """
    ids: list[str] = []
    with closing(SqliteStore(path)) as store:
        sizes = list(parts(finished, part))
        age = interval * len(sizes)
        store.apply([Recover({TASK: Slot.THREAD})], wall_clock() - age)
        for size in parts(pending, part):
            now = wall_clock() - age
            store.apply([Insert(jobs(size, now, LATER, Hold.DUE_LATER))], now)
        for number, size in enumerate(sizes):
            ran = run(store, size, wall_clock() - interval * (len(sizes) - number - 1))
            ids += random.sample(ran, min(SAMPLE, size))
            tell("stored", number * part + size)
    random.shuffle(ids)
    return ids


def parts(count: int, part: int = PART) -> Iterator[int]:
    """Yield the sizes of the transactions."""
    for begin in range(0, count, part):
        yield min(part, count - begin)


def jobs(count: int, now: int, delay: int = 0, hold: Hold = Hold.NONE) -> Sequence[Job]:
    """Return new jobs. delay: microseconds until they are due."""
    return [
        Job(new_id(now), "default", TASK, Slot.THREAD, now, now + delay)._replace(hold=hold)
        for _ in range(count)
    ]


def run(store: SqliteStore, count: int, now: int) -> Sequence[str]:
    """Have jobs go all of their way; return their ids."""
    operations: list[Operation] = [Insert(jobs(count, now)), Claim("worker", {Slot.THREAD: count})]
    claimed: Any = store.apply(operations, now).outcomes[1]
    if len(claimed) != count:
        raise RuntimeError(f"{len(claimed)} of {count} jobs were claimed")
    settled = [Change(job.id, (Succeeded(job.token, "null"),)) for job in claimed]
    store.apply(settled, now + TOOK)
    return [job.id for job in claimed]


def tell(what: str, count: int) -> None:
    """Tell how many jobs there are by now, from time to time."""
    if not count % TOLD:
        print(f"{count:,} jobs {what}", file=sys.stderr)
