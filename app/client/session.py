"""Client and AsyncClient: the same calls, one blocking, one for asyncio."""

import asyncio
import copy
import ipaddress
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from inspect import Parameter, signature
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypedDict, TypeVar, Unpack, get_args

import httpx

from app.client import calls
from app.client.calls import Where
from app.client.errors import AnswerError, ProblemError, ServiceUnreachableError
from app.client.events import Subscription
from app.client.models import Event, Job
from app.client.steps import ERROR, Pause, Request, Steps, persistent
from app.client.submission import Options, Submission, Task, task_name

P = ParamSpec("P")
T = TypeVar("T")

URL = "http://127.0.0.1:8000"
"""Where a service listens that was started without settings."""

TIMEOUT = 10.0
PATIENCE = 5.0


class Settings(TypedDict, total=False):
    """How a client asks: see Session."""

    api_key: str | None
    timeout: float
    patience: float


class Session:
    """What both clients have: where the service is, and as whom to ask.

    url: the service's address. api_key: the secret; None for a service without keys.
    timeout: seconds that an answer may take. patience: seconds for which a call is repeated
    that got no answer, or was told to come again; 0 means that it is not. No repetition does
    anything twice: submissions bear an idempotency key.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT,
        patience: float = PATIENCE,
    ) -> None:
        if not _is_address(url):
            raise ValueError(f"a service's address is like {URL}, not {url!r}")
        if api_key is not None and not re.fullmatch("[!-~]+", api_key):
            # Not shown: whatever else it is, it is secret.
            raise ValueError("an API key is of visible ASCII characters, without spaces and ends of lines")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.patience = patience
        self._api_key = api_key
        self._template = Submission("")

    def options(self, **options: Unpack[Options]) -> Self:
        """Return a client whose submissions have these options; it shares this one's connections.

        See Submission for their meaning.
        """
        clone = copy.copy(self)
        clone._template = replace(self._template, **options)  # noqa: SLF001  (one of this class)
        return clone

    def submission(
        self, task: Task, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Submission:
        """Return a submission with the options of this client."""
        return replace(self._template, task=task_name(task), args=args, kwargs=kwargs or {})

    def _settings(self) -> dict[str, Any]:
        """Return what an HTTP client is made with."""
        # A proxy that the environment names cannot reach this machine's own loopback.
        here = _is_loopback(httpx.URL(self.url).host)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        key = {} if self._api_key is None else {"Authorization": f"Bearer {self._api_key}"}
        return {"base_url": self.url, "headers": key, "limits": limits, "trust_env": not here}

    def _asked(self, request: Request) -> dict[str, Any]:
        """Return what an HTTP client is called with."""
        return {
            "method": request.method,
            "url": request.path,
            "content": request.content,
            # None, because an empty one would take away the query that the path has.
            "params": request.params or None,
            "headers": request.headers,
            "timeout": httpx.Timeout(self.timeout, read=self.timeout + request.waits),
        }


def _is_address(url: str) -> bool:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return address.scheme in {"http", "https"} and bool(address.host)


def _require_open(http: httpx.Client | httpx.AsyncClient) -> None:
    """Raise ServiceUnreachableError where httpx would raise a RuntimeError."""
    if http.is_closed:
        raise ServiceUnreachableError("the client was closed")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _as_method(method: Callable[..., Any], call: Callable[..., Any]) -> None:
    """Have a method look like the call that it makes, with `self` before its parameters."""
    wraps(call)(method)
    found = signature(call)
    own = Parameter("self", Parameter.POSITIONAL_ONLY)
    _, _, result = get_args(found.return_annotation)
    method.__annotations__ = {**call.__annotations__, "return": result}
    method.__signature__ = found.replace(  # type: ignore[attr-defined]
        parameters=[own, *found.parameters.values()], return_annotation=result
    )


def _blocking(call: Callable[P, Steps[T]]) -> Callable[Concatenate["Client", P], T]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.perform(call(*args, **kwargs))

    _as_method(method, call)
    return method


def _awaiting(call: Callable[P, Steps[T]]) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.perform(call(*args, **kwargs))

    _as_method(method, call)
    return method


class Client(Session):
    """A service, for programs that wait for its answers. May be used by many threads.

        with Client("http://127.0.0.1:8000") as errand:
            job = errand.submit("count_words", "to be or not to be")
            print(errand.result(job.id))

    Every method raises ServiceUnreachableError and ProblemError, and what it says besides.
    """

    def __init__(self, url: str = URL, **settings: Unpack[Settings]) -> None:
        super().__init__(url, **settings)
        self._http = httpx.Client(**self._settings())

    def submit(self, task: Task, /, *args: Any, **kwargs: Any) -> Job:
        """Hand in a call, by the task's name or function, and return its job once it is durable.

        Raises UnknownTaskError, InvalidRequestError, BusyError, and TypeError or ValueError for
        arguments that are no JSON.
        """
        return self.perform(calls.submit(self.submission(task, args, kwargs)))

    submit_many = _blocking(calls.submit_many)
    get = _blocking(calls.get)
    until_done = _blocking(calls.until_done)
    result = _blocking(calls.result)
    logs = _blocking(calls.logs)
    cancel = _blocking(calls.cancel)
    purge = _blocking(calls.purge)
    retry = _blocking(calls.retry)
    update = _blocking(calls.update)
    cancel_all = _blocking(calls.cancel_all)
    retry_all = _blocking(calls.retry_all)
    tasks = _blocking(calls.tasks)
    task = _blocking(calls.task)
    queues = _blocking(calls.queues)
    pause = _blocking(calls.pause)
    resume = _blocking(calls.resume)
    stats = _blocking(calls.stats)
    workers = _blocking(calls.workers)
    ready = _blocking(calls.ready)

    def jobs(self, *, page: int = 100, **where: Unpack[Where]) -> Iterator[Job]:
        """Yield the jobs that a filter fits, newest first. page: how many are asked for at a time, to 500."""
        address: str | None = calls.first_page(page, where)
        while address is not None:
            found = self.perform(calls.page(address))
            yield from found.jobs
            address = found.next

    def events(
        self, job_id: str | None = None, *, after: str | None = None, **where: Unpack[Where]
    ) -> Iterator[Event]:
        """Yield what happens to a job until it is done; or without end, to all that a filter fits.

        after: the id of the last event that is known; None: all that has happened to the job, or
        from now on. Lost connections are made anew, and no event is lost with them.
        """
        subscription = Subscription(job_id, after, where, self.patience)
        while not subscription.over:
            error = None
            try:
                _require_open(self._http)
                with self._http.stream(**self._asked(subscription.request())) as answer:
                    if answer.status_code >= ERROR:
                        answer.read()
                    subscription.opened(answer)
                    for data in answer.iter_bytes():
                        yield from subscription.feed(data)
            except (httpx.TransportError, ProblemError) as exc:
                error = exc
            except httpx.RequestError as exc:
                raise AnswerError(f"events that cannot be read: {exc}") from exc
            if not subscription.over:
                time.sleep(subscription.closed(error))

    def for_asyncio(self) -> "AsyncClient":
        """Return a client of the same service for asyncio, whose patience has no end."""
        return AsyncClient(self.url, api_key=self._api_key, timeout=self.timeout, patience=math.inf)

    def close(self) -> None:
        """Close the connections, those of clients made by `options` too."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def perform(self, steps: Steps[T]) -> T:
        """Carry out a call."""
        todo = persistent(steps, self.patience)
        try:
            step = next(todo)
            while True:
                try:
                    answer = self._do(step)
                except (httpx.RequestError, httpx.InvalidURL) as exc:
                    step = todo.throw(exc)
                else:
                    step = todo.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: Request | Pause) -> httpx.Response | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        _require_open(self._http)
        return self._http.request(**self._asked(step))


class AsyncClient(Session):
    """A service, for asyncio. Its methods are Client's, to be awaited; `jobs` and `events` are iterated over.

        async with AsyncClient("http://127.0.0.1:8000") as errand:
            job = await errand.submit("count_words", "to be or not to be")
            print(await errand.result(job.id))

    Belongs to the event loop on which it is first used.
    """

    def __init__(self, url: str = URL, **settings: Unpack[Settings]) -> None:
        super().__init__(url, **settings)
        self._http = httpx.AsyncClient(**self._settings())

    async def submit(self, task: Task, /, *args: Any, **kwargs: Any) -> Job:
        """See Client.submit."""
        return await self.perform(calls.submit(self.submission(task, args, kwargs)))

    submit_many = _awaiting(calls.submit_many)
    get = _awaiting(calls.get)
    until_done = _awaiting(calls.until_done)
    result = _awaiting(calls.result)
    logs = _awaiting(calls.logs)
    cancel = _awaiting(calls.cancel)
    purge = _awaiting(calls.purge)
    retry = _awaiting(calls.retry)
    update = _awaiting(calls.update)
    cancel_all = _awaiting(calls.cancel_all)
    retry_all = _awaiting(calls.retry_all)
    tasks = _awaiting(calls.tasks)
    task = _awaiting(calls.task)
    queues = _awaiting(calls.queues)
    pause = _awaiting(calls.pause)
    resume = _awaiting(calls.resume)
    stats = _awaiting(calls.stats)
    workers = _awaiting(calls.workers)
    ready = _awaiting(calls.ready)

    async def jobs(self, *, page: int = 100, **where: Unpack[Where]) -> AsyncIterator[Job]:
        """See Client.jobs."""
        address: str | None = calls.first_page(page, where)
        while address is not None:
            found = await self.perform(calls.page(address))
            for job in found.jobs:
                yield job
            address = found.next

    async def events(
        self, job_id: str | None = None, *, after: str | None = None, **where: Unpack[Where]
    ) -> AsyncIterator[Event]:
        """See Client.events."""
        subscription = Subscription(job_id, after, where, self.patience)
        async for event in self.follow(subscription):
            yield event

    async def follow(
        self, subscription: Subscription, opened: Callable[[], object] = lambda: None
    ) -> AsyncIterator[Event]:
        """Yield the events of a subscription. opened: called for each connection, before its first event."""
        while not subscription.over:
            error = None
            try:
                _require_open(self._http)
                async with self._http.stream(**self._asked(subscription.request())) as answer:
                    if answer.status_code >= ERROR:
                        await answer.aread()
                    subscription.opened(answer)
                    opened()
                    async for data in answer.aiter_bytes():
                        for event in subscription.feed(data):
                            yield event
            except (httpx.TransportError, ProblemError) as exc:
                error = exc
            except httpx.RequestError as exc:
                raise AnswerError(f"events that cannot be read: {exc}") from exc
            if not subscription.over:
                await asyncio.sleep(subscription.closed(error))

    async def aclose(self) -> None:
        """Close the connections, those of clients made by `options` too."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def perform(self, steps: Steps[T]) -> T:
        """Carry out a call."""
        todo = persistent(steps, self.patience)
        try:
            step = next(todo)
            while True:
                try:
                    answer = await self._do(step)
                except (httpx.RequestError, httpx.InvalidURL) as exc:
                    step = todo.throw(exc)
                else:
                    step = todo.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: Request | Pause) -> httpx.Response | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        _require_open(self._http)
        return await self._http.request(**self._asked(step))
