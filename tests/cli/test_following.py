"""errand watch, and errand logs."""

import io
import json
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from app.cli.board import drawn
from app.cli.following import Watched
from app.cli.words import Seen, Stop
from app.client import Event, Failure, Progress
from tests.cli.cli_tasks import HOSTILE

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ID = "0198c0de-0000-7000-8000-00000000000"


def event(kind="state", job=f"{ID}1", **data):
    return Event(id="1", kind=kind, job=job, task="add", queue="default", at=NOON, data=data)


def picture(jobs, width=80, height=24):
    screen = Console(file=io.StringIO(), width=width)
    screen.print(drawn(jobs, width, height))
    return screen.file.getvalue().splitlines()


# -- what is seen of a job


def test_events_tell_of_a_whole_life():
    seen = Seen(f"{ID}1", "add", "pending")
    seen = seen.after(event(state="running"))
    assert (seen.status, seen.started_at, seen.done) == ("running", NOON, False)
    seen = seen.after(event("progress", done=1, total=4, message=None))
    assert seen.progress == Progress(done=1, total=4)
    again = seen.after(event(state="pending")).after(event(state="running"))
    assert again.progress is None
    ended = seen.after(event(state="finished", outcome="succeeded"))
    assert (ended.done, ended.ending) == (True, "succeeded in 0 ms")


@pytest.mark.parametrize(
    ("data", "ending"),
    [
        (
            {"outcome": "failed", "exception": {"type": "ValueError", "message": "a\nb"}},
            "failed: ValueError: a …",
        ),
        (
            {"outcome": "cancelled", "cancellation": {"outcome": "killed", "reason": None}},
            "cancelled: the process that ran it was killed",
        ),
        (
            {"outcome": "cancelled", "cancellation": {"outcome": "not_started", "reason": "expired"}},
            "cancelled before it began (expired)",
        ),
    ],
)
def test_an_end_is_told_in_a_line(data, ending):
    assert Seen(f"{ID}1", "add", "running").after(event(state="cancelled", **data)).ending == ending


def test_what_came_of_a_request_to_cancel_is_told_whatever_it_was():
    from app.cli.words import cancelled

    told = {name: cancelled(Stop(name, None)) for name in ("pending", "cooperative", "too_late", "new\x1b")}
    assert told == {
        "pending": "asked to stop, and still running",
        "cooperative": "cancelled: it was asked to stop, noticed, and ended",
        "too_late": "asked to stop too late: it had finished first, and its outcome counts",
        "new\x1b": "new\\x1b",
    }


# -- the picture


def test_each_job_has_a_line_with_its_whole_id_a_bar_and_how_far_it_is():
    half = Progress(done=1, total=2, message="reading")
    jobs = [Seen(f"{ID}1", "t" * 100, "running", NOON, NOON, half), Seen(f"{ID}2", "add", "pending")]
    first, second = picture(jobs)
    assert len(first) <= 80
    assert first.startswith(f"{ID}1 tttt")
    assert " 50%" in first
    assert second.rstrip().endswith("waits")
    assert "reading" in picture(jobs, width=130)[0]


def test_more_jobs_than_lines_are_counted():
    lines = picture([Seen(f"{ID}{n}", "add", "running") for n in range(10)], height=6)
    assert len(lines) == 5
    assert lines[-1] == "and 6 more"


def test_the_picture_obeys_nothing_of_what_a_job_says():
    job = Seen(f"{ID}1", HOSTILE, "running", NOON, NOON, Progress(done=1, total=2, message=HOSTILE))
    (line,) = picture([job], width=200)
    assert line.isprintable()
    assert line.count("[red]x[/red]\\x1b[2J") == 2


# -- watch


def test_watch_ends_with_the_jobs_and_tells_what_became_of_each(terminal, client, gate):
    jobs = [client.submit("hold"), client.submit("break_down"), client.submit("add", 1)]
    shown = terminal("watch", *(job.id for job in jobs), NO_COLOR="1")
    shown.read(until="25%")
    gate.GO_ON.set()
    assert shown.end() == 1
    text = shown.plain
    assert re.search(rf"{jobs[0].id} hold succeeded in \d", text)
    assert f"{jobs[1].id} break_down failed: ValueError: broken" in text
    assert f"{jobs[2].id} add succeeded in" in text


def test_watch_to_a_pipe_prints_the_events_and_ends_with_the_last_job(errand_process, client, gate):
    import threading

    job = client.submit("hold")
    assert gate.BEGUN.acquire(timeout=30)
    # However late it comes: the end is either heard of or asked for.
    threading.Timer(0.5, gate.GO_ON.set).start()
    done = errand_process("watch", job.id)
    assert (done.code, done.err) == (0, "")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert all(one["job"] == job.id and one["kind"] for one in events)
    # How it was found comes first, whether it was still held then or not.
    assert events[0]["id"] is None
    assert events[0]["state"] in {"running", "finished"}
    assert events[-1]["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("tasks", "code"), [(["add"], 0), (["add", "break_down"], 1), (["late"], 3), (["break_down", "late"], 1)]
)
def test_the_exit_code_of_watch_is_that_of_the_worst_job(errand, client, tasks, code):
    ids = []
    for task in tasks:
        job = (
            client.options(delay=3600).submit("add", 1)
            if task == "late"
            else client.submit(task, *[1] * (task == "add"))
        )
        if task == "late":
            client.cancel(job.id)
        client.until_done(job.id, 30)
        ids.append(job.id)
    done = errand("watch", *ids)
    assert (done.code, done.err) == (code, "")
    # Nothing happens any more: a pipe is told how each of them was found.
    found = [json.loads(line) for line in done.out.splitlines()]
    assert {one["job"] for one in found} == set(ids)
    assert all(one["outcome"] for one in found)


def test_watch_shows_what_runs_until_ctrl_c(terminal, client, gate):
    job = client.submit("hold")
    shown = terminal("watch")
    shown.read(until="25%")
    assert job.id in shown.text
    shown.interrupt()
    assert shown.end() == 130
    assert "Traceback" not in shown.text


def test_what_has_ended_before_the_first_event_is_found_by_looking(client):
    job = client.submit("add", 1)
    client.until_done(job.id, 30)
    watched = Watched(client, [job.id])
    (seen,) = watched.look()
    assert (seen.id, seen.ending.startswith("succeeded in"), watched.over) == (job.id, True, True)


def test_jobs_that_were_not_named_are_followed_by_their_events_alone(client):
    watched = Watched(client, [])
    assert list(watched.hear(event(state="running"))) == []
    assert [seen.id for seen in watched.shown()] == [f"{ID}1"]
    assert list(watched.hear(event(state="pending"))) == []
    assert watched.shown() == []
    assert [seen.status for seen in watched.hear(event(state="finished", outcome="succeeded"))] == [
        "succeeded"
    ]
    assert not watched.over
    assert not Watched(client, [f"{ID}2"]).concerns(event())


# -- logs


def test_logs_are_text_to_a_pipe_too(errand, client):
    job = client.submit("talk")
    client.until_done(job.id, 30)
    done = errand("logs", job.id)
    assert done.code == 0
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00"
    assert re.fullmatch(rf"{stamp} INFO printed\n{stamp} WARNING logged\n    in two lines\n", done.out)


def test_logs_as_json_are_a_record_a_line(errand, client):
    job = client.submit("talk")
    client.until_done(job.id, 30)
    records = [json.loads(line) for line in errand("logs", job.id, "--json").out.splitlines()]
    assert [(one["level"], one["logger"], one["message"]) for one in records] == [
        ("INFO", "", "printed"),
        ("WARNING", "shelf", "logged\nin two lines"),
    ]


def test_logs_can_be_followed_to_the_end_of_the_job(errand, client):
    job = client.submit("talk")
    assert "printed" in errand("logs", job.id, "--follow").out
    assert errand("logs", f"{ID}9", "--follow").code == 1


def test_logs_at_a_terminal_show_the_time_of_day_and_obey_nothing(terminal, client):
    job = client.submit("[red]hostile")
    client.until_done(job.id, 30)
    shown = terminal("logs", job.id, NO_COLOR="1")
    assert shown.end() == 0
    text = shown.plain
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} INFO     \[red\]x\[/red\]\\x1b\[2J\\x9b2J\\x07\\u202e\r\n", text
    )


def test_a_failure_without_a_message_is_told_too():
    assert Seen(f"{ID}1", "add", "failed", exception=Failure(type="E", message="")).ending == "failed: E: "
