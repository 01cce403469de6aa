"""A reader of Server-Sent Events, as strict as the standard allows."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx


class Sent(NamedTuple):
    """What came between two empty lines. comment: None unless there was one."""

    event: str | None
    id: str | None
    data: dict | None
    comment: str | None = None
    retry: str | None = None


class Following:
    """An open stream of events."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.iter_lines()

    def blocks(self) -> Iterator[Sent]:
        """Yield what comes, comments included."""
        fields = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                assert (name or "comment") not in fields, "one line for each field"
                fields[name or "comment"] = value
            else:
                data = fields.pop("data", None)
                yield Sent(
                    fields.pop("event", None),
                    fields.pop("id", None),
                    None if data is None else json.loads(data),
                    **fields,
                )
                fields = {}
        assert not fields, "cut off"

    def events(self) -> Iterator[Sent]:
        """Yield the events alone."""
        return (block for block in self.blocks() if block.event)

    def next(self) -> Sent:
        return next(self.events())


@contextmanager
def following(client: httpx.Client, path: str, last: str | None = None, **headers: str):
    """Open a stream. last: the id of the last event that is known."""
    known = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", path, headers={**known, **headers}) as answer:
        yield Following(answer)
