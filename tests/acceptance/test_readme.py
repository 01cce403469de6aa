"""The README's commands, run as they stand against a real service."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from app.core import QueueWorker, QueuingExecutor, ThreadPoolExecutor
from tests.acceptance.serving import ROOT, TIMEOUT, Running, environment, service

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
CALLS = [
    (command, shown)
    for (language, command), (follower, shown) in pairwise(BLOCKS)
    if language == "sh" and "curl" in command and follower == "json"
]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with service(tmp_path_factory.mktemp("readme")) as started:
        # What a reader has by then: the first call's job. The calls are tested one by one, in any order.
        job = started.submit("count_words", "to be or not to be")
        assert started.job(job["id"], wait=TIMEOUT)["result"] == 6
        yield started


def run(command: str, running: Running) -> str:
    done = subprocess.run(
        ["bash", "-ec", command.replace("http://127.0.0.1:8000", running.url)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    return done.stdout


def require_shown(actual: Any, shown: Any, place: str = "$") -> None:
    """Hold an answer to what is shown of it; an ellipsis stands for anything."""
    if isinstance(shown, dict):
        for name, value in shown.items():
            assert name in actual, f"{place}.{name} is not in the answer"
            require_shown(actual[name], value, f"{place}.{name}")
    elif isinstance(shown, list):
        assert len(actual) >= len(shown), place
        for index, value in enumerate(shown):
            require_shown(actual[index], value, f"{place}[{index}]")
    elif shown != "…":
        assert actual == shown, place


def test_every_curl_of_the_readme_is_followed_by_its_answer():
    commands = [command for language, command in BLOCKS if language == "sh" and "curl" in command]
    assert len(commands) == len(CALLS) >= 8


def test_every_curl_with_a_body_bears_its_content_type_and_the_local_address():
    for command, _ in CALLS:
        calls = re.split(r"(?=\bcurl )", command.replace("\\\n", " "))[1:]
        assert calls
        for call in calls:
            assert "http://127.0.0.1:8000" in call
            assert ("-d " in call) <= ("-H 'Content-Type: application/json'" in call), call


def test_the_first_curl_waits_and_shows_a_result():
    command, shown = CALLS[0]
    assert "Prefer: wait=10" in command
    assert json.loads(shown)["result"] == 6


@pytest.mark.parametrize(("command", "shown"), CALLS, ids=range(len(CALLS)))
def test_the_answer_is_the_one_shown(command, shown, running):
    require_shown(json.loads(run(command, running)), json.loads(shown))


def test_the_line_printed_at_the_start_works(running):
    line = running.announcement[-1].removeprefix("Try: ")
    assert json.loads(run(line, running))["outcome"] == "succeeded"


def test_every_setting_of_the_readme_exists_and_none_is_left_out():
    from app.config import CallerSettings, Settings

    named = set(re.findall(r"`ERRAND_([A-Z_]+)`", README))
    assert named == {name.upper() for name in (*Settings.model_fields, *CallerSettings.model_fields)}


def test_the_users_own_module_of_the_readme_runs(tmp_path):
    source = next(block for language, block in BLOCKS if language == "python" and "# books.py" in block)
    Path(tmp_path, "books.py").write_text(source, "utf-8")
    with service(tmp_path, ERRAND_TASKS="books") as started:
        job = started.submit("count_all", ["to be", "or not to be"])
        assert started.job(job["id"], wait=TIMEOUT)["result"] == 6


def test_the_users_tests_of_the_readme_pass(monkeypatch):
    blocks = [block for language, block in BLOCKS if language == "python"]
    module, checks = (
        next(block for block in blocks if words in block) for words in ("# books.py", "total.step()")
    )
    books = ModuleType("books")
    exec(compile(module, "README.md", "exec"), vars(books))
    monkeypatch.setitem(sys.modules, "books", books)
    exec(compile(checks, "README.md", "exec"), {"__name__": "test_books"})
    assert "assert total.result() == 6" in checks


def test_the_library_example_of_the_readme_runs(capsys):
    blocks = [block for language, block in BLOCKS if language == "python"]
    source = next(block for block in blocks if "ThreadPoolExecutor(8) as" in block)
    scope: dict[str, Any] = {}
    exec(compile(source, "README.md", "exec"), scope)
    printed = capsys.readouterr().out
    assert "returned int" in printed
    assert printed.endswith("99\n")


def test_the_queue_example_of_the_readme_runs(capsys):
    source = next(block for language, block in BLOCKS if language == "python" and "MemoryQueue()" in block)
    exec(compile(source, "README.md", "exec"), {})
    assert capsys.readouterr().out == "3\n"


def test_the_process_example_of_the_readme_runs(capsys):
    source = next(block for language, block in BLOCKS if language == "python" and "endless.kill()" in block)
    exec(compile(source, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == "1024\nTrue\n"


def test_the_functions_that_run_once_per_process_in_the_readme_can_be_declared(tmp_path):
    source = next(block for language, block in BLOCKS if language == "python" and "@on_startup" in block)
    (tmp_path / "pooled.py").write_text(
        f"{source}\nfrom app import task\n@task\ndef look():\n    return pool\n"
    )
    with service(tmp_path, ERRAND_TASKS="pooled") as started:
        job = started.submit("look")
        assert started.job(job["id"], wait=TIMEOUT)["result"] == ["a connection"]


SESSION = next(block for language, block in BLOCKS if language == "console" and "$ errand submit" in block)
STEPS = [tuple(step.split("\n", 1)) for step in re.split(r"^\$ ", SESSION, flags=re.MULTILINE)[1:]]


def at_terminal(command: str, url: str) -> str:
    """Return what a command of the README prints at a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(ours, "rb", buffering=0) as end, os.fdopen(theirs, "wb") as stdout:
        # stderr is no terminal: what is drawn there, and taken away again, is nothing to compare.
        done = subprocess.run(
            ["bash", "-c", f'errand() {{ {sys.executable} -m app "$@"; }}; {command}'],
            env={**environment(ERRAND_URL=url), "NO_COLOR": "1", "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        # Less than a terminal holds: nobody has to read meanwhile.
        printed = end.read(65536).decode() if select.select([end], [], [], 0)[0] else ""
    return re.sub(r"\x1b\[[0-9;]*m", "", printed).replace("\r\n", "\n") + done.stderr


def as_compared(text: str) -> str:
    """Return lines with what depends on how long it took taken out: how wide columns are."""
    return re.sub("([ ─])[ ─]+", r"\1", "\n".join(map(str.rstrip, text.strip().splitlines())))


def test_the_session_at_the_command_line_is_as_shown(running):
    assert len(STEPS) >= 7
    for command, shown in STEPS:
        printed = as_compared(at_terminal(command, running.url))
        assert re.fullmatch(".+".join(map(re.escape, as_compared(shown).split("…"))), printed), printed


def test_the_exit_codes_of_the_readme_are_those_of_the_help():
    from app.cli.ends import TABLE

    shown = re.findall(r"^\| (\d+) \| ([^;|]+)", README, re.MULTILINE)
    assert [(int(code), words.strip()) for code, words in shown] == [
        (code, meaning.partition(";")[0]) for code, meaning in TABLE
    ]


def python_with(words: str) -> str:
    return next(block for language, block in BLOCKS if language == "python" and words in block)


def test_the_remote_executor_of_the_readme_runs(running, capsys):
    first, second = (
        block.replace("http://127.0.0.1:8000", running.url)
        for language, block in BLOCKS
        if language == "python" and "RemoteExecutor(" in block
    )
    scope: dict[str, Any] = {}
    exec(compile(first, "README.md", "exec"), scope)
    scope["executor"].shutdown()
    exec(compile(second, "README.md", "exec"), {})
    assert capsys.readouterr().out == "6\n6\n6\n"


def test_the_client_of_the_readme_runs(running, capsys):
    source = python_with("Client(").replace("http://127.0.0.1:8000", running.url)
    exec(compile(source, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "6"
    assert printed[1].split()[1] == "finished"
    assert any(line.startswith("state {'job': ") for line in printed)
    assert ":" in printed[-1]


def test_the_tests_of_the_readme_pass_with_the_fixture(tmp_path):
    for name in ("books.py", "conftest.py", "test_books.py"):
        (tmp_path / name).write_text(python_with(f"# {name}"), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=f"{tmp_path}:{ROOT}"),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_store_queue_of_the_readme_runs_calls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = next(block for language, block in BLOCKS if language == "python" and "StoreQueue(" in block)
    scope: dict[str, Any] = {}
    exec(compile(source, "README.md", "exec"), scope)
    queue = scope["queue"]
    with ThreadPoolExecutor(1) as pool, QueueWorker(queue, pool), QueuingExecutor(queue) as queuing:
        assert queuing.submit(sum, [1, 2]).result() == 3
    for part in (queue, scope["writer"], scope["store"]):
        part.close()
    assert (tmp_path / "calls.db").exists()
