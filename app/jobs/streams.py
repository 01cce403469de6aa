"""Stand-ins for stdout and stderr, and the lines in what is written to them."""

import io
from abc import abstractmethod
from typing import Any, TextIO

LINE_LIMIT = 8 * 1024
"""Characters of a line that are kept."""


def whole_lines(begun: str, text: str) -> tuple[list[str], str]:
    """Return the lines that this text completes, and what of the next one has begun.

    begun: what had before. Of a line that is redrawn its last state is returned; one that
    never ends is cut where it is longer than a line may be.
    """
    *lines, rest = f"{begun}{text}".split("\n")
    if len(rest) > LINE_LIMIT:
        lines.append(rest)
        rest = ""
    return [last_state(line) for line in lines], rest


def last_state(line: str) -> str:
    """Return what is to be seen at last of a line that is redrawn."""
    return line.rstrip("\r").rpartition("\r")[2]


def as_text(data: Any) -> str:
    """Return bytes as text, whatever they are."""
    return bytes(data).decode("utf-8", "backslashreplace")


class StandIn(io.TextIOBase):
    """In place of stdout or stderr: what is written comes to `take`. For the rest it is like the real one.

    It is never a terminal: what is meant to be redrawn or coloured is of no use in a log.
    """

    def __init__(self, real: TextIO) -> None:
        self.real = real
        self.buffer = _Bytes(self)

    @abstractmethod
    def take(self, text: str) -> None:
        """Take text in."""

    def take_bytes(self, data: Any) -> None:
        """Take bytes in."""
        self.take(as_text(data))

    def __getattr__(self, name: str) -> Any:
        """Return the real one's `line_buffering`, `reconfigure` and the like."""
        return getattr(self.real, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the real one's."""
        return self.real.encoding

    def close(self) -> None:
        """Do nothing: others will print too."""

    def fileno(self) -> int:
        """Return the real one's, for programs that are started with this as their output."""
        return self.real.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take text in. Returns its length."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.take(text)
        return len(text)


class _Bytes(io.BufferedIOBase):
    """In place of stdout's or stderr's `buffer`."""

    def __init__(self, stream: StandIn) -> None:
        self._stream = stream

    def close(self) -> None:
        """Do nothing; see StandIn."""

    def fileno(self) -> int:
        """Return the real one's."""
        return self._stream.fileno()

    def flush(self) -> None:
        """Flush the stream that this is a part of."""
        self._stream.flush()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Take bytes in. Returns their number."""
        view = memoryview(data)
        self._stream.take_bytes(view)
        return view.nbytes
