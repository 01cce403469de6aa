"""Limits of a task: what can be declared, and under which key the job of a call counts."""

import enum
import hashlib

import pydantic
import pytest

from app.jobs.arguments import Call
from app.jobs.errors import InvalidArgumentsError, TaskDefinitionError
from app.jobs.registry import Kind, TaskDefinition, load, task
from app.jobs.retry import ONCE, Retry


def bill(customer, amount=0, *rest, note="none", **more):
    """Have a parameter of each kind."""


def key(template, *args, fn=bill, **kwargs):
    """Return the key of a call that is coerced first."""
    definition = TaskDefinition("f", fn, Kind.PLAIN, "default", 0, max_running=1, limit_key=template)
    return definition.limit_key_of(definition.signature.check(args, kwargs))


# -- declaring ---------------------------------------------------------------


def test_a_task_without_these_options_is_neither_limited_nor_retried(modules):
    (definition,) = load([modules("from app import task\n@task\ndef f(): pass\n")])
    assert definition.retry is ONCE
    assert (definition.max_running, definition.max_running_total, definition.limit_key) == (None,) * 3
    assert definition.limit_key_of(Call((), {})) is None


def test_the_options_are_given_to_the_decorator(modules):
    options = "retry=Retry(2), max_running=2, max_running_total=5, limit_key='{customer}'"
    text = f"from app import Retry, task\n@task({options})\ndef f(customer): pass\n"
    (definition,) = load([modules(text)])
    assert definition.retry == Retry(2)
    assert (definition.max_running, definition.max_running_total) == (2, 5)
    assert definition.limit_key == "{customer}"


@pytest.mark.parametrize("retry", [None, 3, Retry])
def test_a_policy_is_a_retry(retry):
    with pytest.raises(TaskDefinitionError, match=r"task 'bill' in .*: retry is a Retry\(\.\.\.\), not "):
        task(retry=retry)(bill)


@pytest.mark.parametrize("option", ["max_running", "max_running_total"])
@pytest.mark.parametrize("number", [0, -1, 1.0, True, "1"])
def test_a_limit_is_a_whole_number_from_1(option, number):
    with pytest.raises(TaskDefinitionError, match=f"task 'bill' in .*: {option} is a whole number from 1"):
        task(**{option: number})(bill)


def test_a_key_needs_something_to_count():
    for options in ({}, {"max_running_total": 1}):
        with pytest.raises(TaskDefinitionError, match="there is no max_running"):
            task(limit_key="{customer}", **options)(bill)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (1, "limit_key is a text like '{customer}', not 1"),
        ("", "limit_key '' has no {parameter} in it"),
        ("{{customer}}", "has no {parameter} in it"),
        ("{customer", "cannot be read: expected '}' before end of string"),
        ("{}", "may have parameters of the function in braces, and nothing else"),
        ("{0}", "and nothing else"),
        ("{nobody}", "and nothing else"),
        ("{customer.name}", "and nothing else"),
        ("{customer[0]}", "and nothing else"),
        ("{customer!r}", "and nothing else"),
        ("{customer:>8}", "and nothing else"),
        (
            "{customer}{password}",
            "limit_key '{customer}{password}' would store the secret parameter 'password'",
        ),
    ],
)
def test_a_template_has_simple_parameters_and_no_secret_ones(template, fault):
    def log_in(customer, password):
        """Have a secret."""

    with pytest.raises(TaskDefinitionError) as refused:
        task(max_running=1, limit_key=template, secret=["password"])(log_in)
    assert fault in str(refused.value)


# -- the key -----------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"max_running": 1}, {"max_running_total": 1}])
def test_without_a_template_all_jobs_count_together(limits):
    definition = TaskDefinition("f", bill, Kind.PLAIN, "default", 0, **limits)
    assert definition.limit_key_of(Call(("ada",), {})) == ""


def test_however_an_argument_is_passed_the_key_is_the_same():
    assert key("{customer}", "ada") == key("{customer}", customer="ada") == "ada"
    assert key("{note}/{customer}", "ada") == key("{note}/{customer}", "ada", note="none") == "none/ada"


def test_the_key_is_of_the_coerced_arguments_and_of_defaults():
    def f(n: int, m: int = pydantic.Field(default=7)):
        """Have a number."""

    assert key("{n}-{m}", "01", fn=f) == "1-7"


def test_braces_that_are_doubled_are_braces():
    assert key("{{{customer}}}", "ada") == "{ada}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, "1"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ([1, "ü"], '[1,"ü"]'),
        ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
        (float("inf"), "Infinity"),
        ("", ""),
        ("a\0b\ud800", r"a\x00b\ud800"),
    ],
)
def test_a_text_stands_for_itself_and_anything_else_as_json(value, shown):
    assert key("{customer}", value) == shown


def test_the_member_of_an_enumeration_counts_by_its_value():
    class Plan(enum.StrEnum):
        FREE = "free"

    class Size(str, enum.Enum):  # noqa: UP042  (one that prints otherwise)
        BIG = "big"

    def f(plan: Plan, size: Size):
        """Have two members."""

    assert key("{plan} {size}", "free", "big", fn=f) == "free big"


def test_the_rest_of_the_arguments_may_be_a_key_too():
    assert key("{rest}{more}", "ada", 1, 2, x=3) == '[2]{"x":3}'


def test_a_long_key_is_stored_as_its_digest():
    assert key("{customer}", "k" * 200) == "k" * 200
    assert key("{customer}", "ü" * 201) == hashlib.sha256(("ü" * 201).encode()).hexdigest()


def test_a_value_that_is_no_json_makes_no_key_and_the_caller_is_told():
    class Odd:
        @classmethod
        def __get_pydantic_core_schema__(cls, source, handler):
            return pydantic.TypeAdapter(object).core_schema | {"type": "is-instance", "cls": object}

    def f(odd: Odd):
        """Take an object."""

    definition = TaskDefinition("f", f, Kind.PLAIN, "default", 0, max_running=1, limit_key="{odd}")
    with pytest.raises(InvalidArgumentsError) as refused:
        definition.limit_key_of(Call((object(),), {}))
    (fault,) = refused.value.faults
    assert (fault["loc"], fault["type"]) == ([], "limit_key")
    assert fault["msg"].startswith(
        "the jobs are limited by 'odd', and its value cannot be turned into JSON: "
    )
