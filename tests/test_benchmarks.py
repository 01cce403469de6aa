"""That the benchmarks still run; what they find is for whoever reads them."""

import asyncio
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from app.jobs.model import SECOND
from app.stores.sqlite import SqliteStore
from benchmarks import busy, ours
from benchmarks.crowds import Follower, end_of_stream
from benchmarks.report import HEADER, ROOM, Row, markdown
from benchmarks.stock import fill
from tests.acceptance.load import require_sound

ROOT = Path(__file__).resolve().parent.parent


def run(name):
    """Run a benchmark in its quick form; return the first line, the header and the rows."""
    done = subprocess.run(
        [sys.executable, "-m", name, "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    machine, *lines = done.stdout.splitlines()
    assert machine.startswith(f"Python {sys.version_info.major}.{sys.version_info.minor}")
    header, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert all(row[-1] in ("yes", "NO") for row in rows)
    return header, [row[0] for row in rows]


def test_the_benchmark_of_the_core_prints_a_row_for_each_figure():
    header, figures = run("benchmarks.core")
    assert header == ["figure", "ours", "theirs", "ratio", "target", "met?"]
    assert figures == [
        "tasks per second",
        "bytes of a Future",
        "ping-pong on one CPU, us",
        "a Task's hop, us",
    ]


def test_the_benchmark_of_claims_prints_a_row_for_each_situation():
    header, situations = run("benchmarks.claims")
    assert header == ["beside jobs", "CPU of a job's way, us", "ratio", "target", "met?"]
    assert situations == [
        "an empty store",
        "scheduled for later",
        "of a saturated limit key",
        "of many keys, at the limit of all",
        "in a paused queue",
        "of an unknown task",
        "ready, of a lower priority",
    ]


def test_a_stock_of_jobs_is_what_a_service_would_have_left(tmp_path):
    ids = fill(tmp_path / "errand.db", 1_005, 1_010)
    with closing(sqlite3.connect(tmp_path / "errand.db")) as db:
        require_sound(db)
        counted = dict(db.execute("SELECT state, n FROM counters WHERE n <> 0"))
    with closing(SqliteStore(tmp_path / "errand.db")) as store:
        (queue,) = asyncio.run(store.queues("default"))
        states = {asyncio.run(store.get("default", job)).state for job in ids}
    assert counted == {"finished": 1_005, "pending": 1_010}
    assert (queue.pending, queue.running, states) == (1_010, 0, {"finished"})


def test_a_stock_of_jobs_may_have_run_over_minutes(tmp_path):
    fill(tmp_path / "errand.db", 25, 10, part=10, interval=60 * SECOND)
    with closing(sqlite3.connect(tmp_path / "errand.db")) as db:
        minutes = f"""
            SELECT count(*) FROM jobs WHERE outcome IS NOT NULL
            GROUP BY created_at / {60 * SECOND} ORDER BY created_at"""
        assert [n for (n,) in db.execute(minutes)] == [10, 10, 5]


class Wire:
    """The transport of a connection, which takes what is written."""

    def write(self, data):
        """Take it."""


def test_a_stream_is_answered_when_it_has_ended_and_tells_when_its_job_did():
    event = 'event: state\nid: x\ndata: {{"at":"{}","state":"{}"}}\n\n'
    parts = ["HTTP/1.1 200 OK\r\n\r\n", event.format("early", "running"), event.format("late", "finished")]

    async def follow():
        follower = Follower()
        follower.connection_made(Wire())
        answer = asyncio.create_task(follower.ask(b""))
        for part in parts:
            await asyncio.sleep(0)
            follower.data_received(part.encode())
            assert not answer.done()
        follower.data_received(b"\r\n0\r\n\r\n")
        return await answer

    answer = asyncio.run(follow())
    assert (answer.status, end_of_stream(answer)) == (200, "late")


@pytest.mark.parametrize(
    ("ratio", "target", "least", "reached"),
    [(3, 2, True, 1.5), (1, 2, False, 2), (0, 2, False, ROOM), (-1, 2, False, ROOM), (0, 2, True, 1 / ROOM)],
)
def test_a_bar_has_room_whatever_its_figure_is(ratio, target, least, reached):
    assert Row("", "", "", ratio, target, least).reached == reached


def test_http_beside_jobs_that_compute_is_measured_in_each_state(tmp_path):
    with ours.start(tmp_path) as base:
        found = busy.in_turn(base, rounds=1, seconds=0.1)
    assert [row.figure for row in busy.rows(found)] == [
        "p99 of GET beside processes that compute, ms",
        "p99 of POST beside processes that compute, ms",
    ]
    figures = [figure for _, figure, _, _ in busy.details(found)]
    assert len(set(figures)) == len(figures) == 8


def test_the_readme_shows_what_the_last_full_run_found():
    table = (ROOT / "benchmarks" / "service.md").read_text("utf-8").partition(markdown(HEADER, []))[2]
    found = [line.strip("| ").split(" | ") for line in table.partition("\n\n")[0].splitlines()]
    shown = [[re.sub(r" \([^)]* to [^)]*\)", "", cell) for cell in row] for row in found]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(shown) > 10
    assert markdown(HEADER, shown) in readme
    assert "(benchmarks/service.png)" in readme
