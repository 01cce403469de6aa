"""The outermost ASGI layers: HEAD wherever GET is, and an answer whatever happens."""

import logging
from asyncio import CancelledError
from collections.abc import Awaitable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import ProblemError
from app.api.whole import HEAD, WHOLE
from app.service import DrainingError

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
        except (Exception, CancelledError) as exc:
            if started or (offered and WHOLE not in scope) or scope["type"] != "http":
                # An answer is out, or half of one: the server has to break the connection off.
                raise
            problem = _cut_off() if isinstance(exc, CancelledError) else _failed(scope, exc)
            await problem.response(scope["path"])(scope, receive, send)


def _cut_off() -> ProblemError:
    """Return what to say when the server ends a request, as it does when it has waited for it long enough."""
    detail = "the service had to stop before this was answered; whether it was done is not known"
    return ProblemError("draining", detail, headers={"Retry-After": str(DrainingError.retry_after)})


def _failed(scope: Scope, exc: BaseException) -> ProblemError:
    LOGGER.error("%s %r failed", scope["method"], scope["path"], exc_info=exc)
    return ProblemError("internal-error", "the service met an error; its log has the details")
