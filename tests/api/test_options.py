"""Right submissions: what becomes of each of their fields."""

import asyncio

from app.jobs.model import Backoff


def post(api, content):
    return api.client.post("/jobs", content=content, headers={"Content-Type": "application/json"})


def test_a_submission_with_all_fields_is_stored_as_sent(api):
    body = {
        "task": "anything",
        "args": ["ü", 1.5, 10**20, None, True, {"b": [], "a": {}}],
        "kwargs": {"x": "y"},
        "queue": "reports",
        "priority": -7,
        "run_at": "2040-01-31T10:00:00.5+01:00",
        "tags": {"team": "books"},
    }
    job = api.submit(**body)
    assert job.pop("run_at") == "2040-01-31T09:00:00.500000Z"
    assert {key: job[key] for key in body if key != "run_at"} == {
        k: v for k, v in body.items() if k != "run_at"
    }


def test_the_tasks_own_options_come_before_the_defaults_and_the_submissions_before_those(api):
    own = api.submit(task="nap")
    assert (own["queue"], own["priority"]) == ("slow", 5)
    given = api.submit(task="nap", queue="fast", priority=0)
    assert (given["queue"], given["priority"]) == ("fast", 0)
    given = {"task": "grind", "args": [1]}
    assert [api.submit(**given, **timeout)["timeout"] for timeout in ({}, {"timeout": None})] == [60, 60]
    assert api.submit(**given, timeout=0.5)["timeout"] == 0.5
    assert [api.submit(timeout=given)["timeout"] for given in (None, 31_536_000)] == [None, 31_536_000]


def test_the_defaults_written_out_are_the_same_as_left_out(api):
    job = api.submit(kwargs={}, delay=0, run_at=None, tags={})
    assert job["run_at"] == job["created_at"]


def test_a_delay_moves_the_time_to_run(api):
    job = api.submit(delay=86400)
    assert job["run_at"][11:] == job["created_at"][11:]
    assert job["run_at"] > job["created_at"]
    assert api.claim() == []


def test_a_time_to_run_in_the_past_means_at_once(api):
    job = api.submit(run_at="1969-07-20t20:17:40z")
    assert job["run_at"] == "1969-07-20T20:17:40.000000Z"
    assert [claimed.id for claimed in api.claim()] == [job["id"]]


def test_arguments_are_stored_as_sent_and_not_as_coerced(api):
    assert api.submit(args=["1"])["args"] == ["1"]


def test_of_a_key_that_is_there_twice_the_last_counts(api):
    answer = post(api, b'{"task": "zzz", "task": "anything", "kwargs": {"a": 1, "a": 2}}')
    assert answer.json()["kwargs"] == {"a": 2}


def test_of_a_tasks_own_retries_only_those_fields_are_changed_that_are_sent(api):
    def waits_of(**body):
        job = asyncio.run(api.service.get("default", api.submit(task="flaky", args=[], **body)["id"]))
        return job.max_attempts, job.backoff

    own = Backoff(10, 3, 60, False)
    assert waits_of() == waits_of(retry=None) == waits_of(retry={}) == (5, own)
    assert waits_of(retry={"max_attempts": 1}) == (1, own)
    assert waits_of(retry={"backoff": 0, "jitter": True}) == (5, Backoff(0, 3, 60, True))
    everything = {"max_attempts": 1000, "backoff": 31_536_000, "factor": 1, "max_backoff": 0, "jitter": True}
    assert waits_of(retry=everything) == (1000, Backoff(31_536_000, 1, 0, True))


def test_a_task_without_retries_of_its_own_gets_those_that_are_sent(api):
    job = api.submit(retry={"max_attempts": 3})
    assert job["max_attempts"] == 3
    assert asyncio.run(api.service.get("default", job["id"])).backoff == Backoff(1, 2, 300, True)


def test_a_job_expires_so_many_seconds_after_it_was_created(api):
    job = api.submit(expires_in=86400)
    assert job["expires_at"][11:] == job["created_at"][11:]
    assert job["expires_at"] > job["created_at"]
    assert api.submit(expires_in=3_162_240_000)["expires_at"] > job["expires_at"]
    assert api.submit(expires_in=None)["expires_at"] is None


def test_a_job_has_the_limit_key_that_its_arguments_make(api):
    job = api.submit(task="bill", args=["acme"], kwargs={"password": "x"})
    assert asyncio.run(api.service.get("default", job["id"])).limit_key == "acme"


def test_secrets_are_shown_nowhere_and_stored_as_they_are(api):
    job = api.submit(task="bill", args=["acme"], kwargs={"password": "x"})
    shown = {"customer": ["acme"], "kwargs": {"password": "***"}}
    assert (job["args"], job["kwargs"]) == (shown["customer"], shown["kwargs"])
    assert api.client.get(f"/jobs/{job['id']}").json() == job
    assert api.client.delete(f"/jobs/{job['id']}").json()["kwargs"] == shown["kwargs"]
    assert '"x"' in asyncio.run(api.service.get("default", job["id"])).arguments
