"""Every error of the store becomes one of the service's."""

import pytest

from app.core import Future
from app.jobs.lifecycle import Edited
from app.service import (
    Filter,
    KeyHeldError,
    KeyReusedError,
    NoSuchJobError,
    Once,
    QueueFullError,
    Service,
    ServiceError,
    StoreDownError,
    Submission,
    TooManyJobsError,
    UnavailableError,
)
from app.stores import base


def tree(root):
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


STORE_ERRORS = [error for error in tree(base.StoreError) if error.__module__.startswith("app.")]
SERVICE_ERRORS = [error for error in tree(ServiceError) if error.__module__.startswith("app.")]

BECOMES = {
    base.JobNotFoundError: NoSuchJobError,
    base.KeyReusedError: KeyReusedError,
    base.KeyHeldError: KeyHeldError,
    base.QueueFullError: QueueFullError,
    base.QuotaExceededError: TooManyJobsError,
}


UNKNOWN = "0198a7e1-0000-7000-8000-000000000000"


def double(n: int = 1):
    return n * 2


def calls(service):
    yield service.get("t", UNKNOWN)
    yield service.wait("t", UNKNOWN, 1)
    yield service.list("t")
    yield service.recall("t", Once("/jobs", "k", b""))
    yield service.submit("t", Submission("double"))
    yield service.submit_batch("t", [Submission("double")])
    yield service.cancel("t", UNKNOWN)
    yield service.edit("t", UNKNOWN, Edited(1))
    yield service.retry("t", UNKNOWN)
    yield service.purge("t", UNKNOWN)
    yield service.cancel_all("t", Filter(task="double"))
    yield service.retry_all("t", Filter(task="double"))
    yield service.queues.list("t")
    yield service.queues.pause("t", "default", paused=True)
    yield service.check_ready()


@pytest.mark.parametrize("error", STORE_ERRORS)
def test_no_error_of_the_store_passes_through(serve, monkeypatch, error):
    async def refuse(*args):
        raise error("/some/path: SELECT something")

    def refuse_to_write(operation):
        future = Future()
        future.set_exception(error("/some/path: SELECT something"))
        return future

    def refuse_all_to_write(items):
        for _, future in items:
            future.set_exception(error("/some/path: SELECT something"))

    async def test(service: Service):
        for name in ("get", "list", "recall", "queues"):
            monkeypatch.setattr(service.house.store, name, refuse)
        monkeypatch.setattr(service.house.writer, "submit", refuse_to_write)
        monkeypatch.setattr(service.house.writer, "submit_all", refuse_all_to_write)
        monkeypatch.setattr(service.house.writer, "committed_within", lambda seconds: False)
        raised = []
        for call in calls(service):
            with pytest.raises(ServiceError) as caught:
                await call
            raised.append(caught.value)
        monkeypatch.undo()
        return raised

    raised = serve(test, double)
    assert {type(exc) for exc in raised} == {BECOMES.get(error, StoreDownError)}
    assert all(isinstance(exc.__cause__, error) for exc in raised)
    if error not in BECOMES:
        assert not any("SELECT" in str(exc) for exc in raised)


def test_what_passes_says_when_to_try_again():
    unavailable = [error for error in SERVICE_ERRORS if issubclass(error, UnavailableError)]
    assert {error.__name__ for error in unavailable} == {
        "UnavailableError", "QueueFullError", "DrainingError", "StoreDownError"
    }  # fmt: skip
    assert all(error.retry_after >= 1 for error in unavailable)


def test_the_docstring_draws_the_whole_tree_of_errors():
    from app.service import errors

    assert all(error.__name__ in errors.__doc__ for error in SERVICE_ERRORS)
