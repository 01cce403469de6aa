"""The log of a SQLite database in WAL mode, and when what it has is brought into the file."""

import sqlite3

LONG = 1000
"""Pages in the log from which on it is shortened: as many as SQLite itself lets come together."""

TOO_LONG = 4 * LONG
"""Pages from which on SQLite shortens it within a commit, if what commits add has been misjudged so far."""

USUAL = 20.0
"""Pages that a commit adds, before anything is known of it."""


class Log:
    """Keeps a log short, when those who have waited for a commit were told.

    SQLite by itself does it within a commit: of fifty that take a fifth of a millisecond one takes
    over one, and everybody of that batch and of the next waits for it.

    How long a log is, Python's sqlite3 tells only when it is shortened. So it is guessed from the
    number of commits and from what each of them has added up to the last time.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._commits = 0
        self._left = 0
        """Pages in the log when it was shortened last, if that has not brought all of them in."""
        self._each = USUAL
        db.execute(f"PRAGMA wal_autocheckpoint = {TOO_LONG}")

    def grow(self) -> None:
        """Take note of a commit."""
        self._commits += 1

    def shorten(self) -> bool:
        """Bring what the log has into the file if it is long; return whether it was. Raises nothing.

        What a reader still needs, or the disk has no room for, stays in the log until as much again has
        come: nothing is lost.
        """
        if self._commits * self._each < LONG:
            return False
        try:
            _, pages, done = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error:
            pages = done = -1
        if pages > self._left:
            self._each = (pages - self._left) / self._commits
        # The commit after the last page was brought in begins the log anew.
        self._left = 0 if done == pages else pages
        self._commits = 0
        return True
