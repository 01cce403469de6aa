"""Pages for people: the interactive documentation and the explanations of problems.

They need no address but ours: the files of Swagger UI come from a package. Their
policy lets scripts come from here only, and none stands in a page itself.
"""

from collections.abc import Callable
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from app.api.kinds import KINDS, Kind
from app.api.problems import ProblemError

STATIC = "/docs/static"

_HEADERS = {
    # Swagger UI sets style attributes, and has its icons in data: addresses.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_CACHED = {"X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=86400"}

_DOCS = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Errand</title>
<link rel="icon" href="{STATIC}/favicon-32x32.png">
<link rel="stylesheet" href="{STATIC}/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<noscript>This page needs JavaScript. It shows <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="{STATIC}/swagger-ui-bundle.js"></script>
<script src="{STATIC}/start.js"></script>
</body>
</html>
"""

# Without `validatorUrl` the page would ask a service on the internet whether the document is valid.
_START = """"use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""

_STYLE = """:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.8em; }
h2 { font-size: 1.15em; }
code, .status { font-family: ui-monospace, monospace; font-size: .9em; }
.status { opacity: .7; }
"""


async def docs(_: Request) -> Response:
    """Show the documentation."""
    return Response(_DOCS, headers=_HEADERS, media_type="text/html")


async def static(request: Request) -> Response:
    """Send one of the pages' files."""
    name = request.path_params["file"]
    if name not in _FILES:
        raise ProblemError("not-found", "there is no such file")
    read, media_type = _FILES[name]
    return Response(read(name), headers=_CACHED, media_type=media_type)


@cache
def _packaged(name: str) -> bytes:
    # Found, not imported: the package's own code would import what is not needed here.
    spec = find_spec("fastapi_swagger")
    if spec is None or spec.origin is None:  # pragma: no cover  (it is a requirement)
        raise FileNotFoundError(name)
    return (Path(spec.origin).parent / "resources" / name).read_bytes()


_FILES: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "swagger-ui-bundle.js": (_packaged, "text/javascript"),
    "swagger-ui.css": (_packaged, "text/css"),
    "favicon-32x32.png": (_packaged, "image/png"),
    "start.js": (lambda _: _START, "text/javascript"),
    "page.css": (lambda _: _STYLE, "text/css"),
}


async def index(_: Request) -> Response:
    """List all kinds of problems."""
    rows = "".join(
        f'<li><a href="/problems/{name}">{name}</a>: {escape(kind.title)} '
        f'<span class="status">{kind.status}</span></li>'
        for name, kind in KINDS.items()
    )
    return _page("Problems", f"<p>What an answer's <code>type</code> may be.</p><ul>{rows}</ul>")


async def explain(request: Request) -> Response:
    """Explain a kind of problem, and how to mend it."""
    name = request.path_params["name"]
    if name not in KINDS:
        raise ProblemError("not-found", "there is no problem of this name; /problems lists those there are")
    return _page(name, _explanation(KINDS[name]))


def _explanation(kind: Kind) -> str:
    return (
        f'<p><strong>{escape(kind.title)}</strong> <span class="status">{kind.status}</span></p>'
        f"<h2>What it means</h2><p>{_prose(kind.meaning)}</p>"
        f"<h2>How to fix it</h2><p>{_prose(kind.remedy)}</p>"
        '<p><a href="/problems">All problems</a></p>'
    )


def _prose(text: str) -> str:
    """Return text as HTML, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def _page(title: str, body: str) -> Response:
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)} - Errand</title>\n"
        f'<link rel="icon" href="{STATIC}/favicon-32x32.png">\n'
        f'<link rel="stylesheet" href="{STATIC}/page.css">\n'
        f"</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )
    return Response(text, headers=_HEADERS, media_type="text/html")
