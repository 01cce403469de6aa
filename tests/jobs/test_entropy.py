"""Random bytes for identifiers."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from app.jobs.entropy import AT_ONCE, Entropy


def test_each_piece_has_its_size_and_is_handed_out_once():
    entropy = Entropy(10)
    pieces = [entropy() for _ in range(3 * AT_ONCE)]
    assert {len(piece) for piece in pieces} == {10}
    assert len(set(pieces)) == len(pieces)


def test_the_system_is_asked_once_for_many(monkeypatch):
    asked = []
    draw = os.urandom
    monkeypatch.setattr(os, "urandom", lambda size: (asked.append(size), draw(size))[1])
    entropy = Entropy(4)
    for _ in range(AT_ONCE + 1):
        entropy()
    assert asked == [4 * AT_ONCE] * 2


def test_any_number_can_be_drawn_at_once():
    entropy = Entropy(6)
    pieces = [*entropy.draw(1000), *entropy.draw(0), entropy()]
    assert {len(piece) for piece in pieces} == {6}
    assert len(set(pieces)) == len(pieces) == 1001


def test_no_two_threads_get_the_same_piece():
    entropy = Entropy(10)
    with ThreadPoolExecutor(8) as pool:
        taken = pool.map(lambda _: [entropy() for _ in range(2000)], range(8))
    counts = Counter(piece for pieces in taken for piece in pieces)
    assert len(counts) == 16_000


def test_a_forked_child_gets_none_of_its_parents():
    entropy = Entropy(10)
    entropy()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(entropy() for _ in range(AT_ONCE)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        childs = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert len(childs) == 10 * AT_ONCE
    assert {childs[at : at + 10] for at in range(0, len(childs), 10)}.isdisjoint(
        entropy() for _ in range(AT_ONCE)
    )
