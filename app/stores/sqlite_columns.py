"""Insertions of many rows into the SQLite schema, by their columns.

To bind a value, Python's sqlite3 needs the interpreter for as long as SQLite takes to store it, and after
each statement it has to wait for the interpreter. Many rows are therefore one statement, whatever their
number, and most of its columns are a single bound value.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, count
from types import NoneType
from typing import Any, NamedTuple

from app.core.precedence import PRECEDENCE
from app.stores.sqlite_statements import insert_rows

MANY = 64
"""From so many rows on they are inserted by columns: for fewer, looking at each takes as long as binding."""

HEAVY = 1 << 18
"""Characters that all rows together may have of their own: writing them as JSON holds the interpreter."""

Columns = Mapping[str, Sequence[Any]]
"""The values of each column, by its name."""


def insert_columns(
    db: sqlite3.Connection, table: str, columns: Columns, *, ends: Sequence[int] | None = None
) -> None:
    """Insert rows, at least one, that are given by their columns. Raises as `insert_rows`.

    A `range` must rise by one, and bytes of a column must be as long as the first. What no row has
    is left out, so by default it has to be NULL. ends: see `insert_rows`, if it comes to that.
    """
    parted, rows = _parted(columns), len(next(iter(columns.values())))
    if not _fit_json(parted.own.values()):
        insert_rows(db, table, tuple(columns), list(zip(*columns.values(), strict=True)), ends=ends)
        return
    sql, values = _statement(table, parted.shape), [*parted.values(), _json_of(rows, parted.own)]
    # SQLite is busy for a while, and takes no interpreter.
    with PRECEDENCE.lifted():
        db.execute(sql, values)


class _Parted(NamedTuple):
    """Columns by what is bound of them.

    common: a value that all rows have. rising: where a range begins. packed: bytes, one after the
    other. own: what each row has.
    """

    common: dict[str, Any]
    rising: dict[str, range]
    packed: dict[str, Sequence[bytes]]
    own: dict[str, Sequence[Any]]

    @property
    def shape(self) -> "_Shape":
        """All that the statement depends on."""
        sizes = tuple((name, len(values[0])) for name, values in self.packed.items())
        return _Shape(tuple(self.common), tuple(self.rising), sizes, tuple(self.own))

    def values(self) -> Iterable[Any]:
        """Return what is bound once, in the order of `shape`."""
        begins = (values[0] for values in self.rising.values())
        return chain(self.common.values(), begins, map(b"".join, self.packed.values()))


class _Shape(NamedTuple):
    """The names of columns, as in `_Parted`; of those that are packed, with how long their bytes are."""

    common: tuple[str, ...]
    rising: tuple[str, ...]
    packed: tuple[tuple[str, int], ...]
    own: tuple[str, ...]


def _parted(columns: Columns) -> _Parted:
    parted = _Parted({}, {}, {}, {})
    for name, values in columns.items():
        first = values[0]
        if isinstance(values, range):
            parted.rising[name] = values
        elif values.count(first) != len(values):
            (parted.packed if isinstance(first, bytes) else parted.own)[name] = values
        elif first is not None:
            parted.common[name] = first
    return parted


def _fit_json(columns: Iterable[Sequence[Any]]) -> bool:
    """Tell whether SQLite reads values from JSON exactly as they are, and soon enough.

    Of a real number SQLite's reading may differ from Python's in the last bit, and a text ends at NUL.
    """
    values = list(chain.from_iterable(columns))
    text = "".join([value for value in values if type(value) is str])
    return len(text) <= HEAVY and "\0" not in text and set(map(type, values)) <= {str, int, NoneType}


def _json_of(rows: int, own: Columns) -> str:
    """Return an array with an element for each row: its own value, an array of its own, or just anything."""
    if not own:
        return f"[{'0,' * (rows - 1)}0]"
    columns = list(own.values())
    return _encode(columns[0] if len(columns) == 1 else list(zip(*columns, strict=True)))


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@lru_cache
def _statement(table: str, shape: _Shape) -> str:
    mark = map("?{}".format, count(1))
    values = [next(mark) for _ in shape.common]
    # The place of an element in the array, from 0, is its `key`.
    values += [f"{next(mark)} + key" for _ in shape.rising]
    values += [f"substr({next(mark)}, key * {size} + 1, {size})" for _, size in shape.packed]
    values += ["value"] if len(shape.own) == 1 else [f"value ->> {place}" for place in range(len(shape.own))]
    names = ", ".join([*shape.common, *shape.rising, *(name for name, _ in shape.packed), *shape.own])
    return f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM json_each({next(mark)})"
