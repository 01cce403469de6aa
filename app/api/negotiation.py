"""Which of several forms of an answer a client prefers."""

import re
from collections.abc import Sequence

# A parameter's value in quotes may contain what separates; no type that is offered has parameters.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|$)')
_QUALITY = re.compile(r";[ \t]*q=([^;,]*)", re.IGNORECASE)
_NUMBER = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def preferred(lines: Sequence[str], offers: Sequence[str]) -> str:
    """Return the media type that `Accept` prefers (RFC 9110, 12.5.1).

    lines: of the header. offers: the first of them is the answer when several are as good, or none is.
    """
    parts = _QUOTED.sub("", ",".join(lines)).split(",")
    ranges = list(filter(None, map(_parsed, parts)))
    # The first of the best: `max` keeps the order.
    return max(offers, key=lambda offer: _quality(offer, ranges)) if ranges else offers[0]


def _parsed(part: str) -> tuple[str, float] | None:
    """Return a range without its parameters, and its quality; None for what makes no sense."""
    found = _QUALITY.search(part)
    quality = found[1].strip() if found else "1"
    if not _NUMBER.fullmatch(quality):
        return None
    return part.partition(";")[0].strip().lower(), float(quality)


def _quality(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    # The narrowest range that fits counts, whatever a wider one says.
    for fitting in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        qualities = [quality for name, quality in ranges if name == fitting]
        if qualities:
            return max(qualities)
    return 0.0
