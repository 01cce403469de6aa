"""The errors of jobs.

    JobError
    ├── TaskDefinitionError     a task module cannot be used; stops the start
    ├── UnknownTaskError        no task of that name
    ├── InvalidArgumentsError   the arguments do not fit the function
    ├── ResultError             what the function returned cannot be kept
    └── TransitionError         the lifecycle does not allow it
        ├── JobFinishedError    the job has finished, so it cannot be cancelled
        ├── JobNotPendingError  the job has begun or ended, so it cannot be edited
        ├── JobNotRetriableError  the job has neither failed nor been cancelled, so it gets no new run
        ├── JobNotDoneError     the job is not done, so it cannot be erased
        └── StaleTokenError     somebody else holds the job by now, or nobody

Only a TaskDefinitionError is an operator's to fix; the others are a caller's.
"""

from collections.abc import Sequence
from typing import TypedDict


class JobError(Exception):
    """The root of this layer's errors."""


class TaskDefinitionError(JobError):
    """A task, or the module it is in, cannot be used. The message names module and reason."""


NAME_SHOWN = 100
"""Characters that are shown of an unknown name, and compared with the known ones: it may be any text."""


class UnknownTaskError(JobError):
    """No task of that name is registered.

    nearest: registered names that look like it, the likeliest first; may be empty.
    """

    def __init__(self, name: str, nearest: Sequence[str]) -> None:
        super().__init__(f"no task is called {name[:NAME_SHOWN]!r}")
        self.name = name
        self.nearest = tuple(nearest)


class Fault(TypedDict):
    """One thing wrong in what was sent: where it is, what is wrong, and its kind."""

    loc: list[str | int]
    msg: str
    type: str


class InvalidArgumentsError(JobError):
    """The arguments do not fit the task's signature. faults: one per place."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults))
        self.faults = tuple(faults)


class ResultError(JobError):
    """What the function returned is no JSON, or too large."""


class TransitionError(JobError):
    """The lifecycle table has no such transition from the job's state."""


class JobFinishedError(TransitionError):
    """The job has finished, so its outcome stands."""


class JobNotPendingError(TransitionError):
    """The job has begun, or has ended: what would be changed has had its effect."""


class JobNotRetriableError(TransitionError):
    """Only a job that has failed or was cancelled gets a new run."""


class JobNotDoneError(TransitionError):
    """The job still waits or runs, and is needed."""


class StaleTokenError(TransitionError):
    """The claim that this token was handed out for is over."""
