"""The arguments of a task, typed by its JSON Schema; and the line that looks like its signature."""

import enum
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import pytest

from app.cli.ends import StopError
from app.cli.schema import DEEPEST, Parameters, signature
from app.jobs.arguments import Signature


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    S = 1


def mixed(text: str, n: int = 1, *, x: float = 0.5, flag: bool = True) -> list[str]: ...
def optional(text: str | None = None, n: int | None = None, both: int | str = 1): ...
def anything(a, b: Any = None): ...
def strings(when: datetime, price: Decimal, colour: Colour, kind: Literal["a", "b"] = "a") -> None: ...
def others(size: Size, many: list[int], table: dict[str, float] | None = None) -> dict[str, int]: ...
def positional(a: int, b: str, /): ...
def several(a: int, *rest: str): ...
def named(a: str, **more: int): ...
def no_schema(a: int, /, *, b: int): ...


def schema_of(fn):
    return Signature(fn, ()).parameters_schema()


@pytest.mark.parametrize("words", [["m=3"], ["m"]])
def test_a_name_that_is_no_parameter_is_said_so_where_no_text_is_taken(words):
    def whole(n: int): ...

    said = "there is no parameter 'm'; it takes n" if "=" in words[0] else "n takes int"
    with pytest.raises(StopError, match=said):
        Parameters(schema_of(whole)).read(words)


@pytest.mark.parametrize(
    ("fn", "words", "args", "kwargs"),
    [
        (mixed, ["3"], ["3"], {}),
        (mixed, ["3", "3"], ["3", 3], {}),
        (mixed, ["to be", "n=2", "x=1e3", "flag=false"], ["to be"], {"n": 2, "x": 1000.0, "flag": False}),
        (mixed, ["text=a=b"], [], {"text": "a=b"}),
        (mixed, ["a=b"], ["a=b"], {}),
        (mixed, ["=", "4"], ["=", 4], {}),
        (mixed, [""], [""], {}),
        (mixed, ["a", "1", "2", "true", "surplus", "7"], ["a", 1, 2, True, "surplus", 7], {}),
        (optional, ["null", "null"], ["null", None], {}),
        (optional, ["both=7"], [], {"both": "7"}),
        (anything, ["7", "seven"], [7, "seven"], {}),
        (anything, ['{"a": [1]}', "b=[1"], [{"a": [1]}], {"b": "[1"}),
        (strings, ["2030-01-01T00:00:00Z", "1.10", "red"], ["2030-01-01T00:00:00Z", "1.10", "red"], {}),
        (strings, ["kind=b"], [], {"kind": "b"}),
        (others, ["1", "[1, 2]", 'table={"a": 1}'], [1, [1, 2]], {"table": {"a": 1}}),
        (positional, ["1", "b=2"], [1, "b=2"], {}),
        (several, ["1", "2", "a=3"], [1, "2", "a=3"], {}),
        (named, ["x", "more=1", "9=1"], ["x", "9=1"], {"more": 1}),
        (no_schema, ["1", "b=2"], [1, "b=2"], {}),
    ],
)
def test_words_become_arguments_as_the_schema_has_them(fn, words, args, kwargs):
    read = Parameters(schema_of(fn)).read(words)
    assert read == (args, kwargs)
    # 1 == True == 1.0, and JSON tells them apart.
    assert repr(read) == repr((args, kwargs))


@pytest.mark.parametrize(
    ("fn", "words", "message"),
    [
        (mixed, ["a", "two"], "n takes int, written as JSON like 3; 'two' is no JSON"),
        (mixed, ["a", "flag=yes"], "flag takes bool, written as JSON like true; 'yes' is no JSON"),
        (mixed, ["a", "x=NaN"], "x takes float, written as JSON like 1.5; 'NaN' is no JSON"),
        (others, ["1", "1,2"], "many takes list, written as JSON like [1, 2]; '1,2' is no JSON"),
        (optional, ["n=x"], "n takes None or int, written as JSON like 3; 'x' is no JSON"),
        (mixed, ["n=1", "n=2"], "n is given twice"),
        (mixed, ["a", "x" * 50], f"n takes int, written as JSON like 3; '{'x' * 39}…' is no JSON"),
        (mixed, ["a", "[" * 100_000], f"n takes int, written as JSON like 3; '{'[' * 39}…' is no JSON"),
    ],
)
def test_a_word_that_does_not_fit_is_an_error_that_names_the_parameter(fn, words, message):
    with pytest.raises(StopError) as raised:
        Parameters(schema_of(fn)).read(words)
    assert str(raised.value) == message
    assert raised.value.code == 2


@pytest.mark.parametrize(
    ("fn", "line"),
    [
        (mixed, "mixed(text: str, n: int = 1, x: float = 0.5, flag: bool = True) -> list[str]"),
        (optional, "optional(text: str | None = None, n: int | None = None, both: int | str = 1)"),
        (anything, "anything(a, b=None)"),
        (
            strings,
            'strings(when: datetime, price: float | str, colour: Colour, kind: "a" | "b" = "a") -> None',
        ),
        (
            others,
            "others(size: Size, many: list[int], table: dict[str, float] | None = None) -> dict[str, int]",
        ),
        (positional, "positional(a: int, b: str)"),
        (several, "several(a: int, *args: str)"),
        (named, "named(a: str, **kwargs: int)"),
        (no_schema, "no_schema(*args, **kwargs)"),
    ],
)
def test_a_task_is_shown_by_a_line_like_its_signature(fn, line):
    found = Signature(fn, ())
    assert signature(fn.__name__, found.parameters_schema(), found.result_schema()) == line


def test_a_schema_that_refers_to_itself_is_read_all_the_same():
    loop = {
        "$defs": {"a": {"$ref": "#/$defs/a"}, "b": {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "integer"}]}}
    }
    schema = {**loop, "properties": {"a": {"$ref": "#/$defs/a"}, "b": {"$ref": "#/$defs/b"}}}
    assert Parameters(schema).read(["x", "1"]) == (["x", 1], {})
    assert DEEPEST < 100
