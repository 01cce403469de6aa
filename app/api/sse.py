"""Server-Sent Events on the wire, as WHATWG's HTML standard has them."""

from collections.abc import Iterator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.api.documents import encode, time_text
from app.api.replies import unless_hung_up
from app.api.whole import HEAD
from app.service import Entry, Part, ServiceError, Stream

HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would gather events until it has 4 KiB of them
    "X-Content-Type-Options": "nosniff",
}

RETRY = 2000
"""Milliseconds after which a browser comes back when the connection is lost."""

CHUNK = 64 * 1024
"""Characters that are written at a time; then the connection has to take them first."""

GAP = encode({"reason": "some events that came before the next ones are no longer kept"})


class EventStream(Response):
    """Tells what a stream brings for as long as it does, and the client listens."""

    media_type = "text/event-stream"

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.status_code = 200
        self.background = None
        # Without a body, so without a length.
        self.init_headers(HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; HEAD with the headers alone. Raises ClientDisconnect."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if not scope.get(HEAD):
            await unless_hung_up(receive, self._tell(send))
        await send(_body("", more=False))

    async def _tell(self, send: Send) -> None:
        # At once: the headers go out with it.
        await send(_body(f": events follow\nretry: {RETRY}\n\n"))
        async with aclosing(self._stream) as parts:
            try:
                async for part in parts:
                    for chunk in _chunks(part):
                        # Returns when the connection has room again.
                        await send(_body(chunk))
            except ServiceError as exc:
                # Half an answer is out; who comes back gets a whole problem.
                await send(_body(_comment(str(exc))))


def _body(text: str, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}


def _chunks(part: Part) -> Iterator[str]:
    """Yield what a part is on the wire, in pieces that are not too large."""
    piece = ""
    for event in _events(part):
        piece += event
        if len(piece) >= CHUNK:
            yield piece
            piece = ""
    if piece:
        yield piece


def _events(part: Part) -> Iterator[str]:
    if part.gap is not None:
        yield _event("gap", part.gap, GAP)
    for entry in part.entries:
        yield _event(entry.record.kind, entry.cursor, _data(entry))
    if part.stopping:
        yield _comment("the service stops")
    elif part.gap is None and not part.entries:
        # The id too: who sees few of the events need not go through the others again.
        yield f": still here\nid: {part.cursor}\n\n"


def _event(kind: str, cursor: str, data: str) -> str:
    return f"event: {kind}\nid: {cursor}\ndata: {data}\n\n"


def _comment(text: str) -> str:
    return f": {text}\n\n"


def _data(entry: Entry) -> str:
    # Spliced, not parsed: what is stored is an object on one line already.
    head = {
        "job": entry.job_id,
        "task": entry.task,
        "queue": entry.queue,
        "at": time_text(entry.record.at),
    }
    return f"{encode(head)[:-1]},{entry.record.data[1:]}"
