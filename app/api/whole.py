"""Answers that are there as a whole: the server gets head and body together."""

from collections.abc import Callable, Mapping, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEAD = "errand.head"
"""Where a request's scope says that only the headers of the answer will be sent: some have no end."""

WHOLE = "errand.whole"
"""Where a request's scope has the way for such an answer, when the server is ours, until it is taken."""

USUAL = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
"""Headers of what a browser takes for nothing else, and nobody keeps without asking."""

Headers = Sequence[tuple[bytes, bytes]]
"""Names, in lower case, and values."""

GiveWhole = Callable[[int, Headers, bytes], bool]
"""Gives status, headers and body; False when they have to be sent as ASGI has it."""


class WholeResponse(Response):
    """A response of which nothing has to be worked out: it goes out in one piece with the headers given.

    Starlette would look for those that are missing, and a server takes an answer in two messages and
    looks at every header again.
    """

    def __init__(
        self, body: bytes, status: int, media_type: bytes | None, headers: Mapping[str, str]
    ) -> None:
        """media_type: of the body; None for a status that has none."""
        self.status_code = status
        self.body = body
        self.background = None
        given = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        own = [(b"content-length", b"%d" % len(body)), (b"content-type", media_type)] if media_type else []
        self.raw_headers = [*own, *given]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; HEAD by ASGI's messages, of which a layer drops the body."""
        # Taken out: by then another request may be the one that is answered that way.
        give: GiveWhole | None = None if HEAD in scope else scope.pop(WHOLE, None)
        if give is None or not give(self.status_code, self.raw_headers, bytes(self.body)):
            await super().__call__(scope, receive, send)
