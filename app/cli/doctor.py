"""The command that looks whether all is well: doctor."""

from typing import NamedTuple

from rich.text import Text

from app.cli.desk import Desk
from app.cli.ends import FINE, REFUSED
from app.cli.screen import STYLES, plain


class Finding(NamedTuple):
    """What a check came to. level: ok, warning or error."""

    check: str
    level: str
    message: str


def doctor(desk: Desk) -> int:
    """Check settings, database, service and clock.

    The settings are those of ERRAND_ variables, as `errand serve` would take them in this folder. The
    exit code is 1 if there is an error.
    """
    from app.cli import checks  # noqa: PLC0415  (the store comes with it, which no other command needs)

    found = []
    for finding in checks.findings(desk):
        found.append(finding)
        if not desk.as_json:
            _show(desk, finding)
    well = all(finding.level != "error" for finding in found)
    if desk.as_json:
        desk.data({"ok": well, "checks": [finding._asdict() for finding in found]})
    return FINE if well else REFUSED


def _show(desk: Desk, finding: Finding) -> None:
    line = Text().append(f"{finding.level:<9}", STYLES[finding.level]).append(f"{finding.check:<11}", "bold")
    desk.out.print(line.append(plain(finding.message)), soft_wrap=True)
