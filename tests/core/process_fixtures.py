"""Fixtures of the tests of process pools; a plugin, because most tests of this folder need none of them."""

import os
from pathlib import Path

import pytest

from app.core import ProcessPoolExecutor, spawned
from tests.core import process_calls as calls
from tests.core.future_contract import SOON

SHARED = 2
FILES = 4
"""The files of a process that this one has open."""


@pytest.fixture(scope="module")
def shared():
    """Two processes for all tests of a file that do them no lasting harm, and their pool's `receive`."""
    received = calls.Received()
    with ProcessPoolExecutor(SHARED, receive=received) as pool:
        # Both threads are there before a test begins, which must not leave any behind.
        barrier = [pool.submit(calls.nothing) for _ in range(SHARED)]
        for future in barrier:
            future.result(SOON)
        yield pool, received


@pytest.fixture
def pool(shared):
    return shared[0]


@pytest.fixture
def received(shared):
    received = shared[1]
    received.notes, received.act = [], calls.nothing
    return received


@pytest.fixture
def narrow():
    """One process of the test's own."""
    with ProcessPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def fifo(tmp_path):
    def make(name):
        os.mkfifo(tmp_path / name)
        return str(tmp_path / name)

    return make


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


@pytest.fixture
def nothing_is_left_behind(shared):
    before, files = len(spawned._CHILDREN), open_files()
    yield
    after = len(spawned._CHILDREN)
    # A shared process may have been replaced, and one that has died is gone.
    assert after <= before
    assert open_files() <= files - FILES * (before - after)
