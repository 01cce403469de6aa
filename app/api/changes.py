"""The calls that change jobs: one, or all that a filter fits."""

from starlette.requests import Request
from starlette.responses import Response

from app.api.bodies import INVALID_BODY, read_as, read_json, require_no_body
from app.api.guard import TENANT
from app.api.incoming import DeleteQuery, EditBody, FilterBody, NoQuery
from app.api.parameters import read_query
from app.api.replies import address_of, bodiless_response, document, job_id_of, job_response, json_response
from app.jobs.model import JobState
from app.service import Filter, Service, Tally


class ChangeRoutes:
    """DELETE and PATCH of a job, new runs, and changes of many jobs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def cancel(self, request: Request) -> Response:
        """Cancel a pending job, or ask a running one to stop.

        With `state=pending`, only the former. With `purge=true`, erase one that is done.
        """
        query, tenant = read_query(request, DeleteQuery), request.scope[TENANT]
        if query.purge == "true":
            await self._service.purge(tenant, job_id_of(request))
            return bodiless_response(204, {})
        job = await self._service.cancel(tenant, job_id_of(request), waiting=query.state is not None)
        # Still running: the request is noted, and the job will say what became of it.
        return job_response(job, 202 if job.state is JobState.RUNNING else 200)

    async def edit(self, request: Request) -> Response:
        """Change priority, due time or tags of a job that is pending."""
        read_query(request, NoQuery)
        job_id = job_id_of(request)
        body = read_as(EditBody, await read_json(request, INVALID_BODY), INVALID_BODY)
        return job_response(await self._service.edit(request.scope[TENANT], job_id, body.edit()))

    async def retry(self, request: Request) -> Response:
        """Run a job once more that failed or was cancelled. It keeps its id and its history."""
        read_query(request, NoQuery)
        job_id = job_id_of(request)
        await require_no_body(request)
        job = await self._service.retry(request.scope[TENANT], job_id)
        return job_response(job, 202, address_of(job))

    async def cancel_all(self, request: Request) -> Response:
        """Cancel every job that a filter fits, as DELETE does. It is safe to repeat."""
        where = await _read_filter(request)
        return _tally(await self._service.cancel_all(request.scope[TENANT], where))

    async def retry_all(self, request: Request) -> Response:
        """Run every job again that a filter fits and that failed or was cancelled. It is safe to repeat."""
        where = await _read_filter(request)
        return _tally(await self._service.retry_all(request.scope[TENANT], where))


async def _read_filter(request: Request) -> Filter:
    read_query(request, NoQuery)
    return read_as(FilterBody, await read_json(request, INVALID_BODY), INVALID_BODY).filter()


def _tally(tally: Tally) -> Response:
    return json_response(document(tally._asdict()))
