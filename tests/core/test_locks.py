"""The rule that keeps finalizers and signal handlers out of the locks.

Both run at calls, loops and allocations, on the thread that happens to be there. So
a thread that holds a plain lock of the core must meet none of those, or it could be
made to wait for a lock that it holds itself.
"""

import ast
import gc
from pathlib import Path

import pytest

import app.core
from app.core import Future, FutureTimeoutError, as_completed
from tests.core.task_contract import finished

FORBIDDEN = (
    ast.Call, ast.For, ast.While, ast.List, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp,
    ast.GeneratorExp, ast.JoinedStr, ast.Lambda, ast.FunctionDef, ast.Raise, ast.Try, ast.Await, ast.Yield,
)  # fmt: skip
CORE = Path(app.core.__file__).parent


def locked_blocks(name):
    tree = ast.parse((CORE / name).read_text())
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        and any(ast.unparse(item.context_expr).endswith("_lock") for item in node.items)
    ]


def makes_a_tuple(node):
    """Two or three values are swapped on the stack; more need a tuple."""
    return isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 3


@pytest.mark.parametrize("name", ["future.py", "waiting.py", "task.py"])
def test_nothing_is_called_or_created_while_a_plain_lock_is_held(name):
    blocks = locked_blocks(name)
    assert blocks
    offences = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for block in blocks
        for statement in block.body
        for node in ast.walk(statement)
        if isinstance(node, FORBIDDEN) or makes_a_tuple(node)
    ]
    assert offences == []


@pytest.mark.parametrize("name", ["executor.py", "thread.py"])
def test_locks_under_which_objects_are_made_are_reentrant(name):
    source = (CORE / name).read_text()
    assert "threading.RLock()" in source
    assert "_lock = threading.Lock()" not in source


def use_a_future_with_garbage_that_uses_it_too(allocations):
    """Have the collector come in after so many more allocations, and close an `as_completed` then."""
    future, calls = Future(), []
    gc.disable()
    # New lists and dicts are made of old ones as long as there are any, which is no allocation.
    held = [([], {}) for _ in range(200)]
    arriving = as_completed([future, finished()])
    next(arriving)
    cycle = [arriving]
    cycle.append(cycle)
    del arriving, cycle
    gc.set_threshold(gc.get_count()[0] + allocations)
    gc.enable()
    future.add_done_callback(calls.append)
    future.add_done_callback(calls.append)
    with pytest.raises(FutureTimeoutError):
        future.result(0)
    future.set_result(1)
    return len(held) == 200 and calls == [future] * 2 and future.result(0) == 1


def test_what_the_garbage_collector_closes_may_use_the_very_future_that_is_in_use():
    threshold = gc.get_threshold()
    gc.collect()
    try:
        assert {use_a_future_with_garbage_that_uses_it_too(number) for number in range(40)} == {True}
    finally:
        gc.enable()
        gc.set_threshold(*threshold)
