"""Large bodies: what no store can keep is found in them, and finding it takes little."""

import tracemalloc

import pytest

from app.api.bodies import LARGE, parse
from app.api.problems import ProblemError

PADDING = b" " * LARGE
EMOJI = rb'"\ud83d\ude00"'


def problem(body):
    with pytest.raises(ProblemError) as caught:
        parse(body)
    return caught.value


def test_what_cannot_be_stored_is_found_in_the_order_of_the_document():
    body = (
        rb"""{"a": [1, {"b": ["x", "\ud800"], "\u0000": "\udfff"}, NaN], "c": "\u0000", "d": [[[-1e999]]]}"""
    )
    places = [["a", 1, "\0"], ["a", 1, "b", 1], ["a", 1, "\0"], ["a", 2], ["c"], ["d", 0, 0, 0]]
    for content in (body, body + PADDING):
        assert [fault["loc"] for fault in problem(content).errors] == places


@pytest.mark.parametrize("value", [b'"\\ud800"', b"NaN", b'"\\u0000"', b"1e999"])
def test_what_is_no_array_and_no_object_is_looked_at_too(value):
    assert [fault["loc"] for fault in problem(value + PADDING).errors] == [[]]


def test_numbers_are_what_they_are_in_large_bodies_too():
    numbers = b"[0, -1, 123456789012345678901234567890, 1.5, -0.0, 1e3]"
    assert repr(parse(numbers + PADDING)) == repr(parse(numbers))
    assert problem(b"1" * 5_000 + PADDING).kind == "invalid-json"


def test_a_walk_through_many_values_takes_no_memory_for_each():
    body = b"[%s%s]" % (EMOJI, b",1" * 100_000)
    parse(body)
    tracemalloc.start()
    try:
        parsed = parse(body)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(parsed) == 100_001
    # The text and the list, which grows by parts; a place for each value would be ten times as much.
    assert most - kept < 1_000_000
