"""The service after a long time: with a million jobs stored, and after a million have passed.

    python -m benchmarks.long [--quick] [--folder F] [--write FOLDER]

Two services run on this machine, one on a large database and one on a small one. They are asked
the same in turn, round by round, and no time counts, only ratios within a round. Memory is that
of one process (RSS), read twice. `--quick` shows that everything still runs, and its figures
mean nothing.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import uvloop

from app.jobs.model import Slot, wall_clock
from app.stores.base import Recover
from app.stores.sqlite import SqliteStore
from benchmarks import claims, measures, ours
from benchmarks.load import Caller, Connection, require
from benchmarks.machine import disk, interpreter
from benchmarks.measures import BATCH, TOMORROW
from benchmarks.report import HEADER, Row, markdown, options, publish, told
from benchmarks.rounds import OURS, Measure, against, in_turn
from benchmarks.stock import TASK, fill, tell

MEBIBYTE = 1024 * 1024
PAGE = 100
"""Jobs of a page, and of the small store when it is begun with."""
LEAP = 500
"""Jobs of a page on the way to a far one."""
SMALL = f"a store of {PAGE} jobs"
EMPTY = "an empty store"
TARGET = 0.8
GROWTH = 1.2
BACKLOG = 4 * BATCH
"""Jobs that wait at most, while a million pass: it is the service that is measured, not its queue."""


class Sizes(NamedTuple):
    """rounds: of each figure. finished, pending: jobs that are stored. The others are of a round.

    gets, pages: that are read. posts: that are submitted. runs: jobs until all are known to be
    finished. claims: on the store itself. early, late: jobs after which memory is read.
    """

    rounds: int
    finished: int
    pending: int
    gets: int
    pages: int
    posts: int
    runs: int
    claims: int
    early: int
    late: int


FULL = Sizes(5, 1_000_000, 100_000, gets=10_000, pages=500, posts=4_000, runs=2_000, claims=300,
             early=10_000, late=1_000_000)  # fmt: skip
QUICK = Sizes(1, 2_000, 200, gets=20, pages=5, posts=20, runs=20, claims=5, early=1_000, late=2_000)


class Stored(NamedTuple):
    """A database by its file, and the ids of jobs in it that have run."""

    folder: Path
    ids: Sequence[str]

    @property
    def file(self) -> Path:
        """Where the service finds it."""
        return self.folder / ours.DATABASE


# -- with many jobs stored ---------------------------------------------------


def beside(folder: Path, sizes: Sizes) -> Iterator[Row]:
    """Measure the large database against the small one: by the services, then by the stores."""
    large = stored(folder / "large", sizes.finished, sizes.pending)
    small = stored(folder / "small", PAGE, 0)
    with running({OURS: large, SMALL: small}) as addresses:
        yield from reads(addresses, {addresses[OURS]: large.ids, addresses[SMALL]: small.ids}, sizes)
        yield from writes(addresses, sizes)
    yield claimed(large.file, folder / "empty.db", sizes)


def stored(folder: Path, finished: int, pending: int) -> Stored:
    """Make a database in a folder of its own."""
    folder.mkdir()
    return Stored(folder, fill(folder / ours.DATABASE, finished, pending))


@contextmanager
def running(databases: Mapping[str, Stored]) -> Iterator[Mapping[str, str]]:
    """Run a service on each; yield their addresses."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(ours.start(each.folder)) for name, each in databases.items()}


def reads(addresses: Mapping[str, str], ids: Mapping[str, Sequence[str]], sizes: Sizes) -> Iterator[Row]:
    """Read jobs, and pages of the list. The small store has one page, which stands for any."""

    async def get(base: str) -> float:
        caller = Caller(base)
        requests = [caller.request("GET", f"/jobs/{job}") for job in ids[base][: sizes.gets]]
        return await measures.rate(base, requests, sizes.gets)

    async def page(base: str, paths: Mapping[str, str]) -> float:
        path = paths.get(base, f"/jobs?limit={PAGE}")
        return await measures.rate(base, [Caller(base).request("GET", path)], sizes.pages)

    found = in_turn(addresses, get, sizes.rounds)
    yield against("GET of any of the finished jobs, per second", found, SMALL, TARGET)
    found = in_turn(addresses, partial(page, paths={}), sizes.rounds)
    yield against(f"first page of the list, {PAGE} jobs, per second", found, SMALL, TARGET)
    last = sizes.finished // PAGE
    large = addresses[OURS]
    far = uvloop.run(path_of(large, last))
    found = in_turn(addresses, partial(page, paths={large: far}), sizes.rounds)
    yield against(f"page {last:,} against the only one, per second", found, SMALL, TARGET)


async def path_of(base: str, number: int) -> str:
    """Go to a page from the first one, in leaps; return its path."""
    skipped = (number - 1) * PAGE
    steps = [LEAP] * (skipped // LEAP) + [PAGE] * (skipped % LEAP // PAGE)
    caller, cursor = Caller(base), ""
    async with caller.connections(1) as (connection,):
        for step in steps:
            cursor = await after(connection, caller, f"/jobs?limit={step}{cursor}")
        path = f"/jobs?limit={PAGE}{cursor}"
        answer = await connection.ask(caller.request("GET", path))
    states = [job["state"] for job in answer.json()["jobs"]]
    if states != ["finished"] * PAGE:
        raise RuntimeError(f"page {number} is not full of finished jobs")
    return path


async def after(connection: Connection, caller: Caller, path: str) -> str:
    """Return the part of the next page's path that says where it begins."""
    answer = await connection.ask(caller.request("GET", path))
    require(answer, 200)
    (cursor,) = parse_qs(urlsplit(answer.json()["next"]).query)["cursor"]
    return f"&cursor={cursor}"


def writes(addresses: Mapping[str, str], sizes: Sizes) -> Iterator[Row]:
    """Submit jobs that are due later, and jobs that run."""

    async def post(base: str) -> float:
        return await measures.rate(base, [measures.submission(base, delay=TOMORROW)], sizes.posts, 202)

    figures: Mapping[str, Measure[float]] = {
        "durable POST, per second": post,
        "no-op jobs until known finished, per second": partial(measures.finished, count=sizes.runs),
    }
    for figure, measure in figures.items():
        yield against(figure, in_turn(addresses, measure, sizes.rounds), SMALL, TARGET)


def claimed(large: Path, empty: Path, sizes: Sizes) -> Row:
    """Insert, claim and settle on the store itself: by the CPU's time, as the disk would hide it."""
    slots = {**claims.SLOTS, TASK: Slot.THREAD}
    with closing(SqliteStore(large)) as one, closing(SqliteStore(empty)) as other:
        stores = {OURS: one, EMPTY: other}
        for store in stores.values():
            store.apply([Recover(slots)], wall_clock())
        found: dict[str, list[float]] = {name: [] for name in stores}
        for _ in range(sizes.rounds):
            for name, store in stores.items():
                found[name].append(1e6 / claims.claims(store, sizes.claims))
    return against("claims, with insertion and settlement, per second of CPU", found, EMPTY, TARGET)


# -- after many jobs have passed ---------------------------------------------


def passed(folder: Path, sizes: Sizes) -> Iterator[Row]:
    """Read the memory of a service when some jobs have passed, and when very many have."""
    with tempfile.TemporaryDirectory(dir=folder) as name, ours.run(Path(name)) as service:
        uvloop.run(through(service.base, 0, sizes.early))
        early = service.resident / MEBIBYTE
        uvloop.run(through(service.base, sizes.early, sizes.late))
        late = service.resident / MEBIBYTE
    figure = f"memory after {sizes.late:,} jobs have passed, MiB"
    yield Row(figure, f"{late:.0f}", f"after {sizes.early:,}: {early:.0f}", late / early, GROWTH, least=False)


async def through(base: str, begin: int, end: int) -> None:
    """Have jobs submitted and run, in batches, from one number to another."""
    caller = Caller(base)
    request = caller.request("POST", "/jobs/batch", {"jobs": [{"task": TASK}] * BATCH})
    for number in range(begin, end, BATCH):
        await measures.drained(base, BACKLOG - BATCH)
        # Each by itself: a connection is not kept for as long as the service may take.
        async with caller.connections(1) as (connection,):
            require(await connection.ask(request), 202)
        tell("passed", number + BATCH)
    await measures.drained(base)


# -- the report --------------------------------------------------------------


def report(folder: Path, sizes: Sizes, write: Callable[[str], None]) -> list[Row]:
    """Measure everything, telling each figure as it is found."""
    write(
        f"{interpreter()}; {disk(folder)}; beside {sizes.finished:,} finished and {sizes.pending:,} pending "
        f"jobs of one queue; median (lowest to highest) of {sizes.rounds} alternating rounds\n"
    )
    rows = told(chain(beside(folder, sizes), passed(folder, sizes)))
    write(markdown(HEADER, [row.cells for row in rows]))
    return rows


def main() -> None:
    """Measure everything, and write the table and the picture."""
    chosen = options("Measure the service after a long time.").parse_args()
    parts: list[str] = []
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        rows = report(Path(name), QUICK if chosen.quick else FULL, parts.append)
    publish("\n".join(parts), rows, chosen.write, "long")


if __name__ == "__main__":
    main()
