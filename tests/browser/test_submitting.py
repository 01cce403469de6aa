"""A job by the form: made of the task's schema, with errors at their fields; and again with changes."""

import json
import re

from playwright.sync_api import expect

from tests.acceptance.serving import TIMEOUT
from tests.browser.looking import go, open_job


def open_form(page, task):
    go(page, "Tasks")
    page.get_by_role("link", name=task, exact=True).first.click()
    expect(page.get_by_role("button", name="Submit", exact=True)).to_be_visible()


def send(page):
    """Submit the form, and return the service's answer."""
    with page.expect_response(lambda answer: answer.request.method == "POST") as caught:
        page.get_by_role("button", name="Submit", exact=True).click()
    return caught.value


def sent_job(house, page):
    """Submit the form, and return the job when it is done."""
    answer = send(page)
    assert answer.status in (200, 202), answer.text()
    return house.job(answer.json()["id"], wait=TIMEOUT)


def test_a_task_is_shown_with_what_it_does_and_a_field_for_each_parameter(house, visit):
    page, _ = visit(house)
    open_form(page, "add")
    expect(page.get_by_role("paragraph").filter(has_text="Add two numbers.")).to_contain_text(
        "The second one is 1 unless given."
    )
    expect(page.get_by_label("a", exact=True)).to_be_visible()
    expect(page.get_by_label("b", exact=True)).to_be_visible()


def test_a_job_that_is_submitted_by_the_form_runs_and_is_shown(house, visit):
    page, _ = visit(house)
    open_form(page, "add")
    page.get_by_label("a", exact=True).fill("40")
    page.get_by_label("b", exact=True).fill("2")
    job = sent_job(house, page)
    assert (job["task"], job["result"]) == ("add", 42)
    expect(page).to_have_url(re.compile(job["id"]))
    expect(page.get_by_text("Succeeded", exact=True).first).to_be_visible()
    expect(page.get_by_role("region", name="Result")).to_contain_text("42")


def test_what_is_left_empty_is_left_to_the_function(house, visit):
    page, _ = visit(house)
    open_form(page, "add")
    page.get_by_label("a", exact=True).fill("1")
    assert sent_job(house, page)["result"] == 2


def test_each_kind_of_parameter_has_a_field_that_fits(house, visit):
    page, _ = visit(house)
    open_form(page, "order")
    page.get_by_label("product", exact=True).select_option("globe")
    page.get_by_label("count", exact=True).fill("3")
    page.get_by_label("gift", exact=True).check()
    page.get_by_label("price", exact=True).fill("12.5")
    assert sent_job(house, page)["result"] == {
        "product": "globe",
        "count": 3,
        "gift": True,
        "price": 12.5,
        "notes": [],
    }


def test_a_wrong_value_is_named_at_its_field_and_nothing_is_stored(house, visit):
    page, watch = visit(house)
    watch.expect("status of 422")
    open_form(page, "add")
    page.get_by_label("a", exact=True).fill("1")
    page.get_by_label("b", exact=True).fill("1.5")
    field = page.get_by_label("b", exact=True)
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("fractional"))
    expect(field).to_be_focused()
    field.fill("2")
    assert sent_job(house, page)["result"] == 3


def test_a_missing_value_is_named_at_its_field(house, visit):
    page, watch = visit(house)
    watch.expect("status of 422")
    open_form(page, "add")
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_label("a", exact=True)).to_be_focused()
    expect(page.get_by_label("a", exact=True)).to_have_attribute("aria-invalid", "true")


def test_a_list_of_texts_that_is_required_begins_with_a_field(house, visit):
    page, _ = visit(house)
    open_form(page, "bind")
    page.get_by_label("words 1", exact=True).fill("to")
    page.get_by_role("button", name="Add to words").click()
    page.get_by_label("words 2", exact=True).fill("be")
    assert sent_job(house, page)["result"] == "to be"
    open_form(page, "bind")
    assert sent_job(house, page)["kwargs"] == {"words": []}


OPTIONS = {
    "queue": ("Queue", "later"),
    "priority": ("Priority", 7),
    "delay": ("Delay", 3600),
    "timeout": ("Timeout", 60),
    "expires_in": ("Expires in", 7200),
    "key": ("Unique key", "nightly"),
}


def test_the_options_of_a_submission_can_be_given(house, visit):
    page, _ = visit(house)
    open_form(page, "add")
    page.get_by_label("a", exact=True).fill("1")
    page.get_by_text("Options", exact=True).click()
    for label, value in OPTIONS.values():
        page.get_by_label(label, exact=True).fill(str(value))
    page.get_by_role("button", name="Add to Tags").click()
    page.get_by_label("Name of Tags 1", exact=True).fill("team")
    page.get_by_label("Value of Tags 1", exact=True).fill("books")
    answer = send(page)
    assert json.loads(answer.request.post_data) == {
        "task": "add",
        "kwargs": {"a": 1},
        **{name: value for name, (_, value) in OPTIONS.items()},
        "tags": {"team": "books"},
    }
    job = answer.json()
    expect(page).to_have_url(re.compile(job["id"]))
    assert (job["state"], job["queue"], job["tags"]) == ("pending", "later", {"team": "books"})
    house.client.delete(f"/jobs/{job['id']}")


def test_a_job_is_submitted_again_with_changes(house, visit):
    first = house.submit("order", "map", kwargs={"count": 2, "notes": ["folded"]}, tags={"team": "maps"})
    page, _ = visit(house)
    open_job(page, first["id"])
    page.get_by_role("button", name="Submit again").click()
    expect(page.get_by_label("product", exact=True).locator("option:checked")).to_have_text("map")
    expect(page.get_by_label("count", exact=True)).to_have_value("2")
    page.get_by_label("count", exact=True).fill("5")
    second = sent_job(house, page)
    assert second["id"] != first["id"]
    assert second["tags"] == {"team": "maps"}
    assert second["result"] == {
        "product": "map",
        "count": 5,
        "gift": False,
        "price": None,
        "notes": ["folded"],
    }
