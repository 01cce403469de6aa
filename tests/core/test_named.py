import math
from functools import partial

import pytest

from app.core import FutureCancelledError, FutureTimeoutError, QueueUnavailableError, RemoteError, named
from app.core.executor import run_call
from app.core.named import Lost, Raised, exception_of, name_of, raised, to_json
from tests.core.executor_contract import add


class Shelf:
    @staticmethod
    def count():
        pass

    @classmethod
    def make(cls):
        pass

    def add(self):
        pass

    def __call__(self):
        pass


def shadowed():
    pass


SHADOWED, shadowed = shadowed, add


def closure():
    def inner():
        pass

    return inner


def homeless():
    pass


homeless.__module__ = "no.such.module"


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (add, "tests.core.executor_contract:add"),
        (Shelf.count, "tests.core.test_named:Shelf.count"),
        (divmod, "builtins:divmod"),
        (int, "builtins:int"),
    ],
)
def test_a_function_is_called_by_its_module_and_its_name_there(fn, name):
    assert name_of(fn) == name


@pytest.mark.parametrize(
    ("fn", "what"),
    [
        (lambda: None, r"function <lambda>"),
        (closure(), r"function closure\.<locals>\.inner"),
        (partial(add, 1), "partial"),
        (Shelf().add, r"method Shelf\.add"),
        (Shelf.make, r"method Shelf\.make"),
        (Shelf(), "Shelf"),
        ([].append, r"builtin_function_or_method list\.append"),
        (SHADOWED, "function shadowed"),
        (homeless, "function homeless"),
        (None, "NoneType"),
    ],
)
def test_what_its_module_does_not_have_by_its_name_is_refused(fn, what):
    with pytest.raises(
        TypeError,
        match=f"^only a function that its module has by its name can be put on a queue, not {what}$",
    ):
        name_of(fn)


def test_json_is_compact_and_a_tuple_a_list():
    assert to_json({"a": (1, [None, True]), "b": "ü"}, "it") == '{"a":[1,[null,true]],"b":"\\u00fc"}'


def cycle():
    value = []
    value.append(value)
    return value


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "error", "why"),
    [
        ({1, 2}, TypeError, "Object of type set is not JSON serializable"),
        (b"x", TypeError, "Object of type bytes is not JSON serializable"),
        ({(1,): 2}, TypeError, "keys must be"),
        ([{"a": ({1: 2},)}], TypeError, "a dict has a key of type int"),
        ({None: 1}, TypeError, "a dict has a key of type NoneType"),
        ({True: 1}, TypeError, "a dict has a key of type bool"),
        ([math.nan], ValueError, "Out of range float values are not JSON compliant"),
        (-math.inf, ValueError, "Out of range float values are not JSON compliant"),
        (cycle(), ValueError, "Circular reference detected"),
        (deep(), ValueError, "recursion"),
    ],
    ids=["set", "bytes", "tuple key", "int key", "None key", "bool key", "nan", "inf", "cycle", "deep"],
)
def test_what_is_no_json_is_refused(value, error, why):
    with pytest.raises(error, match=f"^the thing cannot be JSON: .*{why}"):
        to_json(value, "the thing")


class ShelfError(ValueError):
    pass


Impostor = type("KeyError", (Exception,), {"__module__": "shelf"})


def throw(exception):
    raise exception


def travel(exception):
    future = named.Future()
    run_call(future, throw, (exception,), {})
    return exception_of(raised(future.exception()))


@pytest.mark.parametrize(
    "exception",
    [
        ValueError("broken"),
        KeyError(),
        OSError("no disk"),
        FutureCancelledError(),
        FutureTimeoutError("late"),
    ],
    ids=repr,
)
def test_a_builtin_exception_comes_back_as_itself_with_the_remote_one_as_its_cause(exception):
    arrived = travel(exception)
    assert type(arrived) is type(exception)
    assert arrived.args == exception.args
    assert isinstance(arrived.__cause__, RemoteError)
    assert arrived.__cause__.type == type(exception).__name__
    assert arrived.__cause__.message == str(exception)
    assert "in throw" in arrived.__cause__.traceback


@pytest.mark.parametrize(
    ("exception", "name"),
    [
        (ShelfError("x"), "ShelfError"),
        (Impostor("x"), "shelf.KeyError"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), "UnicodeDecodeError"),
        (ExceptionGroup("x", [ValueError()]), "ExceptionGroup"),
        (SystemExit("x"), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
    ids=repr,
)
def test_any_other_exception_comes_back_as_a_remote_error(exception, name):
    arrived = travel(exception)
    assert type(arrived) is RemoteError
    assert arrived.type == name
    assert arrived.message == str(exception)
    assert str(arrived) == (f"{name}: {exception}" if str(exception) else name)


@pytest.mark.parametrize("name", ["print", "len", "object", "__name__", ""])
def test_text_that_names_no_exception_is_a_remote_error(name):
    assert type(exception_of(Raised(name, "x"))) is RemoteError


def test_a_call_that_is_lost_is_an_error_of_the_queue():
    error = exception_of(Lost("closed"))
    assert type(error) is QueueUnavailableError
    assert str(error) == "closed"


def test_the_ending_of_a_call_is_text():
    done = named.Future()
    done.set_result((1, 2))
    assert named.ending_of(done) == named.Returned("[1,2]")
    done = named.Future()
    done.set_result(object())
    assert named.ending_of(done)[:2] == (
        "TypeError",
        "the result cannot be JSON: Object of type object is not JSON serializable",
    )
    cancelled = named.Future()
    cancelled.cancel()
    assert type(named.ending_of(cancelled)) is named.Stopped
