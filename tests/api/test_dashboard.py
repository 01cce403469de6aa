"""How the dashboard's files are served: to anybody, from a fixed set, under a strict policy."""

import hashlib
import re
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "app" / "web"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
ADDRESSES = {
    f"/static/{path.relative_to(WEB).as_posix()}": path
    for path in sorted(WEB.rglob("*"))
    if path.suffix in TYPES
}


def test_the_root_is_the_dashboard(shared):
    page = shared.client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.content == (WEB / "index.html").read_bytes()


@pytest.mark.parametrize("address", ADDRESSES)
def test_each_of_its_files_is_served_with_its_type(shared, address):
    answer = shared.client.get(address)
    assert answer.status_code == 200
    assert answer.content == ADDRESSES[address].read_bytes()
    assert answer.headers["content-type"] == TYPES[ADDRESSES[address].suffix]


@pytest.mark.parametrize("address", ["/", *ADDRESSES])
def test_nothing_but_our_own_files_and_calls_is_allowed_to_a_page(shared, address):
    headers = shared.client.get(address).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("address", ["/", *ADDRESSES])
def test_what_has_not_changed_is_a_304_and_is_always_asked_for(shared, address):
    answer = shared.client.get(address)
    assert answer.headers["cache-control"] == "no-cache"
    tag = answer.headers["etag"]
    assert tag == f'"{hashlib.sha256(answer.content).hexdigest()[:32]}"'
    again = shared.client.get(address, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert again.headers["content-security-policy"] == answer.headers["content-security-policy"]
    assert shared.client.get(address, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "",
        "index.html",
        "nothing.js",
        "__init__.py",
        "..%2Fserver.py",
        "%2e%2e/server.py",
        "..%5Cserver.py",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "style.css%00.js",
        "./style.css%2F",
        "STYLE.CSS",
    ],
)
def test_nothing_else_is_sent(shared, name):
    answer = shared.client.get(f"/static/{name}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


def test_every_address_in_the_page_is_served(shared):
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', (WEB / "index.html").read_text(encoding="utf-8"))
    assert addresses
    for address in addresses:
        assert address.startswith("/"), address
        assert shared.client.get(address).status_code == 200, address


def test_every_module_that_a_script_imports_is_served():
    for address, path in ADDRESSES.items():
        if path.suffix == ".js":
            text = path.read_text(encoding="utf-8")
            for name in re.findall(r'^(?:import|export)\b[^"]*?\bfrom "([^"]+)";', text, re.MULTILINE):
                assert name.startswith(("./", "../")), f"{address} imports {name}"
                assert (path.parent / name).resolve() in ADDRESSES.values(), f"{address} imports {name}"


def test_the_pages_have_no_script_and_no_style_of_their_own():
    page = (WEB / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script[^>]*>\s*[^<\s]|<style|\sstyle=|\son\w+=", page)


def test_all_of_it_is_less_than_200_kib(shared):
    sizes = {address: len(shared.client.get(address).content) for address in ("/", *ADDRESSES)}
    assert sum(sizes.values()) < 200 * 1024, sizes


def test_every_file_in_the_folder_is_one_that_is_served():
    files = [path for path in WEB.rglob("*") if path.is_file()]
    strangers = [path.name for path in files if path.suffix not in {".html", *TYPES}]
    assert strangers == []


def test_the_readme_shows_pictures_that_are_there_and_not_heavy():
    root = WEB.parents[1]
    shown = re.findall(r"docs/[\w-]+\.png", (root / "README.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(f"docs/{path.name}" for path in (root / "docs").glob("*.png"))
    assert len(shown) == 5
    for name in shown:
        assert (root / name).stat().st_size < 150 * 1024, name
