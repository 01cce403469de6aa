"""Starting: what it prints, and how it says what is wrong."""

import socket
import subprocess
import sys

import pytest

from tests.acceptance.serving import TIMEOUT, environment, service


def start(folder, *flags, **settings):
    """Run `errand serve` to its end, which a start that fails comes to by itself."""
    return subprocess.run(
        [sys.executable, "-m", "app", "serve", "--port", "0", *flags],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def test_it_says_where_it_listens_what_it_knows_and_how_to_try_it(tmp_path):
    with service(tmp_path) as running:
        lines = running.announcement
    assert lines[0].startswith("Errand listens on http://127.0.0.1:")
    assert "Database: sqlite:///errand.db" in lines
    assert any(line.startswith("Tasks: count_words") for line in lines)
    assert lines[-1].startswith("Try: curl ")
    assert (tmp_path / "errand.db").exists()


def test_what_was_loaded_at_the_start_is_not_walked_by_the_collector_again(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import gc\nfrom app import task\n@task\ndef frozen(): return gc.get_freeze_count()\n"
    )
    with service(tmp_path, ERRAND_TASKS="mine") as running:
        job = running.client.post("/jobs", json={"task": "frozen"}, headers={"Prefer": "wait=30"}).json()
    assert job["result"] > 50_000


@pytest.mark.parametrize(
    ("own", "then"), [("", 10_000), ("gc.set_threshold(0)", 0), ("gc.set_threshold(20_000)", 20_000)]
)
def test_the_collector_looks_for_circles_less_often_unless_a_task_module_knows_better(tmp_path, own, then):
    (tmp_path / "mine.py").write_text(
        f"import gc\nfrom app import task\n{own}\n@task\ndef first(): return gc.get_threshold()[0]\n"
    )
    with service(tmp_path, ERRAND_TASKS="mine") as running:
        job = running.client.post("/jobs", json={"task": "first"}, headers={"Prefer": "wait=30"}).json()
    assert job["result"] == then


def test_threads_that_compute_let_others_have_the_interpreter_ten_times_as_often_as_by_default(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import sys\nfrom app import task\n@task\ndef interval(): return sys.getswitchinterval()\n"
    )
    with service(tmp_path, ERRAND_TASKS="mine") as running:
        job = running.client.post("/jobs", json={"task": "interval"}, headers={"Prefer": "wait=30"}).json()
    assert job["result"] == 0.0005


def test_flags_and_variables_mean_the_same(tmp_path):
    (tmp_path / "mine.py").write_text("from app import task\n@task\ndef mine(): return 1\n")
    settings = {"ERRAND_DATABASE": "sqlite:///other.db", "ERRAND_TASKS": "mine,app.tasks"}
    with service(tmp_path, **settings) as running:
        assert "Database: sqlite:///other.db" in running.announcement
        assert {task["name"] for task in running.client.get("/tasks").json()["tasks"]} > {
            "mine",
            "count_words",
        }
        refused = start(tmp_path, "--database", "sqlite:///other.db")
    assert refused.returncode == 2
    assert "is in use by process" in refused.stderr


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nowhere_to_be_found", ["'mine'", "No module named 'nowhere_to_be_found'"]),
        ("def broken(:", ["'mine'", "SyntaxError"]),
        ("1 / 0", ["'mine'", "ZeroDivisionError"]),
        ("from app import task\n@task\ndef f(a: object()): ...", ["mine", "'f'", "arguments"]),
        (
            "from app import task\n@task(name='a')\ndef f(): ...\n@task(name='a')\ndef g(): ...",
            ["two tasks are called 'a'", "mine"],
        ),
    ],
    ids=["missing", "syntax", "raises", "annotation", "twice"],
)
def test_a_bad_task_module_stops_the_start_and_is_named_with_the_reason(tmp_path, source, words):
    (tmp_path / "mine.py").write_text(source)
    stopped = start(tmp_path, "--tasks", "mine")
    assert stopped.returncode == 2
    assert all(word in stopped.stderr for word in words), stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_what_is_hardly_meant_is_told_and_the_service_starts(tmp_path):
    (tmp_path / "empty.py").write_text("")
    settings = {"ERRAND_TASKS": "empty,app.jobs", "ERRAND_TASK": "mine", "ERRAND_COLOUR": "red"}
    with service(tmp_path, **settings) as running:
        running.until_logged("ERRAND_TASK is no setting; did you mean ERRAND_TASKS?")
        running.until_logged("ERRAND_COLOUR is no setting")
        running.until_logged("the task module 'empty' has no tasks")
        running.until_logged("'app.jobs' has no tasks, and is Errand's own")


def test_a_task_module_that_is_not_there_is_named(tmp_path):
    stopped = start(tmp_path, "--tasks", "no_such_module")
    assert (stopped.returncode, "'no_such_module'" in stopped.stderr) == (2, True)


def test_a_port_in_use_is_said_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stopped = start(tmp_path, "--port", str(taken.getsockname()[1]))
    assert stopped.returncode == 2
    assert "cannot listen on 127.0.0.1" in stopped.stderr


def test_another_address_without_keys_is_refused(tmp_path):
    stopped = start(tmp_path, "--host", "0.0.0.0")
    assert stopped.returncode == 2
    assert "insecure" in stopped.stderr.lower()


def test_a_bad_setting_is_named_and_a_key_is_not_shown(tmp_path):
    stopped = start(tmp_path, ERRAND_API_KEYS="books-hunter2")
    assert stopped.returncode == 2
    assert "ERRAND_API_KEYS" in stopped.stderr
    assert "hunter2" not in stopped.stderr


def test_an_unknown_database_is_refused(tmp_path):
    stopped = start(tmp_path, "--database", "mysql://somewhere/x")
    assert stopped.returncode == 2
    assert "ERRAND_DATABASE" in stopped.stderr
    assert "sqlite:///" in stopped.stderr


def test_a_package_of_the_users_that_is_called_app_is_reported(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    script = "import sys, app.cli; sys.exit(app.cli.main(['serve', '--tasks', 'no_such_module']))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert str(tmp_path / "app") in done.stderr


def test_the_command_without_a_subcommand_shows_its_help(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "app"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 2
    assert "serve" in done.stdout


def test_the_command_tells_its_version(tmp_path):
    command = [sys.executable, "-m", "app", "--version"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    assert done.stdout.startswith("errand ")


def test_importing_the_command_line_is_light():
    heavy = {"fastapi", "pydantic", "uvicorn", "asyncio"}
    script = f"import sys, app.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], env=environment(), timeout=TIMEOUT, check=False)
    assert done.returncode == 0
