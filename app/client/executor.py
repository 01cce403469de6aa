"""RemoteExecutor: an executor whose calls are jobs of a service."""

import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, ParamSpec, TypeVar, cast, overload

from app.client import calls
from app.client.errors import ConflictError, JobNotFoundError, ServiceUnreachableError
from app.client.models import Job, Submitted
from app.client.session import Client
from app.client.submission import Submission, Task
from app.client.watching import Watch
from app.core.executor import deadline_in, results_of
from app.core.future import Future, run_all
from app.core.submitting import QueuedFuture, SubmittingExecutor, reply_of
from app.jobs.model import JobState

P = ParamSpec("P")
T = TypeVar("T")

GONE_FOR = 1.0
"""Seconds for which nothing more is cancelled when the service could not be reached."""


class RemoteFuture(QueuedFuture[T]):
    """The future of a job. Final once done: a run that somebody adds by hand is another matter.

    `cancel()` is True when the job had not begun. One that runs is asked to stop: the future is
    cancelled when its function has noticed, and finished when it has not.
    """

    __slots__ = ()

    @property
    def job_id(self) -> str | None:
        """The job's id, with which `RemoteExecutor.future` takes it up again; None before it is stored."""
        return self._call_id


class _Jobs:
    """A service's jobs, as futures need them. They keep it, and with it the watch, until they are done."""

    def __init__(self, client: Client, *, owned: bool) -> None:
        self._client = client
        self._gone_until = 0.0
        self._watch = Watch(client.for_asyncio)
        self._let_go = weakref.finalize(self, _let_go, os.getpid(), self._watch, client if owned else None)

    def put(
        self, client: Client, submissions: Sequence[Submission], futures: Sequence[RemoteFuture[Any]]
    ) -> None:
        """Hand in calls, and have the futures told how they end.

        In batches as large as can be; if one is refused, what was stored of others is cancelled.
        Raises ClientError.
        """
        if len(submissions) == 1:
            self._put(futures, lambda: [client.perform(calls.submit(submissions[0]))])
            return
        left = iter(futures)
        try:
            for batch in calls.batches(calls.bodies(submissions)):
                submit = partial(client.perform, calls.submit_batch(batch))
                self._put(list(islice(left, len(batch))), submit)
        except BaseException:
            run_all(deque(partial(future._withdraw, stop=False) for future in futures))  # noqa: SLF001  (as its executor)
            raise

    def _put(
        self, futures: Sequence[RemoteFuture[Any]], submit: Callable[[], Sequence[Job | Submitted]]
    ) -> None:
        with self._watch.submitting() as submitting:
            for future, job in zip(futures, submit(), strict=True):
                # What stands for an earlier submission may have ended before this one.
                known = submitting if job.state == JobState.PENDING else None
                self._watch.add(job.id, reply_of(future, job.id), known)

    def take_up(self, job_id: str, future: RemoteFuture[Any]) -> None:
        """Have a future told how a job ends that was submitted before. Raises QueueUnavailableError."""
        self._watch.start()
        self._watch.add(job_id, reply_of(future, job_id))

    def cancel(self, call_id: str, *, stop: bool) -> bool:
        """See Withdrawing.cancel."""
        if time.monotonic() < self._gone_until:
            # Many may be cancelled one after the other, and each would be as patient.
            raise ServiceUnreachableError("the service could not be reached a moment ago")
        try:
            return self._client.cancel(call_id, waiting=not stop).state == JobState.CANCELLED
        except (ConflictError, JobNotFoundError):
            # Finished, or begun when it was to be waiting; or erased meanwhile.
            return False
        except ServiceUnreachableError:
            self._gone_until = time.monotonic() + GONE_FOR
            raise

    def close(self) -> None:
        """Let go of the threads and the connections, and wait for the former to end."""
        self._let_go()
        self._watch.join()


def _let_go(pid: int, watch: Watch, client: Client | None) -> None:
    # A forked child's copies are of the parent's connections.
    if os.getpid() == pid:
        watch.close()
        if client is not None:
            client.close()


class RemoteExecutor(SubmittingExecutor[RemoteFuture[Any]]):
    """Runs calls as jobs of a service.

        with RemoteExecutor("http://127.0.0.1:8000") as executor:
            future = executor.submit(count_words, "to be or not to be")
            print(future.result())

    service: its address, or a Client for it, which whoever made it closes. api_key: with an
    address, the secret; None for a service without keys.

    As a QueuingExecutor, with these differences:
    - `submit` takes a task's function, or its name; the service must know it by that name. It
      returns when the job is durable, and raises what Client.submit does, ClientErrors being
      QueueErrors. Not for an event loop that is to answer others meanwhile; awaiting is.
    - `map` hands all calls in as one batch, of which all are stored or none; 10,000 at a time.
    - One connection, read on a thread of its own, tells of the ends of all jobs, however many
      are open. While the service cannot be reached, futures wait: no job is lost by that. Done
      callbacks run on one thread, and must not wait for another job's result.
    - Jobs go on when this program ends, or drops the executor; `future` takes them up again.
    """

    def __init__(self, service: str | Client, *, api_key: str | None = None) -> None:
        super().__init__()
        owned = isinstance(service, str)
        self._client = Client(service, api_key=api_key) if isinstance(service, str) else service
        self._jobs = _Jobs(self._client, owned=owned)

    @overload
    def submit(
        self, fn: Callable[P, Generator[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> RemoteFuture[T]: ...
    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> RemoteFuture[T]: ...
    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> RemoteFuture[T]: ...
    @overload
    def submit(self, fn: str, /, *args: Any, **kwargs: Any) -> RemoteFuture[Any]: ...
    def submit(self, fn: Task, /, *args: Any, **kwargs: Any) -> RemoteFuture[Any]:
        """Hand in a call, and return its future once the job is durable. See above."""
        return self._submit_all([self._client.submission(fn, args, kwargs)])[0]

    @overload
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = ...,
        chunksize: int = ...,
        buffersize: int | None = ...,
    ) -> Iterator[T]: ...
    @overload
    def map(
        self,
        fn: str,
        *iterables: Iterable[Any],
        timeout: float | None = ...,
        chunksize: int = ...,
        buffersize: int | None = ...,
    ) -> Iterator[Any]: ...
    def map(
        self,
        fn: Callable[..., Any] | str,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Hand in a call for each tuple of items as one batch; singly with a buffersize. See Executor."""
        if buffersize is not None:
            single = cast("Callable[..., Any]", fn)
            return super().map(
                single, *iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize
            )
        deadline = deadline_in(timeout)
        submissions = [self._client.submission(fn, items) for items in zip(*iterables, strict=False)]
        return results_of(deque[Future[Any]](self._submit_all(submissions)), iter(()), deadline)

    def future(self, job_id: str) -> RemoteFuture[Any]:
        """Return a future of a job that was submitted before, by whomever.

        When there is no such job, it fails with QueueUnavailableError.
        """
        future: RemoteFuture[Any] = RemoteFuture(self._jobs)
        with self._accepting([future]):
            self._jobs.take_up(job_id, future)
        return future

    def _submit_all(self, submissions: Sequence[Submission]) -> list[RemoteFuture[Any]]:
        futures: list[RemoteFuture[Any]] = [RemoteFuture(self._jobs) for _ in submissions]
        with self._accepting(futures):
            self._jobs.put(self._client, submissions, futures)
        return futures

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept nothing more. See Executor.shutdown, and above.

        wait: return only when the jobs are done; without it they go on, and so does the watch
        over them until the last of their futures is done. cancel_futures: cancels those that
        have not begun.
        """
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait and not self._disowned():
            self.close()

    def close(self) -> None:
        """Accept nothing more, and hear nothing more: jobs go on, and futures that are not done fail.

        With QueueUnavailableError. Not from a done callback.
        """
        super().shutdown(wait=False)
        self._jobs.close()
