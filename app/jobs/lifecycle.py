"""The life of a job: one table, `TRANSITIONS`, of pure functions.

    state      event            next state   what else
    ---------  ---------------  -----------  -------------------------------------------
    pending    Due              pending      ready, if nothing else holds it
    pending    Expired          cancelled    not_started, "expired"; unchanged if its time has not come,
                                             or an attempt was made in time
    pending    Edited           pending      priority, due time, tags
    pending    Claimed          running      attempt + 1, token and worker set
    pending    CancelRequested  cancelled    not_started
    running    Progressed       running
    running    Logged           running      no new version
    running    CancelRequested  running      the request noted, once
    running    Succeeded        finished     succeeded; a request came too_late
    running    Failed           finished     failed; after a request: cancelled, cooperative;
                                pending      if it says when to retry and attempts are left
    running    Died             finished     failed; after a request: cancelled, killed;
                                pending      as above
    running    Released         pending      attempt - 1, expires no more; after a request: cancelled,
                                             killed
    running    Lost             pending      as above, losses + 1, due after a backoff;
                                             the third loss: finished, WorkerLost;
                                             after a request: cancelled, killed
    cancelled  CancelRequested  cancelled    unchanged
    cancelled  Reopened         pending      run + 1, everything else as new; the attempts stay
    finished   Reopened         pending      as above, if it failed

Everything else is refused with TransitionError. Every change but Logged raises `version`
by one. A job with a request never returns to pending, whatever happens to it.

A Future shares pending -> running -> finished, pending -> cancelled, and running ->
cancelled after a request. Going back to pending is the job's alone, and so is a new run.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from app.core import State
from app.jobs.errors import (
    JobFinishedError,
    JobNotPendingError,
    JobNotRetriableError,
    StaleTokenError,
    TransitionError,
)
from app.jobs.model import (
    SECOND,
    Attempt,
    Cancellation,
    Failure,
    Hold,
    Job,
    Line,
    Outcome,
    Progress,
    Stopped,
)

MAX_LOSSES = 3
"""Losses after which a job is given up: by then it is likely that the job itself is to blame."""

EXPIRED = "expired"
"""The reason of a cancellation that nobody asked for: the job was not started in time."""


class Due(NamedTuple):
    """Its time has come."""


class Expired(NamedTuple):
    """The time by which it should have started may have come."""


class Edited(NamedTuple):
    """Somebody changes what it is to be; None: as it is. run_at: microseconds since the epoch."""

    priority: int | None = None
    run_at: int | None = None
    tags: Mapping[str, str] | None = None


class Claimed(NamedTuple):
    """A worker takes it. token: unique per claim; whatever it does to the job bears it."""

    token: int
    worker: str


class Progressed(NamedTuple):
    """The code said how far it has come."""

    token: int
    progress: Progress


class Logged(NamedTuple):
    """The code printed or logged something."""

    token: int
    lines: tuple[Line, ...]


class Succeeded(NamedTuple):
    """The code returned. result: as JSON text."""

    token: int
    result: str


class Failed(NamedTuple):
    """The code raised. retry_in: microseconds until the next attempt, if one is left; None: there is none."""

    token: int
    failure: Failure
    retry_in: int | None = None


class Died(NamedTuple):
    """The process that ran the code has ended under it, killed or by itself; the worker lives.

    retry_in: as of Failed.
    """

    token: int
    failure: Failure
    retry_in: int | None = None


class Released(NamedTuple):
    """The worker puts it back at no cost, because it shuts down."""

    token: int


class Lost(NamedTuple):
    """The worker is gone without a word. token: of the claim that is over."""

    token: int


class CancelRequested(NamedTuple):
    """Somebody wants it cancelled. reason: None when a caller asked."""

    reason: str | None = None


class Reopened(NamedTuple):
    """Somebody wants a job that is done run once more."""


Event = (
    Due
    | Expired
    | Edited
    | Claimed
    | Progressed
    | Logged
    | Succeeded
    | Failed
    | Died
    | Released
    | Lost
    | CancelRequested
    | Reopened
)


def transition(job: Job, event: Event, now: int) -> Job:
    """Return the job after the event; the same object when nothing has changed.

    now: microseconds since the epoch. Raises JobFinishedError for cancelling what
    has finished, JobNotPendingError for editing what has begun, JobNotRetriableError for
    running again what has not failed, StaleTokenError when the event's token is not the
    job's own, and TransitionError for whatever else the table does not allow.
    """
    token = getattr(event, "token", None)
    if not isinstance(event, Claimed) and token is not None and token != job.token:
        msg = f"job {job.id} is not held by this claim any more"
        raise StaleTokenError(msg)
    rule = TRANSITIONS.get((job.state, type(event)))
    if rule is None:
        raise _refusal(job, event)
    return rule(job, event, now)


def has_expired(job: Job, now: int) -> bool:
    """Tell whether a job was to begin by a time that is over, and has not."""
    return job.expires_at is not None and job.expires_at <= now and not job.attempt


def backoff_after_loss(losses: int) -> int:
    """Return the microseconds that a job waits after its n-th loss: 1 s, 2 s, ..."""
    return SECOND << (losses - 1)


def _refusal(job: Job, event: Event) -> TransitionError:
    if isinstance(event, CancelRequested):
        return JobFinishedError(f"job {job.id} has finished")
    if isinstance(event, Edited):
        return JobNotPendingError(f"job {job.id} is {job.state}")
    if isinstance(event, Reopened):
        return JobNotRetriableError(f"job {job.id} is {job.state}")
    return TransitionError(f"a {job.state} job knows no {type(event).__name__}")


def _due(job: Job, _: Due, __: int) -> Job:
    if not job.hold & Hold.DUE_LATER:
        return job
    return job._replace(hold=job.hold & ~Hold.DUE_LATER, version=job.version + 1)


def _expire(job: Job, _: Expired, now: int) -> Job:
    if not has_expired(job, now):
        return job
    return _cancel_pending(job, CancelRequested(EXPIRED), now)


def _edit(job: Job, event: Edited, now: int) -> Job:
    edited = job._replace(
        priority=job.priority if event.priority is None else event.priority,
        tags=job.tags if event.tags is None else event.tags,
    )
    if event.run_at is not None:
        later = Hold.DUE_LATER if event.run_at > now else Hold.NONE
        edited = edited._replace(run_at=event.run_at, hold=job.hold & ~Hold.DUE_LATER | later)
    return job if edited == job else edited._replace(version=job.version + 1)


def _claim(job: Job, event: Claimed, now: int) -> Job:
    if job.hold:
        msg = f"job {job.id} is not ready"
        raise TransitionError(msg)
    return job._replace(
        state=State.RUNNING,
        attempt=job.attempt + 1,
        token=event.token,
        worker=event.worker,
        started_at=now,
        version=job.version + 1,
    )


def _progress(job: Job, event: Progressed, _: int) -> Job:
    if event.progress == job.progress:
        return job
    return job._replace(progress=event.progress, version=job.version + 1)


def _log(job: Job, event: Logged, _: int) -> Job:
    return job._replace(logged=job.logged + sum(line.cost for line in event.lines))


def _cancel_pending(job: Job, event: CancelRequested, now: int) -> Job:
    request = Cancellation(now, Stopped.NOT_STARTED, event.reason)
    return _end(job, now, Outcome.CANCELLED, cancellation=request)


def _cancel_running(job: Job, event: CancelRequested, now: int) -> Job:
    if job.cancellation is not None:
        return job
    request = Cancellation(now, Stopped.PENDING, event.reason)
    return job._replace(cancellation=request, version=job.version + 1)


def _cancel_again(job: Job, _: CancelRequested, __: int) -> Job:
    return job


def _succeed(job: Job, event: Succeeded, now: int) -> Job:
    late = job.cancellation and job.cancellation._replace(outcome=Stopped.TOO_LATE)
    return _end(job, now, Outcome.SUCCEEDED, cancellation=late, result=event.result)


def _fail(job: Job, event: Failed, now: int) -> Job:
    return _end_badly(job, event, now, Stopped.COOPERATIVE)


def _die(job: Job, event: Died, now: int) -> Job:
    return _end_badly(job, event, now, Stopped.KILLED)


def _end_badly(job: Job, event: Failed | Died, now: int, how: Stopped) -> Job:
    """End an attempt that has raised. how: what became of the code if it was asked to stop."""
    if job.cancellation is not None:
        return _stop(job, now, how)
    if event.retry_in is None or job.attempt >= job.max_attempts:
        return _end(job, now, Outcome.FAILED, exception=event.failure)
    past = _last_attempt(job)._replace(finished_at=now, exception=event.failure)
    return _wait_again(job)._replace(
        attempts=(*job.attempts, past),
        hold=Hold.DUE_LATER if event.retry_in > 0 else Hold.NONE,
        run_at=now + event.retry_in,
    )


def _release(job: Job, _: Released, now: int) -> Job:
    if job.cancellation is not None:
        return _stop(job, now, Stopped.KILLED)
    return _put_back(job)


def _lose(job: Job, _: Lost, now: int) -> Job:
    if job.cancellation is not None:
        return _stop(job, now, Stopped.KILLED)
    losses = job.losses + 1
    if losses >= MAX_LOSSES:
        failure = Failure("WorkerLost", f"the worker was lost {losses} times while it ran this job", "")
        return _end(job, now, Outcome.FAILED, losses=losses, exception=failure)
    return _put_back(job)._replace(
        losses=losses, hold=Hold.DUE_LATER, run_at=now + backoff_after_loss(losses)
    )


def _stop(job: Job, now: int, how: Stopped) -> Job:
    """End a job that was asked to stop."""
    request = job.cancellation and job.cancellation._replace(outcome=how)
    return _end(job, now, Outcome.CANCELLED, cancellation=request)


def _reopen(job: Job, _: Reopened, now: int) -> Job:
    if job.outcome is Outcome.SUCCEEDED:
        msg = f"job {job.id} has succeeded"
        raise JobNotRetriableError(msg)
    # One that was cancelled before it began has no attempt to remember.
    past = () if job.started_at is None else (_last_attempt(job),)
    return _wait_again(job)._replace(
        run=job.run + 1,
        attempt=0,
        losses=0,
        attempts=(*job.attempts, *past),
        hold=Hold.NONE,
        run_at=now,
        outcome=None,
        finished_at=None,
        expires_at=None,
        cancellation=None,
        exception=None,
    )


def _last_attempt(job: Job) -> Attempt:
    return Attempt(job.run, job.attempt, job.worker, job.started_at, job.finished_at, job.exception)


def _put_back(job: Job) -> Job:
    """Return it to where it was before the claim; but it was started in time, and expires no more."""
    return _wait_again(job)._replace(attempt=job.attempt - 1, expires_at=None)


def _wait_again(job: Job) -> Job:
    return job._replace(
        state=State.PENDING,
        token=None,
        worker=None,
        started_at=None,
        progress=None,
        version=job.version + 1,
    )


def _end(job: Job, now: int, outcome: Outcome, **more: Any) -> Job:
    """Bring a job to its end. more: what else changes by it."""
    return job._replace(
        **more,
        state=State.CANCELLED if outcome is Outcome.CANCELLED else State.FINISHED,
        outcome=outcome,
        hold=Hold.NONE,
        token=None,
        finished_at=now,
        version=job.version + 1,
    )


# The event's type is the key's second half, which the type system cannot say.
Rule = Callable[[Job, Any, int], Job]

TRANSITIONS: Mapping[tuple[State, type[Event]], Rule] = MappingProxyType(
    {
        (State.PENDING, Due): _due,
        (State.PENDING, Expired): _expire,
        (State.PENDING, Edited): _edit,
        (State.PENDING, Claimed): _claim,
        (State.PENDING, CancelRequested): _cancel_pending,
        (State.RUNNING, Progressed): _progress,
        (State.RUNNING, Logged): _log,
        (State.RUNNING, CancelRequested): _cancel_running,
        (State.RUNNING, Succeeded): _succeed,
        (State.RUNNING, Failed): _fail,
        (State.RUNNING, Died): _die,
        (State.RUNNING, Released): _release,
        (State.RUNNING, Lost): _lose,
        (State.CANCELLED, CancelRequested): _cancel_again,
        (State.CANCELLED, Reopened): _reopen,
        (State.FINISHED, Reopened): _reopen,
    }
)
