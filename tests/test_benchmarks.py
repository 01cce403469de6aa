"""That the benchmarks still run; what they find is for whoever reads them."""

import subprocess
import sys
from pathlib import Path

from benchmarks import busy, ours

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


def test_http_beside_jobs_that_compute_is_measured_in_each_state(tmp_path):
    with ours.start(tmp_path) as base:
        found = busy.in_turn(base, rounds=1, seconds=0.1)
    assert [row.figure for row in busy.rows(found)] == [
        "p99 of GET beside processes that compute, ms",
        "p99 of POST beside processes that compute, ms",
    ]
    figures = [figure for _, figure, _, _ in busy.details(found)]
    assert len(set(figures)) == len(figures) == 8
