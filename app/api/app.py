"""The application: routes, errors and layers put together."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from inspect import getdoc
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import docs, event_operations, openapi, operations, statistics_operations
from app.api.changes import ChangeRoutes
from app.api.dashboard import STATIC, Dashboard
from app.api.direct import Calls, Direct, Endpoint
from app.api.documents import encode
from app.api.edge import Failsafe, HeadAsGet
from app.api.events import EventRoutes
from app.api.guard import Guard
from app.api.problems import ProblemError
from app.api.problems import answer as answer_error
from app.api.queues import QueueRoutes
from app.api.replies import json_response
from app.api.routes import HealthRoutes, JobRoutes, TaskRoutes
from app.api.statistics import StatisticsRoutes
from app.api.submissions import SubmissionRoutes
from app.config import ApiKey, Settings
from app.jobs.errors import JobError
from app.service import Service, ServiceError

_TAGS = {
    "jobs": "Submit calls, watch them, fetch their results, cancel them, run them again.",
    "queues": "Where jobs wait, and how to hold them there.",
    "events": "What happens to jobs, as it happens.",
    "tasks": "The functions that can be called.",
    "service": "The service itself.",
}


class PlainRoute(APIRoute):
    """A route whose endpoint takes the request as it is.

    FastAPI's dependency solving, which none of ours needs, costs more than our endpoints do.
    """

    def get_route_handler(self) -> Endpoint:
        """Return the endpoint itself."""
        return self.endpoint


class Application(FastAPI):
    """FastAPI within layers of our own.

    keys: who may call. any_host: see `Guard`.
    """

    def __init__(self, keys: Sequence[ApiKey], *, any_host: bool, **options: Any) -> None:
        super().__init__(**options)
        self._keys = keys
        self._any_host = any_host
        self.calls = Calls()
        # Below Starlette's own layer, which would answer an error before the outer one sees it.
        self.add_middleware(Failsafe)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as Starlette does: FastAPI would look at root path and telemetry."""
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return what a request passes through, our own layers first."""
        direct = Direct(super().build_middleware_stack(), self.calls)
        return HeadAsGet(Failsafe(Guard(direct, self._keys, any_host=self._any_host)))


def create_app(service: Service, settings: Settings) -> FastAPI:
    """Return the ASGI application that offers `service` over HTTP."""
    app = Application(
        settings.keys,
        any_host=not settings.local,
        title="Errand",
        version=installed_version(),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
    )
    # On the application itself: routes of an included router take half as long again to find.
    app.router.route_class = PlainRoute
    _add_jobs(app, SubmissionRoutes(service), JobRoutes(service))
    _add_changes(app, ChangeRoutes(service))
    _add_queues(app, QueueRoutes(service))
    _add_events(app, EventRoutes(service))
    _add_tasks(app, TaskRoutes(service))
    _add_statistics(app, StatisticsRoutes(service))
    _add_service(app, HealthRoutes(service))
    _add_pages(app, [task.name for task in service.tasks()], keys=bool(settings.keys))
    _add_errors(app)
    return app


@cache
def installed_version() -> str:
    """Return the version of the distribution; "0" when it is not installed."""
    try:
        return version("errand-jobs")
    except PackageNotFoundError:
        return "0"


def _add(app: Application, call: str, endpoint: Endpoint, operation: openapi.Operation) -> None:
    """Add a route. call: method and path."""
    method, path = call.split()
    tag = path.split("/")[1]
    doc = getdoc(endpoint) or ""
    app.add_api_route(
        path,
        endpoint,
        methods=[method],
        tags=[tag if tag in _TAGS else "service"],
        summary=doc.partition(".")[0],
        description=doc,
        # The first answer named is the usual one.
        status_code=int(next(iter(operation.responses))),
        operation_id=f"{tag}-{endpoint.__name__}",
        response_class=Response,
        openapi_extra=operation.extra(),
    )
    app.calls.add(method, path, endpoint)


def _add_jobs(app: Application, submissions: SubmissionRoutes, jobs: JobRoutes) -> None:
    _add(app, "POST /jobs", submissions.submit, operations.SUBMIT)
    _add(app, "POST /jobs/batch", submissions.submit_batch, operations.SUBMIT_BATCH)
    _add(app, "GET /jobs", jobs.list, operations.LIST_JOBS)
    _add(app, "GET /jobs/{id}", jobs.get, operations.GET_JOB)
    _add(app, "GET /jobs/{id}/result", jobs.result, operations.GET_RESULT)


def _add_changes(app: Application, changes: ChangeRoutes) -> None:
    _add(app, "DELETE /jobs/{id}", changes.cancel, operations.CANCEL)
    _add(app, "PATCH /jobs/{id}", changes.edit, operations.EDIT)
    _add(app, "POST /jobs/{id}/retry", changes.retry, operations.RETRY)
    _add(app, "POST /jobs/cancel", changes.cancel_all, operations.CANCEL_ALL)
    _add(app, "POST /jobs/retry", changes.retry_all, operations.RETRY_ALL)


def _add_queues(app: Application, queues: QueueRoutes) -> None:
    _add(app, "GET /queues", queues.list, operations.LIST_QUEUES)
    # A queue's name may have slashes.
    _add(app, "POST /queues/{name:path}/pause", queues.pause, operations.PAUSE)
    _add(app, "POST /queues/{name:path}/resume", queues.resume, operations.RESUME)


def _add_events(app: Application, events: EventRoutes) -> None:
    _add(app, "GET /jobs/{id}/events", events.follow, event_operations.FOLLOW)
    _add(app, "GET /jobs/{id}/logs", events.logs, event_operations.LOGS)
    _add(app, "GET /events", events.follow_all, event_operations.FOLLOW_ALL)


def _add_tasks(app: Application, tasks: TaskRoutes) -> None:
    _add(app, "GET /tasks", tasks.list, operations.LIST_TASKS)
    _add(app, "GET /tasks/{name}", tasks.get, operations.GET_TASK)


def _add_statistics(app: Application, statistics: StatisticsRoutes) -> None:
    _add(app, "GET /stats", statistics.overview, statistics_operations.STATS)
    _add(app, "GET /workers", statistics.workers, statistics_operations.WORKERS)


def _add_service(app: Application, health: HealthRoutes) -> None:
    _add(app, "GET /health/live", health.live, operations.LIVE)
    _add(app, "GET /health/ready", health.ready, operations.READY)
    _add(app, "GET /problems", docs.index, operations.LIST_PROBLEMS)
    _add(app, "GET /problems/{name}", docs.explain, operations.GET_PROBLEM)


def _add_pages(app: FastAPI, tasks: list[str], *, keys: bool) -> None:
    def schema() -> dict[str, Any]:
        app.openapi_schema = app.openapi_schema or openapi.document(app, tasks, keys=keys)
        return app.openapi_schema

    async def openapi_json(_: Request) -> Response:
        return json_response(f"{encode(app.openapi())}\n".encode())

    app.openapi = schema  # type: ignore[method-assign]  # as FastAPI's manual has it
    dashboard = Dashboard()
    for path, endpoint in {
        "/": dashboard.index,
        f"{STATIC}/{{file:path}}": dashboard.static,
        "/docs": docs.docs,
        f"{docs.STATIC}/{{file}}": docs.static,
        "/openapi.json": openapi_json,
    }.items():
        app.add_api_route(path, endpoint, include_in_schema=False, response_class=Response)


def _add_errors(app: FastAPI) -> None:
    for error in (ProblemError, ServiceError, JobError):
        app.add_exception_handler(error, answer_error)

    async def no_route(request: Request, _: Exception) -> Response:
        # Routing has two ways to fail: no route at all, or none that knows the method.
        allow = ", ".join(sorted(_methods(app, request)))
        if allow:
            problem = ProblemError("method-not-allowed", f"known here: {allow}", headers={"Allow": allow})
        else:
            problem = ProblemError("not-found", "there is nothing at this address")
        return problem.response(request.scope["path"])

    app.add_exception_handler(HTTPException, no_route)


def _methods(app: FastAPI, request: Request) -> set[str]:
    """Return every method of the requested path; HEAD is wherever GET is."""
    routes = [route for route in app.routes if isinstance(route, Route)]
    fitting = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in fitting for method in route.methods or ()}
    return methods | {"HEAD"} if "GET" in methods else methods
