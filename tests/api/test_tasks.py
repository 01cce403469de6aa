"""What is shown of a task's options and of its secrets."""

import pytest

from app.api.documents import task_document
from app.api.schemas import OptionsDocument, RetryDocument, TaskDocument
from app.jobs.registry import Kind, Registry, TaskDefinition
from app.jobs.retry import Retry


def log_in(user: str, password: str = "hunter1") -> None:
    """Have a secret."""


PLAIN = TaskDefinition("plain", log_in, Kind.PLAIN, "default", 0)
FULL = TaskDefinition(
    "full",
    log_in,
    Kind.PLAIN,
    "default",
    0,
    retry=Retry(5, 0.5, 3, 60, jitter=False, on=(OSError,)),
    max_running=2,
    max_running_total=10,
    limit_key="{user}",
    secret=("password",),
)


def test_a_task_document_has_exactly_the_fields_of_the_published_schema():
    shown = task_document(FULL)
    assert shown.keys() == TaskDocument.model_fields.keys()
    assert shown["options"].keys() == OptionsDocument.model_fields.keys()
    assert shown["options"]["retry"].keys() == RetryDocument.model_fields.keys()
    assert TaskDocument.model_validate(shown).model_dump() == shown


def test_the_options_that_a_task_has_are_shown():
    assert task_document(FULL)["options"] == {
        "queue": "default",
        "priority": 0,
        "timeout": None,
        "retry": {"max_attempts": 5, "backoff": 0.5, "factor": 3, "max_backoff": 60, "jitter": False},
        "max_running": 2,
        "max_running_total": 10,
        "limit_key": "{user}",
        "secret": ["password"],
    }


def test_the_options_that_a_task_has_not_are_shown_too():
    options = task_document(PLAIN)["options"]
    assert options["retry"]["max_attempts"] == 1
    assert (options["max_running"], options["max_running_total"], options["limit_key"]) == (None,) * 3
    assert options["secret"] == []


@pytest.fixture
def api(serve):
    return serve(registry=Registry([PLAIN, FULL]))


def test_a_secret_parameter_is_marked_and_its_default_is_nowhere(api):
    answer = api.client.get("/tasks/full")
    password = answer.json()["parameters"]["properties"]["password"]
    assert password == {"title": "Password", "type": "string", "writeOnly": True, "format": "password"}
    assert "hunter1" not in answer.text
    assert "hunter1" in api.client.get("/tasks/plain").text


@pytest.mark.parametrize(
    "call", [{"args": ["ada", ["hunter2"]]}, {"kwargs": {"user": 1, "password": {"hunter2": 1}}}]
)
def test_what_is_said_of_arguments_that_do_not_fit_repeats_no_secret(api, call):
    answer = api.client.post("/jobs", json={"task": "full", **call})
    assert answer.status_code == 422
    assert "it is secret" in answer.text
    assert "hunter2" not in answer.text
