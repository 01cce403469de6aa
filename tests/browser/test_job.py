"""A job in the browser: its progress and log as they happen, its end, and what can be done with it."""

import re
import shlex
import subprocess

import pytest
from playwright.sync_api import Route, expect

from tests.acceptance.serving import TIMEOUT
from tests.browser.looking import open_job


def state(page, word):
    expect(page.get_by_role("main").get_by_text(word.capitalize(), exact=True).first).to_be_visible()


def truth(page, words):
    """What became of a cancellation is said in these words."""
    expect(page.get_by_role("status").filter(has_text="Cancellation.")).to_contain_text(words)


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def test_progress_is_shown_as_it_is_reported(house, visit):
    job = house.submit("steps", "progress")
    page, _ = visit(house)
    open_job(page, job["id"])
    bar = page.get_by_role("progressbar")
    for number in range(3):
        expect(bar).to_have_attribute("aria-valuenow", re.compile(rf"^({number}|{100 * number // 3}.*)$"))
        expect(page.get_by_text(f"before step {number}")).to_be_visible()
        house.allow(f"progress.{number}")
    state(page, "succeeded")


def test_progress_is_not_undone_by_an_older_answer(house, visit):
    house.client.post("/queues/early/pause")
    job = house.submit("steps", "early", queue="early")
    page, _ = visit(house)
    open_job(page, job["id"])
    bar = page.get_by_role("progressbar")
    one_of_three = "1"

    def overtake(route: Route) -> None:
        answer = route.fetch()
        house.allow("early.0")
        expect(bar).to_have_attribute("aria-valuenow", one_of_three)
        route.fulfill(response=answer)

    page.route(f"**/jobs/{job['id']}", overtake, times=1)
    house.client.post("/queues/early/resume")
    state(page, "running")
    expect(bar).to_have_attribute("aria-valuenow", one_of_three)
    house.allow("early.1")
    house.allow("early.2")
    state(page, "succeeded")


def test_progress_of_an_earlier_attempt_is_not_shown(house, visit):
    job = house.submit("relapse", "again")
    page, _ = visit(house)
    open_job(page, job["id"])
    # By then all that came before has been told.
    expect(page.get_by_role("log")).to_contain_text("once more")
    expect(page.get_by_role("progressbar")).to_be_hidden()
    page.reload()
    expect(page.get_by_role("log")).to_contain_text("once more")
    expect(page.get_by_role("progressbar")).to_be_hidden()
    house.allow("again")
    state(page, "succeeded")


def test_the_log_follows(house, visit):
    job = house.submit("steps", "log")
    page, _ = visit(house)
    open_job(page, job["id"])
    log = page.get_by_role("log")
    for number in range(3):
        expect(page.get_by_text(f"step {number} is taken")).to_have_count(0)
        house.allow(f"log.{number}")
        expect(log).to_contain_text(f"step {number} is taken")
        expect(log).to_contain_text(f"after step {number}")
    expect(log).to_contain_text("WARNING")
    state(page, "succeeded")
    assert log.inner_text().count("step 1 is taken") == 1


def test_the_log_of_a_job_that_is_done_is_there_after_a_reload(house, visit):
    job = house.submit("steps", "again")
    for number in range(3):
        house.allow(f"again.{number}")
    house.job(job["id"], wait=TIMEOUT)
    page, _ = visit(house)
    open_job(page, job["id"])
    page.reload()
    expect(page.get_by_role("log")).to_contain_text("step 2 is taken")
    assert page.get_by_role("log").inner_text().count("step 2 is taken") == 1


def test_a_job_that_waits_is_cancelled_before_it_begins(house, visit):
    job = house.submit("add", 1, delay=3600)
    page, _ = visit(house)
    open_job(page, job["id"])
    button(page, "Cancel").click()
    truth(page, "before it began")
    state(page, "cancelled")
    assert house.job(job["id"])["cancellation"]["outcome"] == "not_started"
    expect(button(page, "Cancel")).to_be_hidden()


def test_a_job_that_waits_says_when_it_is_due(house, visit):
    job = house.submit("add", 1, delay=7260)
    page, _ = visit(house)
    open_job(page, job["id"])
    expect(page.get_by_role("status").filter(has_text="It is due")).to_contain_text("in 2 h")


def test_a_job_in_a_paused_queue_says_so_and_the_queue_is_resumed_from_there(house, visit):
    house.client.post("/queues/held/pause")
    job = house.submit("add", 1, queue="held")
    page, _ = visit(house)
    open_job(page, job["id"])
    waits = page.get_by_role("status").filter(has_text="Queue held is paused.")
    expect(waits).to_be_visible()
    button(page, "Resume held").click()
    state(page, "succeeded")
    expect(waits).to_be_hidden()


def test_an_attempt_that_asked_to_be_run_again_has_not_failed(house, visit):
    job = house.submit("later", retry={"max_attempts": 2})
    page, _ = visit(house)
    open_job(page, job["id"])
    expect(page.get_by_role("row").filter(has_text="Asked to run again later")).to_be_visible()
    expect(page.get_by_role("img", name="attempt 1 asked to run again later")).to_be_visible()
    expect(page.get_by_role("region", name="Exception")).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text="Its next attempt is due")).to_be_visible()


def test_a_running_job_that_looks_stops(house, visit):
    job = house.submit("steps", "never")
    page, _ = visit(house)
    open_job(page, job["id"])
    state(page, "running")
    button(page, "Cancel").click()
    state(page, "cancelled")
    assert house.job(job["id"])["cancellation"]["outcome"] == "cooperative"
    truth(page, "noticed and stopped")


def test_a_job_that_does_not_look_is_said_to_run_still_until_it_ends(house, visit):
    job = house.submit("stubborn", "enough")
    page, _ = visit(house)
    open_job(page, job["id"])
    state(page, "running")
    button(page, "Cancel").click()
    truth(page, "has not noticed yet")
    state(page, "stopping")
    house.allow("enough")
    state(page, "succeeded")
    truth(page, "had finished before it noticed")


def test_a_failure_is_shown_with_its_traceback_and_its_cause(house, visit):
    job = house.submit("break_down", "the lathe")
    house.job(job["id"], wait=TIMEOUT)
    page, _ = visit(house)
    open_job(page, job["id"])
    state(page, "failed")
    expect(page.get_by_text("ValueError").first).to_be_visible()
    trace = page.get_by_text("Traceback (most recent call last)").first
    expect(trace).to_be_visible()
    expect(trace).to_contain_text("KeyError")
    expect(trace).to_contain_text("the lathe is out of order")


def test_a_failed_job_is_retried(house, visit):
    job = house.submit("break_down")
    house.job(job["id"], wait=TIMEOUT)
    page, _ = visit(house)
    open_job(page, job["id"])
    button(page, "Retry").click()
    expect(page.get_by_role("row").filter(has_text="1 of run 2")).to_contain_text("ValueError")
    state(page, "failed")
    assert house.job(job["id"], wait=TIMEOUT)["run"] == 2


def test_each_attempt_is_in_the_picture(house, visit):
    job = house.submit("third_time", "patience")
    page, _ = visit(house)
    open_job(page, job["id"])
    for number in (1, 2):
        house.allow(f"patience.{number}")
        expect(page.get_by_text(f"attempt {number} was not answered").first).to_be_visible()
    house.allow("patience.3")
    state(page, "succeeded")
    expect(page.get_by_role("img", name=re.compile("attempt", re.IGNORECASE))).to_be_visible()
    attempts = house.job(job["id"])["attempts"]
    assert [attempt["number"] for attempt in attempts] == [1, 2, 3]


@pytest.mark.parametrize("word", ["plain", 'it\'s "quoted" $HOME `id` \\ back\nand a new line', "ünïcode ☃"])
def test_copy_as_curl_gives_a_line_that_submits_the_same_again(house, visit, word):
    job = house.submit("order", "book", kwargs={"notes": [word]}, tags={"word": "it's"})
    house.job(job["id"], wait=TIMEOUT)
    page, _ = visit(house, permissions=["clipboard-read", "clipboard-write"])
    open_job(page, job["id"])
    button(page, "Copy as curl").click()
    expect(page.get_by_text(re.compile("[Cc]opied")).first).to_be_visible()
    line = page.evaluate("navigator.clipboard.readText()")
    assert shlex.split(line)[0] == "curl"
    done = subprocess.run(["sh", "-c", f"{line} -s"], capture_output=True, text=True, timeout=30, check=True)
    again = house.client.get("/jobs", params={"task": "order", "limit": 1}).json()["jobs"][0]
    assert again["id"] in done.stdout
    again = house.job(again["id"], wait=TIMEOUT)
    assert again["id"] != job["id"]
    assert again["result"]["notes"] == [word]
    assert again["tags"] == {"word": "it's"}


def test_a_job_that_does_not_exist_is_said_not_to(house, visit):
    page, watch = visit(house, "/#/jobs/00000000-0000-7000-8000-000000000000")
    watch.expect(f"404 (Not Found) ({house.url}/jobs/0000")
    expect(page.get_by_text(re.compile("no (such )?job|not found", re.IGNORECASE))).to_have_count(1)
    expect(button(page, "Try again")).to_have_count(0)
