"""Results and exceptions as data."""

import dataclasses
import datetime as dt
import decimal
import enum
import itertools
import json
import math

import pytest
from pydantic import BaseModel, field_serializer

from app.core import Future
from app.core.errors import text_of
from app.core.executor import run_call
from app.jobs.errors import ResultError
from app.jobs.outcome import MESSAGE_LIMIT, TRACEBACK_LIMIT, failure_of, result_to_json, storable

LIMIT = 1 << 20


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float


class Model(BaseModel):
    name: str
    at: dt.date


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("ä\n\0", '"ä\\n\\u0000"'),
        ((1, 2.5, True), "[1,2.5,true]"),
        ({3}, "[3]"),
        (frozenset(), "[]"),
        ({1: "a", None: "b"}, '{"1":"a","None":"b"}'),
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), '"2026-01-02T03:04:05Z"'),
        (dt.timedelta(hours=1), '"PT1H"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (b"bytes", '"bytes"'),
        (Colour.RED, '"red"'),
        (Point(1, 2.0), '{"x":1,"y":2.0}'),
        (Model(name="n", at=dt.date(2026, 1, 2)), '{"name":"n","at":"2026-01-02"}'),
        (2**70, str(2**70)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_pydantic_can_turn_into_json_is_a_result(value, text):
    assert result_to_json(value, LIMIT) == text


class Broken(BaseModel):
    x: int = 1

    @field_serializer("x")
    def serialize(self, value):
        raise RuntimeError("serializer fails")


def circular():
    value = []
    value.append(value)
    return value


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        {"deep": [math.inf]},
        -math.inf,
        "\ud800",
        {"\udfff": 1},
        b"\xff",
        object(),
        print,
        circular(),
        nested(100_000),
        Broken(),
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_json_is_refused_and_its_type_is_named(value):
    with pytest.raises(
        ResultError, match=f"the result, of type {type(value).__name__}, cannot be turned into JSON"
    ):
        result_to_json(value, LIMIT)


def test_a_refused_result_is_not_shown():
    class Loud:
        def __repr__(self):
            raise RuntimeError("repr was called")

    with pytest.raises(ResultError, match="of type Loud") as refusal:
        result_to_json(Loud(), LIMIT)
    assert "repr was called" not in str(refusal.value)


@pytest.mark.parametrize("text", ["x" * 98, "ä" * 49])
def test_a_result_may_take_as_many_bytes_as_the_limit(text):
    assert json.loads(result_to_json(text, 100)) == text
    with pytest.raises(ResultError, match="takes 100 bytes as JSON, and 99 are allowed"):
        result_to_json(text, 99)


# -- exceptions --------------------------------------------------------------


def raised(exception, cause=None):
    """Return the exception with the traceback of having been raised."""
    with pytest.raises(type(exception)) as caught:
        raise exception from cause
    return caught.value


def test_an_exception_becomes_its_type_its_text_and_its_traceback():
    failure = failure_of(raised(ValueError("broken")))
    assert (failure.type, failure.message) == ("ValueError", "broken")
    assert failure.traceback.startswith("Traceback (most recent call last):")
    assert failure.traceback.endswith("ValueError: broken\n")


@pytest.mark.parametrize("exception", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_an_exception_that_would_end_the_process_becomes_data_too(exception):
    assert failure_of(raised(exception)).type == type(exception).__name__


def test_chained_exceptions_are_in_the_traceback():
    trace = failure_of(raised(ValueError("outer"), KeyError("inner"))).traceback
    assert "KeyError: 'inner'" in trace
    assert "direct cause" in trace


def test_the_members_of_a_group_are_in_the_traceback():
    failure = failure_of(raised(ExceptionGroup("several", [ValueError("one"), KeyError("two")])))
    assert (failure.type, failure.message) == ("ExceptionGroup", "several (2 sub-exceptions)")
    assert "ValueError: one" in failure.traceback
    assert "KeyError: 'two'" in failure.traceback


def test_a_recursion_without_end_has_a_traceback():
    def recurse():
        recurse()

    try:
        recurse()
    except RecursionError as exc:
        failure = failure_of(exc)
    assert failure.type == "RecursionError"
    assert len(failure.traceback) < TRACEBACK_LIMIT


class Mute(Exception):  # noqa: N818
    def __str__(self):
        raise SystemExit("str fails")

    __repr__ = __str__


class Strange(str):
    __slots__ = ()

    def __len__(self):
        raise RuntimeError("len fails")

    encode = replace = __getitem__ = __len__


class Odd(Exception):  # noqa: N818
    def __str__(self):
        return Strange("odd")


def test_an_exception_whose_text_fails_is_told_all_the_same():
    failure = failure_of(raised(Mute()))
    assert (failure.type, failure.message) == ("Mute", "<Mute whose str() fails>")
    assert "raise exception from cause" in failure.traceback


def test_an_exception_whose_text_is_a_strange_string_is_told_as_a_plain_one():
    assert failure_of(raised(Odd())).message == "odd"
    assert type(text_of(Odd())) is str


class UnprintableError(SyntaxError):
    text = property(lambda self: 1 / 0)


def test_an_exception_whose_traceback_cannot_be_printed_still_shows_where_it_was_raised():
    failure = failure_of(raised(UnprintableError("odd")))
    assert (failure.type, failure.message) == ("UnprintableError", "odd")
    assert "raise exception from cause" in failure.traceback


def test_long_texts_are_cut_and_say_so():
    failure = failure_of(raised(ValueError("m" * (MESSAGE_LIMIT + 1))))
    assert failure.message == "m" * MESSAGE_LIMIT + f"... ({MESSAGE_LIMIT + 1} characters in all)"
    assert failure_of(ValueError("m" * MESSAGE_LIMIT)).message == "m" * MESSAGE_LIMIT

    trace = failure_of(raised(ValueError("m" * 2 * TRACEBACK_LIMIT))).traceback
    assert trace == "... (shortened)\n" + "m" * (TRACEBACK_LIMIT - 1) + "\n"


def test_what_no_store_takes_is_shown_as_an_escape():
    failure = failure_of(raised(ValueError("a\0b\ud800c")))
    assert failure.message == "a\\x00b\\ud800c"
    assert not {"\0", "\ud800"} & set(failure.traceback)
    assert storable("plain ä 𝄞") == "plain ä 𝄞"


def test_the_traceback_begins_with_the_users_own_code():
    def fails():
        raise ValueError("here")

    future = Future()
    run_call(future, fails, (), {})
    trace = failure_of(future.exception()).traceback
    assert trace.startswith("Traceback (most recent call last):\n")
    assert "in fails" in trace
    assert "run_call" not in trace


def test_a_traceback_of_nothing_but_our_own_code_is_kept():
    future = Future()
    run_call(future, Future().result, (0,), {})
    assert "in run_call" in failure_of(future.exception()).traceback


@pytest.mark.parametrize("value", [itertools.count(), (n for n in "ab"), iter([1])])
def test_an_iterator_is_no_result_because_it_may_have_no_end(value):
    with pytest.raises(ResultError, match="return a list"):
        result_to_json(value, LIMIT)
