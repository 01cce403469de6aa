"""The overview: what there is, what waits, what runs where, and what fails."""

import re

import pytest
from playwright.sync_api import expect

from tests.acceptance.serving import TIMEOUT
from tests.browser.conftest import housed
from tests.browser.looking import rows, short


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """A service of which is known what it has: nobody else submits to it."""
    with housed(tmp_path_factory.mktemp("busy")) as house:
        for what in ("the press", "the lathe"):
            house.job(house.submit("break_down", what)["id"], wait=TIMEOUT)
        house.job(house.submit("add", 1)["id"], wait=TIMEOUT)
        for number in range(4):
            house.submit("add", number, queue="mails", delay=3600)
        house.client.post("/queues/mails/pause")
        house.runs = house.submit("steps", "overview")
        house.until_running(house.runs["id"])
        yield house


def count_of(page, state, count):
    name = re.compile(rf"^{state}\s*{count}\b", re.IGNORECASE)
    return page.get_by_role("main").get_by_role("link", name=name)


def test_the_counts_are_those_of_the_service(busy, visit):
    page, _ = visit(busy)
    for state, count in {"pending": 4, "running": 1, "finished": 3}.items():
        expect(count_of(page, state, count)).to_be_visible()


def test_those_that_have_failed_are_told_apart_from_those_that_have_succeeded(busy, visit):
    page, _ = visit(busy)
    expect(count_of(page, "finished", 3)).to_contain_text("1 succeeded, 2 failed this hour")


def test_a_count_leads_to_its_jobs(busy, visit):
    page, _ = visit(busy)
    count_of(page, "running", 1).click()
    expect(rows(page)).to_have_count(1)
    assert "state=running" in page.url


def test_queues_are_shown_with_what_waits_and_whether_they_are_paused(busy, visit):
    page, _ = visit(busy)
    queue = page.get_by_role("row").filter(has_text="mails")
    expect(queue).to_contain_text("4")
    expect(queue).to_contain_text(re.compile("paused", re.IGNORECASE))


def test_a_queue_is_resumed_and_paused_from_here(busy, visit):
    page, _ = visit(busy)
    queue = page.get_by_role("row").filter(has_text="mails")
    queue.get_by_role("button", name=re.compile("Resume")).click()
    expect(queue.get_by_role("button", name=re.compile("Pause"))).to_be_visible()
    queue.get_by_role("button", name=re.compile("Pause")).click()
    expect(queue.get_by_role("button", name=re.compile("Resume"))).to_be_visible()


def test_workers_are_shown_with_what_they_run(busy, visit):
    page, _ = visit(busy)
    workers = page.get_by_role("region", name="Workers")
    expect(workers).to_contain_text("steps")
    workers.get_by_role("link", name=short(busy.runs["id"])).click()
    expect(page).to_have_url(re.compile(busy.runs["id"]))


def test_failures_are_grouped_by_their_exception(busy, visit):
    page, _ = visit(busy)
    failure = (
        page.get_by_role("region", name=re.compile("Failures"))
        .get_by_role("row")
        .filter(has_text="ValueError")
    )
    expect(failure).to_contain_text("break_down")
    expect(failure).to_contain_text("2")


def test_the_overview_follows_what_happens(busy, visit):
    page, _ = visit(busy)
    queue = page.get_by_role("row").filter(has_text="overnight")
    expect(queue).to_have_count(0)
    job = busy.submit("add", 1, queue="overnight", delay=3600)
    expect(queue).to_be_visible()
    busy.client.delete(f"/jobs/{job['id']}")


def test_the_chart_is_a_picture_with_words(busy, visit):
    page, _ = visit(busy)
    expect(page.get_by_role("img", name=re.compile("hour|minute", re.IGNORECASE)).first).to_be_visible()


def test_percentiles_are_told_apart_by_their_shapes(busy, visit):
    page, _ = visit(busy)
    chart = page.get_by_role("figure").filter(has=page.get_by_role("heading", name="Run time"))
    shapes = chart.locator("figcaption path")
    expect(shapes).to_have_count(3)
    assert len({shape.get_attribute("d") for shape in shapes.all()}) == 3


def test_an_empty_service_shows_how_to_submit_a_first_job(tmp_path, visit):
    with housed(tmp_path) as house:
        page, _ = visit(house)
        expect(page.get_by_text(re.compile("curl")).first).to_be_visible()
        page.context.close()
