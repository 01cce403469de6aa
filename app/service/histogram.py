"""Histogram: how long things took, in buckets that are wider the longer it was.

Below 16 microseconds each has a bucket of its own; beyond that, each power of two is cut into
eight of the same width. Whatever falls into a bucket is taken for its middle, which is at most
a sixteenth (6.25 %) away. There are some 400 buckets at most, and only those in use take room.
"""

from collections.abc import Iterable, Sequence

CUT = 3
"""Binary logarithm of the buckets in a power of two."""

LONGEST = 1 << 50
"""Microseconds that count as they are, some 35 years. What took longer counts for that."""

PERCENTILES = (50, 95, 99)


def bucket_of(value: int) -> int:
    """Return the number of the bucket for so many microseconds. What is negative counts as 0."""
    value = min(max(value, 0), LONGEST)
    shift = max(value.bit_length() - CUT - 1, 0)
    # The first bits of the value, which are from 8 to 15 from the second power of two on.
    return (shift << CUT) + (value >> shift)


def middle_of(bucket: int) -> float:
    """Return the microseconds in the middle of a bucket."""
    shift = max((bucket >> CUT) - 1, 0)
    lowest = (bucket - (shift << CUT)) << shift
    return lowest + ((1 << shift) - 1) / 2


class Histogram:
    """Counts durations, in microseconds."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        """How many there were, by bucket."""

    def add(self, value: int) -> None:
        """Count a duration."""
        bucket = bucket_of(value)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, others: Iterable["Histogram"]) -> "Histogram":
        """Count all that the others have counted, and return this one."""
        counts = self.counts
        for other in others:
            for bucket, n in other.counts.items():
                counts[bucket] = counts.get(bucket, 0) + n
        return self

    def percentiles(self) -> Sequence[float] | None:
        """Return those of PERCENTILES, in microseconds; None when nothing was counted.

        The n-th is a duration that n of a hundred were no longer than, the shortest such.
        """
        total = sum(self.counts.values())
        if not total:
            return None
        ranks = [-(-total * percentile // 100) for percentile in PERCENTILES]
        found: list[float] = []
        counted = 0
        for bucket in sorted(self.counts):
            counted += self.counts[bucket]
            while len(found) < len(ranks) and counted >= ranks[len(found)]:
                found.append(middle_of(bucket))
        return found
