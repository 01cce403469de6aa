"""A service that asks for keys: the page asks in turn, and keeps the key while its tab lives."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import housed
from tests.browser.looking import go, open_list, row, rows, what_keeps_people_out

BOOKS, OPS = "s3cret-of-books", "s3cret-of-ops"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A service with two tenants, each of which has a job."""
    folder = tmp_path_factory.mktemp("guarded")
    with housed(folder, ERRAND_API_KEYS=f"books:{BOOKS},ops:{OPS}") as house:
        house.jobs = {}
        for key in (BOOKS, OPS):
            answer = house.client.post(
                "/jobs",
                json={"task": "add", "args": [1], "delay": 3600, "queue": f"queue of {key[-3:]}"},
                headers={"Authorization": f"Bearer {key}"},
            )
            house.jobs[key] = answer.json()["id"]
        yield house


def dialog(page):
    return page.get_by_role("dialog", name="API key")


def give(page, key):
    dialog(page).get_by_label("Key", exact=True).fill(key)
    dialog(page).get_by_role("button", name="Use this key").click()


@pytest.fixture
def page(guarded, visit):
    """A page that was not given a key yet."""
    page, watch = visit(guarded)
    watch.expect("status of 401")
    watch.expect(f"404 (Not Found) ({guarded.url}/jobs/{guarded.jobs[BOOKS]}")
    return page


def test_the_page_asks_for_a_key(page):
    expect(dialog(page)).to_be_visible()
    expect(dialog(page).get_by_label("Key", exact=True)).to_be_focused()
    expect(dialog(page).get_by_label("Key", exact=True)).to_have_attribute("type", "password")
    assert what_keeps_people_out(page) == []


def test_without_a_key_nothing_is_said_of_what_is_not_known(page):
    expect(page.get_by_text("No key", exact=True)).to_be_visible()
    dialog(page).get_by_role("button", name="Not now").click()
    expect(page.get_by_role("heading", name="A key is needed")).to_be_visible()
    expect(page.get_by_text("No key", exact=True)).to_be_visible()
    for role in ("region", "table", "columnheader"):
        expect(page.get_by_role("main").get_by_role(role)).to_have_count(0)
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)
    assert what_keeps_people_out(page) == []


@pytest.mark.parametrize("view", ["Overview", "Jobs", "Tasks"])
def test_a_key_can_be_given_after_all(page, guarded, view):
    dialog(page).get_by_role("button", name="Not now").click()
    go(page, view)
    page.get_by_role("button", name="Enter a key").click()
    give(page, BOOKS)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    open_list(page)
    expect(row(page, guarded.jobs[BOOKS])).to_be_visible()


def test_a_wrong_key_is_refused_and_another_one_can_be_given(page, guarded):
    give(page, "wrong")
    expect(dialog(page)).to_contain_text("This key is not known.")
    give(page, BOOKS)
    expect(dialog(page)).to_be_hidden()
    open_list(page)
    expect(row(page, guarded.jobs[BOOKS])).to_be_visible()


def test_who_does_not_want_another_key_keeps_the_one_there_is(page, guarded):
    give(page, BOOKS)
    expect(dialog(page)).to_be_hidden()
    page.get_by_role("button", name="Key", exact=True).click()
    expect(page.get_by_text("No key", exact=True)).to_be_visible()
    dialog(page).get_by_role("button", name="Not now").click()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    open_list(page)
    expect(row(page, guarded.jobs[BOOKS])).to_be_visible()


def test_a_key_is_kept_for_its_tab_only(page, guarded):
    give(page, BOOKS)
    expect(dialog(page)).to_be_hidden()
    page.reload()
    open_list(page)
    expect(row(page, guarded.jobs[BOOKS])).to_be_visible()
    expect(dialog(page)).to_be_hidden()
    kept = page.evaluate(
        "[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie, location.href]"
    )
    assert [BOOKS in place for place in kept] == [True, False, False, False]


def test_a_tenant_sees_its_own_jobs_only(page, guarded):
    give(page, OPS)
    open_list(page)
    expect(row(page, guarded.jobs[OPS])).to_be_visible()
    expect(rows(page)).to_have_count(1)
    go(page, "Overview")
    expect(page.get_by_role("main")).to_contain_text("queue of ops")
    expect(page.get_by_role("main")).not_to_contain_text("queue of oks")


def test_another_tenants_job_does_not_exist(page, guarded):
    give(page, OPS)
    expect(dialog(page)).to_be_hidden()
    page.goto(f"/#/jobs/{guarded.jobs[BOOKS]}")
    expect(page.get_by_text(re.compile("no (such )?job|not found", re.IGNORECASE)).first).to_be_visible()


def test_the_key_is_in_no_line_that_is_copied(page, guarded):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    give(page, BOOKS)
    open_list(page)
    row(page, guarded.jobs[BOOKS]).get_by_role("link").first.click()
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_text(re.compile("[Cc]opied")).first).to_be_visible()
    line = page.evaluate("navigator.clipboard.readText()")
    assert '"Authorization: Bearer $ERRAND_API_KEY"' in line
    assert BOOKS not in line
