"""Connections that say nothing, or not enough."""

import asyncio
import gc
import weakref
from contextlib import asynccontextmanager

import pytest
import uvicorn
import uvloop
from starlette.responses import Response

from app.api import wire
from app.api.edge import Failsafe
from app.api.whole import WHOLE, WholeResponse

PATIENCE = 20


async def nobody(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def served(app):
    """Run a server, and yield a connection to it."""
    config = uvicorn.Config(app, port=0, http=wire.BoundedProtocol, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await asyncio.wait_for(serving, PATIENCE)


async def until_closed(*parts, app=nobody, until=None):
    """Send the parts to a server, and return what it answers until it closes.

    until: an event to be waited for before anything is read.
    """
    async with served(app) as (reader, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
        if until is not None:
            await asyncio.wait_for(until.wait(), PATIENCE)
        return await asyncio.wait_for(reader.read(), PATIENCE)


@pytest.mark.parametrize(
    "parts", [(), (b"G",), (b"GET / HTTP/1.1\r\nHost:",)], ids=["nothing", "a byte", "half"]
)
def test_a_connection_that_sends_no_whole_head_is_closed(parts, monkeypatch):
    monkeypatch.setattr(wire, "PATIENCE", 0.05)
    assert asyncio.run(until_closed(*parts)) == b""


def test_a_second_request_has_to_come_as_whole_as_the_first(monkeypatch):
    monkeypatch.setattr(wire, "PATIENCE", 0.05)
    answer = asyncio.run(until_closed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT"))
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert answer.count(b"HTTP/1.1") == 1


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [(GET, b"\r\n"), (CHUNKED, b"5"), (CHUNKED, b"0\r\nX: y")],
    ids=["an empty line", "half a chunk", "half a trailer"],
)
def test_nothing_keeps_a_connection_that_brings_no_request_further(parts, monkeypatch):
    monkeypatch.setattr(wire, "PATIENCE", 0.05)
    answer = asyncio.run(until_closed(*parts))
    assert answer.count(b"HTTP/1.1 204") <= 1


def test_trailers_without_end_are_refused():
    trailers = [b"X-More: " + b"x" * 8000 + b"\r\n"] * 2000
    try:
        answer = asyncio.run(until_closed(CHUNKED, b"0\r\n", *trailers))
    except ConnectionError:
        # Closed while the rest was being sent.
        answer = b""
    assert answer.count(b"HTTP/1.1") <= 1


def test_any_number_of_whole_requests_may_come_at_once():
    last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = asyncio.run(until_closed(GET * 5000, last))
    assert answer.count(b"HTTP/1.1 204") == 5001


def test_an_answer_that_is_under_way_comes_before_the_end(monkeypatch):
    monkeypatch.setattr(wire, "PATIENCE", 0.05)
    answer = asyncio.run(until_closed(GET + b"garbage\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 204")


class Sent:
    """A transport that notes what is written to it."""

    def __init__(self):
        self.written = []
        self.closed = False

    def write(self, data):
        assert not self.closed
        self.written.append(data)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    get_extra_info = pause_reading = resume_reading = None


def test_what_is_written_in_one_turn_of_the_loop_is_sent_together():
    async def write():
        sent = Sent()
        gathering = wire.Gathering(sent, asyncio.get_running_loop())
        gathering.write(b"head")
        gathering.write(b"body")
        assert sent.written == []
        await asyncio.sleep(0)
        gathering.write(b"last")
        gathering.close()
        await asyncio.sleep(0)
        return sent

    sent = asyncio.run(write())
    assert (sent.written, sent.closed) == ([b"headbody", b"last"], True)


def test_no_more_is_gathered_than_a_reader_can_be_waited_for():
    async def write():
        sent = Sent()
        gathering = wire.Gathering(sent, asyncio.get_running_loop())
        for _ in range(5):
            gathering.write(bytes(wire.GATHERED // 2))
        gathering.flush()
        return [len(data) for data in sent.written]

    piece = wire.GATHERED // 2
    assert asyncio.run(write()) == [3 * piece, 2 * piece]


def test_answers_that_are_ready_in_one_turn_of_the_loop_are_sent_after_it(monkeypatch):
    happened = []
    flush = wire.Gathering.flush

    def flushed(gathering):
        if gathering._gathered:
            happened.append("sent")
        flush(gathering)

    async def ask():
        go, waiting = asyncio.Event(), []

        async def together(scope, receive, send):
            waiting.append(scope)
            if len(waiting) == 2:
                # By none of them, which would go on in this turn.
                asyncio.get_running_loop().call_soon(go.set)
            await go.wait()
            await whole(b"body")(scope, receive, send)
            happened.append("answered")

        async with served(together) as (reader, writer):
            port = writer.get_extra_info("peername")[1]
            other_reader, other = await asyncio.open_connection("127.0.0.1", port)
            for connection in (writer, other):
                connection.write(GET)
            reads = [each.readuntil(b"body") for each in (reader, other_reader)]
            await asyncio.wait_for(asyncio.gather(*reads), PATIENCE)
            other.close()

    monkeypatch.setattr(wire.Gathering, "flush", flushed)
    # As the service is run.
    uvloop.run(ask())
    assert happened == ["answered", "answered", "sent", "sent"]


def test_what_is_ready_is_sent_to_a_client_that_says_at_once_that_it_sends_no_more():
    async def answer(scope, receive, send):
        protocol = scope[WHOLE].__self__
        await whole(b"body")(scope, receive, send)
        # As the loop does at the end of what a client sends, here in the turn of the answer.
        protocol.eof_received()
        protocol.transport._transport.close()

    assert uvloop.run(until_closed(GET, app=answer)).endswith(b"\r\n\r\nbody")


# -- answers that are given whole --------------------------------------------

CLOSING = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def whole(body, headers=None):
    return WholeResponse(body, 200, b"text/plain", headers or {"X-More": "yes"})


def parted(answer):
    """Return the head's lines, whose order is of no matter, and the body; without the date."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return sorted(line for line in head.split(b"\r\n") if not line.startswith(b"date:")), body


@pytest.mark.parametrize("request_line", [GET, CLOSING], ids=["kept alive", "closed"])
def test_a_whole_answer_is_the_one_that_asgi_s_messages_make(request_line):
    async def by_messages(scope, receive, send):
        del scope[WHOLE]
        await Response(b"body", 200, {"X-More": "yes"}, b"text/plain".decode())(scope, receive, send)

    answers = [
        asyncio.run(until_closed(request_line, CLOSING, app=app)).split(b"HTTP/1.1 ")[1]
        for app in (whole(b"body"), by_messages)
    ]
    assert parted(answers[0]) == parted(answers[1].replace(b"; charset=utf-8", b""))
    assert b"date: " in answers[0]


def test_a_whole_answer_bears_the_date_of_its_own_time_and_not_of_its_request():
    async def late(scope, receive, send):
        # The server's clock, as the protocol has it from there.
        scope[WHOLE].__self__.server_state.default_headers = [(b"date", b"later")]
        await whole(b"body")(scope, receive, send)

    assert b"date: later\r\n" in asyncio.run(until_closed(CLOSING, app=late))


def test_whole_answers_to_requests_that_come_at_once_keep_their_order():
    async def path(scope, receive, send):
        await whole(scope["path"].encode())(scope, receive, send)

    requests = b"".join(GET.replace(b"/ ", b"/%d " % n) for n in range(500))
    answer = asyncio.run(until_closed(requests + CLOSING, app=path))
    assert [parted(part)[1] for part in answer.split(b"HTTP/1.1 ")[1:]] == [
        *(b"/%d" % n for n in range(500)),
        b"/",
    ]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: b", "a\nX-Evil: b", "a\rX-Evil: b", "a\0Evil"])
def test_no_header_of_a_whole_answer_breaks_its_line(value):
    answer = asyncio.run(until_closed(CLOSING, app=whole(b"body", {"X-More": value})))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"Evil" not in answer


def test_a_whole_answer_waits_for_a_reader_that_is_slow(monkeypatch):
    late = asyncio.Event()
    give = wire.BoundedProtocol._give_whole

    def watched(*args):
        given = give(*args)
        if not given:
            late.set()
        return given

    monkeypatch.setattr(wire.BoundedProtocol, "_give_whole", watched)
    body = b"x" * (1 << 20)
    answer = asyncio.run(until_closed(GET * 50 + CLOSING, app=whole(body), until=late))
    assert answer.count(b"HTTP/1.1 200 ") == 51
    assert answer.count(body) == 51


def test_what_goes_wrong_after_a_whole_answer_is_not_told_to_whoever_comes_next():
    async def fails(scope, receive, send):
        await whole(scope["path"].encode())(scope, receive, send)
        raise ZeroDivisionError

    requests = GET.replace(b"/ ", b"/first ") + GET.replace(b"/ ", b"/second ")
    answer = asyncio.run(until_closed(requests, app=Failsafe(fails)))
    assert [parted(part)[1] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"/first"]


class Body(bytearray):
    """What can be referred to weakly."""


def test_requests_and_connections_are_not_left_to_the_garbage_collector(monkeypatch):
    seen, connections = [], []
    connected = wire.BoundedProtocol.connection_made

    def connection_made(protocol, transport):
        connections.append(weakref.ref(protocol))
        connected(protocol, transport)

    async def answer(scope, receive, send):
        body = Body(b"body")
        seen.append(weakref.ref(body))
        # Lives as long as the scope does.
        scope["test.body"] = body
        await whole(bytes(body))(scope, receive, send)

    def left():
        return [sum(ref() is not None for ref in refs) for refs in (seen, connections)]

    async def ask():
        """Return how many requests and connections are still there while one is open, and after its end."""
        async with served(answer) as (reader, writer):
            for _ in range(20):
                writer.write(GET)
                await asyncio.wait_for(reader.readuntil(b"body"), PATIENCE)
            while_open = left()
        return while_open, left()

    monkeypatch.setattr(wire.BoundedProtocol, "connection_made", connection_made)
    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(ask()) == ([1, 1], [0, 0])
    finally:
        gc.enable()


@pytest.mark.parametrize("answer", [whole(b"body"), Response(b"body")], ids=["whole", "by messages"])
def test_to_answer_somebody_who_has_gone_is_no_error(answer, monkeypatch):
    lost, errors = wire.BoundedProtocol.connection_lost, []

    async def ask():
        gone, answered = asyncio.Event(), asyncio.Event()

        def connection_lost(protocol, exc):
            lost(protocol, exc)
            gone.set()

        async def late(scope, receive, send):
            # With the body, the connection is read again.
            await receive()
            await gone.wait()
            try:
                await answer(scope, receive, send)
            except Exception as exc:
                errors.append(exc)
            answered.set()

        monkeypatch.setattr(wire.BoundedProtocol, "connection_lost", connection_lost)
        async with served(late) as (_, writer):
            writer.write(GET * 3)
            await writer.drain()
            writer.transport.abort()
            await asyncio.wait_for(answered.wait(), PATIENCE)

    # As the service is run: its transports refuse to be written to when they are closed.
    uvloop.run(ask())
    assert errors == []


def test_before_it_begins_anything_it_respects_who_has_precedence(monkeypatch):
    happened = []

    class Noted:
        def respect(self):
            happened.append("respected")

    async def answer(scope, receive, send):
        happened.append("begun")
        await nobody(scope, receive, send)

    monkeypatch.setattr(wire, "PRECEDENCE", Noted())
    asyncio.run(until_closed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", app=answer))
    assert happened == ["respected", "begun"]
