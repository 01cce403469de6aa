"""For everybody: light and dark, wide and narrow, by keyboard, with a screen reader, without motion."""

import re

import pytest
from playwright.sync_api import expect

from tests.acceptance.serving import TIMEOUT
from tests.browser.looking import open_list, row, short, what_keeps_people_out

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def views(house):
    """Return the address of each view, and a text that it shows when it is complete."""
    failed = house.submit("break_down", "a press with a name that is as long as it is hard to break" * 3)
    house.job(failed["id"], wait=TIMEOUT)
    done = house.submit("order", "book", kwargs={"notes": ["x" * 500]}, tags={"team": "books"})
    house.job(done["id"], wait=TIMEOUT)
    running = house.submit("steps", "looks")
    house.until_running(running["id"])
    waiting = house.submit("add", 1, delay=3600, queue="a queue with a long name, " * 3)
    return {
        "overview": ("/", "Running"),
        "jobs": ("/#/jobs", short(waiting["id"])),
        "failed": (f"/#/jobs/{failed['id']}", "Traceback"),
        "done": (f"/#/jobs/{done['id']}", "Succeeded"),
        "running": (f"/#/jobs/{running['id']}", "before step 0"),
        "tasks": ("/#/tasks", "order"),
        "form": ("/#/tasks/order", "product"),
    }


VIEWS = ["overview", "jobs", "failed", "done", "running", "tasks", "form"]


def open_view(house, visit, views, name, **options):
    path, text = views[name]
    page, _ = visit(house, path, **options)
    expect(page.get_by_role("main").get_by_text(text).first).to_be_visible()
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", VIEWS)
def test_nothing_serious_keeps_anybody_out(house, visit, views, name, scheme):
    page = open_view(house, visit, views, name, color_scheme=scheme)
    assert what_keeps_people_out(page) == []


@pytest.mark.parametrize("name", ["jobs", "failed", "form"])
def test_nor_does_anything_on_a_phone(house, visit, views, name):
    page = open_view(house, visit, views, name, viewport=PHONE, has_touch=True, is_mobile=True)
    assert what_keeps_people_out(page) == []


@pytest.mark.parametrize("name", VIEWS)
def test_a_phone_scrolls_downwards_only(house, visit, views, name):
    page = open_view(house, visit, views, name, viewport=PHONE, has_touch=True, is_mobile=True)
    widths = "[document.documentElement.scrollWidth, window.innerWidth]"
    assert page.evaluate(widths) == [PHONE["width"], PHONE["width"]]


def brightness(page):
    """Return how bright the page's background is, from 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = map(float, re.findall(r"[\d.]+", colour)[:3])
    return (red + green + blue) / 3


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_is_as_dark_as_the_system_and_can_be_told_otherwise_for_good(house, visit, scheme, dark):
    page, _ = visit(house, color_scheme=scheme)
    assert (brightness(page) < 128) is dark
    page.get_by_role("button", name="Theme").click()
    assert (brightness(page) < 128) is not dark
    page.reload()
    assert (brightness(page) < 128) is not dark


def tab_to(page, target):
    """Press Tab until something has the focus."""
    for _ in range(100):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError("Tab does not lead there")


def test_a_job_is_found_opened_and_cancelled_by_the_keyboard_alone(house, visit):
    job = house.submit("add", 1, delay=3600, queue="keys")
    page, _ = visit(house)
    tab_to(page, page.get_by_role("navigation", name="Main").get_by_role("link", name="Jobs", exact=True))
    page.keyboard.press("Enter")
    tab_to(page, page.get_by_label("Queue", exact=True))
    page.keyboard.type("keys")
    page.keyboard.press("Enter")
    link = row(page, job["id"]).get_by_role("link").first
    expect(link).to_be_visible()
    expect(page.get_by_role("checkbox", name=re.compile("^Select [0-9a-f]{8}-"))).to_have_count(1)
    tab_to(page, link)
    page.keyboard.press("Enter")
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    expect(cancel).to_be_visible()
    tab_to(page, cancel)
    page.keyboard.press("Enter")
    expect(page.get_by_role("main").get_by_text("Cancelled", exact=True).first).to_be_visible()
    assert house.job(job["id"])["state"] == "cancelled"


def test_the_first_tab_leads_past_the_navigation(house, visit):
    page, _ = visit(house)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name=re.compile("^Skip"))
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_what_has_the_focus_can_be_seen(house, visit):
    page, _ = visit(house)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    style = page.evaluate(
        "(element => [element.outlineStyle, element.boxShadow])(getComputedStyle(document.activeElement))"
    )
    assert style != ["none", "none"]


def test_nothing_moves_for_those_who_asked_for_that(house, visit, views):
    page = open_view(house, visit, views, "running", reduced_motion="reduce")
    moving = "document.getAnimations().filter(one => one.playState === 'running').length"
    assert page.evaluate(moving) == 0


def test_each_view_has_a_title_a_main_heading_and_marks_itself_in_the_navigation(house, visit, views):
    titles = set()
    for name in ("overview", "jobs", "tasks"):
        page = open_view(house, visit, views, name)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        current = page.get_by_role("navigation", name="Main").locator("[aria-current]")
        expect(current).to_have_text(name.capitalize())
        titles.add(page.title())
    assert len(titles) == 3


def test_what_happens_is_said_but_not_every_change_of_it(house, visit):
    page, _ = visit(house)
    open_list(page)
    expect(page.locator("[aria-live=polite], [role=status]").first).to_be_attached()
    assert page.locator("[aria-live=assertive]").count() == 0
