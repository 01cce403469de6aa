"""That the benchmarks still run; what they find is for whoever reads them."""

import subprocess
import sys
from pathlib import Path

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
