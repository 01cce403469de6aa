"""Who may call: API keys, or without any, programs on this machine alone.

Any web page that is open in a browser on this machine can send requests to
127.0.0.1. Without keys two rules keep it out. The Host rule answers local names only,
so a page cannot point a name of its own at this address and then read the answers
(DNS rebinding). The cross-site rule refuses changes that another site's page asks for.
No CORS header is ever sent.
"""

import hmac
import re
from collections.abc import Awaitable, Mapping, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import ProblemError
from app.config import ApiKey

TENANT = "errand.tenant"
"""Where a request's scope says whose it is."""

DEFAULT_TENANT = "default"

_OPEN = {"/", "/docs", "/openapi.json", "/problems"}
_OPEN_BELOW = ("/static/", "/docs/", "/problems/", "/health/")
_LOOKED_AT = {b"host", b"authorization", b"origin", b"sec-fetch-site"}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_LOCAL_HOST = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]*)?", re.IGNORECASE)
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


class Guard:
    """ASGI middleware that lets in who may call, and notes the tenant in the scope.

    keys: who may call; without any, the rules for web pages hold. any_host: answers
    every `Host`, for a service that was opened to other machines on purpose.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[ApiKey], *, any_host: bool) -> None:
        self._app = app
        self._keys = [(key.tenant, key.secret.get_secret_value().encode()) for key in keys]
        self._any_host = any_host

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Let a request through, or answer it with a problem."""
        if scope["type"] == "http":
            try:
                scope[TENANT] = self._tenant(scope)
            except ProblemError as problem:
                return problem.response(scope["path"])(scope, receive, send)
        return self._app(scope, receive, send)

    def _tenant(self, scope: Scope) -> str:
        if self._keys:
            return DEFAULT_TENANT if _is_open(scope["path"]) else self._tenant_of_key(scope)
        headers = _headers(scope)
        if not self._any_host:
            _require_local(headers.get(b"host", ()))
        if scope["method"] not in _SAFE:
            _require_same_site(headers)
        return DEFAULT_TENANT

    def _tenant_of_key(self, scope: Scope) -> str:
        headers = _headers(scope).get(b"authorization", ())
        scheme, _, token = headers[0].partition(b" ") if len(headers) == 1 else (b"", b"", b"")
        if scheme.lower() != b"bearer":
            raise _unauthorized("the request bears no API key", "")
        given = token.strip()
        # All of them, always: where a loop stops would tell how far a guess has come.
        fitting = [tenant for tenant, secret in self._keys if hmac.compare_digest(secret, given)]
        if not fitting:
            raise _unauthorized("the API key is not known", ', error="invalid_token"')
        return fitting[0]


def _is_open(path: str) -> bool:
    return path in _OPEN or path.startswith(_OPEN_BELOW)


def _headers(scope: Scope) -> dict[bytes, list[bytes]]:
    """Return the headers that decide here."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in _LOOKED_AT:
            found.setdefault(name, []).append(value)
    return found


def _unauthorized(reason: str, error: str) -> ProblemError:
    headers = {"WWW-Authenticate": f'Bearer realm="errand"{error}'}
    return ProblemError("unauthorized", f"{reason}; send `Authorization: Bearer <key>`", headers=headers)


def _require_local(hosts: Sequence[bytes]) -> None:
    if len(hosts) != 1 or not _LOCAL_HOST.fullmatch(hosts[0]):
        raise ProblemError("misdirected-request", "the header `Host` must be localhost, 127.0.0.1 or [::1]")


def _require_same_site(headers: Mapping[bytes, Sequence[bytes]]) -> None:
    if headers.keys() <= {b"host"}:
        return
    fetch_sites = [value.lower() for value in headers.get(b"sec-fetch-site", ())]
    own = {host.lower() for host in headers.get(b"host", ())}
    if b"cross-site" in fetch_sites or any(
        _names(origin).isdisjoint(own) for origin in headers.get(b"origin", ())
    ):
        raise ProblemError("cross-site", "a web page of another site may not change anything here")


def _names(origin: bytes) -> set[bytes]:
    """Return the host names that an origin may go by: a scheme's default port may be left out, or not."""
    scheme, _, host = origin.lower().partition(b"://")
    port = _DEFAULT_PORTS.get(scheme, b"")
    return {host, host.removesuffix(port), host + port}
