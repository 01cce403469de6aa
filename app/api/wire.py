"""HTTP on the wire: uvicorn's protocol, with limits on what comes before a request can be answered.

By itself it keeps headers of any size, and waits for them without end. Both cost a
stranger nothing, because they come before any key is looked at.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.kinds import KINDS

MAX_HEAD = 64 * 1024
"""Bytes of request line and headers after which they are refused; what was read at once counts once."""

HEAD_SECONDS = 20.0
"""Seconds that a connection gets for the head of a request."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a head that is too large, closes for one that does not come, and answers with problems."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._head_ends()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a head: the keep-alive timer ends with its first byte."""
        self._in_head = True
        self._wait_for_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Take note that the head is here."""
        self._head_ends()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count what is not a whole head yet."""
        before = self._in_head
        super().data_received(data)
        if before and self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse("headers-too-large", f"request line and headers exceed {MAX_HEAD} bytes")

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem too."""
        self._refuse("bad-request", msg)

    def _wait_for_head(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_ends(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _refuse(self, name: str, detail: str) -> None:
        kind = KINDS[name]
        problem = {"type": f"/problems/{name}", "title": kind.title, "status": kind.status, "detail": detail}
        body = json.dumps(problem, separators=(",", ":")) + "\n"
        head = (
            f"HTTP/1.1 {kind.status} {kind.title}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write((head + body).encode())
        self.transport.close()
