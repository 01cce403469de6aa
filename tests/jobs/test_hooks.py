"""Hooks: what can be one, which of them count, and in which order they run."""

import contextvars
import functools
import importlib
import logging
import sys
import threading

import pytest

from app import on_shutdown, on_startup
from app.core import FutureCancelledError
from app.jobs import hooks
from app.jobs.context import SCOPE
from app.jobs.errors import TaskDefinitionError
from app.jobs.hooks import Hooks, find, start_in_child
from app.jobs.registry import load
from app.worker.coroutines import Coroutines

HOOKS = """
from app import on_shutdown, on_startup

told = []

@on_startup
def connect(): told.append("connect")

@on_startup
async def session(): told.append("session")

@on_shutdown
async def end_session(): told.append("end_session")

@on_shutdown
def disconnect(): told.append("disconnect")
"""


def names(*modules):
    return [hook.fn.__name__ for hook in find(modules)]


def told(module):
    return sys.modules[module].told


@pytest.fixture
def made():
    """Return a function that makes the hooks of modules, with a loop of their own."""
    coroutines = Coroutines()

    def begin(fn):
        future = coroutines.future()
        future.start(fn, contextvars.Context())
        return future

    yield lambda *modules: Hooks(find(modules), begin)
    coroutines.close()


# -- declaring ---------------------------------------------------------------


@pytest.fixture
def nothing_declared(monkeypatch):
    monkeypatch.setattr(hooks, "_DECLARED", {})


@pytest.mark.usefixtures("nothing_declared")
def test_a_hook_stays_the_function_that_it_is():
    def connect(url="here"):
        return url

    assert on_startup(connect) is connect
    assert on_shutdown(connect) is connect
    assert [hook.moment for hook in find([__name__])] == ["startup", "shutdown"]
    assert connect() == "here"


def generator():
    yield


async def asynchronous_generator():
    yield


@pytest.mark.parametrize(
    "thing", [generator, asynchronous_generator, print, functools.partial(print), type, "name"]
)
@pytest.mark.parametrize("decorator", [on_startup, on_shutdown])
def test_only_functions_and_coroutine_functions_can_be_hooks(decorator, thing):
    with pytest.raises(TaskDefinitionError, match="only functions and coroutine functions can be hooks"):
        decorator(thing)


def test_a_hook_is_called_without_arguments(modules):
    name = modules("from app import on_startup\n@on_startup\ndef connect(url): pass\n")
    with pytest.raises(TaskDefinitionError) as refused:
        load([name])
    assert str(refused.value) == (
        f"task module {name!r} cannot be used: startup hook 'connect' in {name}: "
        "a hook is called without arguments: missing a required argument: 'url'"
    )


# -- finding -----------------------------------------------------------------


def test_hooks_are_found_in_the_order_of_modules_and_declarations(modules):
    first = modules("from app import on_startup\n@on_startup\ndef early(): pass\n", "first")
    second = modules(HOOKS, "second")
    assert names(first, second) == ["early", "connect", "session", "end_session", "disconnect"]
    assert names(second, first)[-1] == "early"
    assert names() == []


def test_hooks_of_modules_that_are_merely_imported_do_not_count(modules):
    modules(HOOKS, "library")
    assert names(modules("import PREFIX_library\n", "uses")) == []


def test_a_hook_that_another_module_imports_runs_once(modules):
    library = modules(HOOKS, "library")
    uses = modules("from PREFIX_library import connect\n", "uses")
    assert names(uses) == ["connect"]
    assert names(library, uses, library).count("connect") == 1


def test_hooks_below_a_module_are_found(modules):
    modules(HOOKS, "pack.inner")
    package = modules("import PREFIX_pack.inner\n", "pack.__init__")
    modules(HOOKS, "packed")
    assert names(package) == ["connect", "session", "end_session", "disconnect"]


def test_a_function_of_a_library_is_a_hook_of_the_module_that_says_so(modules):
    modules("def connect(): pass\n", "library")
    uses = modules("import PREFIX_library\nfrom app import on_startup\non_startup(PREFIX_library.connect)\n")
    (hook,) = find([uses])
    assert str(hook) == f"the startup hook 'connect' of {uses!r}"


def test_hooks_made_by_one_function_are_several(modules):
    made = "def made():\n    @on_startup\n    def connect(): pass\n"
    assert names(modules(f"from app import on_startup\n{made}made()\nmade()\n")) == ["connect", "connect"]


def test_a_module_that_is_reloaded_declares_its_hooks_again(modules):
    name = modules(HOOKS)
    before = find([name])
    importlib.reload(sys.modules[name])
    after = find([name])
    assert [hook.fn.__name__ for hook in after] == [hook.fn.__name__ for hook in before]
    assert after[0].fn is sys.modules[name].connect is not before[0].fn


# -- a service ---------------------------------------------------------------


def test_hooks_run_in_order_and_at_the_end_in_the_reverse_order(modules, made):
    name = modules(HOOKS)
    service = made(name)
    service.start()
    assert told(name) == ["connect", "session"]
    assert service.stop(10)
    assert told(name) == ["connect", "session", "disconnect", "end_session"]


def test_what_was_never_started_is_not_shut_down(modules, made):
    name = modules(HOOKS)
    assert made(name).stop(10)
    assert told(name) == []


WHERE = """
import asyncio, threading
from app import on_startup

@on_startup
async def there():
    global loop, thread
    loop, thread = asyncio.get_running_loop(), threading.current_thread()

@on_startup
async def there_too():
    assert asyncio.get_running_loop() is loop

@on_startup
def here():
    assert threading.current_thread() is threading.main_thread() is not thread
"""


def test_coroutines_share_a_loop_and_plain_functions_run_on_this_thread(modules, made):
    made(modules(WHERE)).start()


FAILS = """
from app import on_shutdown, on_startup

@on_shutdown
def never(): raise AssertionError("it had nothing to put away")

@on_startup
{kind} fails():
    {error}
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise OSError('no\\nhost')", r"OSError: no\nhost"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_startup_hook_that_fails_is_named_in_one_line_with_the_reason(modules, made, kind, error, reason):
    name = modules(FAILS.format(kind=kind, error=error))
    with pytest.raises(TaskDefinitionError) as refused:
        made(name).start()
    place = f"{sys.modules[name].__file__}, line 9"
    assert str(refused.value) == f"the startup hook 'fails' of {name!r} failed: {reason} ({place})"


def test_what_had_begun_to_start_is_shut_down_and_nothing_else(modules, made, caplog):
    first, fails = modules(HOOKS, "first"), modules(FAILS.format(kind="def", error="1 / 0"), "fails")
    last = modules(HOOKS, "last")
    service = made(first, fails, last)
    with pytest.raises(TaskDefinitionError):
        service.start()
    assert service.stop(10)
    assert told(first) == ["connect", "session", "disconnect", "end_session"]
    assert told(last) == []
    assert not caplog.records


def test_a_module_of_which_one_hook_had_started_is_shut_down(modules, made):
    name = modules(HOOKS + "\n@on_startup\ndef fails(): 1 / 0\n")
    service = made(name)
    with pytest.raises(TaskDefinitionError):
        service.start()
    assert service.stop(10)
    assert told(name)[-1] == "end_session"


def test_ctrl_c_in_a_hook_is_no_failure_of_it(modules, made):
    service = made(modules(FAILS.format(kind="def", error="raise KeyboardInterrupt")))
    with pytest.raises(KeyboardInterrupt):
        service.start()


@pytest.mark.parametrize("error", ["1 / 0", "raise SystemExit"])
def test_a_shutdown_hook_that_fails_is_logged_and_stops_no_other(modules, made, caplog, error):
    name = modules(f"{HOOKS}\n@on_shutdown\ndef fails():\n    {error}\n")
    service = made(name)
    service.start()
    assert service.stop(10)
    assert told(name)[-2:] == ["disconnect", "end_session"]
    assert [record.getMessage() for record in caplog.records] == [
        f"the shutdown hook 'fails' of {name!r} failed"
    ]


def test_a_shutdown_hook_that_hangs_is_left_alone_and_those_after_it_do_not_run(modules, made, caplog):
    name = modules(
        f"import threading\n{HOOKS}\ngo = threading.Event()\n@on_shutdown\ndef hangs(): go.wait()\n"
    )
    service = made(name)
    service.start()
    assert not service.stop(0)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        record.getMessage() == f"the shutdown hook 'hangs' of {name!r} still runs after 0 s and is left alone"
    )
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "errand-shutdown"]
    assert thread.daemon
    sys.modules[name].go.set()
    thread.join(10)
    assert told(name) == ["connect", "session"]


def test_a_coroutine_that_is_cancelled_fails_as_a_hook(modules, made):
    error = "import asyncio; raise asyncio.CancelledError"
    with pytest.raises(TaskDefinitionError) as refused:
        made(modules(FAILS.format(kind="async def", error=error))).start()
    assert isinstance(refused.value.__cause__, FutureCancelledError)


# -- a process of a pool -------------------------------------------------------


def test_in_a_child_the_plain_startup_hooks_of_the_module_run_once(modules):
    name = modules(HOOKS)
    start_in_child(name)
    start_in_child(name)
    assert told(name) == ["connect"]


def test_in_a_child_a_hook_that_fails_is_tried_again_and_those_before_it_are_not(modules):
    name = modules(f"{HOOKS}\nok = []\n@on_startup\ndef last(): told.append(ok.pop())\n")
    for _ in range(2):
        with pytest.raises(IndexError):
            start_in_child(name)
    sys.modules[name].ok.append("last")
    start_in_child(name)
    assert told(name) == ["connect", "last"]


def test_in_a_child_a_hook_is_no_part_of_the_job(modules):
    name = modules(f"{HOOKS}\nfrom app import context\n@on_startup\ndef look(): told.append(context().id)\n")
    token = SCOPE.set(object())
    try:
        start_in_child(name)
    finally:
        SCOPE.reset(token)
    assert told(name) == ["connect", None]
