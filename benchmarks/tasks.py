"""The functions of the comparison, as tasks of our service."""

from app import task
from benchmarks.peers import work

nothing = task(work.nothing)
add = task(work.add)
