"""The kinds of problems that an answer may have, and what their pages say."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Kind(NamedTuple):
    """A type of problem. meaning and remedy: for its page."""

    status: int
    title: str
    meaning: str
    remedy: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "invalid-json": Kind(
            400,
            "The body is not usable JSON",
            "The body is not valid JSON in UTF-8, or it is nested deeper than 100 levels, or has an "
            "integer of more than 4300 digits.",
            "Send the output of a JSON library, encoded as UTF-8. The detail says where reading stopped.",
        ),
        "bad-request": Kind(
            400,
            "This is not HTTP",
            "What was sent cannot be read as a request: a wrong method or header line, or a path with "
            "characters that have to be percent-encoded.",
            "Use an HTTP library, which encodes what must be encoded.",
        ),
        "unauthorized": Kind(
            401,
            "An API key is needed",
            "The service has API keys, and the request has none, or one that is not known.",
            "Send the header `Authorization: Bearer <key>`, with the secret alone, without its name.",
        ),
        "cross-site": Kind(
            403,
            "A web page of another site may not change anything here",
            "The request came from a web page that this service did not serve. Without API keys, "
            "every page that is open in a browser on this machine could otherwise submit jobs.",
            "Call from a program, or give the service API keys.",
        ),
        "not-found": Kind(
            404,
            "There is nothing at this address",
            "No route matches this path.",
            "See /docs for all paths. They have no slash at the end.",
        ),
        "job-not-found": Kind(
            404,
            "There is no such job",
            "No job has this id, or it belongs to somebody else, or the id is not a UUID.",
            "Take the id from the answer to the submission, and call with a key of the same name.",
        ),
        "task-not-found": Kind(
            404,
            "There is no such task",
            "No task of this name is registered.",
            "GET /tasks lists the names. Modules with tasks are named in ERRAND_TASKS when the "
            "service starts.",
        ),
        "method-not-allowed": Kind(
            405,
            "Method not allowed",
            "The path exists, but not with this method.",
            "The header `Allow` lists the methods that it knows.",
        ),
        "job-finished": Kind(
            409,
            "The job has finished",
            "What has finished cannot be cancelled: its outcome stands.",
            "Nothing needs to be done. GET /jobs/{id} shows the outcome.",
        ),
        "job-failed": Kind(
            409,
            "The job has failed",
            "The function raised an exception, so there is no result. The member `exception` shows it.",
            "Fix the cause that the exception names, and submit the job again.",
        ),
        "job-cancelled": Kind(
            409,
            "The job was cancelled",
            "The job was cancelled before it had a result.",
            "Submit it again if the result is still wanted.",
        ),
        "job-not-pending": Kind(
            409,
            "The job is not pending",
            "Priority, due time and tags can be changed as long as a job waits. This one has begun, or is "
            "done.",
            "GET /jobs/{id} shows its state. Cancel it and submit another, if it must be different.",
        ),
        "job-not-done": Kind(
            409,
            "The job is not done",
            "A job that still waits or runs cannot be erased.",
            "Cancel it first (DELETE without `purge`), and erase it when its state is `cancelled` or "
            "`finished`.",
        ),
        "job-not-retriable": Kind(
            409,
            "The job cannot be run again",
            "Only a job that has failed or was cancelled gets a new run. This one still waits or runs, or "
            "has succeeded.",
            "GET /jobs/{id} shows its state. To run what has succeeded again, submit it again.",
        ),
        "key-held": Kind(
            409,
            "Another job has the key",
            "Of the jobs of one task that have the same `key`, only one may be waiting or running, and "
            "another one is.",
            "Wait until that job is done, or cancel it, and ask for the new run again.",
        ),
        "job-erased": Kind(
            410,
            "The job was erased",
            "The same submission came before, under the same `Idempotency-Key`. Its job was stored then, "
            "and has been erased since, so there is nothing left to show, and nothing new was stored. (A "
            "batch leaves out the jobs that were erased since, and shows the others.)",
            "Nothing needs to be done if it was meant to run once. To run it again, submit it under another "
            "key.",
        ),
        "result-gone": Kind(
            410,
            "The result was erased",
            "The job succeeded. Its result was kept for as long as the service keeps results, and then "
            "erased; the job itself is still there.",
            "Fetch results sooner, or submit the job again.",
        ),
        "body-too-large": Kind(
            413,
            "The body is too large",
            "A body may take 1 MiB, that of a batch 32 MiB, and have a million arrays, objects and keys.",
            "Store large input elsewhere and submit where it is; send a large batch in several.",
        ),
        "unsupported-media-type": Kind(
            415,
            "The body must be JSON, and say so",
            "The header `Content-Type` is missing, or names something other than JSON in UTF-8, or "
            "the body is compressed.",
            "Send the header `Content-Type: application/json`. With curl: `-H 'Content-Type: "
            "application/json'`.",
        ),
        "misdirected-request": Kind(
            421,
            "This service answers to local names only",
            "Without API keys, only a `Host` of localhost, 127.0.0.1 or [::1] is answered, so that no"
            " web page can reach the service under a name of its own.",
            "Use one of these names, or give the service API keys.",
        ),
        "invalid-submission": Kind(
            422,
            "The submission is not valid",
            "The body is JSON, but not a submission: a field is unknown, missing, of the wrong type "
            "or out of range, or a value is one that JSON stores cannot keep (NaN, infinity, NUL, "
            "half a surrogate pair).",
            "`errors` names each place. /docs shows all fields. Of a key that is there twice, the "
            "last counts.",
        ),
        "invalid-body": Kind(
            422,
            "The body is not what this call takes",
            "The body is JSON, but a field is unknown, missing, null, of the wrong type or out of range, or "
            "there is none at all.",
            "`errors` names each place. /docs shows all fields. A change of many jobs needs at least one "
            "condition, so that nobody changes all of them by mistake.",
        ),
        "idempotency-key-reused": Kind(
            422,
            "The idempotency key was used for something else",
            "A submission with another body came under the same `Idempotency-Key` within the last 24 hours. "
            "Bodies are compared as JSON: space, and the order of keys, make no difference.",
            "Use a new key for each new submission, and the same key only to repeat one.",
        ),
        "unknown-task": Kind(
            422,
            "No task of this name is registered",
            "The submission names a task that the service does not have.",
            "The detail names the nearest ones, GET /tasks all. Modules with tasks are named in "
            "ERRAND_TASKS.",
        ),
        "invalid-arguments": Kind(
            422,
            "The arguments do not fit the task",
            "An argument is missing, surplus, or not of the type that the function is annotated with."
            " Nothing was stored.",
            "`errors` names each place. GET /tasks/{name} shows the parameters.",
        ),
        "invalid-parameters": Kind(
            422,
            "A parameter is not valid",
            "A parameter of the query is unknown, given more than once, or has a value that it cannot have; "
            "or the `Idempotency-Key` or the `Last-Event-ID` is none, or a queue has no such name.",
            "`errors` names each. A `cursor` must be one that a list has handed out. An `Idempotency-Key` "
            "is one key of 1 to 255 visible ASCII characters, as it is or in quotes. A `Last-Event-ID` is "
            "the `id` of an event.",
        ),
        "headers-too-large": Kind(
            431,
            "The headers are too large",
            "Request line and headers may take 64 KiB.",
            "Send less: cookies of other services on this machine, perhaps.",
        ),
        "too-many-jobs": Kind(
            429,
            "The quota is used up",
            "The tenant has reached its limit of unfinished jobs.",
            "Try again after the seconds in `Retry-After`, or wait for jobs to finish, or cancel some.",
        ),
        "internal-error": Kind(
            500,
            "Something is wrong with the service",
            "The service met an error that it did not foresee. Its log has the details.",
            "Whether the request had an effect is not known: look at GET /jobs before you repeat it.",
        ),
        "unavailable": Kind(
            503,
            "The service cannot do this now",
            "The service is up, but not able to do its work, for instance because no worker takes jobs.",
            "Try again after the seconds in `Retry-After`.",
        ),
        "queue-full": Kind(
            503,
            "The queue is full",
            "The queue has reached its limit of waiting jobs.",
            "Try again after the seconds in `Retry-After`, or submit to another queue.",
        ),
        "draining": Kind(
            503,
            "The service is stopping",
            "The service finishes what it runs, and takes no new jobs.",
            "Try again after the seconds in `Retry-After`, when it has started again.",
        ),
        "store-unavailable": Kind(
            503,
            "The store cannot be used",
            "The database cannot be read or written, for instance because the disk is full. Nothing "
            "was stored.",
            "Try again after the seconds in `Retry-After`. The service's log says what is wrong.",
        ),
    }
)
