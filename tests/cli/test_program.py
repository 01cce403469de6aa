"""The command line as a whole: help, errors, keys, completion."""

import json
import re
import subprocess
import sys

import pytest

from app.cli import ends, program
from app.testing import running
from tests.acceptance.serving import ROOT, TIMEOUT, environment
from tests.cli.conftest import NOWHERE

COMMANDS = {"serve", *(name for name, _ in program.COMMANDS)}


def test_the_help_names_every_command_and_every_exit_code(errand):
    for arguments in (["--help"], ["-h"]):
        done = errand(*arguments)
        assert done.code == 0
        assert all(re.search(rf"^│ {name} +\S", done.out, re.MULTILINE) for name in COMMANDS)
        assert all(f"{code}  {meaning}" in done.out for code, meaning in ends.TABLE)


@pytest.mark.parametrize("command", sorted(COMMANDS - {"serve"}))
def test_every_command_has_a_help_and_the_options_that_all_have(errand, command):
    done = errand(command, "--help")
    assert done.code == 0
    assert all(option in done.out for option in ("--url", "--api-key-file", "--json", "ERRAND_API_KEY"))


@pytest.mark.parametrize(
    "command", ["list", "show", "cancel", "retry", "queues", "tasks", "pause", "watch", "logs"]
)
def test_every_command_says_that_no_service_answers(errand, command):
    needed = {"show": ["0" * 8], "logs": ["0" * 8], "pause": ["q"], "cancel": ["0" * 8], "retry": ["0" * 8]}
    done = errand(command, *needed.get(command, []), "--url", NOWHERE)
    assert (done.code, done.out) == (5, "")
    assert "start it with `errand serve`, or say where it is by --url or ERRAND_URL" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lits"], "No such command 'lits'. Did you mean 'list'? See errand --help"),
        (
            ["list", "--outcom", "x"],
            "No such option: --outcom (Possible options: --outcome); see errand list --help",
        ),
        (["list", "--state", "done"], "see errand list --help"),
        (
            ["--url", "http://x", "list"],
            "No such option: --url (it comes behind the command's name); see errand",
        ),
        (["--json", "list"], "(it comes behind the command's name)"),
        (["show"], "Missing argument 'ID'; see errand show --help"),
        (["list", "--limit", "0"], "see errand list --help"),
        (["tasks", "--url", "localhost"], "ERRAND_URL: write http://host:port"),
        (["tasks", "--url", "http://me:s3cret@host"], "ERRAND_URL: write it without a user and a password"),
        (["tasks", "--url", "http://xn--a"], "ERRAND_URL: there is no such host"),
        (["list", "--limit", "9" * 30], "see errand list --help"),
        (["tasks", "--api-key-file", "nowhere"], "ERRAND_API_KEY_FILE: nowhere cannot be read"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(errand, arguments, message):
    done = errand(*arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert re.fullmatch(r"errand: .+\n", done.err)
    assert "s3cret" not in done.err


def test_the_key_comes_from_the_environment_or_a_file_and_is_never_shown(errand, monkeypatch, tmp_path):
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    with running(["app.tasks"], api_keys="books:s3cret") as service:
        at = ["list", "--url", service.url]
        refused = errand(*at)
        assert refused.code == 1
        assert "put the key into ERRAND_API_KEY" in refused.err
        assert errand(*at, "--api-key-file", key).code == 0
        monkeypatch.setenv("ERRAND_API_KEY", "s3cret")
        assert errand(*at).code == 0
        monkeypatch.setenv("ERRAND_API_KEY", "s3cret and more")
        wrong = errand(*at)
        assert (wrong.code, "s3cret" in wrong.err) == (2, False)


def complete(words, **settings):
    done = subprocess.run(
        [sys.executable, "-c", "import sys, app.cli; sys.exit(app.cli.main())"],
        env=environment(
            _ERRAND_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
            **settings,
        ),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.stdout.split()


def test_the_shell_completes_commands_options_and_values(clean):
    assert complete("errand sub") == ["submit"]
    assert complete("errand serve --databas") == ["--database"]
    assert complete("errand list --state pen") == ["pending"]


def test_the_shell_completes_names_of_tasks_if_the_service_answers(clean, service):
    assert complete("errand submit count_words_", ERRAND_URL=service.url) == ["count_words_of_all"]
    assert complete("errand submit count_words_", ERRAND_URL=NOWHERE) == []


def test_loading_the_command_line_loads_neither_the_service_nor_what_draws():
    script = (
        "import sys, app.cli; light = set(sys.modules); import app.cli.program; heavy = set(sys.modules);"
        "print(light & {'typer', 'rich', 'httpx', 'pydantic', 'app.client', 'app.config'},"
        "heavy & {'fastapi', 'uvicorn', 'app.api', 'app.stores', 'app.worker', 'app.service'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout == "set() set()\n"


def test_a_service_is_started_without_what_draws_tables():
    script = (
        "import sys, app.cli, app.cli.serve, app.server;"
        "print({'typer', 'rich', 'app.client'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert done.stdout == "set()\n"


def test_typers_own_click_is_all_that_is_used():
    sources = [path.read_text("utf-8") for path in (ROOT / "app" / "cli").glob("*.py")]
    assert sources
    assert not [
        source for source in sources if re.search(r"^\s*(import|from) click|typer\._", source, re.MULTILINE)
    ]


def test_a_fault_of_the_answer_is_no_traceback(errand, tmp_path):
    import http.server
    import threading

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>\x1b[2J")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            done = errand("tasks", "--url", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
    assert done.code == 1
    assert re.fullmatch(r"errand: .+\n", done.err)
    assert "\x1b" not in done.err


def test_json_is_one_line_for_every_command_that_shows_one_thing(errand, client):
    job = client.submit("count_words", "a b")
    client.result(job.id)
    for arguments in (["show", job.id], ["tasks", "add"], ["pause", "x"], ["resume", "x"], ["doctor"]):
        done = errand(*arguments, "--json")
        assert len(done.out.splitlines()) == 1
        assert json.loads(done.out)
