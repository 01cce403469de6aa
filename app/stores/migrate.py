"""Numbered schema changes, one SQL file each: `sql/<dialect>/001_what.sql`."""

from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from app.stores.base import StoreUnusableError


class Migration(NamedTuple):
    """One step of the schema. version: what the schema is at after it, from 1."""

    version: int
    name: str
    sql: str


def migrations(dialect: str) -> Sequence[Migration]:
    """Return all migrations of a dialect, in order."""
    folder = files("app.stores") / "sql" / dialect
    paths = sorted(
        (path for path in folder.iterdir() if path.name.endswith(".sql")), key=lambda path: path.name
    )
    return [Migration(int(path.name.split("_")[0]), path.name, path.read_text("utf-8")) for path in paths]


def missing(dialect: str, version: int) -> Sequence[Migration]:
    """Return the migrations that a schema of this version lacks.

    Raises StoreUnusableError when the schema is newer than this program.
    """
    known = migrations(dialect)
    if version > known[-1].version:
        msg = (
            f"the database has schema version {version}, and this version of Errand knows "
            f"{known[-1].version}: start a newer one"
        )
        raise StoreUnusableError(msg)
    return [migration for migration in known if migration.version > version]
