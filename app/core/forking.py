"""What a forked child has to do before anything else."""

import os
import signal
import threading
from collections.abc import Callable, Iterable


def part_children(part: Callable[[], object], signals: Iterable[signal.Signals]) -> None:
    """Have `part` called in each child that this process forks, before any of these signals reaches it.

    Before that the child has this process's handlers, and whoever forks may well terminate
    it at once. So the signals are held up around the fork, for the thread that forks.
    """
    held = threading.local()
    signals = tuple(signals)

    def before() -> None:
        held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, held.mask)

    def after_in_child() -> None:
        try:
            part()
        finally:
            after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)
