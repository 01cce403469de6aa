"""What only shows at the ASGI interface itself."""

import asyncio
import json

import pytest

from app.api.edge import Failsafe, HeadAsGet
from app.api.guard import Guard


async def nothing(*_):
    """Receive or send nothing."""


def test_an_error_after_half_an_answer_is_left_to_the_server():
    async def half(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(Failsafe(half)({"type": "http"}, nothing, nothing))


def test_what_the_server_ends_as_it_stops_is_answered_as_such():
    messages = []

    async def test():
        inside = asyncio.Event()

        async def within(scope, receive, send):
            inside.set()
            await asyncio.Event().wait()

        async def send(message):
            messages.append(message)

        scope = {"type": "http", "method": "POST", "path": "/jobs", "headers": []}
        request = asyncio.ensure_future(Failsafe(within)(scope, nothing, send))
        await inside.wait()
        request.cancel("timeout graceful shutdown exceeded")
        await request

    asyncio.run(test())
    start, body = messages
    assert (start["status"], dict(start["headers"])[b"retry-after"]) == (503, b"5")
    assert json.loads(body["body"])["type"].endswith("/problems/draining")


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_not_http_passes_through_untouched(kind):
    seen = []

    async def within(scope, receive, send):
        seen.append(scope)

    scope = {"type": kind}
    asyncio.run(HeadAsGet(Failsafe(Guard(within, (), any_host=False)))(scope, nothing, nothing))
    assert seen == [{"type": kind}]
    assert seen[0] is scope
