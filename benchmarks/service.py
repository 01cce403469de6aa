"""The service against what else one would pick, and against the limit of its HTTP framework.

    python -m benchmarks.service [--quick] [--write FOLDER]

All sides run on this machine, in turn, round by round, with the same client, the same requests
and the same function. No time counts, only ratios within a round. Durable means that a job is
synced to disk before its submission is answered; the same peers as they come stand beside it.
`--quick` shows that everything still runs, and its figures mean nothing.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import uvloop

from benchmarks import busy, measures, ours
from benchmarks.core import spread
from benchmarks.crowds import READER, WAITER, Kind, Served, room, served
from benchmarks.load import Load
from benchmarks.machine import client_limit, disk, interpreter
from benchmarks.measures import TOMORROW
from benchmarks.peers import SIDES, Side
from benchmarks.report import HEADER, Row, markdown, options, publish, told
from benchmarks.rounds import OURS, Measure, T, against, each_in_turn, in_turn, within

BARE = "FastAPI alone"
SINGLE = "single POST"
BACKGROUND = "FastAPI BackgroundTasks"
NOTHING = "nothing"
MEBIBYTE = 1024 * 1024
SLOW = 300
"""Jobs a second below which a side gets fewer of them."""

Start = Callable[[Path], AbstractContextManager[str]]


class Sizes(NamedTuple):
    """rounds: of each figure. seconds: of a load. jobs: until all are finished. slow: of a slow side.

    batches: of a round. waits: of a round. pending: jobs that wait while memory is read. waiters,
    readers: of a crowd.
    """

    rounds: int
    seconds: float
    jobs: int
    slow: int
    batches: int
    waits: int
    pending: int
    waiters: int
    readers: int


FULL = Sizes(
    rounds=5,
    seconds=4,
    jobs=5_000,
    slow=200,
    batches=60,
    waits=200,
    pending=100_000,
    waiters=10_000,
    readers=1_000,
)
QUICK = Sizes(
    rounds=1, seconds=0.2, jobs=20, slow=20, batches=1, waits=3, pending=1_000, waiters=50, readers=20
)


class Bench:
    """The figures. folder: where databases lie; None: where temporary files do."""

    def __init__(self, sizes: Sizes, folder: str | None) -> None:
        self.sizes = sizes
        self.folder = folder
        self.present = {side.name: side for side in SIDES if side.missing() is None}
        self.bare: Mapping[str, Start] = {OURS: ours.start, BARE: self.present[BARE].start}
        self.details: list[tuple[str, ...]] = []
        """Beside what, a figure, ours, and theirs in the same rounds; what has no target."""

    @contextmanager
    def running(self, sides: Mapping[str, Start]) -> Iterator[Mapping[str, str]]:
        """Start sides, each in a folder of its own; yield their addresses."""
        with ExitStack() as stack:
            addresses = {}
            for name, start in sides.items():
                folder = stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder))
                addresses[name] = stack.enter_context(start(Path(folder)))
            yield addresses

    def in_turn(self, addresses: Mapping[str, str], measure: Measure[T]) -> dict[str, list[T]]:
        """Measure each side once a round."""
        return in_turn(addresses, measure, self.sizes.rounds)

    def rows(self) -> Iterator[Row]:
        """Measure everything."""
        yield from self.accept()
        yield from self.run()
        yield from self.batch()
        yield from self.read()
        yield from self.peers()
        yield from self.busy()
        yield from self.memory()
        yield from self.crowds()

    # -- against the bare endpoint -------------------------------------------

    def accept(self) -> Iterator[Row]:
        """Submit jobs that are due later; then the same at half of what the bare endpoint can do."""
        with self.running(self.bare) as addresses:
            load = partial(measures.accepted, seconds=self.sizes.seconds, delay=TOMORROW)
            rates = self.in_turn(addresses, load)
            yield against("durable POST of jobs due later, per second", rates, BARE, 0.85)
            half = median(rates[BARE]) / 2
            # More rounds, as a few have a stall of the machine in them, which is all that their p99 tells of.
            rounds = 2 * self.sizes.rounds + 1
            slowest = partial(measures.slowest, seconds=self.sizes.seconds, rate=half)
            times = in_turn(addresses, slowest, rounds)
            what = f"p99 of the same at {half:,.0f} per second, ms, {rounds} rounds"
            yield against(what, times, BARE, 2, least=False, form=".1f")

    def run(self) -> Iterator[Row]:
        """Submit jobs that are run, and wait until all of them have ended: what ended counts."""
        seconds = self.sizes.seconds
        ended, accepted, bare = [], [], []
        with self.running(self.bare) as addresses:
            for _ in range(self.sizes.rounds):
                found = uvloop.run(measures.throughput(addresses[OURS], seconds))
                ended.append(found.ended)
                accepted.append(found.accepted)
                bare.append(uvloop.run(measures.accepted(addresses[BARE], seconds)))
        yield against("POST until every job has run, per second", {OURS: ended, BARE: bare}, BARE, 0.6)
        shown = (spread(tuple(rates), ",.0f") for rates in (accepted, bare))
        self.details.append((BARE, "POST accepted until then, per second", *shown))

    def batch(self) -> Iterator[Row]:
        """Submit jobs in batches of 1,000, and one by one."""
        with self.running({OURS: ours.start}) as addresses:
            base = addresses[OURS]
            measures_of = {
                OURS: partial(measures.batches, base, self.sizes.batches),
                SINGLE: partial(measures.accepted, base, self.sizes.seconds, delay=TOMORROW),
            }
            found = each_in_turn(measures_of, self.sizes.rounds)
        yield against(f"POST /jobs/batch of {measures.BATCH:,}, jobs per second", found, SINGLE, 10)
        self.details.append(self._mixed_batch())

    def _mixed_batch(self) -> tuple[str, ...]:
        """Submit batches of jobs that differ, beside such as are alike; by a service of its own."""
        with self.running({OURS: ours.start}) as addresses:
            kinds = (measures.mixed_batches, measures.batches)
            measures_of = {
                kind.__name__: partial(kind, addresses[OURS], self.sizes.batches) for kind in kinds
            }
            found = each_in_turn(measures_of, self.sizes.rounds)
        what = "POST /jobs/batch of jobs with arguments, key and tags of their own, jobs per second"
        return ("jobs that are alike", what, *(spread(tuple(rates), ",.0f") for rates in found.values()))

    def read(self) -> Iterator[Row]:
        """Read a finished job, whole and by its tag."""
        seconds = self.sizes.seconds
        with self.running(self.bare) as addresses:
            measures_of = {
                OURS: partial(measures.read, addresses[OURS], seconds),
                BARE: partial(measures.read, addresses[BARE], seconds),
                "304": partial(measures.unchanged, addresses[OURS], seconds),
            }
            found = each_in_turn(measures_of, self.sizes.rounds)
        yield against("GET /jobs/{id}, per second", found, BARE, 0.85)
        both = {OURS: found["304"], "200": found[OURS]}
        yield against("304 against 200, per second", both, "200", 1)

    # -- against the peers ---------------------------------------------------

    def peers(self) -> Iterator[Row]:
        """Meet each peer alone: two services at a time, of which one is idle."""
        met = {name: self._meet(side) for name, side in self.present.items() if name != BARE}
        for name, pair in met.items():
            if "Celery" in name:
                # Named apart: rows of one name would lie on each other in the picture.
                what = f"no-op jobs until known finished, per second, {name.removeprefix('FastAPI + ')}"
                yield against(what, pair.rates, name, 6)
        durable = {name: pair for name, pair in met.items() if self.present[name].durable}
        best = max(durable, key=lambda name: median(durable[name].rates[name]), default="")
        if best:
            what = "no-op jobs until known finished, per second, best durable peer"
            yield against(what, durable[best].rates, best, 2)
        for percent in (50, 99):
            times = {name: pair.times(percent) for name, pair in durable.items()}
            best = min(times, key=lambda name: median(times[name][name]), default="")
            if best:
                what = f"idle POST with Prefer: wait, p{percent}, ms, best durable peer"
                yield against(what, times[best], best, 0.5, least=False, form=".2f")
        self.details += [row for name, pair in met.items() for row in pair.rows(name)]

    def _meet(self, side: Side) -> "Pair":
        print(f"against {side.name}", file=sys.stderr)
        with self.running({OURS: ours.start, side.name: side.start}) as addresses:
            # A POST to BackgroundTasks is answered before the job is begun: there is no wait.
            waiting = {} if side.name == BACKGROUND else addresses
            loads = self.in_turn(waiting, partial(measures.waited, count=self.sizes.waits))
            counts = {name: self._count(base) for name, base in addresses.items()}
            rates = self.in_turn(addresses, lambda base: measures.finished(base, counts[by(addresses, base)]))
        return Pair(loads, rates)

    def _count(self, base: str) -> int:
        """Return how many jobs a side is to finish: fewer, when all would take minutes."""
        quick = uvloop.run(measures.finished(base, self.sizes.slow)) >= SLOW
        return self.sizes.jobs if quick else self.sizes.slow

    # -- of ours alone -------------------------------------------------------

    def busy(self) -> Iterator[Row]:
        """Ask the service while its jobs compute, in processes and in threads."""
        with self.running({OURS: ours.start}) as addresses:
            found = busy.in_turn(addresses[OURS], self.sizes.rounds, self.sizes.seconds)
        yield from busy.rows(found)
        self.details += busy.details(found)

    def memory(self) -> Iterator[Row]:
        """Read the memory of the idle service, and of the same with jobs that wait."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder, ours.run(Path(folder)) as service:
            idle = service.resident / MEBIBYTE
            uvloop.run(measures.batches(service.base, self.sizes.pending // measures.BATCH))
            more = service.resident / MEBIBYTE - idle
        yield Row("memory when idle, MiB, read once", f"{idle:.0f}", "limit: 100", idle / 100, 1, least=False)
        adding = f"memory that {self.sizes.pending:,} pending jobs add, MiB, read once"
        yield Row(adding, f"{more:.0f}", "limit: 20", more / 20, 1, least=False)

    def crowds(self) -> Iterator[Row]:
        """Have many wait for a job each, and others follow one each."""
        yield from self._crowd("open waiters", WAITER, self.sizes.waiters)
        yield from self._crowd("readers of events", READER, self.sizes.readers)

    def _crowd(self, name: str, kind: Kind, wanted: int) -> Iterator[Row]:
        count = room(wanted)
        name = f"{count:,} {name}"
        short = "" if count == wanted else f" (more files than these may not be open: not {wanted:,})"
        found = [self._served(kind, count) for _ in range(self.sizes.rounds)]
        longest, after_last, in_all, memory = zip(*found, strict=True)
        yield within(f"{name}{short}: from a job's end to its answer, longest, s", longest, 4, ".2f")
        yield within(f"{name}: memory of each, KiB", memory, 60, ".0f")
        since = {"last job's end": after_last, "resumption of the queue": in_all}
        self.details += [
            (NOTHING, f"{name}: from the {begin} to the last answer, s", spread(times, ".2f"), "-")
            for begin, times in since.items()
        ]

    def _served(self, kind: Kind, count: int) -> Served:
        # By a new process each time: one that has had a crowd has kept memory for the next one.
        with tempfile.TemporaryDirectory(dir=self.folder) as folder, ours.run(Path(folder)) as service:
            return uvloop.run(served(service, kind, count))


class Pair(NamedTuple):
    """Ours and a peer, in turn. loads: of waiting for one job after the other. rates: jobs a second."""

    loads: Mapping[str, Sequence[Load]]
    rates: Mapping[str, Sequence[float]]

    def times(self, percent: int) -> Mapping[str, Sequence[float]]:
        """Return the milliseconds within which so many percent were answered."""
        return {
            name: [load.percentile(percent) * 1e3 for load in loads] for name, loads in self.loads.items()
        }

    def rows(self, peer: str) -> Iterator[tuple[str, ...]]:
        """Yield what the two came to."""
        figures = {"jobs finished per second": (self.rates, ",.0f")}
        if self.loads:
            figures |= {f"wait p{percent}, ms": (self.times(percent), ".2f") for percent in (50, 99)}
        for figure, (found, form) in figures.items():
            yield peer, figure, spread(tuple(found[OURS]), form), spread(tuple(found[peer]), form)


def by(addresses: Mapping[str, str], base: str) -> str:
    """Return whose address it is."""
    return next(name for name, address in addresses.items() if address == base)


# -- the report --------------------------------------------------------------


def machine(bench: Bench) -> str:
    """Tell what was measured on, and how."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        found = (interpreter(), disk(Path(folder)), client_limit(bench.sizes.seconds))
    return f"{'; '.join(found)}; median (lowest to highest) of {bench.sizes.rounds} alternating rounds"


def side_row(side: Side) -> tuple[str, ...]:
    """Tell of a side what it runs with, or why it does not run."""
    missing = side.missing()
    state = f"missing: {missing}" if missing else side.versions
    return side.name, state, side.durability, side.settings


def report(bench: Bench, write: Callable[[str], None]) -> list[Row]:
    """Measure everything, telling each figure as it is found."""
    write(machine(bench) + "\n")
    write(markdown(("side", "versions", "durability", "settings"), list(map(side_row, SIDES))))
    rows = told(bench.rows())
    write(markdown(HEADER, [row.cells for row in rows]))
    write(markdown(("beside", "figure", "ours", "theirs"), bench.details))
    return rows


def main() -> None:
    """Measure everything, and write the table and the picture."""
    chosen = options("Measure the service against its peers.").parse_args()
    bench = Bench(QUICK if chosen.quick else FULL, chosen.folder)
    parts: list[str] = []
    rows = report(bench, parts.append)
    publish("\n".join(parts), rows, chosen.write, "service")


if __name__ == "__main__":
    main()
