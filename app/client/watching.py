"""The ends of remote jobs, heard on one connection for all of them.

A daemon thread with an event loop of its own reads the tenant's events. What ends is asked
for its result, a few at a time, because events bear none; what is to be told of it is told
on a thread of its own, since user code may run in there.

A job may have ended before this process knows its id: the answer to its submission is still
under way. So while submissions are (`Watch.submitting`), the ends of unknown jobs are kept.
When a connection does not go on where the last one was (the first one; or some events are
no longer kept), every job is asked for once.
"""

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

from app.client.calls import standing
from app.client.errors import ClientError, UnauthorizedError
from app.client.events import Subscription
from app.client.models import Event, Job
from app.client.session import AsyncClient
from app.client.steps import LONGEST_PAUSE
from app.core import QueueUnavailableError, State, ThreadPoolExecutor
from app.core.named import Ending, Lost, Stopped
from app.core.submitting import Reply

LOGGER = logging.getLogger(__name__)

CLOSED = "the executor was shut down"

AT_ONCE = 4
"""Jobs that are asked for at a time.

For each request httpcore looks at all connections: with 16 it takes twice the CPU time that it
takes with one, with 4 a fifth more, and a service that is far away is asked four times as fast.
"""


class _News(NamedTuple):
    """What the last event about a job has said. number: of the event."""

    number: int
    data: Mapping[str, Any]


class Submitting(NamedTuple):
    """A submission that is under way. since: the number of the last event before it. opening: then."""

    since: int
    opening: int


class Watch:
    """Tells replies how their jobs end. May be used from any thread.

    make_client: makes the client with which it asks; its patience should have no end. The
    threads begin with the first job.
    """

    def __init__(self, make_client: Callable[[], AsyncClient]) -> None:
        self._make_client = make_client
        # Reentrant: the garbage collector may run under it, and what it finalizes may submit.
        self._lock = threading.RLock()
        self._replies: dict[str, list[Reply]] = {}
        """By the job's id: several submissions may stand for one job."""
        self._submitting: dict[int, Submitting] = {}
        self._news: dict[str, _News] = {}
        """By the job's id, the latest last: while something is being submitted, it may be about that."""
        self._numbers = itertools.count()
        self._heard = 0
        """The number of the last event."""
        self._opening = 0
        """How often the stream was opened without going on where it was."""
        self._over: str | None = None
        """Why nothing is heard any more."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._main_task: asyncio.Task[None] | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._asking = asyncio.Semaphore(AT_ONCE)
        self._telling = ThreadPoolExecutor(1, "errand-remote-replies")

    @contextmanager
    def submitting(self) -> Iterator[Submitting]:
        """Keep what is heard meanwhile, for `add`. Raises QueueUnavailableError if nothing can be."""
        self.start()
        number = next(self._numbers)
        with self._lock:
            submitting = self._submitting[number] = Submitting(self._heard, self._opening)
        try:
            yield submitting
        finally:
            with self._lock:
                del self._submitting[number]
                self._forget()

    def add(self, job_id: str, reply: Reply, submitting: Submitting | None = None) -> None:
        """Tell of this job from now on: if nothing is heard any more, that it is lost.

        submitting: how it was submitted; None: before, so that it may have ended already.
        """
        with self._lock:
            self._replies.setdefault(job_id, []).append(reply)
            over = self._over
            # Opened since: what ended before that, nothing was heard of.
            look = submitting is None or submitting.opening != self._opening
            news = self._news.get(job_id)
        if news is not None:
            self._hear(job_id, news.data)
        if look:
            self._soon(partial(self._look, job_id))
        if over is not None:
            # Since it was looked at.
            self._end(job_id, Lost(over))

    def close(self) -> None:
        """Hear no more; what is not over fails with QueueUnavailableError."""
        with self._lock:
            self._over = self._over or CLOSED
            loop = self._loop
        if loop is not None:
            # It may have ended already, by itself.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._stop)

    def join(self) -> None:
        """Return when its threads have ended, after `close`. Not from one of them."""
        if self._thread is not None:
            self._thread.join()
        self._telling.shutdown()

    def start(self) -> None:
        """Begin to hear, unless that has begun. Raises QueueUnavailableError if it is over."""
        with self._lock:
            if self._over is not None:
                raise QueueUnavailableError(self._over)
            if self._thread is not None:
                return
            self._client = self._make_client()
            loop = self._loop = asyncio.new_event_loop()
            thread = threading.Thread(target=self._run, args=(loop,), name="errand-remote", daemon=True)
            try:
                thread.start()
            except BaseException:
                self._loop = None
                loop.close()
                raise
            self._thread = thread

    def _soon(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Carry out a coroutine on the loop, whenever that comes to it."""
        # Not there: it was closed before it began. Closed: everything is told that it is over.
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._carry_out, make)

    def _forget(self) -> None:
        """Drop the news that no submission can be about."""
        # Copied: a finalizer may submit at any place.
        oldest = min(
            (submitting.since for submitting in list(self._submitting.values())), default=self._heard
        )
        while (first := next(iter(self._news.items()), None)) is not None and first[1].number <= oldest:
            self._news.pop(first[0], None)

    def _hear(self, job_id: str, data: Mapping[str, Any]) -> None:
        """Take note of a job's state."""
        state = data.get("state")
        self._hear_running(job_id, state)
        if state == State.CANCELLED:
            self._end(job_id, Stopped())
        elif state == State.FINISHED:
            self._soon(partial(self._look, job_id))

    def _hear_running(self, job_id: str, state: object) -> None:
        if state == State.RUNNING:
            with self._lock:
                replies = list(self._replies.get(job_id, ()))
            for reply in replies:
                self._tell(reply.started)

    def _end(self, job_id: str, ending: Ending) -> None:
        with self._lock:
            replies = self._replies.pop(job_id, ())
        for reply in replies:
            self._tell(partial(reply.ended, ending))

    def _tell(self, what: Callable[[], object]) -> None:
        try:
            self._telling.submit(what)
        except RuntimeError:
            # It was closed, or the interpreter is about to exit; but somebody may wait.
            what()

    # -- on the loop's thread ------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        reason = CLOSED
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._main())
        except asyncio.CancelledError:
            pass
        except ClientError as exc:
            reason = str(exc)
        except BaseException:
            LOGGER.exception("remote jobs are watched no more")
            reason = "what watches the remote jobs has failed"
        with self._lock:
            self._over = reason
            left = list(self._replies)
        for job_id in left:
            self._end(job_id, Lost(reason))

    async def _main(self) -> None:
        self._main_task = asyncio.current_task()
        async with self._client:
            try:
                await self._hear_all()
            finally:
                # Each in turn, and not all at once as the loop's end does: of what has only begun to
                # connect, a half would be dropped before it has run, which is a warning.
                for work in self._work:
                    work.cancel()
                await asyncio.gather(*self._work, return_exceptions=True)

    async def _hear_all(self) -> None:
        while self._over is None:
            try:
                await self._follow()
            except UnauthorizedError:
                raise
            except ClientError as exc:
                # The cursor of another database, which has taken this one's place; or a fault, here or
                # there, which need not last. The jobs go on, so whoever waits for them waits on.
                LOGGER.warning("the events of remote jobs are asked for anew: %s", exc)
                await asyncio.sleep(LONGEST_PAUSE)
            except Exception:
                # Whatever it is, somebody waits.
                LOGGER.exception("the events of remote jobs are asked for anew")
                await asyncio.sleep(LONGEST_PAUSE)

    async def _follow(self) -> None:
        """Follow what happens from now on, and look at all that has happened before."""
        subscription = Subscription(None, None, {}, self._client.patience)
        async for event in self._client.follow(subscription, partial(self._opened, subscription)):
            self._note(event)

    def _stop(self) -> None:
        # None when it has not begun: it will see for itself.
        if self._main_task is not None:
            self._main_task.cancel()

    def _opened(self, subscription: Subscription) -> None:
        if not subscription.goes_on:
            self._look_at_all()

    def _note(self, event: Event) -> None:
        if event.kind == "gap":
            self._look_at_all()
        elif event.kind == "state" and event.job is not None:
            with self._lock:
                self._heard += 1
                known = event.job in self._replies
                if self._submitting:
                    # Known or not: another submission may stand for the same job.
                    self._news.pop(event.job, None)
                    self._news[event.job] = _News(self._heard, event.data)
            if known:
                self._hear(event.job, event.data)

    def _look_at_all(self) -> None:
        with self._lock:
            self._opening += 1
            left = list(self._replies)
        for job_id in left:
            self._carry_out(partial(self._look, job_id))

    def _carry_out(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        work = asyncio.get_running_loop().create_task(make())
        # The loop itself keeps no task alive.
        self._work.add(work)
        work.add_done_callback(self._work.discard)

    async def _look(self, job_id: str) -> None:
        """Ask how a job has ended, if it has, or whether it runs."""
        async with self._asking:
            if job_id not in self._replies:
                return
            try:
                found = await self._client.perform(standing(job_id))
            except ClientError as exc:
                found = Lost(str(exc))
            except Exception as exc:
                # Whatever it is, somebody waits.
                LOGGER.exception("job %s cannot be asked for its end", job_id)
                found = Lost(f"{type(exc).__name__}: {exc}")
        if isinstance(found, Job):
            self._hear_running(job_id, found.state)
        else:
            self._end(job_id, found)
