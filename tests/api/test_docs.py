"""The documentation: works without a network, and says what the service does."""

import json
import re

import pytest

from app.api.app import create_app
from app.api.kinds import KINDS
from app.config import load_settings
from app.jobs.registry import Registry


@pytest.fixture(scope="module")
def document(shared):
    return shared.client.get("/openapi.json").json()


def operations(document):
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.mark.parametrize("path", ["/docs", "/problems", "/problems/not-found"])
def test_a_page_takes_everything_from_here_and_has_no_script_of_its_own(shared, path):
    page = shared.client.get(path)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "://" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script[^>]*>[^<]", page.text)
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses
    for address in addresses:
        assert address.startswith("/")
        assert shared.client.get(address).status_code == 200, address


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("start.js", "text/javascript; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("favicon-32x32.png", "image/png"),
    ],
)
def test_the_files_of_the_pages_bear_their_type(shared, name, media_type):
    assert shared.client.get(f"/docs/static/{name}").headers["content-type"] == media_type


def test_only_the_files_of_the_pages_are_sent(shared):
    for name in ("__init__.py", "..%2Fmain.py", "../main.py", "%2e%2e/main.py"):
        assert shared.client.get(f"/docs/static/{name}").status_code == 404


def test_the_document_names_every_call(document):
    assert document["openapi"].startswith("3.1")
    assert operations(document).keys() == {
        "POST /jobs",
        "GET /jobs",
        "POST /jobs/batch",
        "POST /jobs/cancel",
        "POST /jobs/retry",
        "GET /jobs/{id}",
        "DELETE /jobs/{id}",
        "PATCH /jobs/{id}",
        "POST /jobs/{id}/retry",
        "GET /jobs/{id}/result",
        "GET /jobs/{id}/events",
        "GET /jobs/{id}/logs",
        "GET /events",
        "GET /queues",
        "POST /queues/{name}/pause",
        "POST /queues/{name}/resume",
        "GET /stats",
        "GET /workers",
        "GET /tasks",
        "GET /tasks/{name}",
        "GET /health/live",
        "GET /health/ready",
        "GET /problems",
        "GET /problems/{name}",
    }


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(document):
    found = operations(document).values()
    assert len({operation["operationId"] for operation in found}) == len(found)
    for operation in found:
        assert operation["summary"]
        assert operation["description"]
        assert "\n " not in operation["description"]


def test_every_reference_in_the_document_leads_somewhere(document):
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= document["components"]["schemas"].keys()
    assert {"Batch", "Edit", "Filter", "Job", "JobList", "Problem", "Submission", "TaskList"} <= references


def test_every_path_parameter_is_described(document):
    for call, operation in operations(document).items():
        described = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert described == set(re.findall(r"{(\w+)}", call)), call


def test_a_submissions_task_is_one_of_those_registered(document):
    submission = document["components"]["schemas"]["Submission"]
    assert submission["properties"]["task"]["enum"] == ["add", "anything", "grind", "nap", "flaky", "bill"]
    assert submission["required"] == ["task"]
    assert submission["examples"] == [{"task": "add"}]
    assert submission["additionalProperties"] is False


def test_the_parameters_of_a_list_are_described_with_their_limits(document):
    parameters = {p["name"]: p["schema"] for p in operations(document)["GET /jobs"]["parameters"]}
    assert parameters["state"]["enum"] == ["pending", "running", "cancelled", "finished"]
    assert parameters["limit"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
    assert parameters["tag"]["items"]["type"] == "string"
    assert parameters["created_after"] == {"type": "string", "format": "date-time"}
    assert parameters.keys() == {
        "state", "outcome", "task", "queue", "tag", "created_after", "created_before", "q", "limit", "cursor"
    }  # fmt: skip


def test_the_body_of_a_change_has_no_null_and_something_in_it(document):
    for name in ("Edit", "Filter"):
        schema = document["components"]["schemas"][name]
        assert (schema["minProperties"], schema["additionalProperties"]) == (1, False)
        assert '"null"' not in json.dumps(schema)
    one, several = document["components"]["schemas"]["Filter"]["properties"]["tag"]["anyOf"]
    assert (one["type"], several["items"]) == ("string", one)


def test_a_tasks_own_retries_are_no_default_of_the_document(document):
    assert "default" not in json.dumps(document["components"]["schemas"]["RetryOptions"])


def test_the_answers_of_a_submission_are_described_with_their_headers(document):
    responses = operations(document)["POST /jobs"]["responses"]
    assert responses.keys() == {
        "200", "202", "400", "403", "410", "413", "415", "421", "422", "429", "500", "503"
    }  # fmt: skip
    assert {"ETag", "Location", "Preference-Applied"} == responses["202"]["headers"].keys()
    assert responses["503"]["headers"].keys() == {"Retry-After"}
    assert list(responses["422"]["content"]) == ["application/problem+json"]


def test_the_forms_of_events_and_logs_are_described(document):
    found = operations(document)
    for call in ("GET /jobs/{id}/events", "GET /events"):
        assert list(found[call]["responses"]["200"]["content"]) == ["text/event-stream"]
        assert "Last-Event-ID" in {p["name"] for p in found[call]["parameters"]}
    assert "204" in found["GET /jobs/{id}/events"]["responses"]
    log = found["GET /jobs/{id}/logs"]["responses"]["200"]["content"]
    assert list(log) == ["application/json", "text/plain"]
    listed, followed = (
        {p["name"] for p in found[call]["parameters"]} for call in ("GET /jobs", "GET /events")
    )
    assert followed - {"Last-Event-ID"} == listed - {"limit", "cursor"}


def test_every_problem_named_in_the_document_exists(document):
    named = set(re.findall(r"/problems/([a-z-]+)", json.dumps(document)))
    assert named <= KINDS.keys()


def test_with_keys_the_document_says_where_one_is_needed(serve):
    found = serve(api_keys="books:secret").client.get("/openapi.json").json()
    assert found["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    needing = {call for call, operation in operations(found).items() if "security" in operation}
    assert needing == {
        call
        for call in operations(found)
        if call.split()[1].startswith(("/jobs", "/events", "/queues", "/tasks", "/stats", "/workers"))
    }
    assert "401" in operations(found)["GET /jobs"]["responses"]


def test_without_keys_the_document_asks_for_none(document):
    assert "security" not in json.dumps(document)


def test_without_tasks_any_name_fits_the_document(shared):
    class NoTasks:
        def tasks(self):
            return Registry([])

    schema = create_app(NoTasks(), load_settings()).openapi()
    assert "enum" not in schema["components"]["schemas"]["Submission"]["properties"]["task"]
