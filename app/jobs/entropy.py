"""Random bytes for identifiers, drawn from the system many at a time."""

import os
from collections import deque

AT_ONCE = 256
"""How many pieces are drawn together."""


class Entropy:
    """Hands out pieces of `size` random bytes.

    To call the system is to let go of the interpreter, and to wait until whoever takes it
    gives it back; so one call draws many. Any thread may take a piece: there is no lock,
    and each step is atomic. A forked child draws its own, because those that are here
    are its parent's to hand out. For good: what is to be done in a child cannot be taken back.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._drawn: deque[bytes] = deque()
        os.register_at_fork(after_in_child=self._drawn.clear)

    def __call__(self) -> bytes:
        """Return a piece that nobody else gets."""
        try:
            return self._drawn.popleft()
        except IndexError:
            *more, piece = self.draw(AT_ONCE)
            self._drawn.extend(more)
            return piece

    def draw(self, count: int) -> list[bytes]:
        """Return so many pieces that nobody else gets."""
        drawn = os.urandom(self._size * count)
        return [drawn[at : at + self._size] for at in range(0, len(drawn), self._size)]
