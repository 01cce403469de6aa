"""`kill -9` at each named point of the code, and at random moments, under a mixed load."""

import itertools
import random
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import httpx
import pytest

from app.jobs.points import POINTS
from tests.acceptance.load import Load
from tests.acceptance.serving import TIMEOUT, environment, service

PASSAGES = {"recovery-next": 1, "recovery-committed": 1, "promotion-next": 3, "release-next": 1}
"""At which passage of a point to kill; at any other point it is USUAL."""

USUAL = 40

HELD = {"claim-taken", "function-next", "function-ended", "settlement-handed-in", "release-next"}
"""Points at which a job is claimed for certain."""

SETTINGS = {"ERRAND_TASKS": "mine", "ERRAND_PROCESSES": "2"}


@pytest.fixture
def load(tmp_path):
    folder = tmp_path / "service"
    folder.mkdir()
    return Load(folder)


@pytest.fixture
def copies(tmp_path):
    """Names of folders that are not there yet."""
    return (tmp_path / f"left-{number}" for number in itertools.count())


def run_until_killed(load, copies, point, passage):
    load.kill_at(point, passage)
    with service(load.folder, **SETTINGS) as running:
        if running.announcement:
            load.press(running)
        assert running.wait() == -signal.SIGKILL
    load.killed(next(copies))


def run_until_killed_in_the_drain(load, copies, point):
    load.kill_at(point, 1)
    with service(load.folder, ERRAND_DRAIN_SECONDS="0", **SETTINGS) as running:
        load.press(running, most=20)
        held = running.submit("until_told", "held", tags={"name": "held"})
        running.until_running(held["id"])
        assert running.end(signal.SIGTERM) == -signal.SIGKILL
    load.acknowledged["held"] = held["id"]
    (load.folder / "go").touch()
    load.killed(next(copies))


@pytest.mark.parametrize("point", POINTS)
def test_a_service_killed_at_this_point_keeps_every_promise_after_its_restart(load, copies, point):
    if point.startswith("recovery"):
        # For something to be recovered.
        run_until_killed(load, copies, "batch-committed", USUAL)
    if point.startswith("release"):
        run_until_killed_in_the_drain(load, copies, point)
    else:
        run_until_killed(load, copies, point, PASSAGES.get(point, USUAL))
    assert load.lost_claims or point not in HELD
    with service(load.folder, **SETTINGS) as running:
        load.require_kept(running)
        assert running.end(signal.SIGTERM) == 0
    load.require_consistent()


def kill_after(running, answers):
    """Return what kills a service when it is called for so many times."""
    calls = itertools.count(1)
    return lambda: next(calls) == answers and running.process.kill()


def test_a_service_killed_at_random_moments_keeps_every_promise_after_its_restart(load, copies):
    seed = random.randrange(10**9)
    print(f"seed: {seed}")
    chance = random.Random(seed)
    for _ in range(6):
        with service(load.folder, **SETTINGS) as running:
            load.press(running, answered=kill_after(running, chance.randint(1, 80)))
            assert running.wait() == -signal.SIGKILL
        load.killed(next(copies))
    with service(load.folder, **SETTINGS) as running:
        load.require_kept(running)
        assert running.end(signal.SIGTERM) == 0
    load.require_consistent()


def test_a_start_that_is_killed_at_any_moment_is_made_good_by_the_next_one(load, copies):
    seed = random.randrange(10**9)
    print(f"seed: {seed}")
    chance = random.Random(seed)
    for _ in range(6):
        # Its first one makes the database, the others find what that has left.
        with starting(load.folder) as process, suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.2, 1.0))
    with service(load.folder, **SETTINGS) as running:
        load.press(running, most=10)
        load.require_kept(running)
        assert running.end(signal.SIGTERM) == 0
    load.require_consistent()


@contextmanager
def starting(folder):
    """Start a service, and kill it whatever it does by the end."""
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, env=environment(**SETTINGS), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        yield process
        process.kill()


def test_a_job_that_kills_the_service_is_given_up_after_three_losses_and_others_run(load):
    with service(load.folder, **SETTINGS) as running:
        with suppress(httpx.TransportError):
            running.submit("kill_the_service")
        assert running.wait() == -signal.SIGKILL
    for _ in range(2):
        with service(load.folder, **SETTINGS) as running:
            # It runs again after its backoff.
            assert running.wait() == -signal.SIGKILL
    with service(load.folder, **SETTINGS) as running:
        assert "Recovered: 1 job of a process that was lost: 1 failed for good" in running.announcement
        [poison] = running.client.get("/jobs", params={"task": "kill_the_service"}).json()["jobs"]
        given_up = running.job(poison["id"], wait=TIMEOUT)
        assert (given_up["exception"]["type"], given_up["losses"]) == ("WorkerLost", 3)
        assert running.job(running.submit("plain", "other")["id"], wait=TIMEOUT)["result"] == "other"
        assert running.client.get("/health/ready").status_code == 200
