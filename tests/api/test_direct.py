"""That every call's endpoint is found without FastAPI's search, and nothing else is."""

import pytest

from app.api.direct import Calls

ROUTES = {
    ("GET", "/jobs"): "list",
    ("POST", "/jobs/batch"): "batch",
    ("GET", "/jobs/{id}"): "get",
    ("GET", "/jobs/{id}/result"): "result",
    ("POST", "/queues/{name:path}/pause"): "pause",
    ("GET", "/tasks/{name}"): "task",
}


@pytest.fixture
def calls():
    found = Calls()
    for (method, path), endpoint in ROUTES.items():
        found.add(method, path, endpoint)
    return found


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "parameters"),
    [
        ("GET", "/jobs", "list", None),
        ("POST", "/jobs/batch", "batch", None),
        ("GET", "/jobs/batch", "get", {"id": "batch"}),
        ("GET", "/jobs/1", "get", {"id": "1"}),
        ("GET", "/jobs/1/result", "result", {"id": "1"}),
        ("GET", "/tasks/result", "task", {"name": "result"}),
    ],
)
def test_a_known_address_leads_to_its_endpoint(calls, method, path, endpoint, parameters):
    scope = {"method": method, "path": path}
    assert (calls.find(scope), scope.get("path_params")) == (endpoint, parameters)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/jobs"),
        ("GET", "/"),
        ("GET", ""),
        ("OPTIONS", "*"),
        ("GET", "/jobs/"),
        ("GET", "//jobs"),
        ("GET", "/jobs//result"),
        ("GET", "/jobs/1/"),
        ("GET", "/jobs/1/result/"),
        ("GET", "/jobs/1/other"),
        ("GET", "/jobs/1/2/result"),
        ("GET", "/jobs/{id}/{id}"),
        ("POST", "/queues/default/pause"),
    ],
)
def test_everything_else_is_left_to_fastapi(calls, method, path):
    assert calls.find({"method": method, "path": path}) is None
