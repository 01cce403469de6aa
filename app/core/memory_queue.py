"""MemoryQueue: a queue in this process's memory."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

from app.core.named import Call, Ending, Stopped
from app.core.queuing import Consumer, Message
from app.core.submitting import Reply


class _Entry:
    """A call on a MemoryQueue. asked: whether its holder was asked to stop."""

    __slots__ = ("asked", "call", "held", "id", "number", "reply")

    def __init__(self, number: int, call: Call, reply: Reply) -> None:
        self.id = str(number)
        self.number = number
        self.call = call
        self.reply = reply
        self.asked = False
        self.held: tuple[_Post, Message] | None = None


class _Post:
    """A consumer at a MemoryQueue. permits: one for each call that it has room for."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.permits = [None] * consumer.limit
        self.baton = threading.Lock()
        self.open = True

    def room(self) -> int:
        return len(self.permits)


class MemoryQueue:
    """A Queue in this process's memory: first in, first out, gone with the process.

    `put` hands the call over on the caller's thread if a consumer has room, and so does
    the thread that ends a call with the next one.

    No lock is waited for, because the garbage collector may come in anywhere, and what it
    finalizes may cancel a future. A call waits in one dictionary, by number; whoever pops
    it from there, to hand it over or to withdraw it, has it, and nobody else does. One
    thread at a time hands calls to a consumer, who holds its baton: so they arrive in
    order, and an executor that runs calls at once is no recursion. Who finds the baton
    taken leaves, because its holder looks again after letting go of it; who has put a
    call or given room back looks after that. So one of the two sees the other.
    """

    def __init__(self) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}
        self._numbers = itertools.count(1)
        self._tokens = itertools.count(1)
        # What waits, by name and number; lines stay there empty. What is held, by token. All, by id.
        self._lines: dict[str, OrderedDict[int, _Entry]] = {}
        self._held: dict[int, _Entry] = {}
        self._entries: dict[str, _Entry] = {}
        self._posts: list[_Post] = []

    def put(self, call: Call, reply: Reply) -> str:
        """See Queue.put."""
        entry = _Entry(next(self._numbers), call, reply)
        self._entries[entry.id] = entry
        self._line(entry)[entry.number] = entry
        self._deliver()
        return entry.id

    def cancel(self, call_id: str, *, stop: bool) -> bool:
        """See Queue.cancel."""
        entry = self._entries.get(call_id)
        if entry is None:
            return False
        if stop:
            # Before the looks at the line and at who holds it: either this finds it there, or
            # `release`, which puts it there, or `_hand_over` sees the request.
            entry.asked = True
        if self._withdraw(entry):
            return True
        if stop and entry.held is not None:
            post, message = entry.held
            post.consumer.cancel(message)
        return False

    def attach(self, consumer: Consumer) -> None:
        """See Queue.attach."""
        self._posts.append(_Post(consumer))
        self._deliver()

    def detach(self, consumer: Consumer) -> None:
        """See Queue.detach."""
        for post in list(self._posts):
            if post.consumer is consumer:
                post.open = False
                with suppress(ValueError):
                    self._posts.remove(post)

    def settle(self, message: Message, ending: Ending) -> None:
        """See Queue.settle."""
        entry = self._let_go(message)
        if entry is not None:
            self._entries.pop(entry.id, None)
            # The work first: callbacks may take their time.
            self._deliver()
            entry.reply.ended(ending)

    def release(self, message: Message) -> None:
        """See Queue.release."""
        entry = self._let_go(message)
        if entry is None:
            return
        line = self._line(entry)
        line[entry.number] = entry
        # It was the first. Unless somebody has taken it in between.
        with suppress(KeyError):
            line.move_to_end(entry.number, last=False)
        # After it was put there, see `cancel`. Whoever takes it from there sees the request, too.
        if entry.asked and self._withdraw(entry):
            entry.reply.ended(Stopped())
        self._deliver()

    def _withdraw(self, entry: _Entry) -> bool:
        """Take a call away that waits; False when it does not, or somebody was quicker."""
        withdrawn = self._line(entry).pop(entry.number, None) is not None
        if withdrawn:
            self._entries.pop(entry.id, None)
        return withdrawn

    def _line(self, entry: _Entry) -> OrderedDict[int, _Entry]:
        return self._lines.setdefault(entry.call.name, OrderedDict())

    def _let_go(self, message: Message) -> _Entry | None:
        """Return the call that this delivery holds, held no more; None when it does not hold it."""
        entry = self._held.pop(message.token, None)
        if entry is not None and entry.held is not None:
            post, entry.held = entry.held[0], None
            post.permits.append(None)
        return entry

    def _deliver(self) -> None:
        for post in sorted(self._posts, key=_Post.room, reverse=True):
            # See the class's docstring.
            while self._first_line(post) is not None and post.baton.acquire(blocking=False):
                try:
                    self._serve(post)
                finally:
                    post.baton.release()

    def _serve(self, post: _Post) -> None:
        while (line := self._first_line(post)) is not None:
            post.permits.pop()
            try:
                _, entry = line.popitem(last=False)
            except KeyError:
                # It was withdrawn, or another consumer was quicker.
                post.permits.append(None)
            else:
                self._hand_over(entry, post)

    def _first_line(self, post: _Post) -> OrderedDict[int, _Entry] | None:
        """Return the line whose first call has waited longest; None when there is no work, or no room."""
        if not (post.open and post.permits):
            return None
        names = post.consumer.names
        lines = [self._lines[name] for name in list(self._lines) if name in names]
        return min(filter(None, lines), key=_head, default=None)

    def _hand_over(self, entry: _Entry, post: _Post) -> None:
        message = Message(entry.id, next(self._tokens), entry.call)
        entry.held = post, message
        self._held[message.token] = entry
        entry.reply.started()
        post.consumer.run(message)
        if entry.asked:
            post.consumer.cancel(message)


def _head(line: OrderedDict[int, _Entry]) -> float:
    """Return the first number in a line."""
    while True:
        try:
            return next(iter(line), inf)
        except RuntimeError:
            # Another thread has changed it between the two steps.
            continue
