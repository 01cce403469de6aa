"""Cursors: places in a list or in a history, as texts that say nothing to whoever keeps them."""

import base64
import binascii

from app.service.errors import InvalidCursorError

LENGTH = 8
"""Bytes of a position: a signed integer of which no value is negative."""


def to_cursor(position: int) -> str:
    """Return the cursor of a store's position."""
    return base64.urlsafe_b64encode(position.to_bytes(LENGTH, "big")).decode().rstrip("=")


def from_cursor(cursor: str) -> int:
    """Return the position. Raises InvalidCursorError for anything that `to_cursor` does not return."""
    try:
        position = base64.b64decode(cursor.encode() + b"=", altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        position = b""
    if len(position) != LENGTH or position[0] > 0x7F:  # noqa: PLR2004  (the sign's bit)
        raise InvalidCursorError(cursor)
    return int.from_bytes(position, "big")
