"""What `errand doctor` looks at: settings, database, service, clock. It needs no service."""

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from app.cli.desk import Desk
from app.cli.doctor import Finding
from app.cli.screen import span
from app.cli.serve import put_current_folder_first
from app.client import ClientError
from app.config import ConfigError, Settings, load_settings, unknown_variables
from app.jobs.errors import TaskDefinitionError
from app.jobs.registry import load, without_tasks
from app.stores.base import StoreUnusableError
from app.stores.examination import Examined, examine
from app.stores.ownership import holder
from app.stores.sqlite import require_version

PATIENCE = 5.0
"""Seconds that the service gets to answer."""

LOOKING = 60.0
"""Seconds that the look at the database's structure may take."""

LITTLE, TOO_LITTLE = 1024**3, 64 * 1024**2
"""Bytes of free disk below which there is a warning, and an error."""

APART = 3.0
"""Seconds that two clocks may be apart: the header that tells a service's time has whole seconds."""


def findings(desk: Desk) -> Iterator[Finding]:
    """Yield what each check came to, as soon as it is known."""
    yield _python()
    yield _sqlite()
    try:
        settings = load_settings()
    except ConfigError as exc:
        yield Finding("settings", "error", "; ".join(str(exc).splitlines()))
    else:
        yield _settings(settings)
        yield _tasks(settings)
        yield from _database(settings)
    yield from _service(desk)


def _python() -> Finding:
    return Finding("python", "ok", f"Python {sys.version.split()[0]} ({sys.executable})")


def _sqlite() -> Finding:
    try:
        require_version()
    except StoreUnusableError as exc:
        return Finding("sqlite", "error", str(exc))
    return Finding("sqlite", "ok", f"SQLite {sqlite3.sqlite_version}")


def _settings(settings: Settings) -> Finding:
    strange = [f"{name}, like {near}" if near else name for name, near in unknown_variables().items()]
    if strange:
        return Finding(
            "settings", "warning", f"valid, but there is no setting of the name {'; '.join(strange)}"
        )
    return Finding("settings", "ok", f"valid; would listen on {settings.host} port {settings.port}")


def _tasks(settings: Settings) -> Finding:
    """Import the task modules, as `serve` does."""
    put_current_folder_first()
    try:
        registry, empty = load(settings.tasks), without_tasks(settings.tasks)
    except TaskDefinitionError as exc:
        return Finding("tasks", "error", str(exc))
    if empty:
        return Finding("tasks", "warning", f"there are none in {', '.join(empty)}")
    return Finding("tasks", "ok", f"{len(registry)} in {', '.join(settings.tasks)}")


# -- the database ----------------------------------------------------------------


def _database(settings: Settings) -> Iterator[Finding]:
    path = settings.database_path
    yield _place(path)
    if path.parent.is_dir():
        yield _room(path.parent)
    if path.exists():
        yield _owner(path)
        yield from _contents(path)


def _place(path: Path) -> Finding:
    folder = path.parent
    if not folder.is_dir():
        return Finding("database", "error", f"{path}: the folder {folder} does not exist; make it")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("database", "error", f"{path}: the folder {folder} cannot be written")
    if not path.exists():
        return Finding("database", "ok", f"{path} does not exist yet; `errand serve` makes it")
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding("database", "error", f"{path} cannot be read and written by this user")
    return Finding("database", "ok", f"{path}, {path.stat().st_size / 1024**2:,.1f} MiB, can be written")


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    level = "ok" if free >= LITTLE else "warning" if free >= TOO_LITTLE else "error"
    return Finding("disk", level, f"{free / 1024**3:,.1f} GiB free in {folder.absolute()}")


def _owner(path: Path) -> Finding:
    try:
        owner = holder(path)
    except OSError as exc:
        return Finding("owner", "warning", f"the lock of {path} cannot be read: {exc.strerror}")
    if owner is None:
        return Finding("owner", "ok", "no service has it open")
    return Finding("owner", "ok", f"in use by {owner}")


def _contents(path: Path) -> Iterator[Finding]:
    try:
        examined = examine(path, LOOKING)
    except StoreUnusableError as exc:
        yield Finding("schema", "error", str(exc))
        return
    yield _schema(examined)
    if examined.damage is not None:
        yield Finding(
            "integrity", "error", f"damaged ({examined.damage}); stop the service and restore a backup"
        )
    elif not examined.whole:
        yield Finding(
            "integrity", "warning", f"no fault found in {span(LOOKING)}; not all of it was looked at"
        )
    else:
        yield Finding("integrity", "ok", "no fault in the file's structure")


def _schema(examined: Examined) -> Finding:
    version, known = examined.version, examined.known
    if version > known:
        told = f"version {version}, and this program knows {known}; start a newer one"
        return Finding("schema", "error", told)
    if version < known:
        told = f"version {version}; `errand serve` brings it to {known}, and there is no way back"
        return Finding("schema", "warning", told)
    return Finding("schema", "ok", f"version {version}, as this program knows it")


# -- the service -----------------------------------------------------------------


def _service(desk: Desk) -> Iterator[Finding]:
    url = desk.settings.url
    asked = time.time()
    try:
        answer = httpx.get(f"{url}/health/ready", timeout=PATIENCE, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        # Whoever has named an address means a service to be there.
        level = "error" if "url" in desk.settings.model_fields_set else "warning"
        yield Finding("service", level, f"none answers at {url} ({exc or type(exc).__name__})")
        return
    now = (asked + time.time()) / 2
    yield _ready(url, answer)
    yield _key(desk)
    yield clock(answer.headers.get("Date"), now)


def _ready(url: str, answer: httpx.Response) -> Finding:
    if answer.status_code == httpx.codes.OK:
        return Finding("service", "ok", f"{url} is ready")
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"status {answer.status_code}; is that an Errand?"
    return Finding("service", "error", f"{url} is not ready: {detail}")


def _key(desk: Desk) -> Finding:
    """Tell whether the service takes the key, or needs none."""
    try:
        count = len(desk.client.tasks())
    except (ClientError, ConfigError) as exc:
        return Finding("access", "error", str(exc))
    sent = "with the key" if desk.settings.key is not None else "without a key"
    return Finding("access", "ok", f"it answers {sent}, and knows {count} tasks")


def clock(date: str | None, now: float) -> Finding:
    """Compare the service's time, as its header tells it, to this machine's (seconds since the epoch)."""
    try:
        # It is cut to whole seconds: half of one was lost on average.
        ahead = parsedate_to_datetime(date or "").timestamp() + 0.5 - now
    except ValueError:
        return Finding("clock", "warning", "the service does not tell its time")
    if abs(ahead) <= APART:
        return Finding("clock", "ok", "the service's is the same as this machine's")
    told = f"the service's is {span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine's"
    return Finding("clock", "warning", f"{told}; set both by NTP")
