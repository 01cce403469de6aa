"""How a thread that has much to do in the interpreter gets it done before others begin anew."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

PATIENCE = 0.002
"""Seconds that others wait; after a wait in vain nobody waits again before it is taken anew."""


class Precedence:
    """What one thread has for a stretch of work, and others respect before they begin something.

    The interpreter is one: a thread that begins meanwhile gets it at one of the many points
    where the first gives it up for a moment, and at each the first has to wait for it again,
    wakes, finds it taken, and sleeps. Both have done the same in the end, and neither is sooner.

    Nothing relies on it. Nobody waits long, it can be lifted while the stretch itself has to wait,
    and a thread that finds it taken by another one does without. It is not reentrant.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._choice = threading.Lock()
        """Held by who has it."""
        self._owner = 0
        self._gate: threading.Lock | None = None
        """Opened when it is over. A new one each time: who comes through late must be in nobody's way."""
        self._given_up = False
        """Whether somebody has waited for it in vain since it was taken."""

    @property
    def taken(self) -> bool:
        """Whether a thread has it at the moment."""
        return self._gate is not None

    def __enter__(self) -> Self:
        if self._choice.acquire(blocking=False):
            gate = threading.Lock()
            gate.acquire()
            self._owner, self._gate, self._given_up = threading.get_ident(), gate, False
        return self

    def __exit__(self, *_: object) -> None:
        if self._owner == threading.get_ident() and self._gate is not None:
            gate, self._owner, self._gate = self._gate, 0, None
            self._choice.release()
            gate.release()

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
        """Wait until what has precedence is over, but not for long. Called before something is begun."""
        gate = self._gate
        if gate is None or self._given_up:
            return
        if gate.acquire(timeout=self._patience):
            # For whoever else waits there.
            gate.release()
        else:
            self._given_up = True


PRECEDENCE = Precedence()
"""That of this interpreter. A store's writer has it while it works on a batch, but for the commit."""
