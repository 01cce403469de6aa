"""How things look: JSON for programs, colours and tables for people.

What a job holds is anybody's: a name, a message or a result may hold control characters, which a
terminal obeys, and rich's markup. So nothing of it is printed but as JSON or through `plain`, and
no console here reads markup.
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn, TextIO

from rich import box
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.table import Table
from rich.text import Text

from app.cli.ends import BROKEN_PIPE, StopError

STYLES = {
    "pending": "yellow",
    "running": "cyan",
    "stopping": "magenta",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "ok": "green",
    "warning": "yellow",
    "error": "red",
}
"""Colours of states, outcomes and findings."""

_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What a terminal obeys or does not show: controls, changes of direction, halves of surrogate pairs."""

UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
"""Seconds of each unit, the largest first."""


class Screen(Console):
    """A console that takes text as it is, and ends the command when nobody reads any more."""

    def __init__(self, file: TextIO) -> None:
        super().__init__(file=file, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """End the command. Raises StopError."""
        raise unread()


def unread() -> StopError:
    """Return what ends the command when nobody reads its output any more.

    What is still to be written goes nowhere: at the interpreter's end it would be tried once more.
    """
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return StopError(code=BROKEN_PIPE)


class Column(NamedTuple):
    """A column of a table. whole: it is never shortened. width: what the terminal must have for it."""

    title: str
    whole: bool = False
    right: bool = False
    width: int = 0


# -- text that may be anybody's --------------------------------------------------


def plain(text: object, *, lines: bool = False) -> str:
    """Return text that a terminal shows as it is; what it would obey is written as an escape.

    lines: leave line breaks and tabs.
    """

    def escape(match: re.Match[str]) -> str:
        character = match[0]
        if lines and character in "\n\t":
            return character
        return character.encode("unicode_escape", "surrogatepass").decode()

    return _HIDDEN.sub(escape, str(text))


def word(text: object, style: str | None = None) -> Text:
    """Return one line of text, in the style of a state if it is one."""
    shown = plain(text)
    return Text(shown, STYLES.get(shown, "") if style is None else style, no_wrap=True, overflow="ellipsis")


def compact(value: Any) -> str:
    """Return JSON on one line."""
    return _escaped(json.dumps(value, ensure_ascii=not _unicode(), separators=(",", ":")))


def pretty(value: Any, width: int) -> Text:
    """Return JSON for people: coloured, and indented where a line has no room for it."""
    text = Text("\n".join(_laid_out(value, "", width)))
    JSONHighlighter().highlight(text)
    return text


def _laid_out(value: Any, before: str, width: int) -> Iterator[str]:
    """Yield the lines of a value. before: what its first line begins with, the indentation included."""
    line = before + _one_line(value)
    if not value or not isinstance(value, (dict, list)) or cells(line) < width:
        yield line
        return
    indent = " " * (len(before) - len(before.lstrip(" ")))
    inner = f"{indent}  "
    yield before + ("{" if isinstance(value, dict) else "[")
    yield from _parted(value, inner, width)
    yield indent + ("}" if isinstance(value, dict) else "]")


def _parted(value: Any, indent: str, width: int) -> Iterator[str]:
    if isinstance(value, list) and not any(isinstance(item, (dict, list)) for item in value):
        yield from _filled([_one_line(item) for item in value], indent, width)
        return
    pairs = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for index, (key, item) in enumerate(pairs, 1):
        name = "" if key is None else f"{_one_line(key)}: "
        # The comma takes a column.
        *lines, last = _laid_out(item, indent + name, width - 1)
        yield from lines
        yield last + ("," if index < len(value) else "")


def _filled(items: Sequence[str], indent: str, width: int) -> Iterator[str]:
    """Yield lines with as many short items as each has room for."""
    line = indent
    for index, item in enumerate(items, 1):
        shown = item + ("," if index < len(items) else "")
        if line != indent and cells(f"{line} {shown}") > width:
            yield line
            line = indent
        line += shown if line == indent else f" {shown}"
    yield line


def _one_line(value: Any) -> str:
    return _escaped(json.dumps(value, ensure_ascii=not _unicode()))


def _escaped(text: str) -> str:
    # JSON escapes most controls by itself; where the others stand, it allows an escape as well.
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def cells(text: str) -> int:
    """Return how many columns a text takes at most."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


# -- tables ----------------------------------------------------------------------


def table(columns: Sequence[Column], rows: Iterable[Sequence[object]], width: int) -> Table:
    """Return a table for so many columns of a terminal; what it is too narrow for is left out."""
    kept = [index for index, column in enumerate(columns) if column.width <= width]
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="bold")
    for index in kept:
        column = columns[index]
        drawn.add_column(
            column.title,
            # Only of what may be wrapped is room taken away. The cells are not, by themselves.
            no_wrap=column.whole,
            justify="right" if column.right else "left",
        )
    for row in rows:
        drawn.add_row(*(cell if isinstance(cell, Text) else word(cell) for cell in (row[at] for at in kept)))
    return drawn


# -- times -----------------------------------------------------------------------


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def span(seconds: float) -> str:
    """Return a duration in its largest units: `80 ms`, `1.5 s`, `12 s`, `3 min 5 s`, `2 d 4 h`."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004  (a fraction says something up to here)
        return f"{seconds:.1f} s"
    for index, (size, unit) in enumerate(UNITS):
        if seconds >= size:
            smaller, name = UNITS[index + 1] if index + 1 < len(UNITS) else (1, "s")
            rest = int(seconds % size // smaller)
            return f"{int(seconds // size)} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{int(seconds)} s"


def short(seconds: float) -> str:
    """Return a duration in its largest unit alone."""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(seconds, 0))} s"


def moment(at: datetime) -> str:
    """Return a time on this machine's clock, and how long ago or ahead it is."""
    distance = (now() - at).total_seconds()
    where = f"{span(distance)} ago" if distance >= 0 else f"in {span(-distance)}"
    return f"{local(at):%Y-%m-%d %H:%M:%S} ({where})"


def local(at: datetime) -> datetime:
    """Return a time on this machine's clock; as it is at the ends of the calendar, where that has none."""
    try:
        return at.astimezone()
    except (OverflowError, ValueError, OSError):
        return at
