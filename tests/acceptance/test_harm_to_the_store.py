"""What can happen to a database under a service: what callers see, what the log says, and how it ends.

Callers get a clear 503 and no more, what can be read is, no promise is broken, and when
the cause is gone the service works again, or says that it has to be started anew.
"""

import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest

from tests.acceptance.load import require_sound
from tests.acceptance.serving import TIMEOUT, environment, service

TASKS = """
import asyncio, pathlib
from app import task

@task
def echo(text: str) -> str:
    return text

@task
async def until_told(begun: str, go: str) -> str:
    pathlib.Path(begun).touch()
    while not pathlib.Path(go).exists():
        await asyncio.sleep(0.01)
    return "told"
"""

LARGE = "x" * 3000
"""So that a job fills most of a page."""

SECRETS = re.compile(r"sqlite|\.db|select |insert |traceback|disk|malformed|locked|/tmp", re.IGNORECASE)
"""What no caller may be told."""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.py").write_text(TASKS)
    (tmp_path / "data").mkdir()
    return tmp_path


@contextmanager
def serving(folder, **options):
    """Run a service whose database has a folder of its own."""
    settings = {"ERRAND_DRAIN_SECONDS": "0.5", **settings_of(folder), **options}
    with service(folder / "tasks", **settings) as running:
        yield running


def settings_of(folder):
    return {"ERRAND_TASKS": "mine", "ERRAND_DATABASE": f"sqlite:///{folder / 'data' / 'errand.db'}"}


def starting(folder, under=()):
    """Run a service that does not start to its end."""
    return subprocess.run(
        [*under, sys.executable, "-m", "app", "serve", "--port", "0"],
        cwd=folder / "tasks",
        env=environment(**settings_of(folder)),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def begin(running, folder):
    """Return the id of a job that runs until the file `go` is there."""
    job = running.submit("until_told", str(folder / "begun"), str(folder / "go"))
    while not (folder / "begun").exists():
        running.job(job["id"])
    return job["id"]


def submit(running):
    return running.client.post("/jobs", json={"task": "echo", "args": ["more"]})


def is_ready(running):
    return running.client.get("/health/ready")


def require_unavailable(answer):
    """Require a problem that says what a caller can do, and nothing of how it is made."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/store-unavailable"
    assert int(answer.headers["Retry-After"]) >= 1
    assert not SECRETS.search(answer.text), answer.text


def require_readable(running, ids):
    for job_id in ids:
        assert running.client.get(f"/jobs/{job_id}").status_code == 200
    listed = running.client.get("/jobs").raise_for_status().json()["jobs"]
    assert {job["id"] for job in listed} >= set(ids)


def press_while_down(running, times=100):
    """Submit from several threads while the store is down. Return the seconds that it took."""
    began = time.monotonic()

    def press():
        for _ in range(times // 4):
            require_unavailable(submit(running))

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    require_unavailable(is_ready(running))
    return time.monotonic() - began


TELLERS = 6
"""Who tells of a store that is down, once and then once a second: writer, settler, batches, three readers."""


def require_calm(log, seconds, word):
    """Require that the log of an ended service names the cause, and not too often."""
    told = [line for line in log.splitlines() if " ERROR " in line or " WARNING " in line]
    assert any(word in line for line in told), log
    assert len(told) <= seconds + TELLERS, log
    assert "Traceback" not in log


# -- a full disk ----------------------------------------------------------------


@contextmanager
def no_room(process):
    """Let no file of a process grow."""
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        if process.poll() is None:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))


needs_prlimit = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="another process's limits cannot be set on this system"
)


@needs_prlimit
def test_a_service_that_cannot_write_says_so_and_goes_on_when_it_can(folder):
    with serving(folder) as running:
        kept = [running.submit("echo", str(n))["id"] for n in range(5)]
        scheduled = running.submit("echo", "later", delay=0.2)["id"]
        held = begin(running, folder)
        with no_room(running.process):
            (folder / "go").touch()
            seconds = press_while_down(running)
            require_unavailable(running.client.delete(f"/jobs/{held}"))
            require_readable(running, kept)
        running.until_ready()
        # Its end was kept until it could be stored.
        ended = running.job(held, wait=TIMEOUT)
        assert (ended["result"], ended["attempt"], ended["losses"]) == ("told", 1, 0)
        assert running.job(scheduled, wait=TIMEOUT)["result"] == "later"
        assert submit(running).status_code == 202
        assert running.end(signal.SIGTERM) == 0
    require_calm(running.errors, seconds, "disk I/O error")
    with serving(folder) as again:
        assert {again.job(job_id)["outcome"] for job_id in kept} == {"succeeded"}


@needs_prlimit
def test_a_kill_while_nothing_can_be_written_costs_no_job(folder):
    with serving(folder) as running:
        kept = [running.submit("echo", str(n))["id"] for n in range(5)]
        held = begin(running, folder)
        with no_room(running.process):
            (folder / "go").touch()
            press_while_down(running, times=8)
            assert running.end(signal.SIGKILL) == -signal.SIGKILL
    with serving(folder) as again:
        assert {again.job(job_id, wait=TIMEOUT)["outcome"] for job_id in kept} == {"succeeded"}
        ended = again.job(held, wait=TIMEOUT)
    assert (ended["result"], ended["attempt"], ended["losses"]) == ("told", 1, 1)


@pytest.fixture
def small_disk(folder):
    """A file system of its own for the database, which the test can fill."""
    disk = folder / "data"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk):
    with (disk / "filler").open("wb", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while True:
                    filler.write(b"\\0" * size)
            except OSError:
                pass


def test_a_disk_that_is_full_is_told_and_one_with_room_again_is_used(folder, small_disk):
    with serving(folder) as running:
        kept = [running.submit("echo", str(n))["id"] for n in range(5)]
        for job_id in kept:
            assert running.job(job_id, wait=TIMEOUT)["state"] == "finished"
        fill(small_disk)
        while any(answer.status_code < 300 for answer in (submit(running), is_ready(running))):
            # What the log has room for already: less will do for a look whether it can be written.
            pass
        seconds = press_while_down(running)
        require_readable(running, kept)
        (small_disk / "filler").unlink()
        running.until_ready()
        assert submit(running).status_code == 202
        assert running.end(signal.SIGTERM) == 0
    require_calm(running.errors, seconds, "disk is full")


def test_a_start_on_a_full_disk_is_refused_in_one_line_and_harms_nothing(folder):
    ids = fill_database(folder, 3)
    refused = starting(folder, under=["sh", "-c", 'ulimit -f 0; exec "$@"', "sh"])
    assert refused.returncode == 2
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("errand: ")]
    assert str(folder / "data" / "errand.db") in line
    with serving(folder) as again:
        assert {again.job(job_id)["outcome"] for job_id in ids} == {"succeeded"}


# -- locks ------------------------------------------------------------------------


def test_a_lock_that_another_process_holds_for_long_is_waited_for_and_then_told(folder):
    with serving(folder) as running:
        kept = [running.submit("echo", str(n))["id"] for n in range(3)]
        with closing(sqlite3.connect(folder / "data" / "errand.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            seconds = press_while_down(running, times=4)
            require_readable(running, kept)
        running.until_ready()
        assert submit(running).status_code == 202
        assert running.end(signal.SIGTERM) == 0
    require_calm(running.errors, time.monotonic() - began, "locked")
    # Not the whole time for each of the batches that gather meanwhile.
    assert seconds < 10


# -- damage -----------------------------------------------------------------------


def fill_database(folder, count=60):
    with serving(folder) as running:
        ids = [running.submit("echo", f"{n}{LARGE}")["id"] for n in range(count)]
        assert all(running.job(job_id, wait=TIMEOUT)["outcome"] == "succeeded" for job_id in ids)
        assert running.end(signal.SIGTERM) == 0
    return ids


def damage(path, first=0.3, last=0.7):
    """Overwrite what is in the middle of a file."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(int(size * first))
        file.write(random.Random(1).randbytes(int(size * (last - first))))


def test_a_database_damaged_while_nothing_ran_is_refused_or_served_as_far_as_it_can_be_read(folder):
    ids = fill_database(folder)
    database = folder / "data" / "errand.db"
    shutil.copy(database, folder / "backup")
    damage(database, 0.05, 0.95)
    refused = starting(folder)
    assert refused.returncode == 2, refused.stderr
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("errand: ")]
    assert str(database) in line
    assert "damaged" in line
    assert "backup" in line
    assert "Traceback" not in refused.stderr
    shutil.copy(folder / "backup", database)
    with serving(folder) as again:
        assert {again.job(job_id)["outcome"] for job_id in ids} == {"succeeded"}


def test_damage_that_comes_while_it_runs_ends_in_nothing_worse_than_503(folder):
    ids = fill_database(folder)
    database = folder / "data" / "errand.db"
    with serving(folder) as running:
        began = time.monotonic()
        damage(database)
        answers = [running.client.get(f"/jobs/{job_id}") for job_id in ids]
        answers += [running.client.get("/jobs", params={"limit": 500}) for _ in range(3)]
        answers += [submit(running) for _ in range(30)]
        answers += [running.client.delete(f"/jobs/{job_id}") for job_id in ids]
        # 404: of what a damaged index leads nowhere to, nobody can know that it is there.
        assert {answer.status_code for answer in answers} <= {200, 202, 404, 409, 503}
        down = [answer for answer in answers if answer.status_code == 503]
        assert down
        for answer in down:
            require_unavailable(answer)
        assert running.client.get("/health/live").status_code == 200
        assert running.end(signal.SIGTERM) == 0
        seconds = time.monotonic() - began
    require_calm(running.errors, seconds, "damaged")


def test_a_job_that_is_damaged_is_named_in_the_log_and_harms_no_other(folder):
    with serving(folder) as running:
        bad, good = (running.submit("echo", "later", delay=3600)["id"] for _ in range(2))
        with closing(sqlite3.connect(folder / "data" / "errand.db", isolation_level=None)) as other:
            other.execute("UPDATE jobs SET tags = '{' WHERE key = 1")
        began = time.monotonic()
        for _ in range(20):
            require_unavailable(running.client.delete(f"/jobs/{bad}"))
            require_unavailable(running.client.get(f"/jobs/{bad}"))
            assert [job["id"] for job in running.client.get("/jobs").json()["jobs"]] == [good]
        assert running.client.delete(f"/jobs/{good}").json()["state"] == "cancelled"
        running.until_ready()
        seconds = time.monotonic() - began
        assert running.end(signal.SIGTERM) == 0
    require_calm(running.errors, seconds, f"job {bad} cannot be read")
    require_calm(running.errors, seconds, f"job {bad} is damaged")


# -- files that vanish --------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["-wal", "-shm", ".lock"])
def test_a_file_that_is_deleted_under_it_makes_it_refuse_what_it_could_not_keep(folder, suffix):
    with serving(folder) as running:
        kept = [running.submit("echo", str(n))["id"] for n in range(5)]
        assert running.job(kept[-1], wait=TIMEOUT)["outcome"] == "succeeded"
        (folder / "data" / f"errand.db{suffix}").unlink()
        seconds = press_while_down(running)
        require_readable(running, kept)
        # The hard way: what only the deleted file had is in the database by now.
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
    require_calm(running.errors, seconds, "restart the service")
    with serving(folder) as again:
        again.until_ready()
        assert {again.job(job_id, wait=TIMEOUT)["outcome"] for job_id in kept} == {"succeeded"}
        assert submit(again).status_code == 202


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_log_whose_database_was_taken_away_is_not_thrown_away_too(folder, end):
    database = folder / "data" / "errand.db"
    with serving(folder) as running:
        kept = running.submit("echo", "1")["id"]
        assert running.job(kept, wait=TIMEOUT)["outcome"] == "succeeded"
        database.rename(folder / "data" / "away.db")
        seconds = press_while_down(running)
        require_readable(running, [kept])
        running.end(end)
    require_calm(running.errors, seconds, "restart the service")
    refused = starting(folder)
    assert refused.returncode == 2
    assert f"{database} is gone, and its log {database}-wal is not: put the file back" in refused.stderr
    (folder / "data" / "away.db").rename(database)
    with serving(folder) as again:
        assert again.job(kept)["outcome"] == "succeeded"


def test_a_folder_that_goes_and_comes_back_makes_it_ready_again(folder):
    with serving(folder) as running:
        kept = [running.submit("echo", str(n))["id"] for n in range(5)]
        (folder / "data").rename(folder / "away")
        seconds = press_while_down(running)
        require_readable(running, kept)
        (folder / "away").rename(folder / "data")
        running.until_ready()
        late = submit(running).json()["id"]
        assert running.end(signal.SIGTERM) == 0
    require_calm(running.errors, seconds, "restart the service")
    with serving(folder) as again:
        assert {again.job(job_id, wait=TIMEOUT)["outcome"] for job_id in [*kept, late]} == {"succeeded"}


def test_a_folder_that_is_gone_ends_in_a_refusal_that_says_so(folder):
    with serving(folder) as running:
        running.submit("echo", "1")
        shutil.rmtree(folder / "data")
        seconds = press_while_down(running)
        assert running.end(signal.SIGTERM) == 0
    require_calm(running.errors, seconds, "restart the service")
    refused = starting(folder)
    assert refused.returncode == 2
    assert f"the folder {folder / 'data'} does not exist" in refused.stderr


# -- a folder that cannot be written ----------------------------------------------


def as_anybody():
    """Return the command under which the bits of a folder count for root too."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv to give that up")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def test_a_folder_made_read_only_under_it_breaks_no_promise(folder):
    with serving(folder, under=as_anybody()) as running:
        kept = [running.submit("echo", str(n))["id"] for n in range(5)]
        (folder / "data").chmod(0o500)
        answers = [submit(running) for _ in range(10)]
        # Its files are open, and stay as they are.
        assert {answer.status_code for answer in answers} == {202}
        assert running.end(signal.SIGTERM) == 0
    kept += [answer.json()["id"] for answer in answers]
    refused = starting(folder, as_anybody())
    assert refused.returncode == 2
    assert f"the folder {folder / 'data'} does not exist or cannot be written" in refused.stderr
    (folder / "data").chmod(0o700)
    with serving(folder) as again:
        assert {again.job(job_id, wait=TIMEOUT)["outcome"] for job_id in kept} == {"succeeded"}


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_backup_that_is_put_in_place_under_it_is_what_the_next_start_finds(folder, end):
    database = folder / "data" / "errand.db"
    ids = fill_database(folder, 20)
    shutil.copy(database, folder / "data" / "backup")
    with serving(folder) as running:
        late = [running.submit("echo", f"{n}{LARGE}")["id"] for n in range(20)]
        assert {running.job(job_id, wait=TIMEOUT)["outcome"] for job_id in late} == {"succeeded"}
        (folder / "data" / "backup").replace(database)
        seconds = press_while_down(running)
        running.end(end)
    require_calm(running.errors, seconds, "restart the service")
    with serving(folder) as again:
        assert {again.job(job_id)["outcome"] for job_id in ids} == {"succeeded"}
        assert {again.client.get(f"/jobs/{job_id}").status_code for job_id in late} == {404}
        assert again.end(signal.SIGTERM) == 0
    with closing(sqlite3.connect(database)) as db:
        require_sound(db)
