"""The calls that look: at jobs and results, tasks, and the service's health.

Like all calls they read their request, ask the service once, and write the answer. They
are plain functions of a request (see `app.PlainRoute`): FastAPI's reading of parameters
and bodies costs more than all of them do, and answers some bad input wrongly.
"""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from app.api.documents import exception, list_document, task_document
from app.api.guard import TENANT
from app.api.incoming import ListQuery
from app.api.parameters import NO_WAIT, Wait, entity_tag, matches, query_pairs, read_query, read_wait
from app.api.problems import ProblemError
from app.api.replies import (
    bodiless_response,
    document,
    job_id_of,
    job_response,
    json_response,
    unless_hung_up,
)
from app.jobs.model import Job, Outcome
from app.service import Service

POLL_AFTER = 1
"""Seconds after which to ask again for a result that is not there yet."""


class JobRoutes:
    """What there is to see under /jobs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def get(self, request: Request) -> Response:
        """Show a job. With `wait` when it is done; with `If-None-Match` too, when it has changed."""
        wait, job_id = read_wait(request), job_id_of(request)
        job = await self._service.get(request.scope[TENANT], job_id)
        known = matches(request, entity_tag(job.version))
        # Whoever knows another version is answered at once: it has changed already.
        if wait.seconds and not job.done and (known or "if-none-match" not in request.headers):
            job = await self._wait(request, job_id, wait, job.version if known else None)
        tag = entity_tag(job.version)
        if matches(request, tag):
            return bodiless_response(304, {"ETag": tag, **wait.applied})
        return job_response(job, headers=wait.applied)

    async def result(self, request: Request) -> Response:
        """Return the bare value that the function returned."""
        wait, job_id = read_wait(request), job_id_of(request)
        if wait.seconds:
            job = await self._wait(request, job_id, wait)
        else:
            job = await self._service.get(request.scope[TENANT], job_id)
        if not job.done:
            return job_response(job, 202, {"Retry-After": str(POLL_AFTER), **wait.applied})
        return json_response(f"{_result(job, wait)}\n".encode(), headers=wait.applied)

    async def list(self, request: Request) -> Response:
        """List jobs, newest first, page by page."""
        query = read_query(request, ListQuery)
        page = await self._service.list(
            request.scope[TENANT], query.filter(), limit=query.limit, cursor=query.cursor
        )
        if page.cursor is None:
            return json_response(list_document(page.jobs, None))
        # As they were sent: a page's address asks for the same as the first one's.
        pairs = [(name, value) for name, value in query_pairs(request) if name != "cursor"]
        following = f"/jobs?{urlencode([*pairs, ('cursor', page.cursor)])}"
        headers = {"Link": f'<{following}>; rel="next"'}
        return json_response(list_document(page.jobs, following), headers=headers)

    async def _wait(self, request: Request, job_id: str, wait: Wait, version: int | None = None) -> Job:
        waiting = self._service.wait(request.scope[TENANT], job_id, wait.seconds, version)
        return await unless_hung_up(request.receive, waiting)


def _result(job: Job, wait: Wait = NO_WAIT) -> str:
    """Return the result's JSON. Raises ProblemError when the job has ended without one."""
    if job.outcome is Outcome.FAILED:
        shown = exception(job.exception) or {}
        detail = f"the job failed with {shown.get('type')}: {shown.get('message')}"
        raise ProblemError("job-failed", detail, headers=wait.applied, members={"exception": shown})
    if job.outcome is Outcome.CANCELLED:
        raise ProblemError("job-cancelled", "the job was cancelled", headers=wait.applied)
    if job.result is None:
        raise ProblemError(
            "result-gone", "the job succeeded, and its result was erased", headers=wait.applied
        )
    return job.result


class TaskRoutes:
    """What can be called."""

    def __init__(self, service: Service) -> None:
        # Written once: the tasks stay what they are while the service runs.
        self._documents = {task.name: task_document(task) for task in service.tasks()}

    async def list(self, _: Request) -> Response:
        """List the registered tasks with their parameters."""
        return json_response(document({"tasks": list(self._documents.values())}))

    async def get(self, request: Request) -> Response:
        """Show a task: what it does, what it takes and what it returns."""
        name = request.path_params["name"]
        if name not in self._documents:
            raise ProblemError(
                "task-not-found", f"no task is called {name!r}; GET /tasks lists those there are"
            )
        return json_response(document(self._documents[name]))


class HealthRoutes:
    """Whether the service is well; for load balancers and the like."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def live(self, _: Request) -> Response:
        """Tell that the process answers."""
        return json_response(document({"status": "live"}))

    async def ready(self, _: Request) -> Response:
        """Tell that jobs can be stored and are run."""
        await self._service.check_ready()
        return json_response(document({"status": "ready"}))
