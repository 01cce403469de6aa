"""Every error is a problem document, and every kind has a page."""

import logging

import pytest

from app.api.documents import task_document
from app.api.kinds import KINDS
from app.api.problems import TRANSLATIONS, ProblemError, problem_of
from app.jobs import errors
from app.jobs.errors import Fault, InvalidArgumentsError, JobError, UnknownTaskError
from app.jobs.registry import Kind, TaskDefinition
from app.service import InvalidBatchError, InvalidSubmissionError, ServiceError

# Roots, what stops the start, and what passes between worker and store: no caller is at fault for these.
NOT_FOR_CALLERS = {
    ServiceError,
    errors.JobError,
    errors.TaskDefinitionError,
    errors.ResultError,
    errors.TransitionError,
    errors.StaleTokenError,
}
FAULT = Fault(loc=["args", 0], msg="wrong", type="t")
MADE = {
    UnknownTaskError: UnknownTaskError("x", ()),
    InvalidArgumentsError: InvalidArgumentsError([FAULT]),
    InvalidSubmissionError: InvalidSubmissionError([FAULT]),
    InvalidBatchError: InvalidBatchError({3: InvalidSubmissionError([FAULT])}),
}


def family(root):
    return {root}.union(*map(family, root.__subclasses__()))


def test_every_error_of_the_service_and_of_jobs_has_its_problem():
    known = family(ServiceError) | family(JobError)
    assert known - NOT_FOR_CALLERS == set(TRANSLATIONS)
    for error in TRANSLATIONS:
        assert problem_of(MADE.get(error) or error("why")).kind in KINDS
    for error in NOT_FOR_CALLERS:
        assert problem_of(error("why")) is None


def test_a_subclass_is_translated_as_what_it_derives_from():
    class Fresh(errors.JobFinishedError):
        pass

    assert problem_of(Fresh("why")).kind == "job-finished"


@pytest.mark.parametrize("path", ["/nowhere", "/jobs/", "/jobs/1/2/3", "/problems/nowhere", "/docs/static/x"])
def test_an_unknown_address_is_a_404(shared, path):
    answer = shared.client.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")
    assert answer.json()["instance"] == path
    assert answer.headers["content-type"] == "application/problem+json"
    # By itself a cache may keep a 404, and find it again when there is something.
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_address_of_any_bytes_is_a_404(shared):
    for path in ("/%FF%FE", "/%ED%A0%80", "/%00", "/tasks/%F0%9F%98%80"):
        assert shared.client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/jobs", "GET, HEAD, POST"),
        ("DELETE", "/jobs", "GET, HEAD, POST"),
        ("OPTIONS", "/jobs", "GET, HEAD, POST"),
        ("PROPFIND", "/jobs", "GET, HEAD, POST"),
        ("POST", "/jobs/1", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/jobs/1/retry", "POST"),
        ("POST", "/queues", "GET, HEAD"),
        ("GET", "/queues/a/pause", "POST"),
        ("POST", "/jobs/1/result", "GET, HEAD"),
        ("POST", "/tasks", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
        ("DELETE", "/health/live", "GET, HEAD"),
    ],
)
def test_an_unknown_method_is_a_405_with_all_that_are_known(shared, method, path, allow):
    answer = shared.client.request(method, path)
    assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/docs/static/swagger-ui-bundle.js",
        "/openapi.json",
        "/problems",
        "/problems/not-found",
        "/health/live",
        "/health/ready",
        "/tasks",
        "/tasks/add",
        "/jobs",
        "/jobs?limit=0",
        "/queues",
        "/jobs/1",
        "/jobs/1/result",
        "/nowhere",
    ],
)
def test_head_answers_as_get_does_without_the_body(shared, path):
    get, head = shared.client.get(path), shared.client.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert {**head.headers, "date": ""} == {**get.headers, "date": ""}


def test_head_of_a_job_has_its_tag_and_length(api):
    job = api.submit()
    get, head = api.client.get(f"/jobs/{job['id']}"), api.client.head(f"/jobs/{job['id']}")
    assert (head.headers["etag"], head.headers["content-length"]) == ('"1"', str(len(get.content)))
    assert api.client.head(f"/jobs/{job['id']}", headers={"If-None-Match": '"1"'}).status_code == 304


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_unforeseen_error_is_logged_and_answered_without_details(api, caplog, method):
    def broken(*_):
        raise ZeroDivisionError("/secret/path")

    api.service.check_ready = broken
    with caplog.at_level(logging.ERROR):
        answer = api.client.request(method, "/health/ready")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    if method == "GET":
        assert answer.json()["type"] == "/problems/internal-error"
        assert "secret" not in answer.text
        assert "ZeroDivision" not in answer.text
    [record] = caplog.records
    assert record.exc_info[0] is ZeroDivisionError


def test_an_error_that_no_caller_should_see_is_unforeseen_too(api, caplog):
    def broken(*_):
        raise errors.StaleTokenError("job 7 is not held")

    api.service.check_ready = broken
    answer = api.client.get("/health/ready")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-error")
    assert "job 7" not in answer.text
    assert len(caplog.records) == 1


def test_a_problem_sums_up_its_first_faults():
    faults = [Fault(loc=["args", n], msg="wrong", type="t") for n in range(5)]
    problem = problem_of(InvalidArgumentsError(faults))
    assert problem.detail == "args.0: wrong; args.1: wrong; args.2: wrong; and 2 more"


def test_a_problem_may_quote_what_is_no_unicode():
    response = ProblemError("not-found", "\udcff").response("/\udcff")
    assert response.body.endswith(b"}\n")


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_of_problem_has_a_page_that_says_how_to_mend_it(shared, name):
    page = shared.client.get(f"/problems/{name}")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "How to fix it" in page.text
    assert f'href="/problems/{name}"' in shared.client.get("/problems").text


# Health and tasks


def test_a_live_service_says_so(shared):
    answer = shared.client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


def test_a_ready_service_says_so(shared):
    answer = shared.client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_a_service_that_stops_is_live_but_not_ready(api):
    api.service.drain()
    assert api.client.get("/health/live").status_code == 200
    answer = api.client.get("/health/ready")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/draining")
    assert int(answer.headers["retry-after"]) > 0


def test_a_service_whose_worker_takes_no_jobs_is_not_ready(serve):
    answer = serve(claiming=lambda: False).client.get("/health/ready")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_a_service_that_cannot_write_is_not_ready(api):
    api.writer.close()
    answer = api.client.get("/health/ready")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")


def test_tasks_are_listed_with_what_they_take_and_return(shared):
    tasks = {task["name"]: task for task in shared.client.get("/tasks").json()["tasks"]}
    assert list(tasks) == ["add", "anything", "grind", "nap", "flaky", "bill"]
    added = tasks["add"]
    assert added.keys() == {"name", "doc", "parameters", "result", "options", "executor"}
    assert (added["doc"], added["result"]) == ("Add two numbers.", {"type": "integer"})
    assert added["parameters"]["required"] == ["a"]
    assert added["options"]["queue"] == "default"
    executors = {name: tasks[name]["executor"] for name in ("add", "anything", "grind", "nap")}
    assert executors == {"add": "thread", "anything": "thread", "grind": "process", "nap": "coroutine"}
    assert tasks["grind"]["options"]["timeout"] == 60
    assert shared.client.get("/tasks/add").json() == added


def test_a_default_that_is_no_json_number_shows_as_null():
    def wait(limit: float = float("inf"), factors: list[float] = [float("nan")]) -> None:  # noqa: B006
        """Wait."""

    shown = task_document(TaskDefinition("wait", wait, Kind.PLAIN, "default", 0))
    defaults = {name: p["default"] for name, p in shown["parameters"]["properties"].items()}
    assert defaults == {"limit": None, "factors": [None]}


def test_an_unknown_task_is_a_404(shared):
    answer = shared.client.get("/tasks/nowhere")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/task-not-found")
