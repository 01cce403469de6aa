"""How a thread that has much to do in the interpreter gets it done before others begin anew."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

PATIENCE = 0.002
"""Seconds that others wait at most, once for each time that it is taken."""


class Precedence:
    """What one thread has for a stretch of work, and others respect before they begin something.

    The interpreter is one: a thread that begins meanwhile gets it at one of the many points
    where the first gives it up for a moment, and at each the first has to wait for it again,
    wakes, finds it taken, and sleeps. Both have done the same in the end, and neither is sooner.

    Nothing relies on it. It is left for what is waited for elsewhere (`lifted`), nobody waits long,
    and a thread that finds it taken by another one does without.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._owner = 0
        self._given_up = False
        """Whether somebody's patience has ended: it is in vain while one thread has it so long."""

    @property
    def taken(self) -> bool:
        """Whether a thread has it at the moment."""
        return self._lock.locked()

    def __enter__(self) -> Self:
        if self._lock.acquire(blocking=False):
            self._owner, self._given_up = threading.get_ident(), False
        return self

    def __exit__(self, *_: object) -> None:
        if self._owner == threading.get_ident():
            self._owner = 0
            self._lock.release()

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Let others begin while this thread waits for something that takes no interpreter, as a disk."""
        if self._owner != threading.get_ident():
            yield
            return
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def respect(self) -> None:
        """Wait until no thread has it, but not for long. Called before something is begun."""
        if not self.taken or self._given_up:
            return
        if self._lock.acquire(timeout=self._patience):
            self._lock.release()
        else:
            self._given_up = True


PRECEDENCE = Precedence()
"""That of this interpreter. A store's writer has it while it works on a batch."""
