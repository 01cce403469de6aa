"""Connections that say nothing, or not enough."""

import asyncio

import pytest
import uvicorn

from app.api import wire

PATIENCE = 20


async def nobody(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def until_closed(*parts):
    """Send the parts to a server, and return what it answers until it closes."""
    config = uvicorn.Config(nobody, port=0, http=wire.BoundedProtocol, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    server.should_exit = True
    await serving
    return answer


@pytest.mark.parametrize(
    "parts", [(), (b"G",), (b"GET / HTTP/1.1\r\nHost:",)], ids=["nothing", "a byte", "half"]
)
def test_a_connection_that_sends_no_whole_head_is_closed(parts, monkeypatch):
    monkeypatch.setattr(wire, "HEAD_SECONDS", 0.05)
    assert asyncio.run(until_closed(*parts)) == b""


def test_a_second_request_has_to_come_as_whole_as_the_first(monkeypatch):
    monkeypatch.setattr(wire, "HEAD_SECONDS", 0.05)
    answer = asyncio.run(until_closed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT"))
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert answer.count(b"HTTP/1.1") == 1
