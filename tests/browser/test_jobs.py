"""The list of jobs: filters and pages in the address, many changed at once, and news that do not jump."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Route, expect

from tests.acceptance.serving import TIMEOUT
from tests.browser.looking import narrow, open_list, row, rows, shown


def asked(page):
    """Return the filters in the address."""
    fragment = urlsplit(page.url).fragment
    return {name: values[-1] for name, values in parse_qs(urlsplit(fragment).query).items()}


@pytest.fixture(scope="module")
def some(house):
    """Jobs of which each filter finds one, in a queue of their own."""
    done = house.submit("add", 1, queue="filters", tags={"team": "books"})
    house.job(done["id"], wait=TIMEOUT)
    failed = house.submit("break_down", queue="filters")
    house.job(failed["id"], wait=TIMEOUT)
    waiting = house.submit("order", "book", queue="filters", delay=3600)
    elsewhere = house.submit("later", queue="elsewhere", delay=3600)
    return {"done": done, "failed": failed, "waiting": waiting, "elsewhere": elsewhere}


@pytest.mark.parametrize(
    ("filtered", "found"),
    [
        (("State", "pending"), ["waiting"]),
        (("State", "finished"), ["failed", "done"]),
        (("Outcome", "failed"), ["failed"]),
        (("Outcome", "succeeded"), ["done"]),
        (("Task", "order"), ["waiting"]),
        (("Tag", "team:books"), ["done"]),
        (("Search", "break"), ["failed"]),
    ],
)
def test_a_filter_finds_what_fits_and_is_kept_in_the_address(house, visit, some, filtered, found):
    label, value = filtered
    page, _ = visit(house)
    open_list(page, queue="filters")
    expect(rows(page)).to_have_count(3)
    narrow(page, label, value)
    expect(rows(page)).to_have_count(len(found))
    assert shown(page) == [some[name]["id"] for name in found]
    assert asked(page).keys() == {"queue", "q" if label == "Search" else label.lower()}
    page.reload()
    expect(rows(page)).to_have_count(len(found))
    expect(page.get_by_label(label, exact=True)).to_have_value(value)
    expect(page.get_by_label("Queue", exact=True)).to_have_value("filters")


def test_jobs_are_found_by_when_they_were_created(house, visit, some):
    page, _ = visit(house)
    open_list(page, queue="filters")
    expect(rows(page)).to_have_count(3)
    narrow(page, "Created after", "2200-01-01T00:00")
    expect(rows(page)).to_have_count(0)
    narrow(page, "Created after", "2020-01-01T00:00")
    expect(rows(page)).to_have_count(3)
    narrow(page, "Created before", "2020-01-02T00:00")
    expect(rows(page)).to_have_count(0)
    page.reload()
    expect(page.get_by_label("Created before", exact=True)).to_have_value(re.compile("^2020-01-02T00:00"))


def test_going_back_undoes_a_filter(house, visit, some):
    page, _ = visit(house)
    open_list(page, queue="filters")
    expect(rows(page)).to_have_count(3)
    narrow(page, "Outcome", "failed")
    expect(rows(page)).to_have_count(1)
    row(page, some["failed"]["id"]).get_by_role("link").first.click()
    expect(page).to_have_url(re.compile(some["failed"]["id"]))
    page.go_back()
    expect(rows(page)).to_have_count(1)
    assert asked(page) == {"queue": "filters", "outcome": "failed"}


def test_a_list_without_jobs_says_so(house, visit, some):
    page, _ = visit(house)
    open_list(page, queue="no such queue")
    expect(page.get_by_text("No job fits these filters.")).to_be_visible()


@pytest.fixture(scope="module")
def many(house):
    """More jobs than a page has, none of which begins; newest first."""
    body = {"jobs": [{"task": "add", "args": [n], "queue": "pages", "delay": 3600} for n in range(120)]}
    answer = house.client.post("/jobs/batch", json=body)
    return [job["id"] for job in reversed(answer.json()["jobs"])]


def test_pages_follow_one_another_and_lead_back(house, visit, many):
    page, _ = visit(house)
    open_list(page, queue="pages")
    expect(row(page, many[0])).to_be_visible()
    first = shown(page)
    assert first == many[: len(first)]
    page.get_by_role("button", name="Older").click()
    expect(row(page, many[len(first)])).to_be_visible()
    expect(row(page, many[0])).to_have_count(0)
    assert shown(page) == many[len(first) : 2 * len(first)]
    page.reload()
    expect(row(page, many[len(first)])).to_be_visible()
    page.get_by_role("link", name="Newest").click()
    expect(row(page, many[0])).to_be_visible()


def test_many_are_cancelled_at_once_and_retried_at_once(house, visit):
    jobs = [house.submit("add", n, queue="crowd", delay=3600)["id"] for n in range(4)]
    page, _ = visit(house)
    open_list(page, queue="crowd")
    expect(rows(page)).to_have_count(4)
    for job in jobs[:3]:
        row(page, job).get_by_role("checkbox").check()
    page.get_by_role("button", name=re.compile("^Cancel")).first.click()
    for job in jobs[:3]:
        expect(row(page, job)).to_contain_text("Cancelled")
    expect(row(page, jobs[3])).to_contain_text("Pending")
    for job in jobs[:2]:
        row(page, job).get_by_role("checkbox").check()
    row(page, jobs[2]).get_by_role("checkbox").uncheck()
    page.get_by_role("button", name=re.compile("^Retry")).first.click()
    for job in jobs[:2]:
        expect(row(page, job)).to_contain_text("Succeeded")
    assert [house.job(job)["run"] for job in jobs] == [2, 2, 1, 1]


def test_all_that_fit_the_filters_are_cancelled_on_every_page_once_that_is_confirmed(house, visit):
    body = {"jobs": [{"task": "add", "args": [n], "queue": "legion", "delay": 3600} for n in range(70)]}
    house.client.post("/jobs/batch", json=body)
    page, _ = visit(house)
    open_list(page, queue="legion")
    expect(rows(page)).to_have_count(50)
    page.get_by_role("checkbox", name="Select all on this page").check()
    page.get_by_role("button", name="Select all that fit the filters, on every page").click()
    page.get_by_role("group", name="Selected jobs").get_by_role("button", name="Cancel").click()
    question = page.get_by_role("dialog", name="Cancel all jobs that fit?")
    expect(question).to_contain_text(re.compile("queue *= *legion"))
    question.get_by_role("button", name="Cancel all").click()
    expect(page.get_by_text("70 jobs asked to cancel")).to_be_visible()
    left = house.client.get("/jobs", params={"queue": "legion", "state": "pending"}).json()["jobs"]
    assert left == []


def test_a_job_changes_where_it_stands(house, visit):
    job = house.submit("stubborn", "still", queue="live")
    house.until_running(job["id"])
    page, _ = visit(house)
    open_list(page, queue="live")
    expect(row(page, job["id"])).to_contain_text("Running")
    house.allow("still")
    expect(row(page, job["id"])).to_contain_text("Succeeded")


def test_an_event_is_not_undone_by_an_older_answer(house, visit):
    job = house.submit("stubborn", "late", queue="late")
    house.until_running(job["id"])
    page, _ = visit(house)
    open_list(page, queue="late")
    expect(row(page, job["id"])).to_contain_text("Running")

    def overtake(route: Route) -> None:
        answer = route.fetch()
        house.allow("late")
        expect(row(page, job["id"])).to_contain_text("Succeeded")
        route.fulfill(response=answer)

    other = house.submit("add", 1, queue="late")
    fresh = page.get_by_role("button", name="1 new job")
    fresh.wait_for()
    page.route(re.compile(r"/jobs\?"), overtake, times=1)
    fresh.click()
    expect(row(page, other["id"])).to_be_visible()
    expect(row(page, job["id"])).to_contain_text("Succeeded")


def test_a_job_that_waits_says_for_what(house, visit):
    house.client.post("/queues/stopped/pause")
    held = house.submit("add", 1, queue="stopped", tags={"waits": "yes"})
    due = house.submit("add", 1, delay=7260, tags={"waits": "yes"})
    page, _ = visit(house)
    open_list(page, tag="waits:yes")
    expect(row(page, held["id"])).to_contain_text("queue stopped is paused")
    expect(row(page, due["id"])).to_contain_text("due in 2 h")


def test_what_there_is_no_room_for_of_an_exception_is_its_title(house, visit):
    job = house.submit("break_down", "a press " * 50 + "of 1851", tags={"long": "yes"})
    house.job(job["id"], wait=TIMEOUT)
    page, _ = visit(house)
    open_list(page, tag="long:yes")
    expect(row(page, job["id"]).get_by_title(re.compile("of 1851 is out of order$"))).to_be_visible()


def test_news_do_not_move_what_is_looked_at_until_they_are_asked_for(house, visit):
    old = [house.submit("add", n, queue="calm", delay=3600)["id"] for n in range(3)]
    page, _ = visit(house)
    open_list(page, queue="calm")
    expect(rows(page)).to_have_count(3)
    row(page, old[1]).get_by_role("checkbox").check()
    new = [house.submit("add", n, queue="calm", delay=3600)["id"] for n in range(2)]
    news = page.get_by_role("button", name=re.compile("2 new jobs"))
    expect(news).to_be_visible()
    assert shown(page) == old[::-1]
    news.click()
    expect(row(page, new[1])).to_be_visible()
    assert shown(page) == (old + new)[::-1]
    expect(row(page, old[1]).get_by_role("checkbox")).to_be_checked()
