"""Statistics and workers of a service in a process of its own, whether it is killed or told to end."""

import signal
import socket

from tests.acceptance.serving import TIMEOUT, service


def read(running, path):
    return running.client.get(path).raise_for_status().json()


def test_the_hour_outlives_a_service_that_is_killed(tmp_path):
    with service(tmp_path) as running:
        for _ in range(3):
            job = running.submit("count_words", "to be")
            assert running.job(job["id"], wait=TIMEOUT)["result"] == 2
        job = running.submit("fail", "out of ink")
        assert running.job(job["id"], wait=TIMEOUT)["outcome"] == "failed"
        begun = running.until_running(running.submit("sleep", 3600)["id"])
    with service(tmp_path) as running:
        shown = read(running, "/stats")
        assert (shown["jobs"]["finished"], sum(shown["jobs"].values())) == (4, 5)
        assert [task["name"] for task in shown["tasks"]] == ["count_words", "fail", "sleep"]
        assert {name: shown["hour"][name] for name in ("submitted", "succeeded", "failed", "cancelled")} == {
            "submitted": 5, "succeeded": 3, "failed": 1, "cancelled": 0
        }  # fmt: skip
        assert shown["hour"]["run"]["p50"] < TIMEOUT
        (failure,) = shown["failures"]
        assert (failure["type"], failure["task"], failure["message"], failure["job"]) == (
            "RuntimeError", "fail", "out of ink", job["id"]
        )  # fmt: skip
        # What ran is lost, and begins again: neither is a submission, nor an end.
        running.until_running(begun["id"])
        assert read(running, "/stats")["hour"]["submitted"] == 5


def test_a_worker_is_the_process_itself_and_says_when_it_drains(tmp_path):
    with service(tmp_path, ERRAND_THREADS="3", ERRAND_DRAIN_SECONDS="60") as running:
        job = running.until_running(running.submit("sleep", 3600)["id"])
        (worker,) = read(running, "/workers")["workers"]
        assert (worker["id"], worker["host"], worker["pid"]) == (
            job["attempts"][0]["worker"], socket.gethostname(), running.process.pid
        )  # fmt: skip
        assert worker["state"] == "running"
        assert worker["started_at"] < job["started_at"] < worker["heartbeat_at"]
        assert worker["slots"][0] == {"kind": "thread", "total": 3, "used": 1}
        assert worker["running"] == [
            {
                "job": job["id"],
                "task": "sleep",
                "queue": "default",
                "attempt": 1,
                "started_at": job["started_at"],
            }
        ]
        running.send(signal.SIGTERM)
        while worker["state"] == "running":
            (worker,) = read(running, "/workers")["workers"]
        assert (worker["state"], len(worker["running"])) == ("draining", 1)
        assert read(running, "/stats")["jobs"]["running"] == 1
        assert running.end(signal.SIGTERM) == 0
