"""errand doctor: what it finds, and that it changes nothing."""

import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.cli import checks, main
from app.jobs.registry import load
from app.stores.migrate import migrations
from app.stores.sqlite import SqliteStore
from app.testing import running
from tests.cli.conftest import NOWHERE

KNOWN = migrations("sqlite")[-1].version
TASKS = len(list(load(["app.tasks"])))


@pytest.fixture
def folder(tmp_path, monkeypatch, clean):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def doctor(folder, capsys):
    """Return the exit code, and the checks by name: level and message."""

    def call(*arguments):
        capsys.readouterr()
        code = main(["doctor", *arguments])
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] == (code == 0)
        return code, {one["check"]: (one["level"], one["message"]) for one in report["checks"]}

    return call


@pytest.fixture
def database(folder):
    """A database that a service has made and left."""
    path = folder / "errand.db"
    with closing(SqliteStore(path)):
        pass
    return path


def test_where_nothing_is_yet_all_is_well_and_nothing_is_made(doctor, folder, monkeypatch):
    # Whoever runs a service of his own on the usual port must not be found.
    monkeypatch.setattr(checks.httpx, "get", refuse)
    code, found = doctor()
    assert code == 0
    assert found["database"] == ("ok", "errand.db does not exist yet; `errand serve` makes it")
    assert found["service"][0] == "warning"
    assert found["python"][0] == found["sqlite"][0] == found["settings"][0] == found["disk"][0] == "ok"
    assert list(folder.iterdir()) == []


def refuse(*_, **__):
    raise checks.httpx.ConnectError("refused")


def test_a_database_that_is_left_alone_is_sound(doctor, database):
    code, found = doctor("--url", NOWHERE)
    assert found["schema"] == ("ok", f"version {KNOWN}, as this program knows it")
    assert found["integrity"] == ("ok", "no fault in the file's structure")
    assert found["owner"] == ("ok", "no service has it open")
    # Somebody has named an address.
    assert (code, found["service"][0]) == (1, "error")


def test_the_owner_of_a_database_is_named_and_not_disturbed(doctor, folder):
    with running(["app.tasks"], database=f"sqlite:///{folder / 'errand.db'}") as service:
        code, found = doctor("--url", service.url)
        assert code == 0
        assert found["owner"][1].startswith(f"in use by process {os.getpid()} on ")
        assert found["service"] == ("ok", f"{service.url} is ready")
        assert found["access"] == ("ok", f"it answers without a key, and knows {TASKS} tasks")
        assert found["clock"] == ("ok", "the service's is the same as this machine's")
        assert service.client.result(service.client.submit("count_words", "a b").id) == 2


@pytest.mark.parametrize(
    ("version", "level", "words"),
    [(99, "error", "start a newer one"), (1, "warning", "`errand serve` brings it to")],
)
def test_a_schema_of_another_version_is_told(doctor, database, version, level, words):
    with closing(sqlite3.connect(database)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    _, found = doctor()
    assert found["schema"][0] == level
    assert words in found["schema"][1]


def test_a_database_of_another_program_is_told(doctor, folder):
    with closing(sqlite3.connect(folder / "errand.db")) as db:
        db.execute("CREATE TABLE t (a)")
        db.commit()
    _, found = doctor()
    assert found["schema"] == ("error", "errand.db is a database of another program")


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b""], ids=["no database", "nothing in it"]
)
def test_a_file_that_is_no_database_is_told(doctor, folder, content):
    (folder / "errand.db").write_bytes(content)
    _, found = doctor()
    if content:
        assert found["schema"][0] == "error"
        assert "cannot be read" in found["schema"][1]
    else:
        assert found["schema"] == (
            "warning",
            f"version 0; `errand serve` brings it to {KNOWN}, and there is no way back",
        )


def test_damage_is_told(doctor, database):
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * 64)
    code, found = doctor()
    assert code == 1
    assert "error" in (found["schema"][0], found.get("integrity", ("", ""))[0])


def test_a_look_that_takes_too_long_is_given_up(doctor, database, monkeypatch):
    monkeypatch.setattr(checks, "LOOKING", -1.0)
    monkeypatch.setattr("app.stores.examination.STEPS", 1)
    _, found = doctor()
    assert found["integrity"][0] == "warning"
    assert "not all of it was looked at" in found["integrity"][1]


def test_a_folder_that_is_not_there_is_told(doctor, monkeypatch):
    monkeypatch.setenv("ERRAND_DATABASE", "sqlite:///nowhere/errand.db")
    code, found = doctor()
    assert (code, found["database"]) == (
        1,
        ("error", "nowhere/errand.db: the folder nowhere does not exist; make it"),
    )


def test_bad_settings_are_told_and_no_key_is_shown(doctor, monkeypatch):
    monkeypatch.setenv("ERRAND_PORT", "many")
    monkeypatch.setenv("ERRAND_API_KEYS", "books:hunter2")
    code, found = doctor()
    assert (code, found["settings"][0]) == (1, "error")
    assert "ERRAND_PORT" in found["settings"][1]
    assert "hunter2" not in str(found)


def test_a_setting_of_no_such_name_is_told(doctor, monkeypatch):
    monkeypatch.setenv("ERRAND_TASK", "mine")
    code, found = doctor()
    assert (code, found["settings"][0]) == (0, "warning")
    assert "ERRAND_TASK, like ERRAND_TASKS" in found["settings"][1]


@pytest.mark.parametrize(
    ("modules", "level", "said"),
    [
        ("nosuch", "error", "task module 'nosuch' cannot be imported"),
        ("app.jobs.model", "warning", "there are none in app.jobs.model"),
        ("app.tasks", "ok", "in app.tasks"),
    ],
)
def test_task_modules_are_imported_as_serve_would(doctor, monkeypatch, modules, level, said):
    monkeypatch.setenv("ERRAND_TASKS", modules)
    code, found = doctor()
    assert (code, found["tasks"][0]) == (int(level == "error"), level)
    assert said in found["tasks"][1]


def test_too_little_disk_is_told(doctor, monkeypatch):
    monkeypatch.setattr(checks, "TOO_LITTLE", 2**70)
    monkeypatch.setattr(checks, "LITTLE", 2**71)
    code, found = doctor()
    assert (code, found["disk"][0]) == (1, "error")


def test_a_service_that_wants_another_key_is_told(doctor, monkeypatch):
    with running(["app.tasks"], api_keys="books:secret") as service:
        monkeypatch.setenv("ERRAND_URL", service.url)
        code, found = doctor()
        assert (code, found["access"][0]) == (1, "error")
        monkeypatch.setenv("ERRAND_API_KEY", "secret")
        code, found = doctor()
        assert (code, found["access"]) == (0, ("ok", f"it answers with the key, and knows {TASKS} tasks"))


@pytest.mark.parametrize(
    ("ahead", "level", "words"),
    [
        (0, "ok", "the same"),
        (120, "warning", "2 min ahead of this machine's"),
        (-120, "warning", "behind this machine's"),
    ],
)
def test_clocks_that_differ_are_told(ahead, level, words):
    now = datetime.now(UTC).replace(microsecond=0)
    date = format_datetime(now + timedelta(seconds=ahead), usegmt=True)
    finding = checks.clock(date, now.timestamp())
    assert finding.level == level
    assert words in finding.message
    assert checks.clock(None, 0).level == "warning"


def test_at_a_terminal_each_check_is_a_line(terminal, folder):
    shown = terminal("doctor", NO_COLOR="1", ERRAND_DATABASE=f"sqlite:///{folder / 'none.db'}")
    assert shown.end() == 0
    assert "ok       service    http://127.0.0.1:" in shown.plain
    assert len(shown.plain.splitlines()) == 9
