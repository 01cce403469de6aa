"""The calls for queues: how they stand, and pauses."""

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.api.bodies import faults_of, require_no_body, unstorable
from app.api.fields import QueueName
from app.api.guard import TENANT
from app.api.incoming import NoQuery
from app.api.parameters import read_query
from app.api.problems import invalid
from app.api.replies import document, json_response
from app.jobs.errors import Fault
from app.service import Service

_PLACE = ("path", "name")
_NAME: TypeAdapter[str] = TypeAdapter(QueueName)


class QueueRoutes:
    """Everything under /queues."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, request: Request) -> Response:
        """List the queues that have jobs waiting or running, or are paused."""
        read_query(request, NoQuery)
        tenant: str = request.scope[TENANT]
        queues = await self._service.queues.list(tenant)
        return json_response(document({"tenant": tenant, "queues": [queue._asdict() for queue in queues]}))

    async def pause(self, request: Request) -> Response:
        """Run no more jobs of a queue until it is resumed. Jobs are still taken, and what runs goes on."""
        return await self._pause(request, paused=True)

    async def resume(self, request: Request) -> Response:
        """Run the jobs of a queue again."""
        return await self._pause(request, paused=False)

    async def _pause(self, request: Request, *, paused: bool) -> Response:
        read_query(request, NoQuery)
        name = _name_of(request)
        await require_no_body(request)
        queue = await self._service.queues.pause(request.scope[TENANT], name, paused=paused)
        return json_response(document(queue._asdict()))


def _name_of(request: Request) -> str:
    """Return the queue's name, which is one that a submission may have too. Raises ProblemError (422)."""
    name: str = request.path_params["name"]
    try:
        _NAME.validate_python(name, strict=True)
    except ValidationError as exc:
        raise invalid("invalid-parameters", faults_of(exc, *_PLACE)) from None
    wrong = unstorable(name)
    if wrong is not None:
        raise invalid("invalid-parameters", [Fault(loc=[*_PLACE], msg=wrong[0], type=wrong[1])])
    return name
