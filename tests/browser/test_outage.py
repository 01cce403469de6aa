"""A service that goes away and comes back: the page says so, and recovers by itself."""

import re
import signal
from urllib.parse import urlsplit

from playwright.sync_api import expect

from tests.browser.conftest import housed
from tests.browser.looking import open_list, row


def test_the_page_says_that_the_service_is_gone_and_goes_on_when_it_is_back(tmp_path, visit):
    with housed(tmp_path) as house:
        port = urlsplit(house.url).port
        job = house.submit("steps", "go on")
        house.until_running(job["id"])
        page, watch = visit(house)
        for text in ("net::ERR_", "status of 503"):
            watch.expect(text)
        open_list(page)
        expect(row(page, job["id"])).to_contain_text("Running")
        link = row(page, job["id"]).get_by_role("link").first
        link.focus()
        house.running.end(signal.SIGKILL)
        expect(page.get_by_text("The service does not answer.")).to_be_visible()
    with housed(tmp_path, port) as again:
        for number in range(3):
            again.allow(f"go on.{number}")
        expect(row(page, job["id"])).to_contain_text("Succeeded", timeout=30_000)
        expect(link).to_be_focused()
        new = again.submit("add", 1)
        expect(page.get_by_role("button", name=re.compile("1 new job"))).to_be_visible()
        page.get_by_role("button", name=re.compile("1 new job")).click()
        expect(row(page, new["id"])).to_be_visible()


def test_a_service_that_drains_is_said_to(tmp_path, visit):
    with housed(tmp_path) as house:
        job = house.submit("stubborn", "enough")
        house.until_running(job["id"])
        page, watch = visit(house)
        for text in ("net::ERR_", "status of 503"):
            watch.expect(text)
        house.running.send(signal.SIGTERM)
        house.running.until_logged("stopping")
        open_list(page)
        expect(row(page, job["id"])).to_contain_text("Running")
        page.goto("/#/tasks/add")
        page.get_by_label("a", exact=True).fill("1")
        page.get_by_role("button", name="Submit", exact=True).click()
        expect(
            page.get_by_text(re.compile("stopping|drain|no new jobs|503", re.IGNORECASE)).first
        ).to_be_visible()
        house.allow("enough")
        house.running.wait()
