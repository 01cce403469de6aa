"""All commands but `serve`, put together; and what becomes of their errors.

Whatever a user can cause ends as one line on stderr that says what to do.
"""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import httpx
import typer
from pydantic.fields import FieldInfo

from app.cli import catalog, ends, following, jobs, serve, submit
from app.cli.desk import Command, at_desk
from app.cli.doctor import doctor
from app.cli.ends import StopError
from app.cli.screen import plain
from app.client import (
    BusyError,
    ClientError,
    InvalidRequestError,
    JobNotFoundError,
    NotFoundError,
    ServiceUnreachableError,
    UnauthorizedError,
)
from app.config import ConfigError, Settings
from app.jobs.model import Outcome

COMMANDS: Sequence[tuple[str, Command]] = (
    ("submit", submit.submit),
    ("watch", following.watch),
    ("list", jobs.list_),
    ("show", jobs.show),
    ("logs", following.logs),
    ("cancel", jobs.cancel),
    ("retry", jobs.retry),
    ("tasks", catalog.tasks),
    ("queues", catalog.queues),
    ("pause", catalog.pause),
    ("resume", catalog.resume),
    ("doctor", doctor),
)

CODES = "\n".join(["Exit codes:", *(f"{code:>5}  {meaning}" for code, meaning in ends.TABLE)])


def main(arguments: Sequence[str]) -> int:
    """Run a command and return the exit code."""
    try:
        _require_text(arguments)
        code = typer.main.get_command(program())(list(arguments), prog_name="errand", standalone_mode=False)
    except StopError as exc:
        return _say(str(exc), exc.code)
    except (ClientError, ConfigError) as exc:
        return _say(*_told(exc))
    except (UnicodeError, httpx.InvalidURL) as exc:
        # Of a host's name: whatever else is sent has been looked at.
        return _say(f"ERRAND_URL: there is no such host ({exc})", ends.USAGE)
    except typer.TyperException as exc:
        return _say(_usage(exc), ends.USAGE)
    except typer.Abort:
        return ends.INTERRUPTED
    return code or ends.FINE


def _require_text(arguments: Sequence[str]) -> None:
    """Raise StopError for bytes that are no text: nothing of it could be sent, nor shown."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise StopError(f"argument {number} is not UTF-8 text") from None


def program() -> typer.Typer:
    """Return the commands."""
    found = typer.Typer(
        help="Hand in work over HTTP, get a future back.",
        epilog=CODES,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    found.callback(invoke_without_command=True)(_alone)
    found.command("serve", short_help="Run the service.", add_help_option=False)(_serve())
    for name, command in COMMANDS:
        found.command(name)(at_desk(command))
    return found


def _alone(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if show_version:
        print(f"errand {_version()}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help(), end="")
        raise typer.Exit(ends.USAGE)


def _version() -> str:
    try:
        return version("errand-jobs")
    except PackageNotFoundError:
        return "from a checkout that is not installed"


def _serve() -> Callable[..., int]:
    """Return a stand-in for `serve`, which is run without typer: for the help, and for completion."""

    def run(**given: Any) -> int:
        written = {f"--{name.replace('_', '-')}": value for name, value in given.items() if value is not None}
        return serve.main([flag if value is True else f"{flag}={value}" for flag, value in written.items()])

    run.__signature__ = inspect.Signature([_flag(*item) for item in Settings.model_fields.items()])  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    option = typer.Option(f"--{name.replace('_', '-')}", metavar="VALUE", help=field.description)
    # Without a value where `serve` takes none.
    value = bool | None if field.annotation is bool else str | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[value, option]
    )


def _say(message: str, code: int) -> int:
    if message:
        print(f"errand: {plain(message)}", file=sys.stderr)
    return code


def _usage(exc: Any) -> str:
    """Return what is wrong with the command line, and where more about it is."""
    context = getattr(exc, "ctx", None)
    path = context.command_path if context is not None else "errand"
    said = " ".join(exc.format_message().split()).rstrip(".").replace("Value error, ", "")
    if "'--state'" in said and any(f"'{outcome}' is not" in said for outcome in Outcome):
        # What a job's status is called here.
        said += "; how it ended is its --outcome"
    hint = ""
    if "No such option" in said and "submit" in path:
        hint = " (arguments that begin with a dash come after --)"
    elif path == "errand" and re.search("No such option: --(url|json|api-key-file)", said):
        hint = " (it comes behind the command's name)"
    return f"{said}{hint}{' See' if said.endswith('?') else '; see'} {path} --help"


def _told(exc: ClientError | ConfigError) -> tuple[str, int]:
    """Return what to say of an error, and the exit code."""
    if isinstance(exc, ConfigError):
        return "; ".join(str(exc).splitlines()), ends.USAGE
    code = {ServiceUnreachableError: ends.UNREACHABLE, InvalidRequestError: ends.USAGE}
    found = (number for kind, number in code.items() if isinstance(exc, kind))
    return f"{exc}{_advice(exc)}", next(found, ends.REFUSED)


def _advice(exc: ClientError) -> str:
    match exc:
        case ServiceUnreachableError():
            return "; start it with `errand serve`, or say where it is by --url or ERRAND_URL"
        case UnauthorizedError(status=401):
            return "; put the key into ERRAND_API_KEY, or into a file for --api-key-file"
        case NotFoundError(kind="not-found"):
            return "; is the address right that ERRAND_URL or --url has?"
        case JobNotFoundError():
            return "; `errand list` shows those there are"
        case BusyError(retry_after=float(seconds)):
            return f"; try again in {seconds:g} s"
        case _:
            return ""
