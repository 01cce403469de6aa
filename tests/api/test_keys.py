"""Jobs with keys: of one key, one waits or runs at a time."""

from concurrent.futures import ThreadPoolExecutor


def test_a_submission_whose_key_is_held_gets_that_job(api):
    first = api.submit(key="k" * 200)
    answer = api.client.post("/jobs", json={"task": "add", "args": [7], "key": "k" * 200})
    assert (answer.status_code, answer.json()) == (200, first)
    assert answer.headers["location"] == f"/jobs/{first['id']}"
    assert answer.headers["etag"] == '"1"'
    assert "idempotency-replayed" not in answer.headers
    assert api.count() == 1


def test_a_key_is_held_by_a_job_of_the_same_task_until_that_is_done(api):
    first = api.submit(key="a")
    other_task = api.submit(task="anything", key="a")
    other_key = api.submit(key="b")
    api.client.delete(f"/jobs/{first['id']}")
    again = api.submit(key="a")
    assert len({job["id"] for job in (first, other_task, other_key, again)}) == 4
    assert [job["key"] for job in (other_key, again, api.submit(key=None))] == ["b", "a", None]


def test_a_submission_may_wait_for_the_job_that_holds_its_key(api):
    job = api.submit(key="a")
    answer = api.client.post("/jobs?wait=0.01", json={"task": "add", "args": [1], "key": "a"})
    assert (answer.status_code, answer.json()["id"]) == (200, job["id"])


def test_of_racing_submissions_with_one_key_one_is_stored(api):
    def submit(n):
        return api.client.post("/jobs", json={"task": "add", "args": [n], "key": "a"})

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(submit, range(64)))
    assert sorted(answer.status_code for answer in answers) == [200] * 63 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert api.count() == 1
