"""What the OpenAPI document says of the calls for events and logs."""

from app.api.incoming import CURSOR, Conditions
from app.api.openapi import JOB_ID, Json, Operation, answer, empty, problems, query

LAST_EVENT_ID: Json = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The `id` of the last event that is known already; browsers send it by themselves when "
    "they come back.",
    "schema": {"type": "string", "pattern": CURSOR},
}
EXAMPLE = """\
: events follow
retry: 2000

event: state
id: AAAAAAAAAAE
data: {"job":"0198c0de-0000-7000-8000-000000000000","task":"count_words","queue":"default",\
"at":"2030-01-31T09:00:00.000000Z","state":"pending","outcome":null,"run":1,"attempt":0,"version":1,\
"exception":null,"cancellation":null}

"""
_EVENTS: Json = {
    "description": "Events: `state`, `progress` and `log`, each with a line of JSON, and `gap` where some "
    "are no longer kept. A comment every 15 s says that the connection lives.",
    "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}},
}
_LOG = answer("What it has logged.", "Log")
_LOG["content"]["text/plain"] = {"schema": {"type": "string"}}

FOLLOW = Operation(
    {
        "200": _EVENTS,
        "204": empty("The job is done, and its last event known."),
        **problems("job-not-found", "invalid-parameters", "store-unavailable"),
    },
    [JOB_ID, LAST_EVENT_ID],
)
FOLLOW_ALL = Operation(
    {"200": _EVENTS, **problems("invalid-parameters", "store-unavailable")},
    [*query(Conditions), LAST_EVENT_ID],
)
LOGS = Operation(
    {"200": _LOG, **problems("job-not-found", "invalid-parameters", "store-unavailable")},
    [JOB_ID],
)
