"""What a task takes, read from its JSON Schema: the types of its arguments, and a line like its signature."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from app.cli.ends import StopError

Schema = Mapping[str, Any]

NAMES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
    "array": "list",
    "object": "dict",
}
"""Python's names for the types of JSON."""

JSON_TYPES: Mapping[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
}
"""JSON's names for what a parser makes of it; what is left is an object."""

FORMATS = {"password": "secret", "date-time": "datetime"}
"""What formats of strings are called here; others by their own name."""

EXAMPLES = {
    "integer": "3",
    "number": "1.5",
    "boolean": "true",
    "array": "[1, 2]",
    "object": '{"a": 1}',
    "null": "null",
}
"""What one might write for each."""

SHOWN = 40
"""Characters of an argument that an error shows."""

DEEPEST = 10
"""References that are followed: a schema may refer to itself."""


class Parameter(NamedTuple):
    """A parameter of a task. name: may be a guess where the schema has only titles."""

    name: str
    schema: Schema
    required: bool


class Parameters:
    """What a task takes.

    named: those that `name=value` can give. positional: those that values alone can give, in their
    order; then come any number like `rest`, if that is not None. free: what other names take, or None.
    """

    def __init__(self, schema: Schema) -> None:
        self._definitions = schema.get("$defs", {})
        self.named: dict[str, Parameter] = {}
        self.rest: Schema | None = None
        self.free: Schema | None = None
        required = schema.get("required", ())
        for name, own in schema.get("properties", {}).items():
            self.named[name] = Parameter(name, own, name in required)
        self.positional = list(self.named.values())
        if schema.get("type") == "array":
            self._read_array(schema)
        elif not schema:
            # A signature for which there is no schema: the service checks it all the same.
            self.rest = {}
        elif isinstance(schema.get("additionalProperties"), dict):
            self.free = schema["additionalProperties"]

    def _read_array(self, schema: Schema) -> None:
        least = schema.get("minItems", 0)
        for index, own in enumerate(schema.get("prefixItems", ())):
            name = str(own.get("title", f"argument {index + 1}")).lower().replace(" ", "_")
            self.positional.append(Parameter(name, own, index < least))
        rest = schema.get("items")
        self.rest = rest if isinstance(rest, dict) else None

    # -- a call

    def read(self, words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments that words of a command line stand for: positional ones, and those by name.

        Raises StopError, which names the parameter.
        """
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for written in words:
            name, equals, text = written.partition("=")
            schema = self._by_name(name) if equals else None
            if schema is None:
                if equals and name.isidentifier() and not self._takes_text(len(args)):
                    known = ", ".join(self.named) or "none by name"
                    raise StopError(f"there is no parameter {shorten(name)}; it takes {known}")
                args.append(self._positional(len(args), written))
            elif name in kwargs:
                raise StopError(f"{name} is given twice")
            else:
                kwargs[name] = self._value(name, schema, text)
        return args, kwargs

    def _by_name(self, name: str) -> Schema | None:
        if name in self.named:
            return self.named[name].schema
        return self.free if name.isidentifier() else None

    def _takes_text(self, index: int) -> bool:
        """Tell whether the next positional argument may be any text, one with `=` in it too."""
        schema = self.positional[index].schema if index < len(self.positional) else self.rest or {}
        types = set(self._types(schema))
        return not types or "string" in types

    def _positional(self, index: int, text: str) -> Any:
        if index < len(self.positional):
            parameter = self.positional[index]
            return self._value(parameter.name, parameter.schema, text)
        # What is surplus the service refuses, and says so better.
        return self._value(f"argument {index + 1}", self.rest or {}, text)

    def _value(self, name: str, schema: Schema, text: str) -> Any:
        types = set(self._types(schema))
        if "string" in types:
            return text
        try:
            return parse(text)
        except ValueError:
            if not types:
                # Anything goes, so text does.
                return text
        wanted = " or ".join(sorted(NAMES.get(kind, kind) for kind in types))
        example = next((EXAMPLES[kind] for kind in EXAMPLES if kind in types), "null")
        raise StopError(f"{name} takes {wanted}, written as JSON like {example}; {shorten(text)} is no JSON")

    def _types(self, schema: Schema, depth: int = 0) -> Iterator[str]:
        """Yield the types of JSON that a schema names; none when it allows any."""
        schema = self._resolved(schema)
        if isinstance(kind := schema.get("type"), str):
            yield kind
        for value in schema.get("enum", [schema["const"]] if "const" in schema else []):
            yield type_of(value)
        for choices in ("anyOf", "oneOf", "allOf"):
            for choice in schema.get(choices, ()):
                if depth < DEEPEST:
                    yield from self._types(choice, depth + 1)

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(DEEPEST):
            if "$ref" not in schema:
                break
            schema = self._definitions.get(str(schema["$ref"]).rpartition("/")[2], {})
        return schema

    # -- a line for people

    def __str__(self) -> str:
        parts = [_shown(parameter) for parameter in self.positional]
        if self.rest is not None:
            parts.append(f"*args{_annotation(self.rest)}")
        if self.free is not None or (self.rest == {} and not self.positional):
            parts.append(f"**kwargs{_annotation(self.free or {})}")
        return f"({', '.join(parts)})"


def signature(name: str, parameters: Schema, result: Schema) -> str:
    """Return a line like Python's: `add(a: int, b: int = 1) -> int`."""
    returned = kind_of(result)
    return f"{name}{Parameters(parameters)}{f' -> {returned}' if returned else ''}"


def kind_of(schema: Schema) -> str:
    """Return Python's name for what a schema allows; empty when that is anything."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for choices in ("anyOf", "oneOf"):
        if choices in schema:
            return " | ".join(dict.fromkeys(kind_of(choice) or "Any" for choice in schema[choices]))
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    return _named(schema)


def _named(schema: Schema) -> str:
    kind = schema.get("type", "")
    if kind == "array" and isinstance(items := schema.get("items"), dict):
        return f"list[{kind_of(items) or 'Any'}]"
    if kind == "object" and isinstance(values := schema.get("additionalProperties"), dict):
        return f"dict[str, {kind_of(values) or 'Any'}]"
    if kind == "string" and "format" in schema:
        return FORMATS.get(str(schema["format"]), str(schema["format"]))
    return NAMES.get(str(kind), str(kind))


def _shown(parameter: Parameter) -> str:
    annotation = _annotation(parameter.schema)
    if parameter.required:
        return f"{parameter.name}{annotation}"
    if "default" not in parameter.schema:
        return f"{parameter.name}{annotation} = …"
    default = json.dumps(parameter.schema["default"], ensure_ascii=False)
    python = {"null": "None", "true": "True", "false": "False"}.get(default, default)
    return f"{parameter.name}{annotation} = {python}" if annotation else f"{parameter.name}={python}"


def _annotation(schema: Schema) -> str:
    kind = kind_of(schema)
    return f": {kind}" if kind else ""


# -- JSON, as the service takes it -------------------------------------------------


def parse(text: str) -> Any:
    """Parse JSON. Raises ValueError, for NaN and infinity too."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def type_of(value: object) -> str:
    """Return the type that JSON Schema has for a value."""
    return JSON_TYPES.get(type(value), "object")


def shorten(text: str) -> str:
    """Return text in quotes, and not all of it if it is long."""
    line = re.sub(r"\s+", " ", text)
    return repr(line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…")
