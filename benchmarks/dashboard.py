"""The dashboard in a real Chromium, beside a hundred thousand jobs.

    python -m benchmarks.dashboard [--quick] [--folder F] [--write FOLDER]

How long it takes until something is painted, and until the first rows are there; how much is
transferred; and whether the page's heap grows over a minute in which a hundred jobs a second
are submitted and run. The heap is read after collection, once the page has warmed up, and again
after the minute, both times when nothing happens; so are the nodes of its documents, those that
are shown nowhere included. `--quick` shows that everything still runs, and its figures mean nothing.
"""

import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import chain
from json import dumps
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Response

from app.jobs.model import SECOND
from benchmarks import ours
from benchmarks.chromium import chromium
from benchmarks.machine import interpreter
from benchmarks.report import Row, markdown, options, told
from benchmarks.stock import TASK, fill

VIEWS = {"overview": "/", "list of jobs": "/#/jobs"}
"""What is looked at, by the address of each."""
COMPLETE: Mapping[str, tuple[Literal["link", "checkbox"], str]] = {
    "overview": ("link", r"Finished\s*\d"),
    "list of jobs": ("checkbox", "Select 0"),
}
"""What is there when a view has its first numbers, or rows."""
PAINT = 1_000
"""Milliseconds in which something has to be painted."""
BYTES = 200 * 1024
"""What the page and its files may have."""
GROWTH = 1.01
"""What the heap may have after the minute, of what it had before: reading it is no more exact than that."""
AS_WRITTEN = "--js-flags=--no-opt --no-maglev --no-sparkplug --no-flush-bytecode"
"""Has V8 run the pages' bytecode as it is: what it makes of that, whenever it likes, is in the heap too."""
NUMBERS_TOLD = "for (let i = 0; i < 10000; i += 1) String(i + Math.random())"
"""Has V8's cache of numbers as texts made as large as it gets: 48 KiB, only once, at a time of its own."""
LOOKS = 3
"""At the heap, each after a collection."""
BATCH = 10
"""Jobs that are submitted at a time."""
PERIOD = 0.1
"""Seconds from one batch to the next: a hundred jobs a second, each with three changes."""

HEADER = ("figure", "found", "limit, or before", "ratio", "target", "met?")

PAINTED = """name => new Promise(resolve => {
  const look = list => list.getEntriesByName(name).forEach(entry => resolve(entry.startTime));
  new PerformanceObserver(look).observe({ type: "paint", buffered: true });
})"""


class Sizes(NamedTuple):
    """finished, pending: jobs that are stored. a_minute: how many of them had run in each minute before.

    rounds: of each view. The others are seconds. quiet: after changes, until the page has asked
    once more how things are.
    """

    finished: int
    pending: int
    a_minute: int
    rounds: int
    warm_up: float
    changing: float
    quiet: float


FULL = Sizes(90_000, 10_000, 125, rounds=5, warm_up=90, changing=60, quiet=10)
QUICK = Sizes(90, 10, 30, rounds=1, warm_up=0.3, changing=0.5, quiet=0.1)


class Memory(NamedTuple):
    """What a page holds after collection: bytes of its heap, and nodes of its documents."""

    heap: int
    nodes: int


# -- opening -----------------------------------------------------------------


@contextmanager
def opened(browser: Browser, base: str, path: str) -> Iterator[Page]:
    """Open a view in a browser that has nothing in its cache."""
    context = browser.new_context(base_url=base)
    try:
        page = context.new_page()
        page.goto(path)
        yield page
    finally:
        context.close()


def painted(browser: Browser, base: str, rounds: int) -> Iterator[Row]:
    """Measure how long it takes until each view is painted, and until it has something to say."""
    for view, path in VIEWS.items():
        times = []
        for _ in range(rounds):
            with opened(browser, base, path) as page:
                times.append(page.evaluate(PAINTED, "first-contentful-paint"))
        yield _row(f"first paint of the {view}, ms", times, PAINT)
    for view, (role, name) in COMPLETE.items():
        times = []
        for _ in range(rounds):
            with opened(browser, base, VIEWS[view]) as page:
                page.get_by_role(role, name=re.compile(name)).first.wait_for()
                times.append(page.evaluate("performance.now()"))
        yield _row(f"what the {view} has to say, ms", times, PAINT)


def _row(figure: str, times: Sequence[float], limit: float) -> Row:
    told = f"{median(times):,.0f} ({min(times):,.0f} to {max(times):,.0f})"
    return Row(figure, told, f"{limit:,.0f}", median(times) / limit, 1, least=False)


def weighed(browser: Browser, base: str) -> Iterator[Row]:
    """Weigh the page and all files that any view asks for."""
    answers: list[Response] = []

    def note(answer: Response) -> None:
        # Their bodies are asked for later: not while one of them may be the last thing that is going on.
        answers.append(answer)

    context = browser.new_context(base_url=base)
    page = context.new_page()
    page.on("response", note)
    for path in (*VIEWS.values(), "/#/tasks"):
        page.goto(path)
        page.wait_for_load_state("load")
    served = {urlsplit(answer.url).path: answer for answer in answers}
    sizes = {
        address: len(answer.body())
        for address, answer in served.items()
        if address == "/" or address.startswith("/static/")
    }
    context.close()
    total = sum(sizes.values())
    figure = f"bytes of the page and its {len(sizes) - 1} files, KiB"
    yield Row(figure, f"{total / 1024:.1f}", f"{BYTES / 1024:.0f}", total / BYTES, 1, least=False)


# -- a minute of changes -----------------------------------------------------


class Changes(threading.Thread):
    """Submits jobs at a fixed rate until it is told to stop."""

    def __init__(self, base: str) -> None:
        super().__init__(name="changes")
        self._address = urlsplit(base).netloc
        self._ended = threading.Event()
        self.submitted = 0

    def run(self) -> None:
        """Submit."""
        connection = HTTPConnection(self._address)
        body = dumps({"jobs": [{"task": TASK}] * BATCH})
        due = monotonic()
        while not self._ended.wait(max(0.0, due - monotonic())):
            connection.request("POST", "/jobs/batch", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            self.submitted += BATCH if answer.status == 202 else 0  # noqa: PLR2004
            due += PERIOD
        connection.close()

    def end(self) -> None:
        """Stop, and wait for the end."""
        self._ended.set()
        self.join()


def grown(browser: Browser, base: str, sizes: Sizes) -> Iterator[Row]:
    """Measure what each view holds before and after a minute of changes."""
    for view, path in VIEWS.items():
        with opened(browser, base, path) as page:
            rate, before, after = _over_a_minute(page, base, sizes)
        told = f"{rate:.0f} jobs a second, {sizes.changing:g} s, {view}"
        for what, one, other, unit in (
            ("heap", after.heap, before.heap, 1024),
            ("nodes", after.nodes, before.nodes, 1),
        ):
            figure = f"{what}{', KiB' if unit > 1 else ''} after {told}"
            yield Row(figure, f"{one / unit:,.0f}", f"{other / unit:,.0f}", one / other, GROWTH, least=False)


def _over_a_minute(page: Page, base: str, sizes: Sizes) -> tuple[float, Memory, Memory]:
    # What is made once, at the first changes, is no growth.
    page.evaluate(NUMBERS_TOLD)
    _changed(page, base, sizes.warm_up, sizes.quiet)
    before = memory(page)
    rate = _changed(page, base, sizes.changing, sizes.quiet)
    return rate, before, memory(page)


def _changed(page: Page, base: str, seconds: float, quiet: float) -> float:
    """Have jobs submitted for some seconds; return their rate when the page is quiet again."""
    changes = Changes(base)
    begun = monotonic()
    changes.start()
    try:
        page.wait_for_timeout(seconds * 1_000)
    finally:
        changes.end()
    rate = changes.submitted / (monotonic() - begun)
    page.wait_for_timeout(quiet * 1_000)
    return rate


def memory(page: Page) -> Memory:
    """Collect what nobody holds any more, and return what is left.

    The least of a few looks: at any of them, what the last events have brought may be on its way.
    """
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    found = []
    for _ in range(LOOKS):
        session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")["usedSize"]
        found.append(Memory(int(heap), int(session.send("Memory.getDOMCounters")["nodes"])))
    session.detach()
    return min(found)


# -- the report --------------------------------------------------------------


def report(folder: Path, sizes: Sizes, write: Callable[[str], None]) -> None:
    """Measure everything, telling each figure as it is found."""
    # Over hours, so that all minutes of the last one have some: what its chart shows does not grow, then.
    fill(folder / ours.DATABASE, sizes.finished, sizes.pending, part=sizes.a_minute, interval=60 * SECOND)
    with ours.start(folder) as base:
        with chromium() as browser:
            stored = f"{sizes.finished + sizes.pending:,} jobs stored"
            write(
                f"{interpreter()}; Chromium {browser.version}; {stored}; "
                f"median (lowest to highest) of {sizes.rounds}, without a cache\n"
            )
            rows = told(chain(painted(browser, base, sizes.rounds), weighed(browser, base)))
        with chromium(AS_WRITTEN) as browser:
            rows += told(grown(browser, base, sizes))
    write(markdown(HEADER, [row.cells for row in rows]))


def main() -> None:
    """Measure everything, and print the table; write it to a folder, if one is named."""
    chosen = options("Measure the dashboard.").parse_args()
    parts: list[str] = []
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        report(Path(name), QUICK if chosen.quick else FULL, parts.append)
    text = "\n".join(parts)
    print(text)
    if chosen.write is not None:
        (chosen.write / "dashboard.md").write_text(text)


if __name__ == "__main__":
    main()
