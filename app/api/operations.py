"""What the OpenAPI document says of each call."""

from app.api.openapi import (
    IF_NONE_MATCH,
    JOB_ID,
    PROBLEM_NAME,
    TASK_NAME,
    Operation,
    answer,
    empty,
    page,
    problems,
    query,
    submission_body,
    with_wait,
)
from app.api.schemas import ListQuery

_WAITED = ("ETag", "Preference-Applied")
_ONE_JOB = problems("job-not-found", "invalid-parameters", "store-unavailable")

SUBMIT = Operation(
    {
        "202": answer("It is stored, and will run.", "Job", ("Location", *_WAITED)),
        "200": answer("It was done within the wait.", "Job", ("Location", *_WAITED)),
        **problems(
            "invalid-json",
            "cross-site",
            "body-too-large",
            "unsupported-media-type",
            "invalid-submission",
            "unknown-task",
            "invalid-arguments",
            "invalid-parameters",
            "too-many-jobs",
            "queue-full",
            "draining",
            "store-unavailable",
        ),
    },
    with_wait(),
    submission_body(),
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
        "202": answer("It is not done; the job as it is.", "Job", ("Retry-After", "Preference-Applied")),
        **_ONE_JOB,
        **problems("job-failed", "job-cancelled"),
    },
    with_wait(JOB_ID),
)
CANCEL = Operation(
    {
        "200": answer("It is cancelled, now or since earlier.", "Job", ("ETag",)),
        "202": answer("It runs, and is asked to stop.", "Job", ("ETag",)),
        **_ONE_JOB,
        **problems("cross-site", "job-finished"),
    },
    [JOB_ID],
)
LIST_TASKS = Operation({"200": answer("All of them.", "TaskList")})
GET_TASK = Operation({"200": answer("The task.", "TaskDocument"), **problems("task-not-found")}, [TASK_NAME])
LIVE = Operation({"200": answer("It answers.", "HealthDocument")})
READY = Operation(
    {"200": answer("It works.", "HealthDocument"), **problems("unavailable", "draining", "store-unavailable")}
)
LIST_PROBLEMS = Operation({"200": page("All kinds of problems.")})
GET_PROBLEM = Operation({"200": page("The explanation."), **problems("not-found")}, [PROBLEM_NAME])
