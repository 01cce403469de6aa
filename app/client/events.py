"""Server-Sent Events (WHATWG's HTML standard, 9.2), read without I/O."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
from pydantic import ValidationError

from app.client.calls import Where, conditions, job_path
from app.client.errors import AnswerError, ProblemError, ServiceUnreachableError, problem_of
from app.client.models import Event
from app.client.steps import ERROR, Request, pauses, unreachable
from app.core import State

SILENCE = 40.0
"""Seconds without a sign of life after which a connection counts as lost: one comes every 15."""

BOM = "\ufeff"
"""What a stream may begin with."""

EVENTS = "text/event-stream"

OK, GONE = 200, 204
"""The status that tells a reader not to come back."""

FINAL = {State.FINISHED, State.CANCELLED}


class Parser:
    """Makes events of what comes in.

    last_id: of the last event, or sign of life, that was complete. How long a browser should
    wait before it comes back (`retry`) is not looked at: `Subscription` has rules of its own.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.signs = 0
        """Signs of life with an id, events among them."""
        self._rest = b""
        self._fields: dict[str, list[str]] = {}

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that are complete with this. Raises AnswerError for what is none of ours."""
        data = self._rest + data
        # Half an end of line, perhaps; the other half begins what comes next.
        held = data[-1:] if data.endswith(b"\r") else b""
        # Not by str.splitlines, which takes U+2028 and others for ends of lines.
        text = data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._rest = rest + held
        for line in lines:
            if not line:
                yield from self._dispatch()
            elif not line.startswith(b":"):
                name, _, value = line.decode("utf-8", "replace").removeprefix(BOM).partition(":")
                self._fields.setdefault(name, []).append(value.removeprefix(" "))

    def lose(self) -> None:
        """Forget the event that has begun: the connection is lost."""
        self._rest, self._fields = b"", {}

    def _dispatch(self) -> Iterator[Event]:
        fields, self._fields = self._fields, {}
        ids = [id_ for id_ in fields.get("id", ()) if "\0" not in id_]
        if ids:
            self.last_id = ids[-1]
            self.signs += 1
        if "data" in fields:
            yield _event(fields.get("event", [""])[-1] or "message", self.last_id, "\n".join(fields["data"]))


def _event(kind: str, last_id: str, text: str) -> Event:
    try:
        data: dict[str, Any] = json.loads(text)
        known = {name: data.get(name) for name in ("job", "task", "queue", "at")}
        return Event(id=last_id, kind=kind, data=data, **known)
    except (ValueError, AttributeError, RecursionError, ValidationError) as exc:
        raise AnswerError(f"an event that makes no sense: {text[:100]!r}") from exc


class Subscription:
    """Where a reader of events is, through as many connections as it takes.

    job_id: None for all jobs that `where` fits. after: the id of the last event that is known;
    None: all that has happened to the job, or all that happens from now on. patience: seconds
    for which a lost connection is made anew.
    """

    def __init__(self, job_id: str | None, after: str | None, where: Where, patience: float) -> None:
        self.over = False
        """Whether no event will follow."""
        self.goes_on = False
        """Whether the last request was to go on where the one before it was."""
        self._path = "/events" if job_id is None else f"{job_path(job_id)}/events"
        self._params: Sequence[tuple[str, str]] = conditions(where) if job_id is None else ()
        self._parser = Parser()
        self._parser.last_id = after or ""
        self._patience = patience
        self._of_job = job_id is not None
        self._pauses = pauses()
        self._lost_for = 0.0

    def request(self) -> Request:
        """Return what to ask for next."""
        self.goes_on = bool(self._parser.last_id)
        known = {"Last-Event-ID": self._parser.last_id} if self.goes_on else {}
        headers = {**known, "Accept": EVENTS}
        return Request("GET", self._path, params=self._params, headers=headers, waits=SILENCE)

    def opened(self, answer: httpx.Response) -> None:
        """Take note of an answer's head. Raises ProblemError, and AnswerError for what is no stream."""
        # An error's body has been read.
        if answer.status_code >= ERROR:
            raise problem_of(answer)
        self.over = self._of_job and answer.status_code == GONE
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if not self.over and (answer.status_code != OK or kind != EVENTS):
            raise AnswerError(f"{answer.url} answered with {answer.status_code} {kind}, and no events")

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that are complete with this."""
        before = self._parser.signs
        for event in self._parser.feed(data):
            self.over = self._of_job and event.kind == "state" and event.data.get("state") in FINAL
            yield event
        if self._parser.signs != before:
            # Only now, because a stream that is cut each time before anything comes leads nowhere.
            self._pauses, self._lost_for = pauses(), 0.0

    def closed(self, error: httpx.TransportError | ProblemError | None = None) -> float:
        """Return after how many seconds to come back.

        error: why there is no connection; None when the service has closed it. Raises it when it
        will not pass, and it or ServiceUnreachableError when patience is at its end.
        """
        self._parser.lose()
        problem = error if isinstance(error, ProblemError) else None
        pause = max(next(self._pauses), 0.0 if problem is None else problem.wait)
        self._lost_for += pause
        if problem is not None and not problem.temporary:
            raise problem
        if self._lost_for > self._patience:
            raise problem or self._unreachable(error)
        return pause

    def _unreachable(self, error: httpx.TransportError | ProblemError | None) -> ServiceUnreachableError:
        if isinstance(error, httpx.TransportError):
            return unreachable(error)
        return ServiceUnreachableError(f"{self._path} is closed again and again before anything has come")
