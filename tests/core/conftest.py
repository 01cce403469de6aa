import gc
import threading

import pytest

from tests.core.future_contract import SOON


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind():
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    if left:
        # An executor that was dropped in a cycle ends its threads when it is collected.
        gc.collect()
    for thread in left:
        thread.join(SOON)
    assert not any(thread.is_alive() for thread in left)
