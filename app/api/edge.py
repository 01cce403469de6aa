"""The outermost ASGI layers: HEAD wherever GET is, and an answer whatever happens."""

import logging
from collections.abc import Awaitable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import ProblemError
from app.api.whole import HEAD, WHOLE

LOGGER = logging.getLogger(__name__)


class HeadAsGet:
    """Answers HEAD as GET without the body: same status, same headers, length included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Turn HEAD into GET on the way in, and drop the body on the way out."""
        # Itself no coroutine, which all others would have to be awaited through.
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return self._app(scope, receive, send)

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        return self._app({**scope, "method": "GET", HEAD: True}, receive, send_head)


class Failsafe:
    """Answers an error that nobody foresaw with a problem that says nothing about it; the log has it all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Catch what comes out of everything within."""
        started, offered = False, WHOLE in scope

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except ClientDisconnect:
            # Nobody is there to be answered.
            return
        except Exception:
            if started or (offered and WHOLE not in scope) or scope["type"] != "http":
                # An answer is out, or half of one: the server has to break the connection off.
                raise
            LOGGER.exception("%s %r failed", scope["method"], scope["path"])
            problem = ProblemError("internal-error", "the service met an error; its log has the details")
            await problem.response(scope["path"])(scope, receive, send)
