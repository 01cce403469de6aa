"""Whose code a check of arguments runs: what may run the user's is kept off the event loop."""

import dataclasses
import datetime as dt
import enum
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, field_validator
from pydantic_core import core_schema

from app.jobs.arguments import Signature
from tests.jobs.test_arguments import Colour, Person, Point


def small(value):
    return value


class Validated(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def check_x(cls, value):
        return value


class WithInit(BaseModel):
    x: int

    def __init__(self, **data):
        super().__init__(**data)


class WithPostInit(BaseModel):
    x: int

    def model_post_init(self, context):
        pass


class WithFactory(BaseModel):
    x: int = Field(default_factory=int)


@dataclasses.dataclass
class PostInit:
    x: int

    def __post_init__(self):
        pass


class Forgiving(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value):
        return cls.A


class Enum(enum.Enum):
    """Called as the one of the standard library."""

    A = "a"

    @classmethod
    def _missing_(cls, value):
        return cls.A


class Static(enum.Enum):
    A = "a"

    @staticmethod
    def _missing_(value):
        return Static.A


class Calling(enum.EnumType):
    def __call__(cls, *args, **kwargs):
        return super().__call__(*args, **kwargs)


class Called(enum.Enum, metaclass=Calling):
    A = "a"


class Pair(NamedTuple):
    x: int
    y: int


class Checked(Pair):
    def __new__(cls, x, y):
        return super().__new__(cls, x, y)


class MadeModel(BaseModel):
    x: int

    def __new__(cls, **data):
        return super().__new__(cls)


@dataclasses.dataclass
class Made:
    x: int

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)


class Looking(type):
    def __instancecheck__(cls, thing):
        return False


class Looked(metaclass=Looking):
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        return core_schema.is_instance_schema(cls)


Told = Annotated[
    Annotated[Person, Tag("person")] | Annotated[Point, Tag("point")],
    Discriminator(lambda value: "person" if "name" in value else "point"),
]


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[int, AfterValidator(small)],
        list[dict[str, Validated]],
        WithInit,
        WithPostInit,
        WithFactory,
        PostInit,
        Forgiving,
        Enum,
        Static,
        Called,
        Checked,
        list[Checked],
        MadeModel,
        Made,
        Looked,
        Told,
    ],
)
def test_a_check_that_runs_code_of_the_users_says_so(annotation):
    def use(a: annotation, b: int = 1):
        return a, b

    assert Signature(use).runs_user_code


@pytest.mark.parametrize(
    "annotation",
    [int, str, list[int], dict[str, Any], Colour, Pair, Point, Person, dt.datetime, Literal["a"], Any],
)
def test_a_check_that_runs_none_says_so(annotation):
    def use(a: annotation, *rest: annotation, b: annotation = None, **more: annotation):
        return a, rest, b, more

    assert not Signature(use).runs_user_code
