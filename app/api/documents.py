"""Jobs and tasks as JSON.

Arguments and results are stored as JSON text and go out as they are: a result of a
megabyte is neither parsed nor written anew for each reader.
"""

import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, overload

from app.jobs.model import Attempt, Cancellation, Failure, Job, Progress
from app.jobs.registry import TaskDefinition
from app.jobs.retry import Retry

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (UTC throughout; without an offset it is quicker to print)

encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Write JSON. Made once: `json.dumps` makes an encoder for each call that has options."""


def job_document(job: Job) -> bytes:
    """Return the whole job."""
    # Put together once: its last attempt has them too.
    course, error = _course(job), _json(job.exception)
    # Objects without their braces: `arguments` is {"args":[...],"kwargs":{...}}, as the service stores it.
    return (
        f'{{"id":"{job.id}","task":{encode_basestring(job.task)},{(job.shown or job.arguments)[1:-1]},'
        f'{_state(job)},"result":{"null" if job.result is None else job.result},"exception":{error},'
        f'{_history(job)},"attempts":[{_attempts(job, course, error)}],{_rest(job, course)}}}\n'
    ).encode()


def listed_job(job: Job) -> str:
    """Return the job as lists show it: without arguments, result, traceback and attempts."""
    failure = job.exception
    shown = "null" if failure is None else encode({"type": failure.type, "message": failure.message})
    return (
        f'{{"id":"{job.id}","task":{encode_basestring(job.task)},{_state(job)},"exception":{shown},'
        f"{_history(job)},{_rest(job, _course(job))}}}"
    )


def list_document(jobs: Sequence[Job], following: str | None) -> bytes:
    """Return a page. following: the next one's address."""
    return f'{{"jobs":[{",".join(map(listed_job, jobs))}],"next":{encode(following)}}}\n'.encode()


def batch_document(jobs: Sequence[Job]) -> bytes:
    """Return what stands for the submissions of a batch."""
    shown = [f'{{"id":"{job.id}","state":"{job.state}","location":"/jobs/{job.id}"}}' for job in jobs]
    return f'{{"jobs":[{",".join(shown)}]}}\n'.encode()


def exception(failure: Failure | None) -> dict[str, str] | None:
    """Return an exception as a job shows it."""
    return None if failure is None else failure._asdict()


# -- members of a job's object: put together here, because an encoder takes several times as long


def _state(job: Job) -> str:
    outcome = "null" if job.outcome is None else f'"{job.outcome}"'
    tags = encode(job.tags) if job.tags else "{}"
    return (
        f'"queue":{encode_basestring(job.queue)},"priority":{job.priority},"tags":{tags},'
        f'"key":{_text(job.key)},"state":"{job.state}","outcome":{outcome}'
    )


def _history(job: Job) -> str:
    return f'"run":{job.run},"attempt":{job.attempt},"max_attempts":{job.max_attempts},"losses":{job.losses}'


def _course(of: Job | Attempt) -> str:
    return f'"started_at":{_time(of.started_at)},"finished_at":{_time(of.finished_at)}'


def _rest(job: Job, course: str) -> str:
    here = f'"/jobs/{job.id}'
    created_at = _time(job.created_at)
    run_at = created_at if job.run_at == job.created_at else _time(job.run_at)
    return (
        f'"progress":{_json(job.progress)},"cancellation":{_cancellation(job.cancellation)},'
        f'"timeout":{"null" if job.timeout is None else encode(job.timeout)},'
        f'"created_at":{created_at},"run_at":{run_at},{course},'
        f'"expires_at":{_time(job.expires_at)},"version":{job.version},'
        f'"links":{{"self":{here}","result":{here}/result","events":{here}/events","logs":{here}/logs"}}'
    )


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring(value)


def _time(microseconds: int | None) -> str:
    return "null" if microseconds is None else f'"{time_text(microseconds)}"'


def _json(value: Progress | Failure | None) -> str:
    return "null" if value is None else encode(value._asdict())


def _cancellation(cancellation: Cancellation | None) -> str:
    if cancellation is None:
        return "null"
    return encode({**cancellation._asdict(), "requested_at": time_text(cancellation.requested_at)})


def _attempts(job: Job, course: str, error: str) -> str:
    """Return all attempts: the one that runs, or was the last, is in the job's own fields."""
    shown = [
        _attempt(past.run, past.number, past.worker, _course(past), _json(past.exception))
        for past in job.attempts
    ]
    if job.started_at is not None:
        shown.append(_attempt(job.run, job.attempt, job.worker, course, error))
    return ",".join(shown)


def _attempt(run: int, number: int, worker: str | None, course: str, error: str) -> str:
    return f'{{"run":{run},"number":{number},"worker":{_text(worker)},{course},"exception":{error}}}'


def _finite(value: Any) -> Any:
    """Return a schema with null in place of NaN and infinity: a parameter's default may be one."""
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@overload
def time_text(microseconds: int) -> str: ...
@overload
def time_text(microseconds: None) -> None: ...
def time_text(microseconds: int | None) -> str | None:
    """Return a time in RFC 3339, UTC, with microseconds; None for None."""
    if microseconds is None:
        return None
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_second_text(seconds)}.{fraction:06}Z"


# The times of a job, and of those beside it, are a few seconds.
@lru_cache(256)
def _second_text(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()


def task_document(task: TaskDefinition) -> dict[str, Any]:
    """Return what there is to know about a task before calling it."""
    return {
        "name": task.name,
        "doc": task.doc,
        "parameters": _finite(task.signature.parameters_schema()),
        "result": _finite(task.signature.result_schema()),
        "options": {
            "queue": task.queue,
            "priority": task.priority,
            "timeout": task.timeout,
            "retry": _retry(task.retry),
            "max_running": task.max_running,
            "max_running_total": task.max_running_total,
            "limit_key": task.limit_key,
            "secret": list(task.secret),
        },
        "executor": task.slot,
    }


def _retry(retry: Retry) -> dict[str, Any]:
    """Return a policy without its exception classes: those are the code's own."""
    return {
        "max_attempts": retry.max_attempts,
        "backoff": retry.backoff,
        "factor": retry.factor,
        "max_backoff": retry.max_backoff,
        "jitter": retry.jitter,
    }
