"""What a job has logged, over HTTP: as JSON, or as text for people."""

import pytest

from app.api.negotiation import preferred
from app.jobs.lifecycle import Failed, Logged, Reopened, Succeeded
from app.jobs.model import Failure, Line
from tests.api.conftest import running

TEXT = {"Accept": "text/plain"}
LINES = (Line("", 20, 1_700_000_000.0, "begun"), Line("books.ink", 30, 1_700_000_001.5, "ink is low"))
JSON, PLAIN = "application/json", "text/plain"


def logged(api, *lines):
    """Run a job that logs these lines; return its id."""
    job = api.submit()
    [claimed] = api.claim()
    api.apply(job["id"], Logged(claimed.token, lines), Succeeded(claimed.token, "2"))
    return job["id"]


@pytest.fixture(scope="module")
def shared_log(tmp_path_factory):
    """A job that has logged, and that no test changes."""
    with running(tmp_path_factory.mktemp("shared") / "jobs.db") as api:
        yield api.client, f"/jobs/{logged(api, *LINES)}/logs"


def test_a_log_has_a_line_for_all_that_was_logged_and_printed(shared_log):
    client, path = shared_log
    answer = client.get(path)
    assert answer.headers["content-type"] == JSON
    assert answer.json() == {
        "logs": [
            {
                "time": "2023-11-14T22:13:20.000000Z",
                "level": "INFO",
                "run": 1,
                "attempt": 1,
                "logger": "",
                "message": "begun",
            },
            {
                "time": "2023-11-14T22:13:21.500000Z",
                "level": "WARNING",
                "run": 1,
                "attempt": 1,
                "logger": "books.ink",
                "message": "ink is low",
            },
        ]
    }
    assert answer.text.endswith("\n")


def test_a_log_as_text_has_a_line_each(shared_log):
    client, path = shared_log
    answer = client.get(path, headers=TEXT)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == (
        "2023-11-14T22:13:20.000000Z INFO begun\n2023-11-14T22:13:21.500000Z WARNING ink is low\n"
    )


@pytest.mark.parametrize("accept", [JSON, PLAIN])
def test_both_forms_say_that_they_depend_on_what_was_asked_for(shared_log, accept):
    client, path = shared_log
    headers = client.get(path, headers={"Accept": accept}).headers
    assert headers["vary"] == "Accept"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("accept", [JSON, PLAIN])
def test_head_has_the_headers_of_get(shared_log, accept):
    client, path = shared_log
    got, head = (client.request(method, path, headers={"Accept": accept}) for method in ("GET", "HEAD"))
    assert head.content == b""
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.headers["content-type"] == got.headers["content-type"]


def test_a_job_that_has_logged_nothing_has_an_empty_log(api):
    path = f"/jobs/{api.submit()['id']}/logs"
    assert api.client.get(path).text == '{"logs":[]}\n'
    assert api.client.get(path, headers=TEXT).text == ""


def test_a_parameter_is_refused(shared_log):
    client, path = shared_log
    assert client.get(f"{path}?limit=1").status_code == 422


def test_text_shows_where_an_attempt_begins(api):
    job = api.submit()
    for attempt, end in enumerate(("fail", "succeed"), 1):
        [claimed] = api.claim()
        line = Line("", 20, attempt, f"attempt {attempt}")
        api.apply(job["id"], Logged(claimed.token, (line, line)))
        if end == "fail":
            api.apply(job["id"], Failed(claimed.token, Failure("ValueError", "bad", "")), Reopened())
    shown = [
        line.partition("Z ")[2] or line
        for line in api.client.get(f"/jobs/{job['id']}/logs", headers=TEXT).text.splitlines()
    ]
    assert shown == ["INFO attempt 1"] * 2 + ["--- run 2, attempt 1 ---"] + ["INFO attempt 2"] * 2


def test_text_indents_what_is_broken_within_a_message(api):
    job_id = logged(api, Line("", 40, 0.0, "Traceback\n  File x\nValueError: é"))
    text = api.client.get(f"/jobs/{job_id}/logs", headers=TEXT).text
    assert text == "1970-01-01T00:00:00.000000Z ERROR Traceback\n      File x\n    ValueError: é\n"


@pytest.mark.parametrize(
    ("lines", "form"),
    [
        ([], JSON),
        ([""], JSON),
        (["*/*"], JSON),
        (["text/plain"], PLAIN),
        (["TEXT/Plain ; charset=utf-8"], PLAIN),
        (["text/*"], PLAIN),
        (["application/*, text/plain;q=0.9"], JSON),
        (["text/plain, */*;q=0.1"], PLAIN),
        (["text/plain, */*"], JSON),
        (["text/plain, application/json"], JSON),
        (["application/json;q=0.5, text/plain;q=0.8"], PLAIN),
        (["application/json;q=0.5", "text/plain;Q=0.8"], PLAIN),
        (["text/plain;q=0.8, application/json;q=0.8"], JSON),
        (["application/json;q=0, */*"], PLAIN),
        (["text/*;q=0.9, text/plain;q=0.1, application/json;q=0.5"], JSON),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], JSON),
        (["text/plain;q=0"], JSON),
        (["image/png"], JSON),
        (["text/plain;q=2, application/json;q=0.1"], JSON),
        (['application/json;a="x,text/plain;q=1", text/plain;q=0.5'], JSON),
        (['"', ",,", 'a="'], JSON),
    ],
)
def test_what_is_accepted_is_read_as_rfc_9110_says(lines, form):
    assert preferred(lines, (JSON, PLAIN)) == form
