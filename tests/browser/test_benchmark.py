"""That the dashboard can still be measured; what is found is for whoever reads it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(120)  # a browser and a service are started, and eight pages opened
def test_the_benchmark_of_the_dashboard_prints_a_row_for_each_figure(chromium):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.dashboard", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("|")]
    assert rows[0][1].strip() == "figure"
    assert len(rows) == 2 + 9
    assert all(row[-2].strip() in ("yes", "NO") for row in rows[2:])
