"""The calls that hand in jobs, and what makes it safe to repeat them."""

from collections.abc import Iterator
from marshal import dumps
from typing import Any, NamedTuple

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.api.bodies import LARGE, faults_of, parse, read_as, read_bytes
from app.api.documents import batch_document
from app.api.guard import TENANT
from app.api.idempotency import REPLAYED, digest_of, read_key
from app.api.incoming import BatchBody, NoQuery, SubmissionBody
from app.api.parameters import read_query, read_wait
from app.api.problems import ProblemError, invalid
from app.api.replies import address_of, job_response, json_response, unless_hung_up
from app.jobs.errors import Fault
from app.jobs.model import Job
from app.service import InvalidSubmissionError, Once, Service, Submission, Submitted

MAX_BATCH_BYTES = 32 * 1024 * 1024
"""Bytes that a batch may take."""

KINDS = 256
"""Kinds of submissions of a batch that are remembered: more than there are priorities.

When there are more, the rest of the batch is checked one by one; most often each has a key of its own.
"""

MARSHAL_VERSION = 2
"""The last in which a value is written the same wherever else it stands."""

FEW = 1000
"""Jobs of a batch that the event loop itself tells of at most; it takes a fraction of a millisecond."""

_OPTIONS = Submission._fields.index("queue")


class _Parsed(NamedTuple):
    """A body, and its digest if it came with an idempotency key."""

    value: object
    digest: bytes


class SubmissionRoutes:
    """POST /jobs and POST /jobs/batch."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def submit(self, request: Request) -> Response:
        """Hand in a job. The answer comes when it is durable, or with `wait` when it is done.

        With an `Idempotency-Key` it is safe to repeat: for a day, the same key and body bring the job back.
        """
        wait, key = read_wait(request), read_key(request)
        raw, tenant = await read_bytes(request), request.scope[TENANT]
        if len(raw) > LARGE:
            parsed = await self._service.apart(_parse, raw, key)
        else:
            parsed = _parse(raw, key)
        once = _once("/jobs", key, parsed)
        done = await self._recall(tenant, once)
        if done is None:
            submission = read_as(SubmissionBody, parsed.value).submission()
            done = await self._service.submit(tenant, submission, once)
        headers = {**wait.applied, **(REPLAYED if done.replayed else {})}
        job = _only(done, headers)
        if wait.seconds and not job.done:
            waiting = self._service.wait(tenant, job.id, wait.seconds)
            job = await unless_hung_up(request.receive, waiting)
        status = 202 if done.new and not job.done else 200
        return job_response(job, status, {**address_of(job), **headers})

    async def submit_batch(self, request: Request) -> Response:
        """Hand in up to 10,000 jobs, all or none. The answer is in their order, when they are durable.

        With an `Idempotency-Key` it is safe to repeat; what was erased since is then left out of the answer.
        """
        read_query(request, NoQuery)
        key = read_key(request)
        raw, tenant = await read_bytes(request, MAX_BATCH_BYTES), request.scope[TENANT]
        # Without a key it is parsed where it is checked, as to come to another thread takes its time; and a
        # service that stops refuses it unparsed, because it repeats nothing.
        parsed = None if key is None else await self._service.apart(_parse_batch, raw, key)
        once = None if parsed is None else _once("/jobs/batch", key, parsed)
        done = await self._recall(tenant, once)
        if done is None:
            done = await self._service.submit_batch(tenant, _submissions(raw, parsed), once)
        few = len(done.jobs) <= FEW
        shown = batch_document(done.jobs) if few else await self._service.apart(batch_document, done.jobs)
        return json_response(shown, 200 if done.replayed else 202, REPLAYED if done.replayed else {})

    async def _recall(self, tenant: str, once: Once | None) -> Submitted | None:
        """Return what was submitted before: whatever would be said of it today."""
        return None if once is None else await self._service.recall(tenant, once)


def _once(route: str, key: str | None, parsed: _Parsed) -> Once | None:
    return None if key is None else Once(route, key, parsed.digest)


def _parse(raw: bytes, key: str | None) -> _Parsed:
    value = parse(raw)
    return _Parsed(value, b"" if key is None else digest_of(value))


def _parse_batch(raw: bytes, key: str | None) -> _Parsed:
    try:
        return _parse(raw, key)
    except ProblemError as problem:
        if not problem.errors:
            raise
        raise invalid(problem.kind, list(map(_of_item, problem.errors))) from None


def _of_item(fault: Fault) -> Fault:
    """Have the place of a fault begin with the item's index, as everywhere in a batch."""
    loc = fault["loc"]
    within = loc[1:] if loc[:1] == ["jobs"] else []
    return Fault(loc=within or loc, msg=fault["msg"], type=fault["type"])


def _submissions(raw: bytes, parsed: _Parsed | None) -> Iterator[Submission | InvalidSubmissionError]:
    """Yield what a batch hands in; all the work is done by whoever asks for it. Raises ProblemError."""
    value = (_parse_batch(raw, None) if parsed is None else parsed).value
    yield from map(_Reader().read, read_as(BatchBody, value).jobs)


class _Reader:
    """Reads the items of a batch. Of those that differ in nothing but their arguments, one is checked."""

    def __init__(self) -> None:
        self._known: dict[bytes, Submission] = {}
        """Some that have been read, by all but their arguments."""

    def read(self, item: Any) -> Submission | InvalidSubmissionError:
        """Return what an item hands in. The item is changed: its arguments may be taken out."""
        if type(item) is not dict or len(self._known) >= KINDS:
            return _read(item)
        args, kwargs = item.pop("args", []), item.pop("kwargs", {})
        if type(args) is not list or type(kwargs) is not dict:
            return _read({**item, "args": args, "kwargs": kwargs})
        # As bytes, in which 1, 1.0 and true are not the same.
        options = dumps(item, MARSHAL_VERSION)
        like = self._known.get(options) or _read(item)
        if isinstance(like, InvalidSubmissionError):
            return like
        self._known[options] = like
        return Submission._make((like.task, args, kwargs, *like[_OPTIONS:]))


def _read(item: object) -> Submission | InvalidSubmissionError:
    if not isinstance(item, dict):
        return InvalidSubmissionError([Fault(loc=[], msg="must be a JSON object", type="dict_type")])
    try:
        return SubmissionBody.model_validate(item).submission()
    except ValidationError as exc:
        return InvalidSubmissionError(faults_of(exc))


def _only(done: Submitted, headers: dict[str, str]) -> Job:
    """Return the job that was handed in. Raises ProblemError when it was erased since."""
    if not done.jobs:
        detail = "this was submitted before under the same Idempotency-Key, and its job was erased since"
        raise ProblemError("job-erased", detail, headers=headers)
    return done.job
