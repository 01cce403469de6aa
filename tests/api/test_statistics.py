"""Statistics: how many jobs there are, and what has happened in the last hour; and who runs them."""

from datetime import datetime

import pytest

from app.api.statistics_schemas import StatisticsDocument, WorkerList
from app.jobs.lifecycle import Failed, Succeeded
from app.jobs.model import SECOND, Failure, Slot, wall_clock
from app.service import SlotUse, WorkerStatus
from app.service.minutes import KEPT, MINUTE
from app.stores.base import Claim
from tests.api.conftest import running

NOTHING = {"submitted": 0, "succeeded": 0, "failed": 0, "cancelled": 0, "wait": None, "run": None}
KEYS = "books:one,ops:two"
BOOKS, OPS = ({"Authorization": f"Bearer {secret}"} for secret in ("one", "two"))


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def stats(api, **headers):
    answer = api.client.get("/stats", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def microseconds(text):
    assert text.endswith("Z")
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def counts(document):
    return {name: document[name] for name in ("pending", "running", "cancelled", "finished")}


def traffic(document):
    return {name: document[name] for name in ("submitted", "succeeded", "failed", "cancelled")}


def total(api, **headers):
    return traffic(stats(api, **headers)["hour"])


def test_without_jobs_everything_is_zero(shared):
    begun = wall_clock()
    shown = stats(shared)
    minutes = shown.pop("minutes")
    at, since = microseconds(shown.pop("at")), microseconds(shown.pop("since"))
    assert begun <= at <= wall_clock()
    assert shown == {
        "tenant": "default",
        "jobs": {"pending": 0, "running": 0, "cancelled": 0, "finished": 0},
        "tasks": [],
        "queues": [],
        "hour": NOTHING,
        "failures": [],
    }
    begins = [microseconds(minute.pop("at")) for minute in minutes]
    assert begins == list(range(begins[0], begins[0] + KEPT * MINUTE, MINUTE))
    assert begins[-1] == at // MINUTE * MINUTE
    assert minutes == [NOTHING] * KEPT
    assert since <= begins[0]


def test_jobs_are_counted_by_state_task_and_queue(api):
    api.finish(api.submit()["id"])
    api.submit(queue="q")
    api.claim()
    api.client.delete(f"/jobs/{api.submit(task='anything', queue='q', delay=3600)['id']}")
    api.submit(task="nap", args=[1])
    shown = stats(api)
    assert shown["jobs"] == {"pending": 1, "running": 1, "cancelled": 1, "finished": 1}
    assert shown["tasks"] == [
        {"name": "add", "pending": 0, "running": 1, "cancelled": 0, "finished": 1},
        {"name": "anything", "pending": 0, "running": 0, "cancelled": 1, "finished": 0},
        {"name": "nap", "pending": 1, "running": 0, "cancelled": 0, "finished": 0},
    ]
    assert shown["queues"] == [
        {"name": "default", "pending": 0, "running": 0, "cancelled": 0, "finished": 1},
        {"name": "q", "pending": 0, "running": 1, "cancelled": 1, "finished": 0},
        {"name": "slow", "pending": 1, "running": 0, "cancelled": 0, "finished": 0},
    ]


def test_the_hour_and_its_minutes_say_what_has_happened(api):
    api.finish(api.submit()["id"])
    api.fail(api.submit()["id"])
    api.client.delete(f"/jobs/{api.submit(delay=3600)['id']}")
    api.submit()
    shown = stats(api)
    assert traffic(shown["hour"]) == {"submitted": 4, "succeeded": 1, "failed": 1, "cancelled": 1}
    # It may have happened just before the minute's end.
    latest = [traffic(minute) for minute in shown["minutes"][-3:]]
    assert {kind: sum(minute[kind] for minute in latest) for kind in latest[0]} == traffic(shown["hour"])
    for name in ("wait", "run"):
        span = shown["hour"][name]
        assert list(span) == ["p50", "p95", "p99"]
        assert 0 <= span["p50"] <= span["p95"] <= span["p99"] < 60
    assert StatisticsDocument.model_validate(shown).model_dump() == shown


def test_failures_are_counted_by_exception_and_task(api):
    for message in ("first", "second" + "!" * 300):
        (job,) = (api.submit(), *api.claim())[1:]
        api.apply(job.id, Failed(job.token, Failure("ValueError", message, "Traceback ...\n")))
    api.submit(task="anything")
    (other,) = api.claim()
    api.apply(other.id, Failed(other.token, Failure("KeyError", "'x'", "")))
    shown = stats(api)["failures"]
    ended = [microseconds(failure.pop("last_at")) for failure in shown]
    assert shown == [
        {"type": "ValueError", "task": "add", "count": 2, "message": f"second{'!' * 193}…", "job": job.id},
        {"type": "KeyError", "task": "anything", "count": 1, "message": "'x'", "job": other.id},
    ]
    assert all(wall_clock() - 60 * SECOND < at <= wall_clock() for at in ended)


def test_an_attempt_that_is_followed_by_another_is_no_end(api):
    job = api.submit(task="flaky", args=[], retry={"max_attempts": 2, "backoff": 0})
    for _ in range(2):
        (claimed,) = api.claim()
        api.apply(job["id"], Failed(claimed.token, Failure("ValueError", "", ""), retry_in=0))
    assert total(api) == {"submitted": 1, "succeeded": 0, "failed": 1, "cancelled": 0}
    api.client.post(f"/jobs/{job['id']}/retry")
    (claimed,) = api.claim()
    api.apply(job["id"], Succeeded(claimed.token, "1"))
    assert total(api) == {"submitted": 1, "succeeded": 1, "failed": 1, "cancelled": 0}


def test_a_job_that_is_erased_is_not_counted_again(api):
    job = api.submit()["id"]
    api.finish(job)
    assert api.client.delete(f"/jobs/{job}?purge=true").status_code == 204
    shown = stats(api)
    assert shown["jobs"]["finished"] == 0
    assert (shown["tasks"], shown["queues"]) == ([], [])
    assert traffic(shown["hour"]) == {"submitted": 1, "succeeded": 1, "failed": 0, "cancelled": 0}


def test_a_replayed_submission_is_none(api):
    for _ in range(2):
        headers = {"Idempotency-Key": "once"}
        api.client.post("/jobs", json={"task": "add", "args": [1]}, headers=headers)
        api.client.post("/jobs", json={"task": "add", "args": [1], "key": "unique"})
    assert total(api)["submitted"] == 2


def test_a_restart_does_not_empty_the_hour(tmp_path):
    with running(tmp_path / "jobs.db") as api:
        api.finish(api.submit()["id"])
        api.fail(api.submit()["id"])
        api.submit(delay=3600)
        before = stats(api)
    with running(tmp_path / "jobs.db") as api:
        after = stats(api)
    for name in ("jobs", "tasks", "queues", "hour", "failures"):
        assert after[name] == before[name], name
    assert after["since"] == after["minutes"][0]["at"]


def test_a_tenant_sees_figures_of_its_own_jobs_only(serve):
    api = serve(api_keys=KEYS)
    for headers in (BOOKS, BOOKS, OPS):
        api.client.post("/jobs", json={"task": "add", "args": [1]}, headers=headers)
    for job in api.claim():
        api.apply(job.id, Failed(job.token, Failure("ValueError", job.tenant, "")))
    api.client.post("/jobs", json={"task": "anything", "queue": "secret"}, headers=OPS)
    books, ops = (stats(api, **headers) for headers in (BOOKS, OPS))
    assert (books["tenant"], ops["tenant"]) == ("books", "ops")
    assert (counts(books["jobs"])["finished"], counts(ops["jobs"])["finished"]) == (2, 1)
    assert [task["name"] for task in books["tasks"]] == ["add"]
    assert [queue["name"] for queue in books["queues"]] == ["default"]
    assert (books["hour"]["submitted"], ops["hour"]["submitted"]) == (2, 2)
    assert [(failure["count"], failure["message"]) for failure in books["failures"]] == [(2, "books")]
    assert [(failure["count"], failure["message"]) for failure in ops["failures"]] == [(1, "ops")]


def test_a_store_that_cannot_be_read_is_a_503(api, monkeypatch):
    monkeypatch.setattr("app.stores.sqlite_reads.COUNTS", "SELECT * FROM nowhere WHERE ?")
    assert problem(api.client.get("/stats")) == (503, "store-unavailable")


# -- workers -----------------------------------------------------------------


def worker(jobs=(), **changes):
    slots = [SlotUse(Slot.THREAD, 32, len(jobs)), SlotUse(Slot.PROCESS, 2, 0), SlotUse(Slot.COROUTINE, 9, 0)]
    plain = WorkerStatus("here:1", "here", 1, "0.1.0", 1_000_000, 2_500_000, False, slots, list(jobs))
    return plain._replace(**changes)


def workers(api, **headers):
    return api.client.get("/workers", headers=headers).json()


def test_a_worker_shows_what_it_runs_since_when(serve):
    known = []
    api = serve(workers=lambda: known)
    assert workers(api) == {"workers": []}
    job = api.submit(queue="q")
    known.append(worker(api.claim()))
    shown = workers(api)
    (run,) = shown["workers"][0].pop("running")
    assert microseconds(run.pop("started_at")) <= wall_clock()
    assert run == {"job": job["id"], "task": "add", "queue": "q", "attempt": 1}
    assert shown["workers"] == [
        {
            "id": "here:1",
            "host": "here",
            "pid": 1,
            "version": "0.1.0",
            "started_at": "1970-01-01T00:00:01.000000Z",
            "heartbeat_at": "1970-01-01T00:00:02.500000Z",
            "state": "running",
            "slots": [
                {"kind": "thread", "total": 32, "used": 1},
                {"kind": "process", "total": 2, "used": 0},
                {"kind": "coroutine", "total": 9, "used": 0},
            ],
        }
    ]


def test_the_model_of_workers_is_what_is_answered(serve):
    known = []
    api = serve(workers=lambda: known)
    api.submit()
    known.append(worker(api.claim(), draining=True))
    shown = workers(api)
    assert shown["workers"][0]["state"] == "draining"
    assert WorkerList.model_validate(shown).model_dump() == shown


def test_a_tenant_sees_its_own_running_jobs_and_how_many_slots_all_take(serve):
    known = []
    api = serve(api_keys=KEYS, workers=lambda: known)
    for headers in (BOOKS, OPS, BOOKS):
        api.client.post("/jobs", json={"task": "add", "args": [1]}, headers=headers)
        api.writer.submit(Claim("here:1", {Slot.THREAD: 0})).result(10)
    jobs = api.claim()
    known.append(worker(jobs[::-1]))
    for headers, tenant in ((BOOKS, "books"), (OPS, "ops")):
        (shown,) = workers(api, **headers)["workers"]
        assert {run["job"] for run in shown["running"]} == {job.id for job in jobs if job.tenant == tenant}
        assert shown["slots"][0]["used"] == 3


# -- both --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/stats", "/workers"])
def test_they_are_answers_as_all_others(shared, path):
    got, head = shared.client.get(path), shared.client.head(path)
    assert got.content.endswith(b"}\n")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"] == "application/json"
    assert head.headers["cache-control"] == "no-cache"
    assert problem(shared.client.get(f"{path}?limit=1")) == (422, "invalid-parameters")
    assert problem(shared.client.post(path, json={})) == (405, "method-not-allowed")


@pytest.mark.parametrize("path", ["/stats", "/workers"])
def test_they_need_a_key_where_there_are_keys(serve, path):
    assert problem(serve(api_keys=KEYS).client.get(path)) == (401, "unauthorized")
