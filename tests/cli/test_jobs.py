"""errand list, show, cancel, retry: jobs are found by id, its beginning, or a filter."""

import json
import os
import subprocess
import sys

import pytest

from tests.acceptance.serving import TIMEOUT, environment
from tests.cli.cli_tasks import HOSTILE

LATER = {"delay": 3600}
NO_ID = "0198c0de-0000-7000-8000-000000000000"


def listed(done):
    assert (done.code, done.err) == (0, "")
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture
def later(client):
    """Submit jobs that wait."""

    def submit(count=1, **options):
        made = client.options(**{**LATER, **options})
        return [made.submit("add", number).id for number in range(count)]

    return submit


# -- list


def test_jobs_are_listed_newest_first_a_line_of_json_each(errand, later):
    ids = later(3, queue="listed")
    jobs = listed(errand("list", "--queue", "listed"))
    assert [job["id"] for job in jobs] == ids[::-1]
    assert "args" not in jobs[0]


def test_every_filter_of_the_api_is_an_option(errand, later, client):
    (own,) = later(queue="filtered", tags={"team": "books"})
    later(2, queue="filtered")
    client.cancel(later(queue="filtered")[0])
    where = ["--queue", "filtered"]
    assert len(listed(errand("list", *where, "--state", "pending"))) == 3
    assert len(listed(errand("list", *where, "--outcome", "cancelled"))) == 1
    assert [job["id"] for job in listed(errand("list", "--tag", "team=books"))] == [own]
    assert len(listed(errand("list", *where, "--task", "add"))) == 4
    assert len(listed(errand("list", *where, "--created-after", "2020-01-01"))) == 4
    assert listed(errand("list", *where, "--created-before", "2020-01-01T00:00:00Z")) == []
    assert [job["id"] for job in listed(errand("list", "-q", own))] == [own]


def test_a_list_has_a_limit_that_can_be_lifted(errand, later):
    later(30, queue="long")
    assert len(listed(errand("list", "--queue", "long"))) == 25
    assert len(listed(errand("list", "--queue", "long", "-n", 3))) == 3
    assert len(listed(errand("list", "--queue", "long", "--all"))) == 30


@pytest.mark.parametrize("width", [80, 140])
def test_at_a_terminal_a_list_is_a_table_that_fits_and_shows_whole_ids(terminal, later, width):
    ids = later(3, queue="table", tags={"a": "b" * 200})
    shown = terminal("list", "--queue", "table", "-n", 2, width=width, NO_COLOR="1")
    assert shown.end() == 0
    text = shown.plain
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert [line[:36] for line in lines[2:4]] == [ids[2], ids[1]]
    assert ("TAGS" in lines[0]) == (width == 140)
    assert lines[-1] == "there are more: --limit 8, or --all"


def test_a_reader_who_has_gone_ends_it_without_a_word(service, clean, later):
    later(30, queue="piped")
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "app", "list", "--queue", "piped", "--all"],
            # With its output gathered, as it usually is: then some is left to be written at its end.
            env=environment(ERRAND_URL=service.url, PYTHONUNBUFFERED=""),
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
    finally:
        os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


# -- show


def test_show_prints_the_whole_job(errand, client):
    job = client.submit("add", 1, b=2)
    client.result(job.id)
    (shown,) = listed(errand("show", job.id))
    assert (shown["args"], shown["kwargs"], shown["result"], shown["outcome"]) == (
        [1],
        {"b": 2},
        3,
        "succeeded",
    )


def test_a_unique_beginning_of_an_id_will_do(errand, later):
    first, second = later(2)
    whole = next(n for n in range(8, 37) if first[:n] != second[:n])
    assert listed(errand("show", first[: max(whole, 24)]))[0]["id"] == first
    assert listed(errand("show", second.upper()))[0]["id"] == second
    assert listed(errand("show", second.replace("-", "")))[0]["id"] == second
    assert listed(errand("show", first[-8:]))[0]["id"] == first


def test_a_job_that_waits_because_its_queue_is_paused_says_so(terminal, client):
    client.pause("halted")
    job = client.options(queue="halted").submit("add", 1)
    shown = terminal("show", job.id, NO_COLOR="1")
    assert shown.end() == 0
    assert "the queue is paused; `errand resume` has its jobs run" in shown.plain


def test_how_a_job_ended_is_no_state(errand):
    done = errand("list", "--state", "failed")
    assert done.code == 2
    assert "how it ended is its --outcome" in done.err
    assert "Value error" not in done.err


def test_a_beginning_that_fits_several_jobs_names_them(errand, later):
    first, second = later(2)
    shared = next(n for n in range(36) if first[: n + 1] != second[: n + 1])
    done = errand("show", first[: max(shared, 8)])
    assert done.code == 2
    assert f"several jobs' ids begin or end with {first[:8]}" in done.err
    assert second in done.err


@pytest.mark.parametrize(
    ("written", "code", "message"),
    [
        (NO_ID, 1, "there is no job of this id; `errand list` shows those there are"),
        (NO_ID[:12], 1, f"no job's id begins or ends with {NO_ID[:12]}"),
        (NO_ID[:7], 2, "is no id: take one from `errand list`, or its last 8 characters"),
        ("count_words", 2, "'count_words' is no id"),
        ("../../tasks", 2, "is no id"),
    ],
)
def test_what_is_no_jobs_id_is_said_so(errand, written, code, message):
    done = errand("show", written)
    assert (done.code, done.out) == (code, "")
    assert message in done.err


def test_at_a_terminal_show_tells_all_in_words(terminal, client):
    job = client.options(retry={"max_attempts": 2, "backoff": 0}, tags={"t": "u"}).submit(
        "break_down", "no ink"
    )
    client.until_done(job.id, 30)
    shown = terminal("show", job.id, width=120, NO_COLOR="1")
    assert shown.end() == 0
    text = shown.plain
    for words in (
        'break_down("no ink")',
        "failed",
        "2 of 2, run 1",
        "t=u",
        "run 1, attempt 1: ValueError: no ink",
    ):
        assert words in text
    assert "Traceback (most recent call last):" in text
    assert "raise ValueError(message)\r\nValueError: no ink" in text


def test_at_a_terminal_show_tells_the_truth_about_a_cancellation(terminal, client, gate):
    waiting = client.options(**LATER).submit("add", 1)
    client.cancel(waiting.id)
    first = terminal("show", waiting.id, width=160)
    assert "cancelled before it began; requested" in first.read()
    running = client.submit("stop_when_asked")
    assert gate.BEGUN.acquire(timeout=30)
    client.cancel(running.id)
    client.until_done(running.id, 30)
    second = terminal("show", running.id, width=160)
    assert "cancelled: it was asked to stop, noticed, and ended; requested" in second.read()


def test_what_a_job_holds_is_not_obeyed_by_the_terminal(terminal, client):
    made = client.options(tags={HOSTILE: HOSTILE}, key=HOSTILE, queue=HOSTILE)
    job = made.submit("[red]hostile", fails=True)
    client.until_done(job.id, 30)
    for arguments in (
        ["show", job.id],
        ["list", "-q", job.id],
        ["queues"],
        ["tasks"],
        ["tasks", "[red]hostile"],
    ):
        shown = terminal(*arguments, width=200)
        assert shown.end() == 0
        assert "\x1b[2J" not in shown.text
        assert not {"\x07", "\x9b", "\u202e"} & set(shown.text)
        assert "[red]" in shown.text or arguments == ["queues"]


# -- cancel and retry


def test_jobs_are_cancelled_by_their_ids(errand, later, client):
    ids = later(2)
    jobs = listed(errand("cancel", *ids))
    assert [(job["id"], job["state"]) for job in jobs] == [(job_id, "cancelled") for job_id in ids]
    assert client.get(ids[0]).cancellation.outcome == "not_started"


def test_one_that_cannot_be_cancelled_keeps_no_other_from_it(errand, later, client):
    done_job = client.submit("add", 1)
    client.result(done_job.id)
    (waiting,) = later()
    done = errand("cancel", done_job.id, waiting)
    assert done.code == 1
    assert done.err == f"errand: {done_job.id}: the job has finished: its outcome stands\n"
    assert json.loads(done.out)["id"] == waiting


def test_a_running_job_is_asked_to_stop_and_that_is_said(terminal, client, gate):
    job = client.submit("stop_when_asked")
    assert gate.BEGUN.acquire(timeout=30)
    shown = terminal("cancel", job.id)
    assert shown.end() == 0
    assert f"{job.id} asked to stop, and still running" in shown.text
    gate.GO_ON.set()
    assert client.until_done(job.id, 30).outcome == "cancelled"


def test_all_that_a_filter_fits_are_cancelled_and_retried_with_yes(errand, later, client):
    later(3, queue="swept")
    refused = errand("cancel", "--queue", "swept", "--state", "pending")
    assert refused.code == 2
    assert "to cancel all jobs with state pending, queue swept without being asked, give --yes" in refused.err
    assert json.loads(errand("cancel", "--queue", "swept", "--yes").out) == {"matched": 3, "changed": 3}
    assert json.loads(errand("retry", "--queue", "swept", "-y").out) == {"matched": 3, "changed": 3}
    assert all(job.run == 2 for job in client.jobs(queue="swept"))


def test_at_a_terminal_somebody_is_asked_first(terminal, later, client):
    later(2, queue="asked")
    no = terminal("cancel", "--queue", "asked")
    no.read(until="Cancel all jobs with queue asked? [y/N] ")
    no.type("\n")
    assert no.end() == 1
    assert "nothing was changed" in no.text
    yes = terminal("cancel", "--queue", "asked")
    yes.read(until="[y/N] ")
    yes.type("y\n")
    assert yes.end() == 0
    assert "2 of 2 jobs cancelled or asked to stop" in yes.text
    assert {job.outcome for job in client.jobs(queue="asked")} == {"cancelled"}


def test_the_end_of_input_at_the_question_changes_nothing(terminal, later, client):
    later(1, queue="kept")
    asked = terminal("cancel", "--queue", "kept")
    asked.read(until="[y/N] ")
    asked.type("\x04")
    assert asked.end() == 130
    assert "Traceback" not in asked.text
    assert {job.state for job in client.jobs(queue="kept")} == {"pending"}


@pytest.mark.parametrize("command", ["cancel", "retry"])
def test_neither_ids_nor_a_filter_or_both_is_refused(errand, command):
    assert errand(command).code == 2
    both = errand(command, NO_ID, "--state", "pending", "--yes")
    assert (both.code, "say which jobs, by their ids or by options" in both.err) == (2, True)


def test_a_failed_job_gets_its_next_run(errand, client):
    job = client.submit("break_down")
    client.until_done(job.id, 30)
    assert listed(errand("retry", job.id))[0]["run"] == 2
    succeeded = client.submit("add", 1)
    client.result(succeeded.id)
    refused = errand("retry", succeeded.id)
    assert refused.code == 1
    assert "neither failed nor been cancelled" in refused.err
