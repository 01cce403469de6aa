"""Secret arguments: which they are, however they are passed, and how a call is shown without them."""

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import Parameter
from typing import Any, get_args

from pydantic_core.core_schema import ErrorType

from app.jobs.errors import Fault

MASK = "***"
"""What is shown in place of a secret argument."""

NOT_SHOWN = "the value does not fit; it is secret, so nothing more is said of it"

_KNOWN = frozenset(get_args(ErrorType))
_NO_DETAIL = {
    "missing_argument": "Missing required argument",
    "missing_keyword_only_argument": "Missing required keyword only argument",
    "missing_positional_only_argument": "Missing required positional only argument",
    "multiple_argument_values": "Got multiple values for argument",
}
"""What can be said without saying anything of a value, by the fault's type."""


def names_in(secret: Any) -> Any:
    """Return the names as a tuple; what cannot hold names as it is, for `fault_in_names` to tell."""
    return secret if isinstance(secret, str) or not isinstance(secret, Iterable) else tuple(secret)


def fault_in_names(secret: object, parameters: Mapping[str, Parameter]) -> str | None:
    """Return what is wrong with the names of the secret parameters; None when nothing is."""
    if isinstance(secret, str):
        return f"secret names several parameters: write secret=({secret!r},), with the comma"
    if not isinstance(secret, tuple) or not all(isinstance(name, str) for name in secret):
        return f"secret names parameters, as in secret=('password',), not {secret!r}"
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    for name in secret:
        if name not in parameters:
            return f"secret names {name!r}, which is no parameter of the function"
    return None


class Secrets:
    """The secret arguments of a function's calls.

    core_schema: pydantic's, of the function; it knows under which other names an argument
    may be passed.
    """

    def __init__(self, fn: Callable[..., Any], names: Iterable[str], core_schema: Mapping[str, Any]) -> None:
        parameters = inspect.signature(fn).parameters.values()
        named = frozenset(names)
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._positions = [p.name in named for p in positional]
        self._rest = any(p.name in named for p in parameters if p.kind is p.VAR_POSITIONAL)
        self._names = named.union(*(keys for name, keys in _aliases(core_schema) if name in named))
        self._all_but: set[str] | None = None
        """The only keywords that are not secret, if those that `**kwargs` takes are; None if not all are."""
        if any(p.name in named for p in parameters if p.kind is p.VAR_KEYWORD):
            own = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
            self._all_but = own.union(*(keys for name, keys in _aliases(core_schema) if name in own))

    def hides(self, place: int | str) -> bool:
        """Tell whether what is passed there, at a position or under a name, is secret."""
        if isinstance(place, int):
            return self._positions[place] if place < len(self._positions) else self._rest
        return place in self._names or (self._all_but is not None and place not in self._all_but)

    def masked(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
        """Return a call as JSON text, as arguments are stored, with each secret masked as a whole."""
        call = {
            "args": [MASK if self.hides(place) else value for place, value in enumerate(args)],
            "kwargs": {name: MASK if self.hides(name) else value for name, value in kwargs.items()},
        }
        return json.dumps(call, ensure_ascii=False, separators=(",", ":"))

    def tell(self, faults: Iterable[Fault]) -> list[Fault]:
        """Return the faults without what they say of secret values: text, and places within."""
        told = [self._told(fault) for fault in faults]
        # Of several within one secret nobody can tell one from the other.
        return [fault for number, fault in enumerate(told) if fault not in told[:number]]

    def _told(self, fault: Fault) -> Fault:
        root, place = fault["loc"][:2]
        if not self.hides(place):
            return fault
        # A type that the user has made up may have anything in it, and so may a text of the user's.
        kind = fault["type"] if fault["type"] in _KNOWN else "value_error"
        message = f"{_NO_DETAIL[kind]} {str(place)!r}" if kind in _NO_DETAIL else NOT_SHOWN
        return Fault(loc=[root, place], msg=message, type=kind)

    def mark(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a JSON Schema of the parameters in which the secret ones are marked, without defaults."""
        marked = dict(schema)
        if "prefixItems" in schema:
            marked["prefixItems"] = [
                self._marked(place, value) for place, value in enumerate(schema["prefixItems"])
            ]
        if "properties" in schema:
            marked["properties"] = {
                name: self._marked(name, value) for name, value in schema["properties"].items()
            }
        # Absent where anything goes. A signature that makes no schema has no type either.
        if schema.get("type") == "array" and self._rest:
            marked["items"] = _secret(schema.get("items", {}))
        if schema.get("type") == "object" and self._all_but is not None:
            marked["additionalProperties"] = _secret(schema.get("additionalProperties", {}))
        return marked

    def _marked(self, place: int | str, schema: dict[str, Any]) -> dict[str, Any]:
        return _secret(schema) if self.hides(place) else schema


VALUES = {"default", "examples", "const", "enum"}
"""What a JSON Schema may tell of a value itself."""


def _secret(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key not in VALUES}
    return {**kept, "writeOnly": True, "format": "password"}


def _aliases(core_schema: Mapping[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """Yield the keywords under which each parameter may be passed, besides its own name."""
    known = {schema["ref"]: schema for schema in core_schema.get("definitions", ())}
    call = core_schema if "arguments_schema" in core_schema else core_schema["schema"]
    arguments = call["arguments_schema"]
    for argument in arguments["arguments_schema"]:
        yield argument["name"], _first_keys(argument.get("alias"))
    rest = arguments.get("var_kwargs_schema", {})
    # The fields of an unpacked TypedDict.
    for name, field in known.get(rest.get("schema_ref"), rest).get("fields", {}).items():
        yield name, _first_keys(field.get("validation_alias"))


def _first_keys(alias: Any) -> set[str]:
    """Return the arguments that an alias leads to: a name, the path to it, or several paths."""
    if not alias:
        return set()
    if isinstance(alias, str):
        return {alias}
    paths = alias if isinstance(alias[0], list) else [alias]
    return {str(path[0]) for path in paths}
