"""What happens to jobs, as it happens; and what they have logged."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response

from app.api.documents import time_text
from app.api.guard import TENANT
from app.api.incoming import Conditions, NoQuery
from app.api.negotiation import preferred
from app.api.parameters import read_query
from app.api.problems import invalid
from app.api.replies import job_id_of, json_response
from app.api.sse import HEADERS, EventStream
from app.jobs.errors import Fault
from app.jobs.history import Record
from app.service import InvalidCursorError, Service

LAST_EVENT_ID = "Last-Event-ID"
JSON = "application/json"
TEXT = "text/plain"


class EventRoutes:
    """The histories of jobs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def follow(self, request: Request) -> Response:
        """Follow a job, as Server-Sent Events.

        All that has happened to it, and all that happens until it is done. With `Last-Event-ID`, what came
        after that; 204 if that was the end.
        """
        read_query(request, NoQuery)
        job_id = job_id_of(request)
        with _checked():
            stream = await self._service.streams.of_job(request.scope[TENANT], job_id, _known(request))
        return Response(None, 204, HEADERS) if stream is None else EventStream(stream)

    async def follow_all(self, request: Request) -> Response:
        """Follow all jobs, as Server-Sent Events.

        All that happens to those that fit the filter as they are then, from now on; with `Last-Event-ID`,
        from there on. It ends when the service does.
        """
        where = read_query(request, Conditions).filter()
        with _checked():
            stream = await self._service.streams.of_tenant(request.scope[TENANT], where, _known(request))
        return EventStream(stream)

    async def logs(self, request: Request) -> Response:
        """Show what a job has logged and printed, in JSON or as plain text."""
        read_query(request, NoQuery)
        records = await self._service.streams.log(request.scope[TENANT], job_id_of(request))
        form = preferred(request.headers.getlist("accept"), (JSON, TEXT))
        # Not on the event loop: there may be tens of thousands.
        body = await asyncio.to_thread(log_text if form == TEXT else log_document, records)
        answer = json_response(body, headers={"Vary": "Accept"})
        if form == TEXT:
            answer.headers["Content-Type"] = f"{TEXT}; charset=utf-8"
        return answer


def _known(request: Request) -> str | None:
    """Return the id of the last event that the client has; none at all may be sent as an empty one."""
    return request.headers.get(LAST_EVENT_ID) or None


@contextmanager
def _checked() -> Iterator[None]:
    try:
        yield
    except InvalidCursorError:
        fault = Fault(loc=["header", LAST_EVENT_ID], msg="not the id of an event from here", type="cursor")
        raise invalid("invalid-parameters", [fault]) from None


def log_document(records: Sequence[Record]) -> bytes:
    """Return the lines as JSON."""
    lines = (f'{{"time":"{time_text(record.at)}",{record.data[1:]}' for record in records)
    return f'{{"logs":[{",".join(lines)}]}}\n'.encode()


def log_text(records: Sequence[Record]) -> bytes:
    """Return a line for each, what is broken within it indented, and one for each new attempt."""
    return "".join(_text_lines(records)).encode()


def _text_lines(records: Sequence[Record]) -> Iterator[str]:
    # The first attempt goes without saying.
    current = (1, 1)
    for record in records:
        line = json.loads(record.data)
        attempt = line["run"], line["attempt"]
        if attempt != current:
            current = attempt
            yield "--- run {}, attempt {} ---\n".format(*attempt)
        message = line["message"].replace("\n", "\n    ")
        yield f"{time_text(record.at)} {line['level']} {message}\n"
