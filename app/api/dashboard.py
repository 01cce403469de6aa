"""The dashboard's files, as they lie in app/web.

They are read once, when the application is made: what is asked for is looked up in a
dictionary and never on the disk, so no path leads out of the folder. They are data of
the package, as Swagger UI's files are of another; nothing of `web` is imported.
"""

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from app.api.parameters import matches
from app.api.problems import ProblemError

STATIC = "/static"

INDEX = "index.html"

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""What is served, by the ending of its name; anything else in the folder is not."""

_HEADERS = {
    # What a job contains is anybody's text. Should a page ever take it for markup, no script in it
    # runs, no style of it counts, and nothing that it knows gets out.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked for anew each time, and answered by 304: after an upgrade no old script meets a new API.
    "Cache-Control": "no-cache",
}


class File(NamedTuple):
    """A file's bytes, its media type, and its strong entity tag."""

    body: bytes
    media_type: str
    tag: str


class Dashboard:
    """The endpoints of the pages."""

    def __init__(self) -> None:
        self._files = dict(_read(files("app") / "web", PurePosixPath()))

    async def index(self, request: Request) -> Response:
        """Show the dashboard."""
        return _answer(request, self._files[INDEX])

    async def static(self, request: Request) -> Response:
        """Send one of its files."""
        name = request.path_params["file"]
        if name not in self._files or name == INDEX:
            raise ProblemError("not-found", "there is no such file")
        return _answer(request, self._files[name])


def _read(folder: Traversable, within: PurePosixPath) -> Iterator[tuple[str, File]]:
    """Yield the files of a folder and of those in it, by their path below the first."""
    for entry in folder.iterdir():
        path = within / entry.name
        if entry.is_dir():
            yield from _read(entry, path)
        elif path.suffix in TYPES:
            body = entry.read_bytes()
            yield str(path), File(body, TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _answer(request: Request, file: File) -> Response:
    headers = {**_HEADERS, "ETag": file.tag}
    if matches(request, file.tag):
        return Response(None, 304, headers)
    return Response(file.body, headers=headers, media_type=file.media_type)
