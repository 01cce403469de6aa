"""What the OpenAPI document says of each call."""

from app.api.incoming import DeleteQuery, ListQuery
from app.api.openapi import (
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    JOB_ID,
    PROBLEM_NAME,
    QUEUE_NAME,
    TASK_NAME,
    Operation,
    answer,
    body,
    empty,
    page,
    problems,
    query,
    with_wait,
)

_WAITED = ("ETag", "Preference-Applied")
_SUBMITTED = ("Location", *_WAITED)
_ONE_JOB = problems("job-not-found", "invalid-parameters", "store-unavailable")
_BODY = ("invalid-json", "cross-site", "body-too-large", "unsupported-media-type", "store-unavailable")
# Those of one status are described together: a later description takes the place of an earlier one.
_SUBMISSION = problems(
    *_BODY,
    "job-erased",
    "invalid-submission",
    "unknown-task",
    "invalid-arguments",
    "invalid-parameters",
    "idempotency-key-reused",
    "too-many-jobs",
    "queue-full",
    "draining",
)
_CHANGE = (*_BODY, "invalid-body", "invalid-parameters")

SUBMIT = Operation(
    {
        "202": answer("It is stored, and will run.", "Job", _SUBMITTED),
        "200": answer(
            "It was done within the wait; or the job stands for an earlier submission, of the same "
            "Idempotency-Key or the same `key`.",
            "Job",
            (*_SUBMITTED, "Idempotency-Replayed"),
        ),
        **_SUBMISSION,
    },
    with_wait(IDEMPOTENCY_KEY),
    body("Submission"),
)
SUBMIT_BATCH = Operation(
    {
        "202": answer("All of them are stored.", "BatchDocument"),
        "200": answer(
            "They were submitted before: what is left of them.", "BatchDocument", ("Idempotency-Replayed",)
        ),
        **{status: problem for status, problem in _SUBMISSION.items() if status != "410"},
    },
    [IDEMPOTENCY_KEY],
    body("Batch"),
)
LIST_JOBS = Operation(
    {
        "200": answer("A page.", "JobList", ("Link",)),
        **problems("invalid-parameters", "store-unavailable"),
    },
    query(ListQuery),
)
GET_JOB = Operation(
    {
        "200": answer("The job.", "Job", _WAITED),
        "304": empty("It has not changed.", _WAITED),
        **_ONE_JOB,
    },
    with_wait(JOB_ID, IF_NONE_MATCH),
)
GET_RESULT = Operation(
    {
        "200": answer("The result: any JSON.", headers=("Preference-Applied",)),
        "202": answer("It is not done; the job as it is.", "Job", ("Retry-After", *_WAITED)),
        **_ONE_JOB,
        **problems("job-failed", "job-cancelled", "result-gone"),
    },
    with_wait(JOB_ID),
)
CANCEL = Operation(
    {
        "200": answer("It is cancelled, now or since earlier.", "Job", ("ETag",)),
        "202": answer("It runs, and is asked to stop.", "Job", ("ETag",)),
        "204": empty("It is erased."),
        **_ONE_JOB,
        **problems("cross-site", "job-finished", "job-not-done", "job-not-pending"),
    },
    [JOB_ID, *query(DeleteQuery)],
)
EDIT = Operation(
    {
        "200": answer("It is changed.", "Job", ("ETag",)),
        **problems(*_CHANGE, "job-not-found", "job-not-pending"),
    },
    [JOB_ID],
    body("Edit"),
)
RETRY = Operation(
    {
        "202": answer("It will run again.", "Job", ("Location", "ETag")),
        **problems(*_CHANGE, "job-not-found", "job-not-retriable", "key-held", "draining"),
    },
    [JOB_ID],
)
CANCEL_ALL = Operation(
    {"200": answer("What it came to.", "TallyDocument"), **problems(*_CHANGE)}, body=body("Filter")
)
RETRY_ALL = Operation(
    {"200": answer("What it came to.", "TallyDocument"), **problems(*_CHANGE, "draining")},
    body=body("Filter"),
)
LIST_QUEUES = Operation(
    {"200": answer("All of them.", "QueueList"), **problems("invalid-parameters", "store-unavailable")}
)
PAUSE = Operation({"200": answer("How it stands.", "QueueDocument"), **problems(*_CHANGE)}, [QUEUE_NAME])
RESUME = PAUSE
LIST_TASKS = Operation({"200": answer("All of them.", "TaskList")})
GET_TASK = Operation({"200": answer("The task.", "TaskDocument"), **problems("task-not-found")}, [TASK_NAME])
LIVE = Operation({"200": answer("It answers.", "HealthDocument")})
READY = Operation(
    {"200": answer("It works.", "HealthDocument"), **problems("unavailable", "draining", "store-unavailable")}
)
LIST_PROBLEMS = Operation({"200": page("All kinds of problems.")})
GET_PROBLEM = Operation({"200": page("The explanation."), **problems("not-found")}, [PROBLEM_NAME])
