"""Tasks: what can be one, under which name, and where they are found."""

import functools
import importlib
import sys
from typing import Annotated

import pytest
from pydantic import AfterValidator

from app.jobs.errors import TaskDefinitionError, UnknownTaskError
from app.jobs.model import Slot
from app.jobs.registry import (
    MAX_TIMEOUT,
    Kind,
    Registry,
    TaskDefinition,
    find_declared,
    load,
    name_of_task,
    task,
    without_tasks,
)

ADD = """
from app import task

@task
def add(a: int, b: int = 1) -> int:
    '''Add two numbers.

    Or one.
    '''
    return a + b
"""


def names(*found):
    return sorted(definition.name for definition in load(found))


def refusal(*found):
    with pytest.raises(TaskDefinitionError) as refused:
        load(found)
    return str(refused.value)


# -- declaring ---------------------------------------------------------------


def test_a_task_is_named_after_its_function_and_stays_that_function(modules):
    name = modules(ADD)
    known = load([name])
    (definition,) = known
    assert definition.fn is sys.modules[name].add
    assert definition.fn(1, 2) == 3
    assert (definition.name, definition.queue, definition.priority) == ("add", "default", 0)
    assert definition.doc == "Add two numbers.\n\nOr one."
    assert definition.signature is definition.signature
    assert definition.signature.check(["1"], {"b": "2"}) == ((1,), {"b": 2})
    assert len(known) == 1
    assert "add" in known
    assert "sub" not in known
    assert known.get("add") is definition


def test_options_are_given_to_the_decorator(modules):
    known = load(
        [modules("from app import task\n@task(name='n', queue='q', priority=-100)\ndef f(): pass\n")]
    )
    (definition,) = known
    assert (definition.name, definition.queue, definition.priority) == ("n", "q", -100)
    assert definition.doc == ""


@pytest.mark.parametrize(
    ("text", "kind", "slot"),
    [
        ("def f(): pass", Kind.PLAIN, Slot.THREAD),
        ("def f(): yield", Kind.GENERATOR, Slot.COROUTINE),
        ("async def f(): pass", Kind.COROUTINE, Slot.COROUTINE),
    ],
)
def test_the_kind_follows_from_the_function(modules, text, kind, slot):
    (definition,) = load([modules(f"from app import task\n@task\n{text}\n")])
    assert (definition.kind, definition.slot) == (kind, slot)


class Callable:
    def __call__(self):
        pass

    def __repr__(self):
        raise RuntimeError("repr was called")


async def asynchronous_generator():
    yield


@pytest.mark.parametrize("thing", [Callable(), Callable, print, functools.partial(print), "name", 3])
def test_only_functions_can_be_tasks(thing):
    with pytest.raises(TaskDefinitionError, match=f"can be tasks, not {type(thing).__name__} objects"):
        task(thing)


def test_an_asynchronous_generator_function_cannot_be_a_task():
    with pytest.raises(TaskDefinitionError, match="not an asynchronous generator function"):
        task(asynchronous_generator)


def add(a: int, b: int = 1) -> int:
    return a + b


def add_absolute(a: Annotated[int, AfterValidator(abs)], b: int = 1) -> int:
    return a + b


def test_a_task_with_limits_secrets_or_validators_asks_for_more_than_types():
    def asks(fn=add, **options):
        return not TaskDefinition("f", fn, Kind.PLAIN, "default", 0, **options).checks_only_types

    assert (asks(), asks(timeout=1)) == (False, False)
    assert all([asks(max_running=1), asks(max_running_total=1), asks(secret=("a",)), asks(add_absolute)])


@pytest.mark.parametrize("priority", [-101, 101, 1.0, "1", None])
def test_a_priority_is_a_whole_number_within_its_range(modules, priority):
    with pytest.raises(TaskDefinitionError, match=r"task 'plain' in .*: priority .* is outside -100\.\.100"):
        task(priority=priority)(plain)


@pytest.mark.parametrize("timeout", [0, -1, 0.0, float("nan"), float("inf"), "1", True, MAX_TIMEOUT + 1])
def test_a_timeout_is_a_number_of_seconds_up_to_a_year(timeout):
    with pytest.raises(TaskDefinitionError, match=r"task 'plain' in .*: timeout is a number of seconds"):
        task(timeout=timeout)(plain)


def test_a_plain_function_may_run_in_a_process_and_have_a_timeout(modules):
    text = "from app import task\n@task(executor='process', timeout=31_536_000)\ndef f(): pass\n"
    (definition,) = load([modules(text)])
    assert (definition.slot, definition.timeout) == (Slot.PROCESS, MAX_TIMEOUT)


@pytest.mark.parametrize("executor", ["processes", "", None, "coroutine", 1])
def test_an_executor_is_a_thread_or_a_process(executor):
    with pytest.raises(TaskDefinitionError, match=r"task 'plain' in .*: executor is 'thread' or 'process'"):
        task(executor=executor)(plain)


def generator():
    yield


async def coroutine():
    pass


@pytest.mark.parametrize("fn", [generator, coroutine])
def test_only_a_plain_function_can_run_in_a_process(fn):
    task(executor="thread", timeout=1)(fn)
    with pytest.raises(TaskDefinitionError, match=f"and this is a {fn.__name__} function"):
        task(executor="process")(fn)


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "\ud800", 3, "n" * 201])
def test_names_are_printable_and_of_a_length_that_can_be_submitted(modules, name):
    for options in ({"name": name}, {"queue": name}):
        with pytest.raises(TaskDefinitionError, match=r"task 'plain' in .*: a .*name is printable"):
            task(**options)(plain)


def test_a_name_is_a_part_of_an_address_and_has_no_slash(modules):
    with pytest.raises(TaskDefinitionError, match="without a slash"):
        task(name="a/b")(plain)
    task(queue="a/b")(plain)
    task(queue=".../.b")(plain)
    for queue in ("..", "a/../b", "./a"):
        with pytest.raises(TaskDefinitionError, match="no part that is only dots"):
            task(queue=queue)(plain)


def test_names_may_be_as_long_as_a_submission_takes(modules):
    task(name="n" * 200, queue="q" * 100)(plain)
    with pytest.raises(TaskDefinitionError, match="queue"):
        task(queue="q" * 101)(plain)


def plain():
    pass


# -- finding -----------------------------------------------------------------


def test_tasks_are_found_in_the_modules_named_and_below_them(modules):
    modules(ADD, "pack.inner")
    package = modules("import PREFIX_pack.inner\n", "pack.__init__")
    modules(ADD.replace("def add", "def other"), "package_of_another_name")
    assert names(package) == ["add"]


def test_a_module_whose_name_merely_begins_alike_is_not_below(modules):
    alike = modules(ADD, "packed")
    package = modules("import PREFIX_packed\n", "pack")
    assert names(package) == []
    assert names(package, alike) == ["add"]


def test_tasks_imported_into_a_module_are_its_tasks(modules):
    modules(ADD, "library")
    assert names(modules("from PREFIX_library import add\n", "uses")) == ["add"]
    assert names(modules("import PREFIX_library\n", "mentions")) == []


WRAPPED = """
import functools
from app import task
from PREFIX_library import plain, wrapping

borrowed = task(name="borrowed")(plain)

@task(name="wrapped")
@wrapping
def any_name(x): return x

@task
@functools.wraps(plain)
def plainly(): pass

made = task(name="made")(lambda: 1)
"""


def test_a_task_is_found_again_by_its_name_and_its_home(modules):
    wrapping = "def wrapping(fn):\n    def wrapper(x): return fn(x)\n    return wrapper\n"
    modules(f"def plain(): pass\n{wrapping}", "library")
    home = modules(WRAPPED)
    known = load([home])
    assert sorted(definition.name for definition in known) == ["borrowed", "made", "plain", "wrapped"]
    for definition in known:
        assert definition.home == home
        assert find_declared(definition.home, definition.name).fn is definition.fn
    with pytest.raises(UnknownTaskError):
        find_declared(home, "any_name")


def test_a_task_that_was_not_loaded_is_at_home_in_its_functions_module():
    assert TaskDefinition("plain", plain, Kind.PLAIN, "default", 0).home == __name__


def test_a_module_named_twice_and_a_task_found_twice_count_once(modules):
    library = modules(ADD, "library")
    uses = modules("from PREFIX_library import add\n", "uses")
    assert names(library, library, uses) == ["add"]


def test_one_function_may_have_several_names(modules):
    text = "from app import task\ndef f(): pass\nf1 = task(name='one')(f)\nf2 = task(name='two')(f)\n"
    assert names(modules(text)) == ["one", "two"]


def test_the_same_name_given_twice_to_one_function_is_one_task(modules):
    assert names(modules("from app import task\n@task\n@task\ndef f(): pass\n")) == ["f"]


def test_a_module_that_is_reloaded_declares_its_tasks_again(modules):
    name = modules(ADD)
    (before,) = load([name])
    importlib.reload(sys.modules[name])
    (after,) = load([name])
    assert after.fn is sys.modules[name].add
    assert after.fn is not before.fn


def test_two_tasks_of_one_name_name_both_modules(modules):
    first, second = modules(ADD, "first"), modules("\n\n" + ADD, "second")
    assert (
        refusal(first, second)
        == f"two tasks are called 'add': one in {first} (line 4), one in {second} (line 6)"
    )


def test_a_name_used_twice_in_one_module_is_no_silent_replacement(modules):
    name = modules(ADD + ADD)
    assert refusal(name).startswith(
        f"two tasks are called 'add': one in {name} (line 4), one in {name} (line "
    )


def test_an_unknown_name_bears_the_nearest_ones(modules):
    known = load([modules(ADD)])
    with pytest.raises(UnknownTaskError, match="no task is called 'ad'") as refused:
        known.get("ad")
    assert (refused.value.name, refused.value.nearest) == ("ad", ("add",))
    with pytest.raises(UnknownTaskError) as refused:
        known.get("count_words")
    assert refused.value.nearest == ()


def test_a_very_long_unknown_name_is_not_repeated(modules):
    with pytest.raises(UnknownTaskError) as refused:
        load([modules(ADD)]).get("add" * 100_000)
    assert len(str(refused.value)) < 200


def test_no_module_means_no_task():
    assert len(load([])) == 0
    assert list(Registry([])) == []


# -- what stops the start ------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("def f(:\n", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "E: <E whose str() fails>"),
    ],
    ids=["import", "syntax", "exception", "exit", "mute"],
)
def test_an_import_that_fails_names_the_module_and_the_reason(modules, text, reason):
    name = modules(text)
    assert f"task module {name!r} cannot be imported: {reason}" in refusal(name)


def test_an_import_that_fails_deep_down_says_where(modules):
    helper = modules("import os\nos.environ['NO_SUCH_SETTING']\n", "helper")
    text = refusal(modules(f"import {helper}\n", "uses"))
    assert "NO_SUCH_SETTING" in text
    # The last line of the user's own, and not one of the library that they called.
    assert text.endswith(f"{helper}.py, line 2)")


@pytest.mark.parametrize("name", ["mine.py", "./mine.py", "folder/mine"])
def test_a_file_in_place_of_a_module_is_explained(name):
    assert "write a module's name" in refusal(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no_such_module", "No module named"), ("", "Empty module name"), (".relative", "'package' argument")],
)
def test_a_module_that_does_not_exist_is_named(name, reason):
    text = refusal(name)
    assert f"task module {name!r} cannot be imported" in text
    assert reason in text


def test_what_cannot_be_a_task_names_the_module_it_is_in(modules):
    name = modules("from app import task\n@task\nclass Thing: pass\n")
    assert refusal(name).startswith(f"task module {name!r} cannot be used: only functions, ")


def test_arguments_that_cannot_be_checked_stop_the_start(modules):
    name = modules("from app import task\nclass Thing: pass\n@task\ndef f(a: Thing): pass\n")
    assert refusal(name).startswith(f"task 'f' in {name}: its arguments cannot be checked: ")
    name = modules("from app import task\n@task\ndef g(a: 'Nowhere'): pass\n", "other")
    assert (
        refusal(name) == f"task 'g' in {name}: its arguments cannot be checked: name 'Nowhere' is not defined"
    )


def test_a_functions_name_is_the_one_that_it_was_declared_under(modules):
    task(name="other")(plain)
    assert name_of_task(plain) == "other"
    assert name_of_task(generator) == "generator"
    for nameless in (lambda: None, 3):
        with pytest.raises(TypeError, match="a task's name or its function is needed"):
            name_of_task(nameless)


def test_modules_without_tasks_are_found(modules):
    full = modules("from app import task\n@task\ndef f(): pass\n", "full")
    empty = modules("", "empty")
    assert without_tasks([full, empty]) == [empty]
