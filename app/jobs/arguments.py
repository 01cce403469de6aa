"""A task's signature: checks arguments before they are stored, coerces them where they run.

A call is checked by pydantic's own reading of the function's signature, in lax mode:
`"1"` passes for an int. What is not annotated takes any JSON.
"""

import inspect
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum, EnumType
from typing import Any, NamedTuple, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs, CoreSchema, ErrorDetails, SchemaValidator

from app.core.errors import text_of
from app.jobs.errors import Fault, InvalidArgumentsError
from app.jobs.masking import Secrets
from app.jobs.model import NO_ARGUMENTS
from app.jobs.outcome import storable

JsonSchema = dict[str, Any]

_HOOKS = ("custom_init", "default_factory", "post_init")
"""Where else than in a function schema pydantic calls what the user wrote; falsy where it does not."""


MAX_FAULTS = 100
"""Faults that are named of one call: a long list of wrong items has one each."""


class Call(NamedTuple):
    """Positional and keyword arguments."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Signature:
    """What a function takes and returns.

    secret: the names of parameters whose values nobody shall see. Raises whatever pydantic
    or the annotations raise when they make no schema.
    """

    def __init__(self, fn: Callable[..., Any], secret: Collection[str] = ()) -> None:
        # pydantic takes a function for a type, which the type system cannot say.
        self._adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", _capture(fn)))
        self._fn = fn
        arguments = _without_call(self._adapter.core_schema)
        self._validate = SchemaValidator(arguments).validate_python
        self.runs_user_code = _has_functions(arguments)
        """Whether a check may run validators that the user wrote, which may take their time."""
        self.secrets = Secrets(fn, secret, self._adapter.core_schema) if secret else None
        """None when nothing is secret."""

    def takes(self, args: Iterable[Any], kwargs: dict[str, Any]) -> bool:
        """Tell whether `check` finds nothing wrong, in half its time. Not for one that runs user code."""
        try:
            self._validate(ArgsKwargs(tuple(args), kwargs))
        except Exception:  # noqa: BLE001  (what is wrong, `check` says)
            return False
        return True

    def check(self, args: Iterable[Any], kwargs: dict[str, Any]) -> Call:
        """Return the coerced call. Raises InvalidArgumentsError with a fault for each place."""
        try:
            return Call._make(self._validate(ArgsKwargs(tuple(args), kwargs)))
        except ValidationError as exc:
            details = exc.errors(include_url=False, include_context=False, include_input=False)[:MAX_FAULTS]
            faults = [_fault(detail) for detail in details]
            raise InvalidArgumentsError(self.secrets.tell(faults) if self.secrets else faults) from None
        except Exception as exc:
            # A validator of the user's own fell over what it was given: that is the caller's to know.
            message = f"the check failed with {type(exc).__name__}"
            if self.secrets:
                # What it was given may be in the text, and in the traceback.
                raise InvalidArgumentsError([Fault(loc=[], msg=message, type="check_failed")]) from None
            message = storable(f"{message}: {text_of(exc)}")
            raise InvalidArgumentsError([Fault(loc=[], msg=message, type="check_failed")]) from exc

    def coerce(self, arguments: str) -> Call:
        """Return the coerced call of stored arguments. Raises as `check`."""
        if arguments == NO_ARGUMENTS:
            return self.check((), {})
        call = json.loads(arguments)
        return self.check(call["args"], call["kwargs"])

    def parameters_schema(self) -> JsonSchema:
        """Return the JSON Schema of the parameters; `{}` when there is none for such a signature."""
        try:
            schema = self._adapter.json_schema()
            return self.secrets.mark(schema) if self.secrets else schema
        except Exception:  # noqa: BLE001  (types bring schema code of their own; the call is checked all the same)
            return {}

    def result_schema(self) -> JsonSchema:
        """Return the JSON Schema of the result; `{}` (anything) when it is not annotated."""
        annotation = inspect.signature(self._fn, eval_str=True).return_annotation
        if annotation is inspect.Signature.empty or inspect.isgeneratorfunction(self._fn):
            return {}
        try:
            return TypeAdapter(annotation).json_schema(mode="serialization")
        except Exception:  # noqa: BLE001  (a result is never checked against it, so any other type will do)
            return {}


def _without_call(schema: CoreSchema) -> CoreSchema:
    """Return the schema of the arguments alone, out of that of a function's call.

    Nothing is to be called with what they are coerced to, and it would take several times as long.
    """
    inner: Any = schema
    if inner["type"] == "definitions":
        return cast("CoreSchema", {**inner, "schema": _without_call(inner["schema"])})
    return cast("CoreSchema", inner["arguments_schema"])


def _has_functions(schema: object) -> bool:
    """Tell whether a core schema calls Python functions."""
    if isinstance(schema, Mapping):
        return _calls_function(schema) or any(map(_has_functions, schema.values()))
    return isinstance(schema, (list, tuple)) and any(map(_has_functions, schema))


def _calls_function(schema: Mapping[str, Any]) -> bool:
    """Tell it of one node, without those below."""
    kind = str(schema.get("type", ""))
    hooked = any(map(schema.get, _HOOKS)) or callable(schema.get("discriminator"))
    return kind == "call" or kind.startswith("function-") or hooked or _has_own_class(kind, schema)


def _has_own_class(kind: str, schema: Mapping[str, Any]) -> bool:
    """Tell whether the class of a node has code of its own for what is asked of it.

    Not whether the values in it have: an `__eq__` of a default, or of what a `Literal` names.
    """
    cls: Any = schema.get("cls")
    match kind:
        case "enum":
            forgives = getattr(cls._missing_, "__func__", None) is not _NONE_MISSING
            return forgives or type(cls) is not EnumType
        case "named-tuple":
            # What derives from one may make it otherwise.
            return cls.__base__ is not tuple
        case "model" | "dataclass":
            return cls.__new__ is not object.__new__
        case "is-instance" | "is-subclass":
            return type(cls) is not type
    return False


_NONE_MISSING = Enum.__dict__["_missing_"].__func__
"""How an enum looks for a value that none of its members has, unless it says otherwise."""


def _capture(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return a stand-in with the function's signature, for pydantic to read; nobody calls it."""

    def capture(*_: Any, **__: Any) -> None: ...

    signature = inspect.signature(fn, eval_str=True)
    capture.__signature__ = signature.replace(return_annotation=inspect.Signature.empty)  # type: ignore[attr-defined]
    capture.__annotations__ = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if parameter.annotation is not inspect.Parameter.empty
    }
    capture.__module__, capture.__name__ = fn.__module__, fn.__name__
    return capture


def _fault(detail: ErrorDetails) -> Fault:
    place = list(detail["loc"])
    root = "args" if isinstance(place[0], int) else "kwargs"
    # An argument, as opposed to a field within one.
    missing = detail["type"].startswith("missing_")
    message = f"{detail['msg']} {str(place[0])!r}" if missing else detail["msg"]
    return Fault(loc=[root, *place], msg=message, type=detail["type"])
