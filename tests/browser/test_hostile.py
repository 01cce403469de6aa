"""What a job contains is anybody's text: no script of it runs, and all of it is shown as text."""

import pytest
from playwright.sync_api import expect

from tests.acceptance.serving import TIMEOUT
from tests.browser.chores import ADDRESS, BROKEN_OUT, SCRIPT
from tests.browser.looking import PANELS_TOO_SMALL, go, open_list, row

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


ENDLESS = "W" * 100
"""A name that nothing breaks, as long as a queue's may be."""

BACKWARDS = "\N{RIGHT-TO-LEFT OVERRIDE}spam"
"""What turns the direction of all that follows it in its line."""


@pytest.fixture(scope="module")
def names(house):
    """Jobs with such names: one that has failed, one that runs, and some that wait."""
    failed = house.submit("fail_as", ENDLESS)
    house.job(failed["id"], wait=TIMEOUT)
    running = house.submit("stubborn", "names", queue=BACKWARDS + ENDLESS[:80])
    house.until_running(running["id"])
    waiting = [house.submit("add", 1, queue=queue, delay=3600) for queue in (ENDLESS, BACKWARDS)]
    yield failed
    house.allow("names")
    for job in waiting:
        house.client.delete(f"/jobs/{job['id']}")


@pytest.mark.parametrize("width", [1280, 800, 360])
def test_a_name_without_a_space_stays_in_its_panel(look, names, width):
    page = look("/")
    page.set_viewport_size({"width": width, "height": 800})
    queue = page.get_by_role("row").filter(has=page.get_by_role("link", name=ENDLESS, exact=True))
    expect(page.get_by_role("region", name="Failures").get_by_role("link", name=ENDLESS)).to_be_visible()
    expect(page.get_by_role("region", name="Workers")).to_contain_text(BACKWARDS)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(PANELS_TOO_SMALL) == []
    queue.get_by_role("button", name="Pause").click()
    expect(page.get_by_text(f"{ENDLESS} starts no more jobs until it is resumed")).to_be_visible()
    queue.get_by_role("button", name="Resume").click()
    expect(page.get_by_text(f"The jobs of {ENDLESS} run again")).to_be_visible()


def test_a_name_that_turns_the_direction_turns_nothing_but_itself(look, names):
    page = look("/")
    link = page.get_by_role("link", name=BACKWARDS, exact=True)
    queue = page.get_by_role("row").filter(has=link)
    queue.get_by_role("button", name="Pause").click()
    paused = queue.get_by_text("paused", exact=True)
    expect(paused).to_be_visible()
    name, tag = link.bounding_box(), paused.bounding_box()
    assert name["x"] + name["width"] <= tag["x"]
    expect(page.get_by_text("starts no more jobs").locator("bdi")).to_have_text(BACKWARDS)
    queue.get_by_role("button", name="Resume").click()
    expect(paused).to_be_hidden()


@pytest.fixture
def strange(house, look):
    """Return a function that opens the overview, with a queue of this name beside those of the service."""

    def strange(name):
        def answer(route):
            response = route.fetch()
            queue = {"name": name, "pending": 1, "running": 0, "oldest_age": 1, "paused": False}
            body = response.json()
            route.fulfill(response=response, json={**body, "queues": [*body["queues"], queue]})

        page = look("/#/tasks")
        page.route("**/queues", answer)
        go(page, "Overview")
        return page

    return strange


@pytest.mark.parametrize("name", ["..", "a/../spared", "a/./b", "./spared"])
def test_no_queue_is_paused_whose_address_would_be_another_ones(house, strange, name):
    page = strange(name)
    sent = []
    page.on("request", lambda request: request.method == "POST" and sent.append(request.url))
    page.get_by_role("button", name=f"Pause {name}", exact=True).click()
    expect(page.get_by_text("No browser can call for a queue of this name.")).to_be_visible()
    assert sent == []
    page.unroute_all(behavior="wait")


def test_a_pause_of_another_queue_than_was_meant_is_not_called_a_success(house, strange):
    page = strange("meant")
    page.route(
        "**/queues/meant/pause", lambda route: route.continue_(url=f"{house.url}/queues/another/pause")
    )
    page.get_by_role("button", name="Pause meant", exact=True).click()
    expect(page.get_by_text("The call has come to another queue: another")).to_be_visible()
    page.unroute_all(behavior="wait")
    house.client.post("/queues/another/resume").raise_for_status()


def test_an_exception_that_turns_the_direction_turns_nothing_but_its_name(house, look):
    failed = house.submit("fail_as", BACKWARDS)
    house.job(failed["id"], wait=TIMEOUT)
    page = look("/#/jobs")
    expect(row(page, failed["id"])).to_contain_text(f"{BACKWARDS}: as it was asked to")
    expect(row(page, failed["id"]).locator("bdi")).to_have_text(BACKWARDS)
    page.goto(f"/#/jobs/{failed['id']}")
    attempt = page.get_by_role("cell").filter(has_text="as it was asked to")
    expect(attempt.locator("bdi")).to_have_text(BACKWARDS)
