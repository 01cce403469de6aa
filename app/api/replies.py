"""What the calls have in common: how they answer with JSON and jobs, and how they wait."""

import asyncio
import re
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from app.api.documents import encode, job_document
from app.api.parameters import entity_tag
from app.api.whole import USUAL, WholeResponse
from app.jobs.model import Job
from app.service import NoSuchJobError

T = TypeVar("T")

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


def json_response(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON that a browser takes for nothing else, and that nobody keeps without asking."""
    return WholeResponse(body, status, b"application/json", {**USUAL, **headers} if headers else USUAL)


def job_response(job: Job, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a job, and the tag of its version."""
    return json_response(job_document(job), status, {"ETag": entity_tag(job.version), **(headers or {})})


def bodiless_response(status: int, headers: Mapping[str, str]) -> Response:
    """Answer with headers alone, by a status that has no body."""
    return WholeResponse(b"", status, None, {"Cache-Control": "no-cache", **headers})


def document(value: object) -> bytes:
    """Return a value as a body."""
    return f"{encode(value)}\n".encode()


def address_of(job: Job) -> dict[str, str]:
    """Return the header that says where a job is."""
    return {"Location": f"/jobs/{job.id}"}


def job_id_of(request: Request) -> str:
    """Return the id in the path, in lower case. Raises NoSuchJobError for what is none."""
    job_id: str = request.path_params["id"]
    if not _UUID.fullmatch(job_id):
        raise NoSuchJobError(job_id)
    return job_id.lower()


async def unless_hung_up(receive: Receive, waiting: Coroutine[Any, Any, T]) -> T:
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
