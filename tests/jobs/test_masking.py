"""Secret parameters: which can be declared, and that their values are shown nowhere."""

import json
from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, AliasChoices, AliasPath, BaseModel, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict, Unpack

from app.jobs.errors import InvalidArgumentsError, TaskDefinitionError
from app.jobs.masking import NOT_SHOWN
from app.jobs.registry import Kind, TaskDefinition, load, task


def log_in(user, password="hunter1"):
    """Have a secret."""


def with_rest(user, *codes, **more):
    """Take whatever comes."""


def of(fn, *secret):
    return TaskDefinition("f", fn, Kind.PLAIN, "default", 0, secret=secret)


def shown(definition, *args, **kwargs):
    call = json.loads(definition.shown(args, kwargs))
    assert call.keys() == {"args", "kwargs"}
    return call["args"], call["kwargs"]


def faults(definition, *args, **kwargs):
    with pytest.raises(InvalidArgumentsError) as refused:
        definition.signature.check(args, kwargs)
    return list(refused.value.faults)


# -- declaring ---------------------------------------------------------------


@pytest.mark.parametrize("names", ["('password',)", "['password']", "{'password'}", "iter(['password'])"])
def test_secrets_are_given_as_any_collection_of_names(modules, names):
    text = f"from app import task\n@task(secret={names})\ndef f(password): pass\n"
    (definition,) = load([modules(text)])
    assert definition.secret == ("password",)


def test_one_decorator_for_several_functions_keeps_its_names():
    declared = task(secret=iter(["password"]))
    declared(log_in)
    with pytest.raises(TaskDefinitionError, match="secret names 'password'"):
        declared(with_rest_only)


def with_rest_only(*codes):
    """Take positions only."""


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("password", r"write secret=\('password',\), with the comma"),
        (3, r"secret names parameters, as in secret=\('password',\), not 3"),
        (None, "not None"),
        ([3], r"not \(3,\)"),
        (["pasword"], "secret names 'pasword', which is no parameter of the function"),
    ],
)
def test_what_names_no_parameter_is_refused(secret, fault):
    with pytest.raises(TaskDefinitionError, match=f"task 'log_in' in .*: .*{fault}"):
        task(secret=secret)(log_in)


def test_a_function_with_any_keywords_may_have_any_secret():
    assert task(secret=["token"])(with_rest) is with_rest


# -- the arguments -----------------------------------------------------------


def test_a_task_without_secrets_shows_its_arguments_as_they_are():
    assert of(log_in).shown(["ada"], {}) is None


def test_a_secret_is_masked_however_it_is_passed():
    definition = of(log_in, "password")
    assert shown(definition, "ada", "x") == (["ada", "***"], {})
    assert shown(definition, "ada", password="x") == (["ada"], {"password": "***"})
    assert shown(definition, "ada") == (["ada"], {})


def test_what_is_shown_is_compact_json_as_arguments_are_stored():
    assert of(log_in, "user").shown(["ada", {"ü": 1}], {}) == '{"args":["***",{"ü":1}],"kwargs":{}}'


def test_an_object_is_masked_as_a_whole():
    assert shown(of(log_in, "password"), "ada", {"value": ["x"]}) == (["ada", "***"], {})


def test_a_secret_among_any_keywords_is_masked():
    assert shown(of(with_rest, "token"), "ada", 1, token="x", other=2) == (
        ["ada", 1],
        {"token": "***", "other": 2},
    )


def test_the_rest_of_the_arguments_can_be_secret_as_a_whole():
    definition = of(with_rest, "codes", "more")
    assert shown(definition, "ada", 1, 2, more=3, other=4) == (
        ["ada", "***", "***"],
        {"more": "***", "other": "***"},
    )
    assert shown(definition, user="ada") == ([], {"user": "ada"})


def aliased(
    user: str = "nobody",
    password: Annotated[str, Field(alias="pw")] = "",
    token: Annotated[str, Field(validation_alias=AliasChoices("t", AliasPath("o", "x")))] = "",
    key: Annotated[str, Field(validation_alias=AliasPath("k", 0))] = "",
    **more: int,
):
    """Have other names for its secrets."""


@pytest.mark.parametrize(
    "call", [{"pw": "x"}, {"password": "x"}, {"t": "x"}, {"o": {"x": "x"}}, {"k": ["x"]}]
)
def test_a_secret_under_another_of_its_names_is_masked(call):
    definition = of(aliased, "password", "token", "key")
    assert shown(definition, **call) == ([], dict.fromkeys(call, "***"))


def test_another_name_of_a_parameter_is_not_one_of_the_other_keywords():
    definition = of(aliased, "more")
    assert shown(definition, user="ada", pw="x", other=1) == ([], {"user": "ada", "pw": "x", "other": "***"})


class Options(TypedDict, total=False):
    password: Annotated[str, Field(alias="pw")]
    plain: "int"


def unpacked(**options: Unpack[Options]):
    """Name its keywords elsewhere."""


def unpacked_twice(first: Options, **options: Unpack[Options]):
    """Have a schema with references."""


@pytest.mark.parametrize("fn", [unpacked, unpacked_twice])
def test_a_secret_of_an_unpacked_dictionary_is_masked_under_its_other_name(fn):
    assert shown(of(fn, "password"), pw="x", plain=1) == ([], {"pw": "***", "plain": 1})


# -- the faults --------------------------------------------------------------


def tells(value):
    raise ValueError(f"{value} is weak")


def invents(value):
    raise PydanticCustomError(f"weak_{value}", "{value} is weak", {"value": value})


def pretends(value):
    raise PydanticCustomError("missing_argument", "{value} is weak", {"value": value})


def falls_over(value):
    raise LookupError(value)


@pytest.mark.parametrize(
    ("validator", "kind", "message"),
    [
        (tells, "value_error", NOT_SHOWN),
        (invents, "value_error", NOT_SHOWN),
        (pretends, "missing_argument", "Missing required argument '1'"),
    ],
)
def test_a_validators_text_about_a_secret_is_not_repeated(validator, kind, message):
    def f(user: str, password: Annotated[str, AfterValidator(validator)]):
        """Check a secret."""

    assert faults(of(f, "password"), "ada", "hunter2") == [{"loc": ["args", 1], "msg": message, "type": kind}]
    assert "hunter2" in str(faults(of(f), "ada", "hunter2"))


def test_a_validator_that_falls_over_says_nothing_in_a_task_with_secrets():
    def f(password: Annotated[str, AfterValidator(falls_over)]):
        """Check a secret."""

    with pytest.raises(InvalidArgumentsError) as refused:
        of(f, "password").signature.check(["hunter2"], {})
    assert refused.value.faults == (
        {"loc": [], "msg": "the check failed with LookupError", "type": "check_failed"},
    )
    assert refused.value.__suppress_context__


class Login(BaseModel):
    codes: dict[str, int]


def test_a_place_within_a_secret_is_not_told_and_faults_that_look_alike_are_one():
    def f(login: Login, other: int):
        """Have an object."""

    found = faults(of(f, "login"), login={"codes": {"hunter2": "a", "hunter3": "b"}}, other="c")
    assert found[0] == {"loc": ["kwargs", "login"], "msg": NOT_SHOWN, "type": "int_parsing"}
    assert [fault["loc"] for fault in found[1:]] == [["kwargs", "other"]]
    assert "unable to parse" in found[1]["msg"]


def f_missing(user, /, password, *, token):
    """Need everything."""


def test_that_a_secret_is_missing_or_given_twice_is_said():
    definition = of(f_missing, "user", "password", "token")
    assert [fault["msg"] for fault in faults(definition)] == [
        "Missing required positional only argument '0'",
        "Missing required argument 'password'",
        "Missing required keyword only argument 'token'",
    ]
    (twice,) = faults(definition, 1, 2, password=3, token=4)
    assert twice["msg"] == "Got multiple values for argument 'password'"


# -- the schema --------------------------------------------------------------

MARKS = {"writeOnly": True, "format": "password"}


def test_a_secret_parameter_is_marked_in_the_schema_and_its_default_is_not_in_it():
    def f(user: str = "ada", password: Annotated[str, Field(examples=["hunter2"])] = "hunter1"):
        """Have a default."""

    schema = of(f, "password").signature.parameters_schema()
    assert schema["properties"] == {
        "user": {"default": "ada", "title": "User", "type": "string"},
        "password": {"title": "Password", "type": "string", **MARKS},
    }


def test_the_values_that_a_secret_may_have_are_not_in_the_schema():
    def f(pin: Literal["4711"], level: Literal["a", "b"]):
        """Take one of few."""

    schema = of(f, "pin", "level").signature.parameters_schema()
    assert "4711" not in str(schema)
    assert "enum" not in schema["properties"]["level"]


def test_a_secret_that_is_marked_by_its_other_name():
    def f(password: Annotated[str, Field(alias="pw")] = "hunter1"):
        """Have another name."""

    assert of(f, "password").signature.parameters_schema()["properties"]["pw"]["writeOnly"]


def test_secret_positions_are_marked():
    def f(user: str, password: str = "hunter1", /, *codes: int):
        """Take positions only."""

    schema = of(f, "password", "codes").signature.parameters_schema()
    assert [set(MARKS) <= set(item) for item in schema["prefixItems"]] == [False, True]
    assert "default" not in schema["prefixItems"][1]
    assert schema["items"] == {"type": "integer", **MARKS}


def test_secret_keywords_are_marked():
    def f(user: str, **more: int):
        """Take any keyword."""

    assert of(f, "more").signature.parameters_schema()["additionalProperties"] == {"type": "integer", **MARKS}

    def g(**more):
        """Take anything."""

    assert of(g, "more").signature.parameters_schema()["additionalProperties"] == MARKS

    def h(*codes):
        """Take anything without a name."""

    assert of(h, "codes").signature.parameters_schema()["items"] == MARKS


def test_a_signature_without_a_schema_has_none_with_secrets_either():
    assert of(with_rest, "user").signature.parameters_schema() == {}


@pytest.mark.parametrize("name", ["user", "password"])
@pytest.mark.parametrize("by_name", [True, False])
def test_no_value_of_a_secret_is_in_anything_that_is_told(name, by_name):
    def f(user: int, password: int):
        """Take two numbers."""

    call = {"user": "1", "password": "2", name: "hunter2"}
    args, kwargs = ([], call) if by_name else (call.values(), {})
    found = faults(of(f, "user", "password"), *args, **kwargs)
    assert "hunter2" not in str(found) + of(f, "user", "password").shown(args, kwargs)
