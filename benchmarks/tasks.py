"""The functions of the comparison, as tasks of our service."""

from app import checkpoint, progress, task
from benchmarks.peers import work

nothing = task(work.nothing)
add = task(work.add)


def spin() -> None:
    """Compute in pure Python until the job is cancelled. Its progress tells that it has begun."""
    progress(1)
    number = 1
    while True:
        checkpoint()
        for _ in range(1_000):
            number = (number * 48_271) % 2_147_483_647


spin_in_a_process = task(name="spin_in_a_process", executor="process")(spin)
spin_in_a_thread = task(name="spin_in_a_thread")(spin)
