"""HTTP on the wire: uvicorn's protocol, with limits on what comes before and after a request's body.

By itself it keeps headers and trailers of any size, and waits for them without end.
That costs a stranger nothing, because it comes before any key is looked at.
"""

import asyncio
import json
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api.kinds import KINDS
from app.api.whole import WHOLE, Headers
from app.service import PRECEDENCE

MAX_FRAMING = 64 * 1024
"""Bytes at a stretch that bring no request further; those of a read that does are not counted."""

PATIENCE = 20.0
"""Seconds that a connection gets for the head of a request, and for each further piece of its body."""


# What RFC 9110, section 5.5, has no header's value contain.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

GATHERED = 64 * 1024
"""Bytes that are gathered before they are sent."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses heads and trailers that are too large, closes for what does not come, answers with problems.

    Whatever it decides, an answer that is under way is given first.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._current: RequestResponseCycle
        """What is being answered, or was the last."""
        self._advanced = False
        self._framing = 0
        self._deadline: float | None = None
        """When to give up what is awaited, by the loop's clock; None while nothing is."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._gathering = Gathering(transport, self.loop)
        # It has all of a transport that is used.
        self.transport = self._gathering  # type: ignore[assignment]
        self._expect()

    def eof_received(self) -> None:
        """Send what is ready to a client that sends no more: the loop closes the connection after this."""
        self._gathering.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._expect_nothing()
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
        # None of them will be begun, and each leads back here.
        self.pipeline.clear()
        if self.cycle is not None:
            # If it was never taken: it leads back here.
            self._current.scope.pop(WHOLE, None)  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count what brings no request further."""
        PRECEDENCE.respect()
        if self._deadline is None:
            # Not even an empty line between two requests may stop the clock.
            self._expect()
        self._advanced = False
        super().data_received(data)
        self._framing = 0 if self._advanced else self._framing + len(data)
        if self._framing > MAX_FRAMING and not self.transport.is_closing():
            self._refuse("headers-too-large", f"headers exceed {MAX_FRAMING} bytes")

    def on_message_begin(self) -> None:
        """Take note of a new request."""
        self._advanced = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Take note that the head is here."""
        self._advance()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take note of a piece of the body."""
        self._advance()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take note of the end: from now on uvicorn's own clock for idle connections runs."""
        self._advanced = True
        self._expect_nothing()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem too."""
        self._refuse("bad-request", msg)

    def _advance(self) -> None:
        self._advanced = True
        self._expect()

    def _expect(self) -> None:
        self._deadline = self.loop.time() + PATIENCE
        if self._timer is None:
            # One for many deadlines: it looks at the last one when it rings, which most never live to see.
            self._timer = self.loop.call_at(self._deadline, self._ring)

    def _expect_nothing(self) -> None:
        self._deadline = None

    def _ring(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self.loop.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._ring)
        elif self._answering():
            self._expect()
        else:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Have a request answered, of which there is one at a time, and offer to take the answer whole."""
        # Not with the cycle in it: that has the scope, and the two would be left to the garbage collector.
        self._current = cycle
        cycle.scope[WHOLE] = self._give_whole  # type: ignore[literal-required]
        super()._start_asgi_task(cycle, app)

    def _give_whole(self, status: int, headers: Headers, body: bytes) -> bool:
        """Write an answer as a whole, as its cycle does by two messages; see `GiveWhole`."""
        cycle = self._current
        if self.flow.write_paused or cycle.response_started:
            return False
        if not cycle.disconnected:
            self.transport.write(self._head(cycle, status, headers) + body)
            cycle.response_started = cycle.response_complete = True
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()
            if not cycle.keep_alive:
                self.transport.close()
            cycle.on_response()
        return True

    def _head(self, cycle: RequestResponseCycle, status: int, headers: Headers) -> bytes:
        if _CONTROL.search(b"".join([value for _, value in headers])):
            # A line break would begin another header, or the body.
            msg = "a header has a control character"
            raise RuntimeError(msg)
        # Not those of the cycle, whose date is that of the request: an answer may have been waited for.
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        return b"%b%b\r\n" % (STATUS_LINE[status], b"".join(lines))

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, name: str, detail: str) -> None:
        self._expect_nothing()
        if self._answering():
            # Written now it would pass for the answer that is under way; that one is the last.
            self.cycle.keep_alive = False
            self.transport.pause_reading()
            return
        self.transport.write(_problem(name, detail))
        self.transport.close()


class Gathering:
    """A transport that sends in the loop's next turn what was written to it in this one.

    The head of an answer goes together with its body: each write is a system call. And answers that are
    ready together go one right after the other. Sent in between, each would have to wake its reader
    anew, for 9 of the 55 us that reading a job takes.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes] = []
        self._size = 0
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send this with what else is written before the loop's next turn."""
        if not self._gathered:
            self._loop.call_soon(self.flush)
        self._gathered.append(data)
        self._size += len(data)
        if self._size > GATHERED:
            # Only what is sent can tell a stream to wait for its reader.
            self.flush()

    def flush(self) -> None:
        """Send what has gathered now."""
        if self._gathered:
            gathered, self._gathered, self._size = self._gathered, [], 0
            # Of requests that come at once uvicorn learns of the last one only that nobody waits for it.
            if not self.is_closing():
                self._transport.write(b"".join(gathered))

    def close(self) -> None:
        """Close the connection when what was written is sent."""
        self.flush()
        self._transport.close()


def _problem(name: str, detail: str) -> bytes:
    kind = KINDS[name]
    problem = {"type": f"/problems/{name}", "title": kind.title, "status": kind.status, "detail": detail}
    body = json.dumps(problem, separators=(",", ":")) + "\n"
    head = (
        f"HTTP/1.1 {kind.status} {kind.title}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return (head + body).encode()
