"""The service against what else one would pick, and against the limit of its HTTP framework.

    python -m benchmarks.service [--quick] [--write FOLDER]

All sides run on this machine, in turn, round by round, with the same client, the same requests
and the same function. No time counts, only ratios within a round. Durable means that a job is
synced to disk before its submission is answered; the same peers as they come stand beside it.
`--quick` shows that everything still runs, and its figures mean nothing.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import uvloop

from benchmarks import busy, measures, ours
from benchmarks.claims import sync_time
from benchmarks.core import spread
from benchmarks.load import Load, saturate
from benchmarks.measures import CONNECTIONS, TOMORROW
from benchmarks.peers import SIDES, Side
from benchmarks.peers.servers import LOOPBACK, child, free_port, listens, until
from benchmarks.report import HEADER, Row, markdown, picture

OURS = "Errand"
BARE = "FastAPI alone"
BACKGROUND = "FastAPI BackgroundTasks"
MEBIBYTE = 1024 * 1024
SLOW = 300
"""Jobs a second below which a side gets fewer of them."""

T = TypeVar("T")
Start = Callable[[Path], AbstractContextManager[str]]
Measure = Callable[[str], Coroutine[Any, Any, T]]
"""Measures the side at an address."""


class Sizes(NamedTuple):
    """rounds: of each figure. seconds: of a load. jobs: until all are finished. slow: of a slow side.

    batches: of a round. waits: of a round. pending: jobs that wait while memory is read.
    """

    rounds: int
    seconds: float
    jobs: int
    slow: int
    batches: int
    waits: int
    pending: int


FULL = Sizes(rounds=5, seconds=4, jobs=5_000, slow=200, batches=10, waits=200, pending=100_000)
QUICK = Sizes(rounds=1, seconds=0.2, jobs=20, slow=20, batches=1, waits=3, pending=1_000)


class Bench:
    """The figures. folder: where databases lie; None: where temporary files do."""

    def __init__(self, sizes: Sizes, folder: str | None) -> None:
        self.sizes = sizes
        self.folder = folder
        self.present = {side.name: side for side in SIDES if side.missing() is None}
        self.bare: Mapping[str, Start] = {OURS: ours.start, BARE: self.present[BARE].start}
        self.details: list[tuple[str, ...]] = []
        """What each peer came to, beside ours in the same rounds."""

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
        found: dict[str, list[T]] = {name: [] for name in addresses}
        for _ in range(self.sizes.rounds):
            for name, base in addresses.items():
                found[name].append(uvloop.run(measure(base)))
        return found

    # -- against the bare endpoint -------------------------------------------

    def accept(self) -> Iterator[Row]:
        """Submit jobs that are due later; then the same at half of what the bare endpoint can do."""
        with self.running(self.bare) as addresses:
            load = partial(measures.accepted, seconds=self.sizes.seconds, delay=TOMORROW)
            rates = self.in_turn(addresses, load)
            yield against("durable POST, per second", rates, BARE, 0.85)
            half = median(rates[BARE]) / 2
            times = self.in_turn(addresses, partial(measures.slowest, seconds=self.sizes.seconds, rate=half))
            yield against(
                f"p99 of POST at {half:,.0f} per second, ms", times, BARE, 2, least=False, form=".1f"
            )

    def run(self) -> Iterator[Row]:
        """Submit jobs that are run meanwhile."""
        with self.running(self.bare) as addresses:
            load = partial(measures.accepted, seconds=self.sizes.seconds)
            yield against("POST with every job run, per second", self.in_turn(addresses, load), BARE, 0.6)

    def batch(self) -> Iterator[Row]:
        """Submit jobs in batches of 1,000, and one by one."""
        with self.running({OURS: ours.start}) as addresses:
            one = partial(measures.accepted, seconds=self.sizes.seconds, delay=TOMORROW)
            many = partial(measures.batches, count=self.sizes.batches)
            found = {
                OURS: self.in_turn(addresses, many)[OURS],
                "single POST": self.in_turn(addresses, one)[OURS],
            }
            yield against("POST /jobs/batch, jobs per second", found, "single POST", 10)

    def read(self) -> Iterator[Row]:
        """Read a finished job, whole and by its tag."""
        with self.running(self.bare) as addresses:
            found = self.in_turn(addresses, partial(measures.read, seconds=self.sizes.seconds))
            yield against("GET /jobs/{id}, per second", found, BARE, 0.85)
            unchanged = partial(measures.unchanged, seconds=self.sizes.seconds)
            tagged = self.in_turn({OURS: addresses[OURS]}, unchanged)[OURS]
            both = {OURS: tagged, "200": found[OURS]}
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
            yield against("the same against the best durable peer", durable[best].rates, best, 2)
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
        yield Row("memory when idle, MiB", f"{idle:.0f}", "100", idle / 100, 1, least=False)
        yield Row("memory that pending jobs add, MiB", f"{more:.0f}", "20", more / 20, 1, least=False)


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


# -- the report --------------------------------------------------------------


def client_limit(seconds: float) -> float:
    """Return the requests a second that the client itself can make."""
    port = free_port()
    code = f"import uvloop; from benchmarks.load import serve_nothing; uvloop.run(serve_nothing({port}))"
    with (
        tempfile.TemporaryDirectory() as folder,
        child((sys.executable, "-c", code), Path(folder) / "log", {}) as server,
    ):
        until(lambda: listens(port), (server,))
        base = f"http://{LOOPBACK}:{port}"
        request = measures.submission(base)
        return uvloop.run(saturate(base, request, 202, connections=CONNECTIONS, seconds=seconds)).rate


def machine(bench: Bench, limit: float) -> str:
    """Tell what was measured on."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        sync = sync_time(Path(folder))
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs; the disk syncs a page in {sync:.0f} us; "
        f"the client alone makes {limit:,.0f} requests a second on {CONNECTIONS} connections; median "
        f"(lowest to highest) of {bench.sizes.rounds} alternating rounds"
    )


def side_row(side: Side) -> tuple[str, ...]:
    """Tell of a side what it runs with, or why it does not run."""
    missing = side.missing()
    state = f"missing: {missing}" if missing else side.versions
    return side.name, state, side.durability, side.settings


def report(bench: Bench, write: Callable[[str], None]) -> list[Row]:
    """Measure everything, telling each figure as it is found."""
    limit = client_limit(bench.sizes.seconds)
    write(machine(bench, limit) + "\n")
    write(markdown(("side", "versions", "durability", "settings"), list(map(side_row, SIDES))))
    rows: list[Row] = []
    for part in (bench.accept, bench.run, bench.batch, bench.read, bench.peers, bench.busy, bench.memory):
        for row in part():
            rows.append(row)
            print(*row.cells, sep=" | ", file=sys.stderr)
    write(markdown(HEADER, [row.cells for row in rows]))
    write(markdown(("peer", "figure", "ours beside it", "the peer"), bench.details))
    return rows


def main() -> None:
    """Measure everything, and write the table and the picture."""
    parser = argparse.ArgumentParser(description="Measure the service against its peers.")
    parser.add_argument("--quick", action="store_true", help="one small round of each, as a smoke test")
    parser.add_argument("--folder", help="where the databases lie; unless given, a temporary one")
    parser.add_argument("--write", type=Path, help="a folder for service.md and service.png")
    options = parser.parse_args()
    bench = Bench(QUICK if options.quick else FULL, options.folder)
    parts: list[str] = []
    rows = report(bench, parts.append)
    text = "\n".join(parts)
    print(text)
    if options.write is not None:
        (options.write / "service.md").write_text(text)
        picture(rows, options.write / "service.png")


if __name__ == "__main__":
    main()
