"""Sweeper: has what is older than it has to be erased, a little at a time."""

from typing import NamedTuple

from app.core import Future
from app.jobs.model import SECOND, Clock
from app.stores.base import Sweep, Swept
from app.stores.ticker import CallLater
from app.stores.writer import Writer

SWEEP_INTERVAL = 30.0
"""Seconds between two looks for what is old enough."""

PAUSE = 0.05
"""Seconds between two parts of a sweep: others shall be served in between."""


class Retention(NamedTuple):
    """How long jobs are kept once they are done, and the results of those that succeeded. Seconds."""

    jobs: float = 7 * 86_400.0
    results: float = 7 * 86_400.0


class Sweeper:
    """Sweeps. call_later: of a ticker."""

    def __init__(self, writer: Writer, clock: Clock, call_later: CallLater, retention: Retention) -> None:
        self._writer = writer
        self._clock = clock
        self._call_later = call_later
        self._retention = retention

    def sweep(self) -> None:
        """Have a part erased, and the next one when its time has come; to be called once.

        For as long as the ticker makes calls.
        """
        now = self._clock()
        sweep = Sweep(
            now - round(self._retention.jobs * SECOND), now - round(self._retention.results * SECOND)
        )
        self._writer.submit(sweep).add_done_callback(self._swept)

    def _swept(self, future: Future[Swept]) -> None:
        # A store that cannot be written is asked again like one that has nothing to erase.
        more = future.exception() is None and future.result().more
        self._call_later(PAUSE if more else SWEEP_INTERVAL, self.sweep)
