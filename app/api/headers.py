"""The headers of a request, one by one."""

from starlette.requests import Request


def header_lines(request: Request, name: bytes) -> list[str]:
    """Return the values of a header, whose name is given in lower case, in their order.

    In place of `request.headers`, which is made of all of them, to be searched from the start
    each time it is asked.
    """
    return [value.decode("latin-1") for key, value in request.scope["headers"] if key == name]
