"""The calls: each reads its request, asks the service once, and writes the answer.

They are plain functions of a request (see `app.PlainRoute`): FastAPI's reading of
parameters and bodies costs more than all of them do, and answers some bad input wrongly.
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from app.api.bodies import read_as, read_json
from app.api.documents import encode, exception, job_document, list_document, task_document
from app.api.guard import TENANT
from app.api.parameters import NO_WAIT, Wait, entity_tag, matches, read_query, read_wait
from app.api.problems import ProblemError, invalid
from app.api.schemas import ListQuery, NoQuery, SubmissionBody
from app.jobs.errors import Fault
from app.jobs.model import Job, JobState, Outcome
from app.service import NoSuchJobError, Service, Submission

POLL_AFTER = 1
"""Seconds after which to ask again for a result that is not there yet."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON that a browser takes for nothing else, and that nobody keeps without asking."""
    fixed = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
    return Response(body, status, {**fixed, **headers} if headers else fixed, "application/json")


def _document(value: object) -> bytes:
    return f"{encode(value)}\n".encode()


def _job_id(request: Request) -> str:
    job_id: str = request.path_params["id"]
    if not _UUID.fullmatch(job_id):
        raise NoSuchJobError(job_id)
    return job_id.lower()


def _refuse_idempotency_key(request: Request) -> None:
    """Refuse the header until it is kept: who sends it relies on a repetition doing nothing."""
    if "idempotency-key" in request.headers:
        fault = Fault(loc=["header", "Idempotency-Key"], msg="not supported yet", type="unsupported")
        raise invalid("invalid-parameters", [fault])


async def unless_hung_up(receive: Receive, waiting: Coroutine[Any, Any, Job]) -> Job:
    """Wait, but no longer than the client does. Raises ClientDisconnect.

    A waiter whose client has gone would otherwise be kept for up to a minute.
    """
    answer = asyncio.ensure_future(waiting)
    gone = asyncio.ensure_future(_hang_up(receive))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()
        # Let it leave the service's list of waiters before the request ends.
        await asyncio.wait((answer, gone))


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class JobRoutes:
    """Everything under /jobs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def submit(self, request: Request) -> Response:
        """Hand in a job. The answer comes when it is durable, or with `wait` when it is done."""
        wait = read_wait(request)
        _refuse_idempotency_key(request)
        body = read_as(SubmissionBody, await read_json(request))
        submission = Submission(
            body.task,
            body.args,
            body.kwargs,
            body.queue,
            body.priority,
            body.delay,
            body.run_at,
            body.tags,
            body.timeout,
        )
        job = await self._service.submit(request.scope[TENANT], submission)
        if wait.seconds and not job.done:
            job = await self._wait(request, job.id, wait)
        headers = {"Location": f"/jobs/{job.id}", "ETag": entity_tag(job.version), **wait.applied}
        return json_response(job_document(job), 200 if job.done else 202, headers)

    async def get(self, request: Request) -> Response:
        """Show a job. With `wait` when it is done; with `If-None-Match` too, when it has changed."""
        wait, job_id = read_wait(request), _job_id(request)
        job = await self._service.get(request.scope[TENANT], job_id)
        known = matches(request, entity_tag(job.version))
        # Whoever knows another version is answered at once: it has changed already.
        if wait.seconds and not job.done and (known or "if-none-match" not in request.headers):
            job = await self._wait(request, job_id, wait, job.version if known else None)
        tag = entity_tag(job.version)
        headers = {"ETag": tag, **wait.applied}
        if matches(request, tag):
            return Response(None, 304, {"Cache-Control": "no-cache", **headers})
        return json_response(job_document(job), headers=headers)

    async def result(self, request: Request) -> Response:
        """Return the bare value that the function returned."""
        wait, job_id = read_wait(request), _job_id(request)
        if wait.seconds:
            job = await self._wait(request, job_id, wait)
        else:
            job = await self._service.get(request.scope[TENANT], job_id)
        if not job.done:
            headers = {"Retry-After": str(POLL_AFTER), **wait.applied}
            return json_response(job_document(job), 202, headers)
        return json_response(f"{_result(job, wait)}\n".encode(), headers=wait.applied)

    async def cancel(self, request: Request) -> Response:
        """Cancel a job that is pending; ask a running one to stop."""
        read_query(request, NoQuery)
        job = await self._service.cancel(request.scope[TENANT], _job_id(request))
        # Still running: the request is noted, and the job will say what became of it.
        headers = {"ETag": entity_tag(job.version)}
        return json_response(job_document(job), 202 if job.state is JobState.RUNNING else 200, headers)

    async def list(self, request: Request) -> Response:
        """List jobs, newest first, page by page."""
        query = read_query(request, ListQuery)
        chosen = query.model_dump(exclude_none=True, exclude_unset=True)
        page = await self._service.list(request.scope[TENANT], **chosen)
        if page.cursor is None:
            return json_response(list_document(page.jobs, None))
        following = f"/jobs?{urlencode({**chosen, 'cursor': page.cursor})}"
        return json_response(
            list_document(page.jobs, following), headers={"Link": f'<{following}>; rel="next"'}
        )

    async def _wait(self, request: Request, job_id: str, wait: Wait, version: int | None = None) -> Job:
        waiting = self._service.wait(request.scope[TENANT], job_id, wait.seconds, version)
        return await unless_hung_up(request.receive, waiting)


def _result(job: Job, wait: Wait = NO_WAIT) -> str:
    """Return the result's JSON. Raises ProblemError when the job has ended without one."""
    if job.outcome is Outcome.FAILED:
        shown = exception(job.exception) or {}
        detail = f"the job failed with {shown.get('type')}: {shown.get('message')}"
        raise ProblemError("job-failed", detail, headers=wait.applied, members={"exception": shown})
    if job.outcome is Outcome.CANCELLED or job.result is None:
        raise ProblemError("job-cancelled", "the job was cancelled", headers=wait.applied)
    return job.result


class TaskRoutes:
    """What can be called."""

    def __init__(self, service: Service) -> None:
        # Written once: the tasks stay what they are while the service runs.
        self._documents = {task.name: task_document(task) for task in service.tasks()}

    async def list(self, _: Request) -> Response:
        """List the registered tasks with their parameters."""
        return json_response(_document({"tasks": list(self._documents.values())}))

    async def get(self, request: Request) -> Response:
        """Show a task: what it does, what it takes and what it returns."""
        name = request.path_params["name"]
        if name not in self._documents:
            raise ProblemError(
                "task-not-found", f"no task is called {name!r}; GET /tasks lists those there are"
            )
        return json_response(_document(self._documents[name]))


class HealthRoutes:
    """Whether the service is well; for load balancers and the like."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def live(self, _: Request) -> Response:
        """Tell that the process answers."""
        return json_response(_document({"status": "live"}))

    async def ready(self, _: Request) -> Response:
        """Tell that jobs can be stored and are run."""
        await self._service.check_ready()
        return json_response(_document({"status": "ready"}))
