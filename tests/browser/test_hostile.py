"""What a job contains is anybody's text: no script of it runs, and all of it is shown as text."""

import pytest
from playwright.sync_api import expect

from tests.acceptance.serving import TIMEOUT
from tests.browser.chores import ADDRESS, BROKEN_OUT, SCRIPT
from tests.browser.looking import go, open_list, row

HITS = "window.hits = 0; window.hit = () => { window.hits += 1; }"
"""What the scripts would call."""

MADE_OF_TEXT = """() => [...document.querySelectorAll("*")]
  .filter(element => element.matches("img[src=x], main script, b, [onerror]")
    || /^\\s*javascript:/i.test(element.getAttribute("href") ?? element.getAttribute("src") ?? ""))
  .map(element => element.outerHTML)"""
"""Finds the elements that a text has been made into."""


@pytest.fixture
def look(house, visit):
    """Return a function that opens a view, and at the end see that nothing of it has run."""
    pages = []

    def look(path):
        page, watch = visit(house)
        watch.expect(f"404 (Not Found) ({house.url}/jobs/%3C")
        page.add_init_script(HITS)
        page.goto(path)
        page.reload()  # a change of what is behind the # alone loads nothing anew
        pages.append(page)
        return page

    yield look
    for page in pages:
        assert page.evaluate(MADE_OF_TEXT) == []
        assert page.evaluate("window.hits") == 0


@pytest.fixture(scope="module")
def job(house):
    """A job that is hostile in every field that a submission has, and has run."""
    submitted = house.submit(
        SCRIPT,
        SCRIPT,
        kwargs={"link": ADDRESS},
        queue=BROKEN_OUT,
        key=SCRIPT,
        tags={SCRIPT[:50]: BROKEN_OUT, "link": ADDRESS},
    )
    done = house.job(submitted["id"], wait=TIMEOUT)
    assert done["outcome"] == "succeeded", done["exception"]
    return done


@pytest.fixture(scope="module")
def failed(house):
    submitted = house.submit("hostile_failure", tags={"a": ADDRESS})
    return house.job(submitted["id"], wait=TIMEOUT)


def test_a_job_shows_its_fields_as_text(look, job):
    page = look(f"/#/jobs/{job['id']}")
    main = page.get_by_role("main")
    expect(page.get_by_role("log")).to_contain_text(SCRIPT)
    expect(page.get_by_role("log")).to_contain_text(BROKEN_OUT)
    for text in (SCRIPT, BROKEN_OUT, ADDRESS):
        expect(main).to_contain_text(text)


def test_a_failure_shows_its_exception_as_text(look, failed):
    page = look(f"/#/jobs/{failed['id']}")
    main = page.get_by_role("main")
    expect(main).to_contain_text(BROKEN_OUT)
    expect(main).to_contain_text(failed["exception"]["type"])
    expect(page.get_by_role("log")).to_contain_text(SCRIPT)


def test_the_list_shows_names_queues_and_tags_as_text(look, job, failed):
    page = look("/#/jobs")
    expect(row(page, job["id"])).to_contain_text(SCRIPT)
    expect(row(page, failed["id"])).to_be_visible()


def test_filters_from_an_address_are_text(look, job):
    page = look("/#/jobs")
    open_list(page, task=SCRIPT, queue=BROKEN_OUT)
    expect(row(page, job["id"])).to_be_visible()
    page.reload()
    expect(row(page, job["id"])).to_be_visible()
    expect(page.get_by_label("Queue", exact=True)).to_have_value(BROKEN_OUT)


@pytest.mark.parametrize(
    "address", [f"/#/{SCRIPT}", "/#javascript:hit()", "/#/jobs/%3Cimg src=x onerror=hit()%3E"]
)
def test_an_address_is_text(look, address):
    page = look(address)
    expect(page.get_by_role("main")).not_to_be_empty()


def test_the_overview_shows_queues_workers_and_failures_as_text(house, look, failed):
    waiting = house.submit("add", 1, queue=BROKEN_OUT, delay=3600)
    page = look("/")
    expect(page.get_by_role("region", name="Queues")).to_contain_text(BROKEN_OUT)
    failures = page.get_by_role("region", name="Failures")
    expect(failures).to_contain_text(failed["exception"]["type"])
    expect(failures).to_contain_text(BROKEN_OUT)
    house.client.delete(f"/jobs/{waiting['id']}")


def test_tasks_and_their_forms_show_names_docs_and_defaults_as_text(look):
    page = look("/")
    go(page, "Tasks")
    page.get_by_role("link", name=SCRIPT, exact=True).first.click()
    doc = page.get_by_role("paragraph").filter(has_text="in every way that there is: <script>hit()</script>")
    expect(doc).to_be_visible()
    expect(page.get_by_label("text", exact=True)).to_be_visible()


def test_submit_again_fills_the_form_with_text(look, job):
    page = look(f"/#/jobs/{job['id']}")
    page.get_by_role("button", name="Submit again").click()
    expect(page.get_by_label("text", exact=True)).to_have_value(SCRIPT)
    expect(page.get_by_label("link", exact=True)).to_have_value(ADDRESS)


@pytest.mark.parametrize("name", ["__proto__", "constructor", "hasOwnProperty"])
def test_an_address_of_a_name_that_every_object_has_leads_nowhere(look, name):
    page = look(f"/#/{name}")
    expect(page.get_by_role("heading", name="There is nothing at this address")).to_be_visible()
