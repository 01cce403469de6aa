"""The files that a promise to keep a job rests on, and whether they are where they were."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from app.stores.base import StoreUnavailableError

SETTLED = 2_000_000_000
"""Nanoseconds from a folder's last change after which the next one is sure to bear another time.

The clocks of file systems tick every few milliseconds, those of some every two seconds.
"""

Identity = tuple[int, int]
"""Device and inode."""


class HeldFiles:
    """The files of a database as they were when it was opened.

    None of them can be removed or replaced without a change of the folder that they are in, but by a
    mount over one of them. So as long as that is as it was when all of them were looked at, they
    are what they were: one system call before a commit, after each of which the interpreter has
    to be waited for, in place of four. The file system's clock has to be this machine's, as it is
    wherever SQLite's log works. When the path leads through a link, each file is looked at every time.

    clock: nanoseconds since the epoch.
    """

    def __init__(self, path: Path, clock: Callable[[], int] = time.time_ns) -> None:
        # SQLite keeps its log beside the file itself, also when it was opened by a link to it. "-shm" too:
        # with another one, another program's locks would be unknown here, and ours to that program.
        real = Path(os.path.realpath(path))
        files = [path, *(Path(f"{real}{suffix}") for suffix in ("-wal", "-shm", ".lock"))]
        self._path = path
        self._clock = clock
        self._identities = {file: identity for file in files if (identity := _identity(file)) is not None}
        self._folder = real.parent if real == path.absolute() else None
        self._seen: object = None
        """The folder as it was when all were in place, and had been for long enough."""

    def require_in_place(self) -> None:
        """Raise StoreUnavailableError when somebody has removed or replaced a file under our hands.

        What is written to it is gone with this process, so nothing may be acknowledged.
        """
        # Time, then folder, then files: what changes meanwhile changes what is seen the next time.
        now = self._clock()
        status = None if self._folder is None else _status(self._folder)
        seen = status and (status.st_dev, status.st_ino, status.st_ctime_ns)
        if seen is not None and seen == self._seen:
            return
        for file, identity in self._identities.items():
            if _identity(file) != identity:
                raise StoreUnavailableError(f"{file} was removed or replaced; restart the service")
        self._seen = seen if status and now - status.st_ctime_ns > SETTLED else None

    def is_replaced(self) -> bool:
        """Tell whether there is another database in the place of ours."""
        return _identity(self._path) not in {None, self._identities[self._path]}


def _identity(file: Path) -> Identity | None:
    status = _status(file)
    return None if status is None else (status.st_dev, status.st_ino)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
