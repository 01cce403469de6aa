"""Who may call: API keys and tenants; without keys, programs on this machine only."""

import socket

import pytest

from tests.api.conftest import running

KEYS = "books:secret-1,books:secret-2,ops:secret-3"
GOOD = {"task": "add", "args": [1]}
OPEN = [
    "/",
    "/static/style.css",
    "/docs",
    "/docs/static/start.js",
    "/openapi.json",
    "/problems",
    "/problems/unauthorized",
    "/health/live",
    "/health/ready",
]


def bearer(secret, scheme="Bearer"):
    return {"Authorization": f"{scheme} {secret}"}


@pytest.fixture(scope="module")
def keyless(tmp_path_factory):
    """A service without keys, on which nothing is stored."""
    with running(tmp_path_factory.mktemp("keyless") / "jobs.db") as api:
        yield api


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A service with keys."""
    with running(tmp_path_factory.mktemp("guarded") / "jobs.db", api_keys=KEYS) as api:
        yield api


# With keys


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        {"Authorization": "Bearer"},
        bearer("books:secret-1"),
        bearer("secret-1x"),
        bearer("secret"),
        bearer("secret-1", "Basic"),
        {"Authorization": "secret-1"},
        {"Authorization": "Bearersecret-1"},
        [("Authorization", "Bearer secret-1"), ("Authorization", "Bearer wrong")],
        {"X-API-Key": "secret-1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/jobs", "/tasks", "/jobs/1", "/nowhere", "/docsx", "/static"])
def test_without_a_known_key_everything_is_a_401(guarded, headers, path):
    answer = guarded.client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert "secret" not in answer.text


def test_a_submission_without_a_key_is_not_even_read(guarded):
    answer = guarded.client.post("/jobs", content=b"{", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", OPEN)
def test_what_explains_the_service_needs_no_key(guarded, path):
    assert guarded.client.get(path).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
@pytest.mark.parametrize("secret", ["secret-1", "secret-2", "secret-3"])
def test_every_key_lets_its_owner_in(guarded, secret, scheme):
    assert guarded.client.get("/jobs", headers=bearer(secret, scheme)).status_code == 200


def test_a_tenant_has_all_keys_of_its_name_and_no_other_tenant_sees_its_jobs(serve):
    api = serve(api_keys=KEYS)
    books, rotated, ops = bearer("secret-1"), bearer("secret-2"), bearer("secret-3")
    job = api.client.post("/jobs", json=GOOD, headers=books).json()
    path = f"/jobs/{job['id']}"
    assert api.client.get(path, headers=rotated).json() == job
    for answer in (
        api.client.get(path, headers=ops),
        api.client.get(f"{path}/result", headers=ops),
        api.client.get(f"{path}?wait=60", headers=ops),
        api.client.get(path, headers={**ops, "If-None-Match": "*"}),
        api.client.delete(path, headers=ops),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/job-not-found")
    assert api.client.get("/jobs", headers=ops).json()["jobs"] == []
    assert len(api.client.get("/jobs", headers=rotated).json()["jobs"]) == 1


def test_with_keys_any_host_and_origin_is_answered_but_no_cors_header_is_sent(guarded):
    headers = {**bearer("secret-1"), "Host": "errand.example.org", "Origin": "https://example.org"}
    answer = guarded.client.get("/jobs", headers=headers)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


# Without keys


@pytest.mark.parametrize("port", ["", ":8000", ":80", ":"])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LocalHost"])
def test_local_names_are_answered_with_any_port(keyless, name, port):
    assert keyless.client.get("/jobs", headers={"Host": name + port}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:8000",
        "localhost.example.org",
        "localhost.",
        "127.0.0.1.nip.io",
        "127.0.0.2",
        "0.0.0.0",
        "[::]",
        "::1",
        "localhost:80x",
        "x@localhost",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/jobs", "/", "/static/style.css", "/docs", "/health/live", "/nowhere"])
def test_other_names_are_a_421_wherever_they_knock(keyless, host, path):
    answer = keyless.client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["type"]) == (421, "/problems/misdirected-request")


def test_a_request_without_a_host_is_a_421(keyless):
    host, port = keyless.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(b"GET /jobs HTTP/1.0\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 421"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1:8000.example.org"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8000"},
        [("Origin", "http://127.0.0.1:8000"), ("Origin", "https://example.org")],
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("DELETE", "/jobs/1"), ("PUT", "/nowhere")])
def test_a_page_of_another_site_may_not_change_anything(keyless, headers, method, path):
    own = [("Host", "127.0.0.1:8000"), *(headers if isinstance(headers, list) else headers.items())]
    answer = keyless.client.request(method, path, json=GOOD, headers=own)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/cross-site")
    assert keyless.count() == 0


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost:8000", "http://LOCALHOST:8000"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("localhost", "http://localhost:80"),
        ("localhost:443", "https://localhost"),
    ],
)
@pytest.mark.parametrize("fetch_site", ["same-origin", "none"])
def test_a_page_of_our_own_may(keyless, host, origin, fetch_site):
    headers = {"Host": host, "Origin": origin, "Sec-Fetch-Site": fetch_site}
    # Past the guard: it is the method that is refused.
    assert keyless.client.post("/tasks", headers=headers).status_code == 405


def test_a_page_of_another_site_may_ask_but_is_sent_no_cors_header(keyless):
    headers = {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"}
    for method in ("GET", "OPTIONS"):
        answer = keyless.client.request(method, "/jobs", headers=headers)
        assert answer.status_code == (200 if method == "GET" else 405)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_service_opened_on_purpose_answers_any_host_but_keeps_other_sites_out(serve):
    api = serve(host="0.0.0.0", insecure=True)
    assert api.client.get("/jobs", headers={"Host": "errand.example.org"}).status_code == 200
    own = {"Host": "errand.example.org", "Origin": "http://errand.example.org"}
    assert api.client.post("/jobs", json=GOOD, headers=own).status_code == 202
    foreign = {"Host": "errand.example.org", "Origin": "http://example.org"}
    assert api.client.post("/jobs", json=GOOD, headers=foreign).status_code == 403
