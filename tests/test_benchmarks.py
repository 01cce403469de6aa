"""That the benchmarks still run; what they find is for whoever reads them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_benchmark_of_the_core_prints_a_row_for_each_figure():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.core", "--quick"],
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
    assert header == ["figure", "ours", "theirs", "ratio", "target", "met?"]
    assert [row[0] for row in rows] == [
        "tasks per second",
        "bytes of a Future",
        "ping-pong on one CPU, us",
        "a Task's hop, us",
    ]
    assert all(row[-1] in ("yes", "NO") for row in rows)
