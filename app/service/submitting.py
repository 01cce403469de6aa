"""From a submission to a job: checked against its task, and given what only the task can say."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from app.jobs.arguments import MAX_FAULTS
from app.jobs.errors import Fault, InvalidArgumentsError, JobError
from app.jobs.model import NO_ARGUMENTS, SECOND, Hold, Job, new_id, new_ids
from app.jobs.registry import Registry, TaskDefinition
from app.service.errors import InvalidBatchError, InvalidSubmissionError

LARGE = 1000
"""Items of an argument that are checked on the event loop at most."""


# Made once: `json.dumps` makes an encoder for each call that has options.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Submission(NamedTuple):
    """What a caller wants run.

    queue, priority, timeout (seconds): None means the task's own. delay: seconds from now.
    run_at: microseconds since the epoch; None, and a delay of 0, mean at once. expires_in:
    seconds from now by which it must have started; None: whenever. retry: those fields of
    the task's `Retry` that are to be others, if any. key: while a job of it and of the same task is
    not done, that job stands for this submission; None: for no other.
    """

    task: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}  # never changed in place
    queue: str | None = None
    priority: int | None = None
    delay: float = 0
    run_at: int | None = None
    tags: Mapping[str, str] = {}
    timeout: float | None = None
    expires_in: float | None = None
    retry: Mapping[str, Any] | None = None
    key: str | None = None


class Submitted(NamedTuple):
    """What became of submissions.

    jobs: those that stand for them, in their order, as they are now; without those erased since, if
    replayed. new: whether any of them is new. replayed: whether an idempotency key has brought back what
    was submitted before.
    """

    jobs: Sequence[Job]
    new: bool = False
    replayed: bool = False

    @property
    def job(self) -> Job:
        """The one that stands for a single submission, unless it was erased."""
        return self.jobs[0]


class Checked(NamedTuple):
    """A submission that fits its task, and what only its arguments could tell; see `Job`."""

    definition: TaskDefinition
    submission: Submission
    limit_key: str | None
    shown: str | None


def is_slow(definition: TaskDefinition, submission: Submission) -> bool:
    """Tell whether a check may take more than a moment, or as long as the user's own code pleases."""
    return definition.signature.runs_user_code or _is_large(submission)


def check(definition: TaskDefinition, submission: Submission) -> Checked:
    """Check a submission's arguments. Raises InvalidArgumentsError, and never what is no Exception."""
    args, kwargs = submission.args, dict(submission.kwargs)
    try:
        if definition.checks_only_types and definition.signature.takes(args, kwargs):
            # Nothing needs the coerced call: there is no limit key to fill, and nothing to mask.
            return Checked(definition, submission, None, None)
        call = definition.signature.check(args, kwargs)
        limit_key = definition.limit_key_of(call)
    except Exception:
        raise
    except BaseException as exc:
        # SystemExit, awaited on the event loop, would end the service.
        fault = Fault(loc=[], msg=f"the check ended with {type(exc).__name__}", type="check_failed")
        raise InvalidArgumentsError([fault]) from exc
    return Checked(definition, submission, limit_key, definition.shown(args, kwargs))


def check_all(
    registry: Registry, submissions: Iterable[Submission | InvalidSubmissionError]
) -> list[Checked]:
    """Check a batch; on a thread of its own. Raises InvalidBatchError that has (nearly) all that is wrong."""
    checked: list[Checked] = []
    errors: dict[int, Exception] = {}
    faults = 0
    for index, submission in enumerate(submissions):
        try:
            checked.append(_check_one(registry, submission))
        except (JobError, InvalidSubmissionError) as exc:
            errors[index] = exc
            faults += len(getattr(exc, "faults", "1"))
            if faults >= MAX_FAULTS:
                # The rest is hardly news.
                break
    if errors:
        raise InvalidBatchError(errors)
    return checked


def _check_one(registry: Registry, submission: Submission | InvalidSubmissionError) -> Checked:
    if isinstance(submission, InvalidSubmissionError):
        raise submission
    return check(registry.get(submission.task), submission)


def new_job(tenant: str, checked: Checked, now: int) -> Job:
    """Return the job of a submission, with an id of its own. now: microseconds since the epoch."""
    return _job(new_id(now), tenant, checked, now)


def _job(job_id: str, tenant: str, checked: Checked, now: int) -> Job:
    definition, submission = checked.definition, checked.submission
    retry = replace(definition.retry, **submission.retry) if submission.retry else definition.retry
    run_at = now + round(submission.delay * SECOND) if submission.run_at is None else submission.run_at
    # A float, as the store gives it back: what is shown must not depend on whether it was read there.
    timeout = definition.timeout if submission.timeout is None else submission.timeout
    expires_in = submission.expires_in
    return Job(
        id=job_id,
        tenant=tenant,
        task=definition.name,
        slot=definition.slot,
        created_at=now,
        run_at=run_at,
        arguments=_arguments(submission),
        shown=checked.shown,
        queue=definition.queue if submission.queue is None else submission.queue,
        priority=definition.priority if submission.priority is None else submission.priority,
        tags=submission.tags,
        key=submission.key,
        timeout=None if timeout is None else float(timeout),
        max_attempts=retry.max_attempts,
        backoff=retry.waits,
        limit_key=checked.limit_key,
        expires_at=None if expires_in is None else now + round(expires_in * SECOND),
        hold=Hold.DUE_LATER if run_at > now else Hold.NONE,
    )


def new_jobs(tenant: str, checked: Sequence[Checked], now: int) -> list[Job]:
    """Return the jobs of a batch, each as `new_job` makes it; their ids ascend."""
    jobs: list[Job] = []
    last: object = None
    values: list[Any] = []
    for job_id, one in zip(new_ids(now, len(checked)), checked, strict=True):
        # Of tags that are equal the order may differ.
        order = tuple(one.submission.tags)
        kind = (one.definition, one.submission[_OPTIONS:], order, one.limit_key, one.shown)
        if kind == last:
            # As most are in a batch: it differs from the one before in no more than its arguments.
            values[_ID], values[_ARGUMENTS] = job_id, _arguments(one.submission)
        else:
            last, values = kind, list(_job(job_id, tenant, one, now))
        jobs.append(Job._make(values))
    return jobs


_OPTIONS = Submission._fields.index("queue")
_ID, _ARGUMENTS = map(Job._fields.index, ("id", "arguments"))


def _is_large(submission: Submission) -> bool:
    values = (*submission.args, *submission.kwargs.values())
    return any(
        isinstance(value, (list, dict)) and (len(value) > LARGE or _is_deep(value)) for value in values
    )


def _is_deep(value: list[Any] | dict[str, Any]) -> bool:
    """Tell whether there are lists or objects within: how many is not worth counting."""
    items = value.values() if isinstance(value, dict) else value
    return any(isinstance(item, (list, dict)) for item in items)


def _arguments(submission: Submission) -> str:
    if not (submission.args or submission.kwargs):
        return NO_ARGUMENTS
    return _encode({"args": submission.args, "kwargs": submission.kwargs})
