"""The short way to the endpoints: past layers that none of them needs.

Routes are FastAPI's, and the OpenAPI document comes from there. Between the server and
an endpoint, though, FastAPI and Starlette put eight layers and a search through all routes,
which together cost more than storing a job does. So a request whose address is known
goes straight to its endpoint, and everything else takes FastAPI's way: pages,
addresses that do not exist, methods that are not known.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import answer

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]

_Key = tuple[str, str]


class Direct:
    """ASGI application: calls the endpoints of simple addresses itself, and `rest` for all others."""

    def __init__(self, rest: ASGIApp, calls: "Calls") -> None:
        self._rest = rest
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, errors of the house included."""
        endpoint = self._calls.find(scope) if scope["type"] == "http" else None
        if endpoint is None:
            await self._rest(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except Exception as exc:  # noqa: BLE001  (what is nobody's business is raised again)
            response = await answer(request, exc)
        await response(scope, receive, send)


class Calls:
    """Endpoints by method and address. Of the parts of an address the second may be a parameter."""

    def __init__(self) -> None:
        self._fixed: dict[_Key, Endpoint] = {}
        self._open: dict[_Key, tuple[str, Endpoint]] = {}

    def add(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Take note of a route; what is not that simple is left to FastAPI."""
        if "{" not in path:
            self._fixed[method, path] = endpoint
            return
        shape, name = _without_second(path)
        if name.startswith("{") and ":" not in name and "{" not in shape:
            self._open[method, shape] = name[1:-1], endpoint

    def find(self, scope: Scope) -> Endpoint | None:
        """Return who answers a request, and put the parameter in its scope."""
        method, path = scope["method"], scope["path"]
        endpoint = self._fixed.get((method, path))
        if endpoint is None:
            shape, value = _without_second(path)
            name, endpoint = self._open.get((method, shape), ("", None))
            if endpoint is None or not value:
                return None
            scope["path_params"] = {name: value}
        return endpoint


def _without_second(path: str) -> tuple[str, str]:
    """Return the path without its second part, and that part."""
    first, _, rest = path[1:].partition("/")
    second, slash, tail = rest.partition("/")
    return f"/{first}//{slash}{tail}", second
