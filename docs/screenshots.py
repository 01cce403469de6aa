"""The pictures of the dashboard that the README shows: taken from a real service at work.

    python -m docs.screenshots [FOLDER]

What happened in the hour before was put there by the service's own store, with that hour's
clock; what runs in the pictures does run. Dice with a fixed seed throw everything else.
"""

import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, expect

from app.jobs.lifecycle import Failed, Succeeded
from app.jobs.model import SECOND, Failure, Job, Slot, new_id, wall_clock
from app.stores.base import Change, Claim, Insert, Recover
from app.stores.sqlite import SqliteStore
from benchmarks.chromium import chromium
from benchmarks.peers.servers import LOOPBACK, ask, child, free_port, listens, until

HERE = Path(__file__).resolve().parent
COLOURS = 256
"""Of a palette. The others are the edges of letters, which nobody tells apart."""
MINUTE = 60 * SECOND
WORKER = "shop:1"
EARLY, LATE = 15, 30
"""Seconds of a minute between which to begin."""


class Chore(NamedTuple):
    """A task of the hour before.

    weight: how often it came. seconds: how long one took, in the middle. fails: how many of a
    hundred failed, with which exception.
    """

    task: str
    slot: Slot
    queue: str
    weight: int
    seconds: float
    fails: int = 0
    exception: tuple[str, str] = ("", "")


KILLED = ("ProcessDied", "the process was killed by signal 9")
UNKNOWN = ("ValueError", "no parcel has the number GB-0000")
UNANSWERED = ("ConnectionError", "mail.example.org did not answer")
EXPIRED = ("PermissionError", "the card of Marlowe & Sons has expired")

CHORES = (
    Chore("write_invoice", Slot.THREAD, "billing", 30, 0.12),
    Chore("render_cover", Slot.PROCESS, "covers", 14, 1.9, 3, KILLED),
    Chore("count_sales", Slot.COROUTINE, "default", 20, 0.05),
    Chore("follow_parcel", Slot.COROUTINE, "default", 16, 8.0, 2, UNKNOWN),
    Chore("send_newsletter", Slot.THREAD, "mails", 9, 2.6, 11, UNANSWERED),
    Chore("charge_card", Slot.THREAD, "billing", 5, 0.6, 60, EXPIRED),
    Chore("import_catalogue", Slot.THREAD, "catalogue", 2, 21.0),
)


# -- the hour before ---------------------------------------------------------


def remember(path: Path) -> None:
    """Put the jobs of the last hour into a database."""
    dice = random.Random(1851)
    now = wall_clock()
    with closing(SqliteStore(path)) as store:
        store.apply([Recover({chore.task: chore.slot for chore in CHORES})], now - 61 * MINUTE)
        for begun in times(dice, now):
            chore = dice.choices(CHORES, [chore.weight for chore in CHORES])[0]
            seconds = chore.seconds * dice.lognormvariate(0, 0.5)
            have_run(store, dice, chore, begun, min(now, begun + round(seconds * SECOND)))


def times(dice: random.Random, now: int) -> Iterator[int]:
    """Yield when jobs began: more and fewer of them, in waves."""
    for minute in range(59, -1, -1):
        wave = 14 + 9 * math.sin(minute / 7) + 5 * math.sin(minute / 2.3)
        for _ in range(max(2, round(dice.gauss(wave, 2.5)))):
            yield now - minute * MINUTE - dice.randrange(MINUTE)


def have_run(store: SqliteStore, dice: random.Random, chore: Chore, begun: int, ended: int) -> None:
    """Have a job go all of its way."""
    due = begun - round(dice.lognormvariate(-3.2, 1.1) * SECOND)
    job = Job(new_id(due), "default", chore.task, chore.slot, due, due, queue=chore.queue)
    claimed: Any = store.apply([Insert([job]), Claim(WORKER, {chore.slot: 1})], begun).outcomes[1]
    token = claimed[0].token
    kind, message = chore.exception
    failure = Failure(kind, message, f"Traceback (most recent call last):\n{kind}: {message}\n")
    failed = dice.randrange(100) < chore.fails
    store.apply([Change(job.id, (Failed(token, failure) if failed else Succeeded(token, "null"),))], ended)


# -- what happens now --------------------------------------------------------


@contextmanager
def at_work(folder: Path) -> Iterator[int]:
    """Run a service on what the hour before has left; yield its port."""
    remember(folder / "errand.db")
    port = free_port()
    env = {
        "ERRAND_TASKS": "docs.shop",
        "ERRAND_DATABASE": f"sqlite:///{folder / 'errand.db'}",
        "ERRAND_THREADS": "8",
        "ERRAND_PROCESSES": "2",
    }
    command = (sys.executable, "-m", "app", "serve", "--port", str(port))
    with child(command, folder / "log", env) as service:
        until(lambda: listens(port), (service,))
        yield port


def submit(port: int, task: str, **fields: Any) -> str:
    """Submit a job; return its id."""
    return str(ask(port, "POST", "/jobs", {"task": task, **fields})["id"])


def set_to_work(port: int, hold: Path) -> Mapping[str, str]:
    """Submit what is seen to wait and to run; return the jobs that are looked at."""
    for day in range(1, 8):
        submit(
            port, "send_newsletter", args=[f"2026-{48 + day}"], delay=86_400 * day, tags={"list": "weekly"}
        )
    ask(port, "POST", "/queues/covers/pause", None)
    for isbn in ("978-0141439600", "978-0199536757", "978-0140449136"):
        submit(port, "render_cover", args=[isbn], priority=5, tags={"season": "spring"})
    found = {
        name: submit(
            port,
            "import_catalogue",
            kwargs={"source": f"{name}.onix", "hold": str(hold)},
            tags={"publisher": name},
        )
        for name in ("harbour-press", "penrose")
    }
    kwargs, tags = {"issue": "2026-48", "fails": 2}, {"list": "weekly", "team": "mails"}
    found["newsletter"] = submit(port, "send_newsletter", kwargs=kwargs, tags=tags)
    submit(port, "write_invoice", args=["Ada Lovelace", 61.5], tags={"year": "2026"})
    submit(port, "charge_card", args=["Marlowe & Sons", 19.9])
    return found


# -- the pictures ------------------------------------------------------------


class Picture(NamedTuple):
    """A picture. path: of the view. text: what it shows when it is complete. options: of the browser."""

    name: str
    path: str
    text: str
    options: Mapping[str, Any]


WIDE = {"viewport": {"width": 1280, "height": 860}, "device_scale_factor": 1.5}
PHONE = {"viewport": {"width": 390, "height": 800}, "device_scale_factor": 2, "is_mobile": True}
LIGHT, DARK = {"color_scheme": "light"}, {"color_scheme": "dark"}


def pictures(jobs: Mapping[str, str]) -> Sequence[Picture]:
    """Return what is to be seen."""
    job, running = jobs["newsletter"], jobs["penrose"]
    return (
        Picture("overview", "/", "ConnectionError", {**WIDE, **LIGHT}),
        Picture("jobs", "/#/jobs", "import_catalogue", {**WIDE, **DARK}),
        Picture("job", f"/#/jobs/{job}", "is on its way", {**WIDE, **LIGHT}),
        Picture("form", f"/#/tasks/send_newsletter?from={job}", "audience", {**WIDE, **LIGHT}),
        Picture("phone", f"/#/jobs/{running}", "sheet 6 of 8", {**PHONE, **DARK}),
    )


def take(browser: Browser, port: int, picture: Picture, folder: Path) -> None:
    """Take a picture, and write it with a palette: half the bytes."""
    context = browser.new_context(
        base_url=f"http://{LOOPBACK}:{port}", reduced_motion="reduce", **picture.options
    )
    page = context.new_page()
    page.goto(picture.path)
    expect(page.get_by_text(picture.text).first).to_be_visible()
    path = folder / f"dashboard-{picture.name}.png"
    with_palette(page.screenshot(animations="disabled")).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    context.close()


def with_palette(shot: bytes) -> Any:
    """Return a picture with as many colours as a palette takes."""
    image: Any = import_module("PIL.Image")
    drawn = image.open(BytesIO(shot)).convert("RGB")
    # Means, because the plain cut of the colours has no place for a small dot of a colour of its own.
    return drawn.quantize(COLOURS, kmeans=1, dither=image.Dither.NONE)


def settle() -> None:
    """Wait for a time at which the minute that runs has something to show until the last picture is taken."""
    second = time.time() % 60
    if not EARLY < second < LATE:
        time.sleep((EARLY - second) % 60)


def main() -> None:
    """Take all pictures."""
    settle()
    folder = Path(sys.argv[1]) if sys.argv[1:] else HERE
    with tempfile.TemporaryDirectory() as name, at_work(Path(name)) as port, chromium() as browser:
        hold = Path(name) / "go on"
        try:
            jobs = set_to_work(port, hold)
            ask(port, "GET", f"/jobs/{jobs['newsletter']}?wait=60", None)
            for picture in pictures(jobs):
                take(browser, port, picture, folder)
        finally:
            hold.touch()


if __name__ == "__main__":
    main()
