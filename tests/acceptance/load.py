"""A mixed load for a service that is killed under it, and what must hold when that is over."""

import itertools
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from app.jobs.errors import TransitionError
from app.jobs.lifecycle import Succeeded
from app.stores.base import Change
from app.stores.sqlite import SqliteStore
from tests.acceptance.serving import TIMEOUT, Running

TASKS = '''
import asyncio, fcntl, itertools, os, pathlib, signal
from contextlib import contextmanager
from app import context, submit, task
from app.jobs import points

HERE = pathlib.Path(__file__).parent

def arm():
    """Be killed at the passage of a point that the file `kill` names: this process, and no other."""
    try:
        os.rename(HERE / "kill", HERE / "armed")
    except FileNotFoundError:
        return
    point, number = (HERE / "armed").read_text().split()
    passages = itertools.count(1)
    points.at(point, lambda: next(passages) == int(number) and os.kill(os.getpid(), signal.SIGKILL))

arm()

def note(file, text):
    with open(HERE / file, "a") as out:
        out.write(text + "\\n")

@contextmanager
def alone(name, lock=None):
    """Leave a side effect, and notice when the same job, or what has this lock, runs elsewhere by now."""
    with open(HERE / f"lock-{lock or context().id}", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note("twice", name)
        note("effects", name)
        yield

@task
def plain(name: str) -> str:
    with alone(name):
        return name

@task
def generator(name: str):
    with alone(name):
        return (yield submit(str, name))

@task
async def coroutine(name: str) -> str:
    with alone(name):
        await asyncio.sleep(0.01)
        return name

@task(executor="process")
def in_process(name: str) -> str:
    with alone(name):
        return name

@task(max_running=1)
def limited(name: str) -> str:
    with alone(name, "limited"):
        return name

@task
def fails_at_first(name: str) -> str:
    with alone(name):
        if context().attempt == 1:
            raise LookupError("not at the first attempt")
        return name

@task
async def until_told(name: str) -> str:
    with alone(name):
        while not (HERE / "go").exists():
            await asyncio.sleep(0.01)
        return name

@task
def kill_the_service() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
'''

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"task": "plain"},
    "generator": {"task": "generator"},
    "coroutine": {"task": "coroutine"},
    "process": {"task": "in_process"},
    "limited": {"task": "limited"},
    "delayed": {"task": "plain", "delay": 0.2},
    "keyed": {"task": "plain", "key": "{name}"},
    "once": {"task": "plain"},
    "retried": {"task": "fails_at_first", "retry": {"max_attempts": 2, "backoff": 0.05}},
}
"""What is submitted, in turn; "once" with an Idempotency-Key."""

NAME = "json_extract(tags, '$.name')"

FINAL_STATES = """
    SELECT sum(json_extract(nullif(data, ''), '$.outcome') IS NOT NULL)
    FROM events WHERE kind = 'state' GROUP BY job"""
"""How often each job came to one, as its history has it; that of its submission is empty."""

Submission = tuple[dict[str, Any], dict[str, str]]


def submission(kind: str, name: str) -> Submission:
    """Return the body and the headers of a submission."""
    body = {**KINDS[kind], "args": [name], "tags": {"name": name}}
    if "key" in body:
        body["key"] = name
    return body, {"Idempotency-Key": name} if kind == "once" else {}


class Load:
    """What was sent to the services of one folder, and what they have promised."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "errand.db"
        self.acknowledged: dict[str, str] = {}
        """Ids by name."""
        self._sent: dict[str, Submission] = {}
        self._seen: dict[str, dict[str, Any]] = {}
        """Jobs that were answered as done: nothing of them may change any more."""
        self.lost_claims: list[tuple[str, int]] = []
        """Ids and tokens of claims that have been lost."""
        self._kills = 0
        self._numbers = itertools.count()
        (folder / "mine.py").write_text(TASKS)

    def kill_at(self, point: str, passage: int) -> None:
        """Have the next service killed when it comes to a point for so many times."""
        (self.folder / "kill").write_text(f"{point} {passage}")

    def press(self, running: Running, most: int = 400, answered: Callable[[], object] = int) -> None:
        """Submit from four threads until the service is gone, or each has submitted so many.

        answered: called after each submission that was.
        """
        with ThreadPoolExecutor(4) as threads:
            for future in [threads.submit(self._press, running.url, most, answered) for _ in range(4)]:
                future.result(TIMEOUT)

    def _press(self, url: str, most: int, answered: Callable[[], object]) -> None:
        with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
            for _ in range(most):
                number = next(self._numbers)
                kind = list(KINDS)[number % len(KINDS)]
                try:
                    self._submit(client, kind, f"{kind}-{number}")
                    self._look(client)
                except httpx.TransportError:
                    return
                answered()

    def _submit(self, client: httpx.Client, kind: str, name: str) -> None:
        body, headers = self._sent[name] = submission(kind, name)
        answer = client.post("/jobs", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        self.acknowledged[name] = answer.json()["id"]

    def _look(self, client: httpx.Client) -> None:
        """Look at the job that was acknowledged first and was not seen done yet."""
        name = next((name for name in list(self.acknowledged) if name not in self._seen), None)
        if name is not None:
            job = client.get(f"/jobs/{self.acknowledged[name]}").json()
            if job["outcome"]:
                self._seen[name] = job

    def killed(self, copy: Path) -> None:
        """Take note that the service was killed, and look at what it left, in a copy."""
        self._kills += 1
        copy.mkdir()
        for file in self.folder.glob("errand.db*"):
            shutil.copy(file, copy)
        with closing(sqlite3.connect(copy / self.database.name)) as db:
            require_sound(db)
            running = "SELECT hex(id), token FROM jobs WHERE state = 'running'"
            self.lost_claims += [(_uuid(id_), token) for id_, token in db.execute(running)]

    def require_kept(self, running: Running) -> None:
        """Wait until all jobs are done, and require of each what was promised."""
        self._repeat_what_may_be_repeated(running)
        for name, job_id in self.acknowledged.items():
            self._require(name, running.job(job_id, wait=TIMEOUT))
        for state in ("pending", "running"):
            # Those that were stored, and whose acknowledgement was cut off.
            for job in running.client.get("/jobs", params={"state": state, "limit": 500}).json()["jobs"]:
                assert running.job(job["id"], wait=TIMEOUT)["outcome"] == "succeeded"
        assert running.client.get("/health/ready").status_code == 200

    def _repeat_what_may_be_repeated(self, running: Running) -> None:
        for name, (body, headers) in self._sent.items():
            if headers:
                answer = running.client.post("/jobs", json=body, headers=headers).raise_for_status()
                job_id = answer.json()["id"]
                assert self.acknowledged.setdefault(name, job_id) == job_id

    def _require(self, name: str, job: dict[str, Any]) -> None:
        assert job["losses"] <= self._kills
        if job["losses"] == 3:
            assert job["exception"]["type"] == "WorkerLost"
        else:
            assert (job["outcome"], job["result"]) == ("succeeded", name), job
            assert job["attempt"] == (2 if name.startswith("retried") else 1)
        assert job == self._seen.get(name, job)

    def require_consistent(self) -> None:
        """Require of the files that are left that they fit together; the service is gone."""
        effects = Counter((self.folder / "effects").read_text().split())
        with closing(sqlite3.connect(self.database)) as db:
            require_sound(db)
            given_up = {name for (name,) in db.execute(f"SELECT {NAME} FROM jobs WHERE losses = 3")}
            ended = db.execute("SELECT count(*) FROM jobs WHERE state NOT IN ('finished', 'cancelled')")
            assert ended.fetchone() == (0,)
            assert set(db.execute(FINAL_STATES)) <= {(1,)}
            twice = db.execute(f"SELECT {NAME} AS name FROM jobs GROUP BY name HAVING count(*) > 1")
            assert twice.fetchall() == []
        assert set(self.acknowledged) - given_up <= set(effects)
        assert not (self.folder / "twice").exists(), (self.folder / "twice").read_text()
        self._require_fences()

    def _require_fences(self) -> None:
        """Require that whoever was lost with a claim can no longer settle the job."""
        with closing(SqliteStore(self.database)) as store:
            changes = [Change(job_id, (Succeeded(token, '"late"'),)) for job_id, token in self.lost_claims]
            refusals = store.apply(changes, 0).outcomes
            assert all(isinstance(refusal, TransitionError) for refusal in refusals), refusals


def require_sound(db: sqlite3.Connection) -> None:
    """Require that a database is whole, and that what it counts is what it has."""
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    kinds = "tenant, queue, task, state"
    counted = set(db.execute(f"SELECT {kinds}, n FROM counters WHERE n <> 0"))
    assert counted == set(db.execute(f"SELECT {kinds}, count(*) FROM jobs GROUP BY {kinds}"))


def _uuid(text: str) -> str:
    text = text.lower()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
