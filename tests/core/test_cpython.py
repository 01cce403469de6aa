"""CPython's own tests of `concurrent.futures`, run on ours: they say what the interface promises.

They come with Python, none of them is here. `cpython_runner` puts our classes and functions in place of
theirs before the tests are imported, and makes futures that are in some state by public means. What is
left out is in one table, with the reason; it must fail when it is run all the same, and match something.
"""

import json
import os
import signal
import subprocess
import sys
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = [sys.executable, "-m", "tests.core.cpython_runner"]
VERSION = (3, 13)
"""The table is for the tests of this one."""

pytestmark = [
    pytest.mark.skipif(
        sys.version_info[:2] != VERSION,
        reason=f"the table of what is left out is for the tests of Python {'.'.join(map(str, VERSION))}",
    ),
    pytest.mark.skipif(
        find_spec("test") is None or find_spec("test.test_concurrent_futures") is None,
        reason="this Python comes without its tests (test.test_concurrent_futures)",
    ),
    # They sleep for seconds to give others time.
    pytest.mark.timeout(300),
]

RUNS = [
    ("test_as_completed", "processes"),
    ("test_as_completed", "threads"),
    ("test_deadlock", "processes"),
    ("test_future", "threads"),
    ("test_init", "processes"),
    ("test_init", "threads"),
    ("test_process_pool", "processes"),
    ("test_shutdown", "processes"),
    ("test_shutdown", "threads"),
    ("test_thread_pool", "threads"),
    ("test_wait", "processes"),
    ("test_wait", "threads"),
]


class Why(NamedTuple):
    """A reason to leave a test out."""

    reason: str
    run: bool = True
    """Whether to run it and see it fail: one that takes long to fail, or brings others down, is not."""
    may_pass: bool = False
    """Whether it is left out because it does not fail every time."""


INSIDE = "looks at the inside of their executor"
LOGGER = (
    "waits for a record of their logger, and looks at the executor's inside; ours log by their modules' names"
)
CANCELLED = "a cancelled future is done at once; theirs only when an executor has noticed"
ALONE = "what goes wrong with one call is that call's failure; theirs breaks the pool"

LEFT_OUT = {
    "*.ProcessPoolFork*": Why("processes are started afresh: contexts that fork are refused"),
    "test_deadlock.ProcessPoolSpawn*.test_error_at_task_unpickle": Why(ALONE),
    "test_deadlock.ProcessPoolSpawn*.test_error_during_result_unpickle_in_result_handler": Why(ALONE),
    "test_deadlock.ProcessPoolSpawn*.test_exit_at_task_unpickle": Why(ALONE),
    "test_deadlock.ProcessPoolSpawn*.test_exit_during_result_pickle_on_worker": Why(
        "whatever goes wrong while a result is pickled is a PicklingError"
    ),
    "test_deadlock.ProcessPoolSpawn*.test_exit_during_result_unpickle_in_result_handler": Why(ALONE),
    "test_deadlock.ProcessPoolSpawn*.test_shutdown_deadlock_pickle": Why(INSIDE),
    "test_future.FutureTests.test_cancel": Why("compares the inside of a future"),
    "test_future.FutureTests.test_exception_with_success": Why(
        "completes a future from inside, by its condition; ours would be waited for in vain", run=False
    ),
    "test_init.FailingInitializerResourcesTest.*": Why(
        "runs a test that is left out, and waits for what it leaves behind", run=False
    ),
    "test_init.ProcessPoolSpawnFailingInitializerTest.*": Why(LOGGER),
    "test_init.ThreadPoolFailingInitializerTest.*": Why(LOGGER),
    "test_process_pool.ProcessPoolSpawn*.test_idle_process_reuse_*": Why(INSIDE),
    "test_process_pool.ProcessPoolSpawn*.test_killed_child": Why(INSIDE + ", and " + ALONE, run=False),
    "test_process_pool.ProcessPoolSpawn*.test_max_tasks_per_child": Why(INSIDE),
    "test_process_pool.ProcessPoolSpawn*.test_max_tasks_per_child_defaults_to_spawn_context": Why(INSIDE),
    "test_process_pool.ProcessPoolSpawn*.test_python_finalization_error": Why(
        "makes the start of their second helper thread fail; ours have none"
    ),
    "test_process_pool.ProcessPoolSpawn*.test_saturation": Why(INSIDE),
    "test_process_pool.ProcessPoolSpawn*.test_traceback": Why(
        "wants their private class as the cause; ours is a RemoteError with the same text"
    ),
    "test_shutdown.ProcessPoolSpawn*.test_context_manager_shutdown": Why(INSIDE),
    "test_shutdown.ProcessPoolSpawn*.test_del_shutdown": Why(INSIDE),
    "test_shutdown.ProcessPoolSpawn*.test_processes_terminate": Why(INSIDE),
    "test_shutdown.ProcessPoolSpawn*.test_shutdown_no_wait": Why(INSIDE),
    "test_thread_pool.*.test_hang_global_shutdown_lock": Why(
        "makes a pool of forked processes; see test_fork.py"
    ),
    "test_thread_pool.*.test_idle_thread_reuse": Why(
        "does not wait until the thread that gave a result is idle; test_thread.py does", may_pass=True
    ),
    "test_wait.*.test_first_completed": Why(CANCELLED),
    "test_wait.*.test_first_exception_some_already_complete": Why(CANCELLED),
}


def run(*arguments):
    process = subprocess.Popen(
        [*RUNNER, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"they hang:\n{output}")
    assert process.returncode == 0, output
    return output


def reasons(name):
    return [why for pattern, why in LEFT_OUT.items() if fnmatch(name, pattern)]


def wrong(name, outcome):
    """Tell whether the outcome is not what the table says."""
    whys = reasons(name)
    if outcome == "passed":
        return bool(whys) and not any(why.may_pass for why in whys)
    return outcome == "failed" and not whys


@pytest.mark.parametrize(("module", "classes"), RUNS)
def test_what_applies_passes(module, classes, tmp_path):
    report = tmp_path / "report"
    run(module, classes, str(report), *[pattern for pattern, why in LEFT_OUT.items() if not why.run])
    outcomes = json.loads(report.read_text())
    left_out = [name for name in outcomes if reasons(name)]
    passed = [name for name, found in outcomes.items() if found["outcome"] == "passed" and not reasons(name)]
    print(f"{module}, {classes}: {len(passed)} passed, {len(left_out)} left out, of {len(outcomes)}")
    faults = {name: found for name, found in outcomes.items() if wrong(name, found["outcome"])}
    assert not faults, "\n".join(
        f"{name} {found['outcome']}: {found['why']}" for name, found in faults.items()
    )
    # A test that is neither here nor there was skipped by itself; most of a run cannot be.
    assert passed


def test_the_table_is_about_tests_that_exist_and_every_test_is_run():
    names = [name for module in sorted({module for module, _ in RUNS}) for name in run(module).split()]
    assert names
    assert [pattern for pattern in LEFT_OUT if not any(fnmatch(name, pattern) for name in names)] == []
    sides = {(name.split(".")[0], "processes" if ".ProcessPool" in name else "threads") for name in names}
    assert sides == set(RUNS)


def test_every_module_of_theirs_is_run():
    package = find_spec("test.test_concurrent_futures")
    found = {
        file.stem for folder in package.submodule_search_locations for file in Path(folder).glob("test_*.py")
    }
    assert found == {module for module, _ in RUNS}
