"""What becomes of jobs that are done, when their time is over."""

from tests.acceptance.serving import TIMEOUT, service


def until(answer, status):
    """Ask until the answer has this status; the test's own time limit is what ends it otherwise."""
    last = answer()
    while last.status_code != status:
        last = answer()
    return last


def test_a_job_is_erased_when_it_was_done_for_long_enough(tmp_path):
    with service(tmp_path) as first:
        done = first.submit("count_words", "to be")
        assert first.job(done["id"], wait=TIMEOUT)["result"] == 2
        waiting = first.submit("count_words", "later", delay=3600)
    with service(tmp_path, ERRAND_KEEP_JOBS="0") as second:
        until(lambda: second.client.get(f"/jobs/{done['id']}"), 404)
        assert second.client.get(f"/jobs/{done['id']}/logs").status_code == 404
        assert second.job(waiting["id"])["state"] == "pending"


def test_a_result_may_go_before_its_job(tmp_path):
    with service(tmp_path) as first:
        done = first.submit("count_words", "to be")
        failed = first.submit("fail")
        assert first.job(done["id"], wait=TIMEOUT)["result"] == 2
        tag = first.client.get(f"/jobs/{done['id']}").headers["ETag"]
        assert first.job(failed["id"], wait=TIMEOUT)["outcome"] == "failed"
    with service(tmp_path, ERRAND_KEEP_RESULTS="0") as second:
        gone = until(lambda: second.client.get(f"/jobs/{done['id']}/result"), 410)
        assert gone.json()["type"] == "/problems/result-gone"
        answer = second.client.get(f"/jobs/{done['id']}", headers={"If-None-Match": tag})
        assert (answer.status_code, answer.json()["outcome"], answer.json()["result"]) == (
            200,
            "succeeded",
            None,
        )
        assert second.job(failed["id"])["exception"]["type"] == "RuntimeError"
