"""The OpenAPI document: what FastAPI finds in the routes, with what they cannot say themselves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from app.api.event_schemas import LogDocument
from app.api.fields import QueueName
from app.api.incoming import BatchBody, EditBody, FilterBody, SubmissionBody, WaitQuery
from app.api.kinds import KINDS
from app.api.schemas import (
    BatchDocument,
    HealthDocument,
    JobDocument,
    JobList,
    ProblemDocument,
    QueueDocument,
    QueueList,
    TallyDocument,
    TaskDocument,
    TaskList,
)
from app.api.statistics_schemas import StatisticsDocument, WorkerList

Json = dict[str, Any]

DESCRIPTION = """\
Hand in a call of a registered function, get a future back.

Times are RFC 3339 in UTC with microseconds, durations are seconds, bodies are JSON. `HEAD` works wherever
`GET` does. Errors are `application/problem+json` (RFC 9457); the `type` of each is the address of a page that
says how to fix it ([all of them](/problems)).
"""

EXAMPLE: Json = {"task": "count_words", "args": ["to be or not to be"]}

_INCOMING: tuple[type[BaseModel], ...] = (SubmissionBody, BatchBody, EditBody, FilterBody)
_OUTGOING: tuple[type[BaseModel], ...] = (
    JobDocument,
    JobList,
    BatchDocument,
    TallyDocument,
    QueueDocument,
    QueueList,
    TaskDocument,
    TaskList,
    LogDocument,
    StatisticsDocument,
    WorkerList,
    HealthDocument,
    ProblemDocument,
)
_COMPONENTS = "#/components/schemas/"

_HEADERS = {
    "ETag": ("A strong tag of this version of the job, for `If-None-Match`.", "string"),
    "Idempotency-Replayed": (
        "`true`, when an Idempotency-Key has brought back what was submitted before.",
        "string",
    ),
    "Link": ("The next page, when there is one: `</jobs?...>; rel=next`.", "string"),
    "Location": ("The job's address.", "string"),
    "Preference-Applied": (
        "How long the service was ready to wait, when `Prefer` asked or it was cut.",
        "string",
    ),
    "Retry-After": ("Seconds after which to ask again.", "integer"),
    "WWW-Authenticate": ("That a Bearer key is needed.", "string"),
    "Allow": ("The methods that there are.", "string"),
}
_HEADERS_OF_STATUS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}

JOB_ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The job's id, a UUID in its 36-character form; upper and lower case are the same.",
    "schema": {"type": "string", "format": "uuid"},
}
QUEUE_NAME: Json = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The queue's name; there need not be any job in it.",
    "schema": TypeAdapter(QueueName).json_schema(),
}
TASK_NAME: Json = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
PROBLEM_NAME: Json = {**TASK_NAME, "schema": {"type": "string", "enum": list(KINDS)}}
PREFER: Json = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N` (RFC 7240): answer when the job is done, at the latest after N seconds, 60 "
    "at most.",
    "schema": {"type": "string"},
    "example": "wait=10",
}
IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A key of the caller's choice, as it is or in quotes: for 24 hours the same key and body "
    "bring back what was submitted first, and nothing is stored again.",
    "schema": {"type": "string", "pattern": "^[!#-~][!-~]{0,254}$"},
    "example": "5f0c1b9e-order-17",
}
IF_NONE_MATCH: Json = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The tag of the version that is known already. With `wait`, any change of the job is "
    "answered.",
    "schema": {"type": "string"},
}


class Operation(NamedTuple):
    """What the document says of a call: its answers by status, its parameters, its body."""

    responses: Mapping[str, Json]
    parameters: Sequence[Json] = ()
    body: Json | None = None

    def extra(self) -> Json:
        """Return it as an OpenAPI operation."""
        members = {"responses": self.responses, "parameters": list(self.parameters), "requestBody": self.body}
        return {name: value for name, value in members.items() if value}


def query(model: type[BaseModel]) -> list[Json]:
    """Return the parameters that a model of a query describes."""
    schema = model.model_json_schema()
    defined = schema.get("$defs", {})
    return [_parameter(name, spec, defined) for name, spec in schema["properties"].items()]


def _parameter(name: str, spec: Json, defined: Json) -> Json:
    # In a query there is no null: a parameter is there or it is not.
    choices = [choice for choice in spec.get("anyOf", [spec]) if choice.get("type") != "null"]
    reference = choices[0].get("$ref")
    schema = defined[reference.rpartition("/")[2]] if reference else choices[0]
    hidden = {"description", "title"}
    shown = {key: value for key, value in schema.items() if key not in hidden}
    return {"name": name, "in": "query", "description": spec["description"], "schema": shown}


def answer(description: str, schema: str | None = None, headers: Iterable[str] = ()) -> Json:
    """Describe an answer. schema: a component's name; None when the body is any JSON."""
    content = {"schema": {"$ref": _COMPONENTS + schema} if schema else {}}
    return {"description": description, "content": {"application/json": content}, **_headers(headers)}


def empty(description: str, headers: Iterable[str] = ()) -> Json:
    """Describe an answer without a body."""
    return {"description": description, **_headers(headers)}


def page(description: str) -> Json:
    """Describe an answer for people."""
    return {"description": description, "content": {"text/html": {"schema": {"type": "string"}}}}


def _headers(names: Iterable[str]) -> Json:
    headers = {
        name: {"description": _HEADERS[name][0], "schema": {"type": _HEADERS[name][1]}} for name in names
    }
    return {"headers": headers} if headers else {}


def problems(*names: str) -> dict[str, Json]:
    """Describe the problems that a call may answer with, those of one status together."""
    found: dict[str, Json] = {}
    for status in sorted({KINDS[name].status for name in names}):
        same = [name for name in names if KINDS[name].status == status]
        text = "; ".join(f"[{name}](/problems/{name}): {KINDS[name].title}" for name in same)
        content = {"application/problem+json": {"schema": {"$ref": f"{_COMPONENTS}Problem"}}}
        headers = _headers(_HEADERS_OF_STATUS.get(status, ()))
        found[str(status)] = {"description": text, "content": content, **headers}
    return found


def body(schema: str) -> Json:
    """Describe a body. schema: a component's name."""
    content = {"schema": {"$ref": _COMPONENTS + schema}}
    return {"required": True, "content": {"application/json": content}}


def with_wait(*others: Json) -> list[Json]:
    """Return the parameters of a call that can wait."""
    return [*others, *query(WaitQuery), PREFER]


def document(app: FastAPI, tasks: Sequence[str], *, keys: bool) -> Json:
    """Return the OpenAPI document of an application with these tasks."""
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    components = schema.setdefault("components", {})
    components["schemas"] = _schemas(tasks)
    _add_to_all(schema["paths"], problems("internal-error"))
    if keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        _secure(schema["paths"])
    else:
        _add_to_all(schema["paths"], problems("misdirected-request"))
    return schema


def _add_to_all(paths: Mapping[str, Json], responses: Json) -> None:
    for operations in paths.values():
        for operation in operations.values():
            operation["responses"].update(responses)


def _schemas(tasks: Sequence[str]) -> Json:
    modes: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in _INCOMING]
    modes += [(model, "serialization") for model in _OUTGOING]
    schemas: Json = models_json_schema(modes, ref_template=_COMPONENTS + "{model}")[1]["$defs"]
    named = {schema.get("title", name): schema for name, schema in schemas.items()}
    if tasks:
        named["Submission"]["properties"]["task"]["enum"] = list(tasks)
        named["Submission"]["examples"] = [EXAMPLE if EXAMPLE["task"] in tasks else {"task": tasks[0]}]
    return named


def _secure(paths: Mapping[str, Json]) -> None:
    """Ask for a key where one is needed."""
    needed = problems("unauthorized")
    for path, operations in paths.items():
        for operation in operations.values():
            if path.startswith(("/jobs", "/events", "/queues", "/tasks", "/stats", "/workers")):
                operation["security"] = [{"key": []}]
                operation["responses"].update(needed)
