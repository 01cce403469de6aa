"""The calls for operators: figures of the jobs, and the workers."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.api.documents import time_text
from app.api.guard import TENANT
from app.api.incoming import NoQuery
from app.api.parameters import read_query
from app.api.replies import document, json_response
from app.jobs.model import Job
from app.service import FailureCount, Overview, Service, Span, StateCounts, Traffic, WorkerStatus


class StatisticsRoutes:
    """What there is to know of all jobs, and of who runs them."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def overview(self, request: Request) -> Response:
        """Show how many jobs there are, and what has happened in the last hour."""
        read_query(request, NoQuery)
        tenant: str = request.scope[TENANT]
        overview = await self._service.statistics.overview(tenant)
        return json_response(document({"tenant": tenant, **_overview(overview)}))

    async def workers(self, request: Request) -> Response:
        """Show who runs what since when."""
        read_query(request, NoQuery)
        workers = self._service.workers(request.scope[TENANT])
        return json_response(document({"workers": list(map(_worker, workers))}))


def _overview(overview: Overview) -> dict[str, Any]:
    recount = overview.recount
    return {
        "at": time_text(overview.at),
        "jobs": overview.jobs._asdict(),
        "tasks": _by_name(overview.tasks),
        "queues": _by_name(overview.queues),
        "minutes": [{"at": time_text(at), **_traffic(traffic)} for at, traffic in recount.minutes],
        "hour": _traffic(recount.hour),
        "failures": list(map(_failure, recount.failures)),
        "since": time_text(overview.since),
    }


def _by_name(counts: Mapping[str, StateCounts]) -> Sequence[dict[str, Any]]:
    return [{"name": name, **count._asdict()} for name, count in counts.items()]


def _traffic(traffic: Traffic) -> dict[str, Any]:
    return {**traffic._asdict(), "wait": _span(traffic.wait), "run": _span(traffic.run)}


def _span(span: Span | None) -> dict[str, float] | None:
    return None if span is None else span._asdict()


def _failure(failure: FailureCount) -> dict[str, Any]:
    return {
        "type": failure.type,
        "task": failure.task,
        "count": failure.times,
        "message": failure.message,
        "job": failure.job,
        "last_at": time_text(failure.last_at),
    }


def _worker(worker: WorkerStatus) -> dict[str, Any]:
    return {
        "id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "started_at": time_text(worker.started_at),
        "heartbeat_at": time_text(worker.heartbeat_at),
        "state": "draining" if worker.draining else "running",
        "slots": [slots._asdict() for slots in worker.slots],
        "running": list(map(_running, worker.running)),
    }


def _running(job: Job) -> dict[str, Any]:
    return {
        "job": job.id,
        "task": job.task,
        "queue": job.queue,
        "attempt": job.attempt,
        "started_at": time_text(job.started_at),
    }
