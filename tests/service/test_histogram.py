"""Histograms: percentiles as near to the exact ones as they say."""

from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.service.histogram import LONGEST, PERCENTILES, Histogram, bucket_of, middle_of

QUICK = settings(derandomize=True, database=None, deadline=None, max_examples=200)
ERROR = 1 / 16

# Of any magnitude: drawn evenly, all of them would be years.
DURATIONS = st.integers(0, 50).flatmap(lambda bits: st.integers(0, 1 << bits))


def histogram_of(durations):
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    return histogram


def exact(durations):
    """Return the percentiles by their definition: that many of a hundred are no longer."""
    ordered = sorted(durations)
    return [
        next(
            duration
            for duration in ordered
            if 100 * sum(other <= duration for other in ordered) >= percentile * len(ordered)
        )
        for percentile in PERCENTILES
    ]


@QUICK
@given(st.lists(DURATIONS, min_size=1, max_size=60))
def test_percentiles_are_a_sixteenth_from_the_exact_ones_at_most(durations):
    found = histogram_of(durations).percentiles()
    assert len(found) == len(PERCENTILES)
    for value, expected in zip(found, exact(durations), strict=True):
        assert abs(value - expected) <= expected * ERROR


@QUICK
@given(DURATIONS)
def test_a_duration_falls_into_the_bucket_whose_middle_is_near_to_it(duration):
    assert abs(middle_of(bucket_of(duration)) - duration) <= duration * ERROR
    assert bucket_of(duration) <= bucket_of(duration + 1) <= bucket_of(duration) + 1


@QUICK
@given(st.lists(st.lists(DURATIONS, max_size=20), max_size=5))
def test_histograms_together_are_that_of_all_durations(lists):
    together = Histogram().merge(map(histogram_of, lists))
    assert together.counts == histogram_of(chain.from_iterable(lists)).counts


def test_a_short_duration_is_exact():
    assert [middle_of(bucket_of(duration)) for duration in range(17)] == [*range(16), 16.5]


def test_what_is_negative_or_longer_than_any_life_is_counted_too():
    # Clocks that are set back, and ahead.
    assert bucket_of(-1) == bucket_of(0) == 0
    assert bucket_of(1 << 70) == bucket_of(LONGEST) < 500


def test_without_durations_there_are_no_percentiles():
    assert Histogram().percentiles() is None


@pytest.mark.parametrize(
    ("count", "ranks"), [(1, (1, 1, 1)), (2, (1, 2, 2)), (100, (50, 95, 99)), (101, (51, 96, 100))]
)
def test_the_rank_of_a_percentile_is_rounded_up(count, ranks):
    found = histogram_of(10 * n for n in range(1, count + 1)).percentiles()
    assert found == [middle_of(bucket_of(10 * rank)) for rank in ranks]
