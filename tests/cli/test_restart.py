"""What waits and what follows outlives the service, when it comes back soon."""

import signal
from contextlib import closing

import pytest

from tests.acceptance.serving import service
from tests.cli.conftest import Terminal

SOURCE = """
import pathlib, time
from app import checkpoint, task

@task
def until_there(path: str) -> str:
    print("it waits")
    while not pathlib.Path(path).exists():
        checkpoint()
        time.sleep(0.01)
    return "it is there"
"""


@pytest.mark.parametrize(
    ("command", "begun", "ended"),
    [
        # The same key stands for the same job.
        (["submit", "until_there", "file", "--key", "one", "--wait"], "until_there", '"it is there"'),
        (["watch", "{id}"], "until_there", "succeeded in"),
        (["logs", "{id}", "--follow"], "it waits", "it waits"),
    ],
    ids=["submit", "watch", "logs"],
)
def test_a_command_goes_on_when_the_service_was_killed_and_is_started_again(
    tmp_path, clean, command, begun, ended
):
    (tmp_path / "mine.py").write_text(SOURCE)
    with service(tmp_path, ERRAND_TASKS="mine") as first:
        job_id = first.submit("until_there", "file", key="one")["id"]
        first.until_running(job_id)
        arguments = [word.format(id=job_id) for word in command]
        with closing(Terminal(arguments, 80, 24, {"ERRAND_URL": first.url})) as shown:
            shown.read(until=begun)
            first.end(signal.SIGKILL)
            (tmp_path / "file").touch()
            with service(tmp_path, int(first.url.rpartition(":")[2]), ERRAND_TASKS="mine"):
                assert shown.end() == 0
            assert ended in shown.plain
            assert "Traceback" not in shown.text
