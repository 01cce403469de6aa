"""Runs one of CPython's own test modules of futures on ours; test_cpython.py starts it and says what for.

    python -m tests.core.cpython_runner MODULE CLASSES REPORT PATTERN...

CLASSES: "threads" or "processes". REPORT: the file that gets a JSON object, what became of each test by
its name, which is module.Class.method. PATTERN: names of tests that are not to be run. Without CLASSES
and what follows it prints the names.
"""

import concurrent.futures
import concurrent.futures._base as theirs
import concurrent.futures.process
import importlib
import json
import sys
import time
import unittest
from fnmatch import fnmatch
from pathlib import Path

import app.core
from app.core.executor import AT_EXIT

PACKAGE = "test.test_concurrent_futures"
ROOT = Path(__file__).parents[2]
STATES = {
    "PENDING_FUTURE": {},
    "RUNNING_FUTURE": {"state": theirs.RUNNING},
    "CANCELLED_FUTURE": {"state": theirs.CANCELLED},
    "CANCELLED_AND_NOTIFIED_FUTURE": {"state": theirs.CANCELLED_AND_NOTIFIED},
    "EXCEPTION_FUTURE": {"state": theirs.FINISHED, "exception": OSError()},
    "SUCCESSFUL_FUTURE": {"state": theirs.FINISHED, "result": 42},
}


class ThreadPoolExecutor(app.core.ThreadPoolExecutor):
    """Shows under the names of theirs what their tests look at, but do not change."""

    @property
    def _threads(self):
        return self._crew._threads


def substitute():
    """Put ours into `concurrent.futures` by the same names, before the tests take theirs from there."""
    for name in concurrent.futures.__all__:
        setattr(concurrent.futures, name, getattr(app.core, name))
        if hasattr(theirs, name):
            setattr(theirs, name, getattr(app.core, name))
    concurrent.futures.process.BrokenProcessPool = app.core.BrokenProcessPool
    concurrent.futures.ThreadPoolExecutor = ThreadPoolExecutor


def create_future(state=theirs.PENDING, exception=None, result=None):
    """Make a future in that state, as theirs does, but by what it does in public."""
    future = app.core.Future()
    if state == theirs.RUNNING:
        future.set_running_or_notify_cancel()
    elif state == theirs.FINISHED and exception is not None:
        future.set_exception(exception)
    elif state == theirs.FINISHED:
        future.set_result(result)
    elif state != theirs.PENDING:
        future.cancel()
    if state == theirs.CANCELLED_AND_NOTIFIED:
        future.set_running_or_notify_cancel()
    return future


def change_the_import(assert_python_ok):
    """Have the scripts that the tests run import ours."""

    def assert_ours_ok(*args, **env):
        scripts = [arg.replace("from concurrent.futures import", "from app.core import") for arg in args]
        assert scripts != list(args), "a script that does not import what is tested"
        return assert_python_ok(*scripts, PYTHONPATH=str(ROOT), **env)

    return assert_ours_ok


def load(module):
    """Import one of their test modules, as if `concurrent.futures` were ours."""
    substitute()
    from test.support import script_helper

    script_helper.assert_python_ok = change_the_import(script_helper.assert_python_ok)
    util = importlib.import_module(f"{PACKAGE}.util")
    util.create_future = create_future
    for name, state in STATES.items():
        assert hasattr(util, name)
        setattr(util, name, create_future(**state))
    return importlib.import_module(f"{PACKAGE}.{module}")


def name_of(test):
    return test.id().removeprefix(f"{PACKAGE}.")


def is_of(test, classes):
    return type(test).__name__.startswith("ProcessPool") == (classes == "processes")


def flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


class Report(unittest.TestResult):
    """Notes what became of each test: passed, failed or skipped; and why, and after how many seconds."""

    def __init__(self):
        super().__init__()
        self.outcomes = {}

    def startTest(self, test):  # noqa: N802  (unittest's names, here and below)
        super().startTest(test)
        from test import support

        # Set when a test has left threads or processes behind.
        support.environment_altered = False
        self.began = time.monotonic()

    def note(self, test, outcome, why=""):
        before = self.outcomes.get(name_of(test), {"outcome": "passed", "why": ""})
        if before["outcome"] == "passed":
            self.outcomes[name_of(test)] = {"outcome": outcome, "why": why}

    def stopTest(self, test):  # noqa: N802
        from test import support

        if support.environment_altered:
            self.note(test, "failed", "it has left threads or processes behind")
        self.outcomes[name_of(test)]["seconds"] = round(time.monotonic() - self.began, 2)
        super().stopTest(test)

    def addSuccess(self, test):  # noqa: N802
        self.note(test, "passed")

    def addFailure(self, test, err):  # noqa: N802
        self.note(test, "failed", self._exc_info_to_string(err, test))
        # What the test would have shut down later on would be in the way of the next ones.
        for backlog in list(AT_EXIT._backlogs):
            backlog.close()
            backlog.join()

    def addError(self, test, err):  # noqa: N802
        # Also of the module's setup and teardown, whose name no table has.
        self.addFailure(test, err)

    def addSubTest(self, test, subtest, err):  # noqa: N802
        if err is not None:
            self.addFailure(test, err)

    def addSkip(self, test, reason):  # noqa: N802
        self.note(test, "skipped", reason)


def main(module, classes=None, report=None, *not_run):
    tests = list(flat(unittest.defaultTestLoader.loadTestsFromModule(load(module))))
    if classes is None:
        print(*map(name_of, tests), sep="\n")
        return
    tests = [test for test in tests if is_of(test, classes)]
    left = [test for test in tests if any(fnmatch(name_of(test), pattern) for pattern in not_run)]
    result = Report()
    unittest.TestSuite(test for test in tests if test not in left)(result)
    result.outcomes |= {name_of(test): {"outcome": "not run", "why": "", "seconds": 0} for test in left}
    Path(report).write_text(json.dumps(result.outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
