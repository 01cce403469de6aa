"""How a thread lets the others go first when it is about to block."""

import os
from time import monotonic

_yield = os.sched_yield

# Seconds. What blocking and being woken may cost is far below, another process's turn is above.
_DEAR = 100e-6
# Times as long as the yield took.
_PAUSE = 20


class Courtesy:
    """Lets the other threads run for a moment, where this one would block next.

    Whoever wakes a thread holds the interpreter's lock. The woken one gets a CPU only to
    find that lock taken, sleeps again, and has to be woken once more when the waker
    blocks. One that yields first lets go of the lock while it is awake itself: often
    what it was about to wait for, a result or the next call, has come when it is back,
    and neither of the two had to sleep. A round trip through a pool takes half the time
    for it; the benchmark of the core shows the figure.

    Nothing relies on it. Whoever yields looks again, or blocks on a gate that may have
    been opened meanwhile, exactly as without.

    Where other processes want the same CPU, a yield is dear: they get their turns first,
    milliseconds each, which a thread that sleeps and is woken does not have to wait for.
    So one that took long is followed by a pause of 20 times its length, and costs 5 % of
    a thread's time at most. No lock is needed: threads share one number, each writes a
    whole one, and one that is lost means one dear yield more.
    """

    def __init__(self) -> None:
        self._again_at = 0.0

    def give_way(self) -> None:
        """Yield the CPU and the interpreter's lock once, unless that was dear lately."""
        begun = monotonic()
        if begun < self._again_at:
            return
        _yield()
        ended = monotonic()
        if ended - begun > _DEAR:
            self._again_at = ended + _PAUSE * (ended - begun)


COURTESY = Courtesy()
