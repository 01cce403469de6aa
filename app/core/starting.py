"""Threads on their way: started under no lock, and waited for all the same."""

import threading
from collections.abc import Callable


class Starting:
    """The threads of an executor that are being started.

    `Thread.start` returns when the new thread has begun. Before it has, the garbage collector may
    run in it, and a finalizer submit to this very executor: if a lock were held around the
    start, each of the two threads would wait for the other. So it is held before and after, and
    whoever joins the threads waits here for those that are in between.
    """

    def __init__(self, lock: "threading.RLock") -> None:
        self._ended = threading.Condition(lock)
        self._starters: dict[threading.Thread, int] = {}
        """By whom each is started."""

    def __bool__(self) -> bool:
        return bool(self._starters)

    def announce(self, thread: threading.Thread) -> None:
        """Say that a thread will be started, at once, by this one. The lock is held."""
        self._starters[thread] = threading.get_ident()

    def start(self, thread: threading.Thread, ended: Callable[[bool], object]) -> None:
        """Start a thread that was announced; the lock is not held.

        ended: called under the lock, with whether the thread is there. Raises RuntimeError
        when there can be no more threads.
        """
        try:
            thread.start()
        finally:
            with self._ended:
                self._starters.pop(thread, None)
                # Not by what `start` has raised: Ctrl-C may come when it is there.
                ended(thread.ident is not None)
                self._ended.notify_all()

    def wait(self) -> None:
        """Wait until no other thread starts any. What this one starts, it has come here out of that."""
        mine = threading.get_ident()
        with self._ended:
            self._ended.wait_for(lambda: all(starter == mine for starter in self._starters.values()))
