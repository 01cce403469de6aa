"""Desk: a thread that makes calls for those who must not make them on their own."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

LOGGER = logging.getLogger(__name__)


class Desk:
    """A thread that makes the calls posted to it, in order."""

    def __init__(self, name: str) -> None:
        # Its `put` waits for nothing, wherever a finalizer or another thread may be at it.
        self._posted: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def post(self, call: Callable[..., object], *args: Any) -> None:
        """Have a call made soon. Nothing is made after `close`."""
        self._posted.put(partial(call, *args))

    def close(self) -> None:
        """Make the calls posted so far, then end the thread."""
        self._posted.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (call := self._posted.get()) is not None:
            try:
                call()
            except BaseException:
                # Callbacks of users run in here, and the others wait.
                LOGGER.exception("the desk goes on after an error")
            # The next one may be long in coming.
            del call
