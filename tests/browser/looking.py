"""How tests find their way through the pages: by what a person, or a screen reader, finds there."""

import re
from importlib.resources import files

from playwright.sync_api import Locator, Page, expect

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")

WORST = """async () => (await axe.run()).violations
  .filter(violation => ["serious", "critical"].includes(violation.impact))
  .map(({ id, nodes }) => `${id}: ${nodes.map(node => `${node.html} ${node.failureSummary}`).join("; ")}`)"""

PANELS_TOO_SMALL = """() => [...document.querySelectorAll("section")]
  .filter(panel => panel.scrollWidth > panel.clientWidth).map(panel => panel.innerText.slice(0, 40))"""
"""Finds the panels that something stands out of."""


def what_keeps_people_out(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical in the page as it is."""
    page.evaluate(AXE)
    found: list[str] = page.evaluate(WORST)
    return found


def go(page: Page, view: str) -> None:
    """Follow a link of the navigation."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name=view, exact=True).click()


def short(job_id: str) -> str:
    """Return what stands for the id in lists: its end, for its begin is the time."""
    return job_id[-8:]


def row(page: Page, job_id: str) -> Locator:
    """Return the row of a job in the list."""
    return page.get_by_role("row").filter(has=page.get_by_role("checkbox", name=f"Select {job_id}"))


def rows(page: Page) -> Locator:
    """Return the rows of all jobs in the list."""
    return page.get_by_role("row").filter(
        has=page.get_by_role("checkbox", name=re.compile("^Select [0-9a-f]{8}-"))
    )


def shown(page: Page) -> list[str]:
    """Return the ids of the jobs in the list, from the top."""
    names = [box.get_attribute("aria-label") or "" for box in rows(page).get_by_role("checkbox").all()]
    return [name.removeprefix("Select ") for name in names]


def open_list(page: Page, **filters: str) -> None:
    """Show the list of jobs that fit."""
    go(page, "Jobs")
    for label, value in filters.items():
        narrow(page, label.replace("_", " ").capitalize(), value)


def narrow(page: Page, label: str, value: str) -> None:
    """Set one filter of the list."""
    field = page.get_by_label(label, exact=True)
    if field.evaluate("element => element.tagName") == "SELECT":
        field.select_option(value)
    else:
        field.fill(value)
        field.press("Enter")


def open_job(page: Page, job_id: str) -> None:
    """Show a job, by the link in the list."""
    open_list(page, search=job_id)
    row(page, job_id).get_by_role("link").first.click()
    expect(page.get_by_text(job_id).first).to_be_visible()
