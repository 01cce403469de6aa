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
        "body-too-large": Kind(
            413,
            "The body is too large",
            "A submission may take 1 MiB.",
            "Store large input elsewhere and submit where it is.",
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
            "The query is not valid",
            "A query parameter is unknown, given more than once, or has a value that it cannot have.",
            "`errors` names each. A `cursor` must be one that a list has handed out.",
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
