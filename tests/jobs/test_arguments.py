"""A task's signature: what fits it, what does not, and what a caller is told about that."""

import dataclasses
import datetime as dt
import enum
import functools
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel
from pydantic_core import core_schema

from app.jobs.arguments import Call, Signature
from app.jobs.errors import InvalidArgumentsError
from tests.jobs import stringly


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.0


class Person(BaseModel):
    name: str
    born: dt.date | None = None


def add(a: int, b: int = 2) -> int:
    return a + b


def anything(a, b=None):
    return a, b


def check(fn, *args, **kwargs):
    call = Signature(fn).check(args, kwargs)
    assert Signature(fn).takes(args, kwargs)
    return call


def faults(fn, *args, **kwargs):
    with pytest.raises(InvalidArgumentsError) as refusal:
        check(fn, *args, **kwargs)
    assert not Signature(fn).takes(args, kwargs)
    return [(fault["loc"], fault["type"], fault["msg"]) for fault in refusal.value.faults]


def called(fn, *args, **kwargs):
    """Return what the function gets once the arguments are coerced."""
    call = check(fn, *args, **kwargs)
    return fn(*call.args, **call.kwargs)


# -- what fits ---------------------------------------------------------------


def test_arguments_are_coerced_in_lax_mode():
    assert called(add, "1", 2.0) == 3
    assert called(add, "1", b="4") == 5
    assert called(add, a=True) == 3


class Tree(BaseModel):
    leaves: list["Tree"] = []


def test_a_type_may_lead_back_to_itself():
    def climb(tree: Tree, *others: Tree) -> Tree:
        return tree

    assert called(climb, {"leaves": [{"leaves": []}]}) == Tree(leaves=[Tree()])
    assert faults(climb, {"leaves": [{"leaves": 1}]}) == [
        (["args", 0, "leaves", 0, "leaves"], "list_type", "Input should be a valid list")
    ]


@pytest.mark.parametrize("value", [None, 1, "x", [1, {"a": None}], {"b": 2.5}])
def test_what_is_not_annotated_takes_any_json(value):
    assert called(anything, value, b=value) == (value, value)


def test_types_that_json_lacks_are_made():
    def meet(at: dt.datetime, who: Person, where: Point, colour: Colour, day: Literal["mon", "tue"]):
        return at, who, where, colour, day

    assert called(
        meet,
        "2026-01-02T03:04:05Z",
        {"name": "Ada", "born": "1815-12-10"},
        {"x": "1"},
        colour="red",
        day="mon",
    ) == (
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        Person(name="Ada", born=dt.date(1815, 12, 10)),
        Point(1, 0.0),
        Colour.RED,
        "mon",
    )


def test_stored_arguments_are_coerced_again():
    assert Signature(add).coerce('{"args":["1"],"kwargs":{"b":"3"}}') == Call((1,), {"b": 3})
    with pytest.raises(InvalidArgumentsError):
        Signature(add).coerce('{"args":["x"],"kwargs":{}}')


def test_parameters_may_have_the_names_of_pydantics_own():
    def odd(json: int, copy: int, self: int, schema: int = 4, *, model_config: int, args: int, kwargs: int):
        return json, copy, self, schema, model_config, args, kwargs

    expected = (1, 2, 3, 4, 5, 6, 7)
    assert called(odd, "1", "2", "3", model_config="5", args="6", kwargs="7") == expected
    assert called(odd, json=1, copy=2, self=3, model_config=5, args=6, kwargs=7) == expected


def test_every_kind_of_parameter():
    def every(a: int, /, b: int, *rest: int, c: int, **more: float):
        return a, b, rest, c, more

    assert called(every, "1", "2", "3", "4", c="5", d="6.5") == (1, 2, (3, 4), 5, {"d": 6.5})
    assert called(every, 1, b=2, c=3, a=4) == (1, 2, (), 3, {"a": 4.0})
    assert faults(every, "x", 2, 3, "y", c=5, d="z") == [
        (["args", 0], "int_parsing", "Input should be a valid integer, unable to parse string as an integer"),
        (["args", 3], "int_parsing", "Input should be a valid integer, unable to parse string as an integer"),
        (
            ["kwargs", "d"],
            "float_parsing",
            "Input should be a valid number, unable to parse string as a number",
        ),
    ]


def test_annotations_may_be_strings():
    assert called(stringly.shift, {"x": "1"}, "2") == stringly.Place(3)
    assert Signature(stringly.shift).result_schema()["title"] == "Place"
    assert faults(stringly.shift, {"x": "one"})[0][0] == ["args", 0, "x"]


def test_a_wrapped_function_is_checked_by_its_own_signature():
    @functools.wraps(add)
    def wrapper(*args, **kwargs):
        return add(*args, **kwargs)

    assert called(wrapper, "1") == 3
    assert faults(wrapper)[0][1] == "missing_argument"


def test_defaults_are_not_shared_between_calls():
    def collect(into: list[int] = []):  # noqa: B006
        into.append(1)
        return into

    assert called(collect) == [1]
    assert called(collect) == [1]


# -- what does not -----------------------------------------------------------


def test_what_is_missing_is_named():
    assert faults(add) == [(["kwargs", "a"], "missing_argument", "Missing required argument 'a'")]

    def only(a, /, *, b):
        return a, b

    assert faults(only) == [
        (["args", 0], "missing_positional_only_argument", "Missing required positional only argument '0'"),
        (["kwargs", "b"], "missing_keyword_only_argument", "Missing required keyword only argument 'b'"),
    ]


def test_what_is_surplus_is_named():
    assert faults(add, 1, 2, 3) == [
        (["args", 2], "unexpected_positional_argument", "Unexpected positional argument"),
    ]
    assert faults(add, 1, c=3) == [
        (["kwargs", "c"], "unexpected_keyword_argument", "Unexpected keyword argument")
    ]
    assert faults(add, 1, a=1) == [
        (["kwargs", "a"], "multiple_argument_values", "Got multiple values for argument"),
    ]


@pytest.mark.parametrize("root", ["args", "kwargs"])
def test_a_field_within_an_argument_is_named_by_its_path(root):
    def greet(who: list[Person]):
        return who

    given = [{"name": "Ada"}, {"born": "never"}]
    found = faults(greet, given) if root == "args" else faults(greet, who=given)
    place = 0 if root == "args" else "who"
    assert [(loc, kind) for loc, kind, _ in found] == [
        ([root, place, 1, "name"], "missing"),
        ([root, place, 1, "born"], "date_from_datetime_parsing"),
    ]
    assert found[0][2] == "Field required"


def test_the_error_tells_all_places_in_its_text():
    with pytest.raises(InvalidArgumentsError, match=r"^args\.0: Input .*; args\.1: Input "):
        check(add, "x", "y")


def test_faults_bear_nothing_of_the_input():
    assert "secret" not in repr(faults(add, "secret", b=["secret"]))


def small(value: int) -> int:
    if value > 9:
        raise ValueError("too large")
    if value < 0:
        raise ZeroDivisionError("not\0 expected \ud800")
    return value


def test_a_validator_of_the_users_own_may_refuse():
    def count(n: Annotated[int, AfterValidator(small)]):
        return n

    assert called(count, "9") == 9
    assert faults(count, 10) == [(["args", 0], "value_error", "Value error, too large")]


def test_a_validator_that_fails_is_a_fault_of_the_arguments():
    def count(n: Annotated[int, AfterValidator(small)]):
        return n

    assert faults(count, -1) == [
        ([], "check_failed", "the check failed with ZeroDivisionError: not\\x00 expected \\ud800"),
    ]


# -- schemas -----------------------------------------------------------------


def test_the_parameters_have_a_json_schema():
    assert Signature(add).parameters_schema() == {
        "type": "object",
        "properties": {
            "a": {"title": "A", "type": "integer"},
            "b": {"default": 2, "title": "B", "type": "integer"},
        },
        "required": ["a"],
        "additionalProperties": False,
    }


def test_a_signature_that_json_schema_cannot_say_has_an_empty_one():
    def mixed(a: int, /, *, b: int):
        return a + b

    assert Signature(mixed).parameters_schema() == {}


class Unruly:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema, handler):
        raise RuntimeError("no schema today")


def test_a_type_whose_schema_fails_has_an_empty_one():
    def use(a: Unruly) -> Unruly:
        return a

    assert Signature(use).parameters_schema() == {}
    assert Signature(use).result_schema() == {}


def test_the_result_has_a_json_schema_when_it_is_annotated():
    def unannotated():
        return 1

    def generates() -> int:
        yield

    async def later() -> Person:
        return Person(name="Ada")

    def strange() -> threading_lock_like:
        return None

    assert Signature(add).result_schema() == {"type": "integer"}
    assert Signature(later).result_schema()["required"] == ["name"]
    assert Signature(unannotated).result_schema() == {}
    assert Signature(generates).result_schema() == {}
    assert Signature(strange).result_schema() == {}


class threading_lock_like:  # noqa: N801
    """A type that pydantic knows nothing of."""


def test_what_has_no_schema_cannot_be_a_signature():
    def use(a: threading_lock_like):
        return a

    def missing(a: "NotThere"):  # noqa: F821
        return a

    for fn in (use, missing):
        with pytest.raises(Exception, match=r"threading_lock_like|NotThere"):
            Signature(fn)
