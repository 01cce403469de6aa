"""Turns, as one batch deals them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stores.lanes import FEW, Lanes, Turns
from tests.stores.driving import new_job

PLACE = "thread"

QUEUES = [f"q{n}" for n in range(2 * FEW)]


def enter(turns, queue):
    return turns.enter(PLACE, new_job(queue=queue))


def serve(turns, turn):
    turns.serve(PLACE, new_job(), turn)


def test_a_lane_that_has_been_served_to_its_end_counts_again_when_it_comes_back():
    turns = Turns(Lanes())
    for queue in QUEUES[:FEW]:
        assert [enter(turns, queue) for _ in range(5)] == [1, 2, 3, 4, 5]
    # One more than a few: its turns are two apart. The others are not served to their ends by it.
    serve(turns, enter(turns, "last"))
    assert [enter(turns, "last") for _ in range(2)] == [4, 6]


@pytest.mark.parametrize("batches", [1, 2])
@given(steps=st.lists(st.one_of(st.sampled_from(QUEUES), st.integers(1, 30)), max_size=60))
def test_what_a_lane_was_found_to_have_is_true_of_its_next_jobs(batches, steps):
    """A queue is entered, a number is the turn that is served."""
    known, asked = Lanes(), Lanes()
    size = len(steps) // batches + 1
    for at in range(0, len(steps), size):
        ours, plain = Turns(known), Turns(asked)
        for step in steps[at : at + size]:
            if isinstance(step, int):
                serve(ours, step)
                serve(plain, step)
            else:
                # As if another one had been entered in between.
                plain._entered = None
                assert enter(ours, step) == enter(plain, step)
        known.add(ours)
        asked.add(plain)
