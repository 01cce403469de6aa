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


class Ownership:
    """Holds `<file>.lock` until `release()` or the end of the process.

    Raises StoreUnusableError, which says whose it is, when another process holds it.
    """

    def __init__(self, database: Path) -> None:
        # The real path: two names of one file must not get a lock each.
        self._path = Path(f"{os.path.realpath(database)}.lock")
        # Not inheritable (PEP 446), so no program that a task starts holds on to it.
        self._fd: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = self._holder()
            self._close()
            msg = f"{database} is in use by {holder}; one process at a time can own a SQLite database"
            raise StoreUnusableError(msg) from exc
        self._sign()
        # A child forked without exec shares the lock, and would keep it when this process is gone.
        os.register_at_fork(after_in_child=self._close)

    def release(self) -> None:
        """Let another process have the database. The file stays: removing it would race with the next owner."""
        self._close()

    def _sign(self) -> None:
        assert self._fd is not None  # noqa: S101  (for the type checker)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        line = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}) + "\n"
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, line.encode(), 0)

    def _holder(self) -> str:
        try:
            who = json.loads(self._path.read_text())
            return f"process {who['pid']} on {who['host']} since {who['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
