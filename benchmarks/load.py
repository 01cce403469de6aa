"""A client that asks more of a service than the service can give: HTTP/1.1 over kept connections.

Written on asyncio's protocols, because the usual clients take longer over a request than a
service does, and would be what is measured. What this one can do at most is measured against
`serve_nothing`, which does nothing but answer.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import chain
from statistics import quantiles
from time import perf_counter
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

Protocol = TypeVar("Protocol", bound=asyncio.Protocol)

END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length: "


class Answer(NamedTuple):
    """An answer: its status and its body."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body as parsed JSON."""
        return json.loads(self.body)


def parsed(received: bytes) -> Answer | None:
    """Return the answer when all of it was received; None before."""
    head_end = received.find(END_OF_HEAD)
    if head_end < 0:
        return None
    length = received[:head_end].lower().partition(LENGTH)[2].partition(b"\r")[0]
    start = head_end + len(END_OF_HEAD)
    if len(received) < start + int(length or 0):
        return None
    return Answer(int(received[9:12]), received[start:])


class Connection(asyncio.Protocol):
    """A kept connection on which one request at a time is made."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = b""
        self._answered: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as of TCP
        """Take the transport."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that is under way."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        """Answer the request when all of its answer is here."""
        self._received += data
        answer = parsed(self._received)
        if answer is not None and self._answered is not None:
            self._received = b""
            self._answered.set_result(answer)

    async def ask(self, request: bytes) -> Answer:
        """Send a request and return its answer."""
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered


class Caller:
    """Makes requests to one service, of which each connection has one at a time."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80

    def connections(
        self, count: int, kind: type[Connection] = Connection
    ) -> AbstractAsyncContextManager[Sequence[Connection]]:
        """Open connections, and close them in the end."""
        return self.opened(count, kind)

    @asynccontextmanager
    async def opened(self, count: int, make: Callable[[], Protocol]) -> AsyncIterator[Sequence[Protocol]]:
        """Open connections of a protocol of one's own, and close them in the end."""
        loop = asyncio.get_running_loop()
        made = [await loop.create_connection(make, self._host, self._port) for _ in range(count)]
        try:
            yield [connection for _, connection in made]
        finally:
            for transport, _ in made:
                transport.close()

    def request(self, method: str, path: str, body: object = None, **headers: str) -> bytes:
        """Return the bytes of a request. headers: with `_` for `-`."""
        sent = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + sent


class Load(NamedTuple):
    """What became of a load. latencies: seconds of each request, ascending. seconds: of all of it."""

    latencies: Sequence[float]
    seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """Return the seconds within which so many percent were answered."""
        return quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


class Repeater(asyncio.Protocol):
    """A connection on which the same request is made as soon as it was answered, until a time.

    done: what became of it. Without coroutines, which would take as long as the rest of the client.
    """

    def __init__(self, request: bytes, expected: int, until: float) -> None:
        self._request, self._expected, self._until = request, expected, until
        self._transport: asyncio.Transport
        self._received = b""
        self._sent = 0.0
        self._latencies: list[float] = []
        self.done: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as of TCP
        """Make the first request."""
        self._transport = transport
        self._send(perf_counter())

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is not at its end."""
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        """Note the time when all of an answer is here, and make the next request."""
        self._received += data
        answer = parsed(self._received)
        if answer is None:
            return
        now = perf_counter()
        self._received = b""
        self._latencies.append(now - self._sent)
        if answer.status != self._expected:
            self.done.set_exception(refused(answer, self._expected))
        elif now >= self._until:
            self.done.set_result(self._latencies)
        else:
            self._send(now)

    def _send(self, now: float) -> None:
        self._sent = now
        self._transport.write(self._request)


async def saturate(base: str, request: bytes, expected: int, *, connections: int, seconds: float) -> Load:
    """Make the same request on each connection as soon as the last one is answered (closed loop)."""
    begun = perf_counter()
    make = partial(Repeater, request, expected, begun + seconds)
    async with Caller(base).opened(connections, make) as opened:
        latencies = await asyncio.gather(*(connection.done for connection in opened))
        return Load(sorted(chain.from_iterable(latencies)), perf_counter() - begun)


async def one_by_one(base: str, request: bytes, expected: int, count: int) -> Load:
    """Make the same request so many times, each when the one before is answered."""
    latencies: list[float] = []
    async with Caller(base).connections(1) as (connection,):
        begun = perf_counter()
        for _ in range(count):
            start = perf_counter()
            require(await connection.ask(request), expected)
            latencies.append(perf_counter() - start)
        return Load(sorted(latencies), perf_counter() - begun)


async def at_rate(base: str, request: bytes, expected: int, *, rate: float, seconds: float) -> Load:
    """Make requests at fixed times, whether the ones before are answered or not (open loop).

    A request's time runs from when it was due: one that has to wait, because all before it
    are slow, has been waited for (no coordinated omission).
    """
    latencies: list[float] = []
    async with Caller(base).connections(CROWD) as opened:
        idle = deque(opened)
        freed = asyncio.Event()
        begun = perf_counter()

        async def once(due: float) -> None:
            while not idle:
                freed.clear()
                await freed.wait()
            connection = idle.popleft()
            require(await connection.ask(request), expected)
            latencies.append(perf_counter() - due)
            idle.append(connection)
            freed.set()

        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                due = begun + number / rate
                await _until(due)
                group.create_task(once(due))
        return Load(sorted(latencies), perf_counter() - begun)


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)


CROWD = 256
"""Connections of a load at a fixed rate: more than are ever busy at once."""


async def _until(due: float) -> None:
    left = due - perf_counter()
    # Not exactly: what is due in less is made at once, and its time runs from when it was due.
    await asyncio.sleep(max(0.0, left))


def require(answer: Answer, expected: int) -> None:
    """Raise RuntimeError for any other status: what is refused is quickly answered."""
    if answer.status != expected:
        raise refused(answer, expected)


def refused(answer: Answer, expected: int) -> RuntimeError:
    """Return the error of an answer that is of another status."""
    return RuntimeError(f"{answer.status} in place of {expected}: {answer.body[:200]!r}")


async def each(
    base: str, count: int, connections: int, call: Callable[[Connection, int], Coroutine[Any, Any, None]]
) -> float:
    """Make `count` calls, each on a connection that is free; return the seconds."""
    async with Caller(base).connections(connections) as opened:
        numbers = iter(range(count))
        begun = perf_counter()

        async def work(connection: Connection) -> None:
            for number in numbers:
                await call(connection, number)

        await _all(map(work, opened))
        return perf_counter() - begun


# -- what the client itself can do -------------------------------------------


class _Echo(asyncio.Protocol):
    """Answers each read with the same answer, without looking at it."""

    ANSWER = b"HTTP/1.1 202 Accepted\r\ncontent-length: 900\r\n\r\n" + b"x" * 900

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as of TCP
        self._transport = transport

    def data_received(self, _: bytes) -> None:
        self._transport.write(self.ANSWER)


async def serve_nothing(port: int) -> None:
    """Answer everybody, until the process is ended."""
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", port)
    await server.serve_forever()
