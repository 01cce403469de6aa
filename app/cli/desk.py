"""What every command has: the service that it calls, and how it is to answer."""

import inspect
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from pydantic import BaseModel

from app.cli.ends import FINE
from app.cli.screen import Screen, compact, plain, pretty, unread
from app.client import Client
from app.config import CallerSettings, load_caller_settings

PANEL = "The service, and the form of the answer"

PATIENCE = 30.0
"""Seconds that a service gets to come back which was there before: as long as it may take to restart."""


@dataclass(frozen=True)
class Common:
    """The options that every command has."""

    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            show_default=False,
            rich_help_panel=PANEL,
            help="Where the service is; also ERRAND_URL. Otherwise http://127.0.0.1:8000.",
        ),
    ] = None
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            metavar="FILE",
            show_default=False,
            rich_help_panel=PANEL,
            help="A file with the API key alone; also ERRAND_API_KEY_FILE. Or ERRAND_API_KEY with the key.",
        ),
    ] = None
    as_json: Annotated[
        bool,
        typer.Option("--json", rich_help_panel=PANEL, help="Answer in JSON on a terminal too, as to a pipe."),
    ] = False

    def desk(self) -> "Desk":
        """Return what a command works with. Raises ConfigError."""
        given = {"url": self.url, "api_key_file": self.api_key_file}
        settings = load_caller_settings(**{name: value for name, value in given.items() if value is not None})
        return Desk(settings, as_json=self.as_json)


class Desk:
    """The service that a command calls, and where its answer goes.

    as_json: answer in JSON, one value a line; otherwise for people.
    """

    def __init__(self, settings: CallerSettings, *, as_json: bool) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What a terminal of another encoding cannot show is written as an escape.
            sys.stdout.reconfigure(errors="backslashreplace")
        self.settings = settings
        self.as_json = as_json or not sys.stdout.isatty()
        self.wants_json = as_json
        self.out = Screen(sys.stdout)
        self.err = Screen(sys.stderr)

    @cached_property
    def client(self) -> Client:
        """The service. Raises ConfigError when the key cannot be read."""
        key = self.settings.key
        secret = None if key is None else key.get_secret_value()
        # Whoever sits before a terminal is to be told at once that no service runs.
        return Client(self.settings.url, api_key=secret, patience=0)

    def persist(self) -> None:
        """From now on give the service, which has answered, some time to restart, or to have room again."""
        self.client.patience = PATIENCE

    def close(self) -> None:
        """Close the connections, if any were made."""
        if "client" in self.__dict__:
            self.client.close()

    # -- answers: to stdout

    def write(self, line: str) -> None:
        """Print a line as it is."""
        print(line, flush=True)

    def data(self, value: Any) -> None:
        """Print a value: as JSON on one line, or indented and coloured."""
        if self.as_json:
            self.write(compact(dumped(value)))
        else:
            self.out.print(pretty(dumped(value), self.out.width), soft_wrap=True)

    def each(self, values: Iterable[Any]) -> None:
        """Print JSON, a value a line."""
        # Written together: there may be a million.
        sys.stdout.writelines(f"{compact(dumped(value))}\n" for value in values)
        sys.stdout.flush()

    # -- remarks: to stderr, so that they are no part of the answer

    def remark(self, text: str) -> None:
        """Say something beside the answer."""
        print(plain(text), file=sys.stderr, flush=True)


def dumped(value: Any) -> Any:
    """Return a value of the client's as what JSON has; what the service did not say is left out."""
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value


Command = Callable[..., int | None]
"""What a command is: it takes a Desk and its own options, and returns the exit code; None for 0."""


def at_desk(fn: Command) -> Callable[..., int]:
    """Return a command as typer takes it: with the options of Common, which make its Desk.

    A parameter that is annotated with a dataclass stands for the fields of that.
    """
    parameters = inspect.signature(fn, eval_str=True).parameters
    groups = {name: found.annotation for name, found in parameters.items() if is_dataclass(found.annotation)}

    def run(**options: Any) -> int:
        for name, group in groups.items():
            options[name] = _gathered(group, options)
        with closing(_gathered(Common, options).desk()) as desk:
            try:
                return fn(desk, **options) or FINE
            except BrokenPipeError:
                raise unread() from None

    spread = [*_spread(list(parameters.values())[1:]), *_fields(Common)]
    # typer reads both.
    run.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    run.__name__, run.__doc__, run.__module__ = fn.__name__, _flowing(inspect.getdoc(fn) or ""), fn.__module__
    return run


def _flowing(text: str) -> str:
    """Return paragraphs without the line breaks within: a terminal is as wide as it is."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _gathered(group: Any, options: dict[str, Any]) -> Any:
    """Make a dataclass of the options that it stands for, and take them out."""
    return group(**{field.name: options.pop(field.name) for field in fields(group)})


def _spread(parameters: Iterable[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    for parameter in parameters:
        if is_dataclass(parameter.annotation):
            yield from _fields(parameter.annotation)
        else:
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _fields(group: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, annotation=hints[field.name], default=field.default
        )
