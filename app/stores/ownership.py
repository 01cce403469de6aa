"""One process owns a database file: an advisory lock on another file beside it.

Not on the database itself: SQLite uses POSIX locks there, and those vanish when any
handle of the process on that file is closed.
"""

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from app.stores.base import StoreUnusableError

_HELD: set["Ownership"] = set()
"""The locks that this process holds."""


class Ownership:
    """Holds `<file>.lock` until `release()` or the end of the process.

    Raises StoreUnusableError, which says whose it is, when another process holds it,
    and OSError when no lock can be had there at all.
    """

    def __init__(self, database: Path) -> None:
        self._path = _lock_of(database)
        # Not inheritable (PEP 446), so no program that a task starts holds on to it.
        self._fd: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sign(self._fd)
        except BlockingIOError as exc:
            self.release()
            who = _signed(self._path)
            msg = f"{database} is in use by {who}; one process at a time can own a SQLite database"
            raise StoreUnusableError(msg) from exc
        except OSError:
            self.release()
            raise
        _HELD.add(self)

    def release(self) -> None:
        """Let another process have the database.

        The file stays: removing it would race with the next owner.
        """
        _HELD.discard(self)
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _sign(self, fd: int) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}) + "\n"
        os.ftruncate(fd, 0)
        os.pwrite(fd, line.encode(), 0)


def holder(database: Path) -> str | None:
    """Return who owns a database file; None when nobody does. Raises OSError when that cannot be known."""
    path = _lock_of(database)
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        # Shared, and let go of at once: several may look. A service that starts in this instant is refused.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _signed(path)
    finally:
        os.close(fd)
    return None


def _lock_of(database: Path) -> Path:
    # The real path: two names of one file must not get a lock each.
    return Path(f"{os.path.realpath(database)}.lock")


def _signed(path: Path) -> str:
    try:
        who = json.loads(path.read_text())
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _let_go() -> None:
    """Close what a fork has copied: a child without exec would keep the lock when this process is gone."""
    for ownership in list(_HELD):
        ownership.release()


os.register_at_fork(after_in_child=_let_go)
