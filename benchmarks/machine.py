"""What is measured on: what every table begins with, because its figures mean nothing without it."""

import os
import platform
import sys
import tempfile
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import uvloop

from benchmarks import measures
from benchmarks.load import saturate
from benchmarks.measures import CONNECTIONS
from benchmarks.peers.servers import LOOPBACK, child, free_port, listens, until

SYNCS = 300
"""Pages that are synced one after the other: enough for a 99th percentile."""


def interpreter() -> str:
    """Return Python's version and the number of CPUs."""
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs"


def disk(folder: Path) -> str:
    """Tell how long the disk takes to write a page down: the median, the 99th percentile, and the longest."""
    times = sync_times(folder)
    percentiles = quantiles(times, n=100, method="inclusive")
    middle, high = percentiles[49], percentiles[98]
    return f"the disk syncs a page in {middle:,.0f} us (p99 {high:,.0f}, longest {max(times):,.0f})"


def sync_times(folder: Path) -> list[float]:
    """Return the microseconds that each of some syncs of a page takes."""
    times = []
    with (folder / "sync").open("wb") as file:
        for _ in range(SYNCS):
            file.write(bytes(4096))
            begun = perf_counter()
            file.flush()
            os.fsync(file.fileno())
            times.append((perf_counter() - begun) * 1e6)
    return times


def client_limit(seconds: float) -> str:
    """Tell how many requests a second the client itself can make."""
    port = free_port()
    code = f"import uvloop; from benchmarks.load import serve_nothing; uvloop.run(serve_nothing({port}))"
    with (
        tempfile.TemporaryDirectory() as folder,
        child((sys.executable, "-c", code), Path(folder) / "log", {}) as server,
    ):
        until(lambda: listens(port), (server,))
        base = f"http://{LOOPBACK}:{port}"
        request = measures.submission(base)
        load = uvloop.run(saturate(base, request, 202, connections=CONNECTIONS, seconds=seconds))
    return f"the client alone makes {load.rate:,.0f} requests a second on {CONNECTIONS} connections"
