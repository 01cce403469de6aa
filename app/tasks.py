"""Sample tasks: what the README shows, and something to try a new service with."""

import asyncio
import csv
import io
import logging
import math
import statistics
import time
from collections.abc import Generator
from typing import Any

from app import Future, Retry, checkpoint, context, progress, submit, task

LOGGER = logging.getLogger(__name__)

SLICE = 0.05
"""Seconds that `sleep` sleeps between two looks at whether it shall stop."""

MOST = 1_000_000
"""The largest n that `primes` takes: their list still fits a result."""

DEEPEST = 40
"""The largest n that `fibonacci` takes: half a minute's work."""


@task
def count_words(text: str) -> int:
    """Count the words of a text: whatever white space separates."""
    return len(text.split())


@task
def csv_statistics(text: str, delimiter: str = ",") -> dict[str, dict[str, float]]:
    """Describe each numeric column of a CSV with a header line.

    Each gets its count, mean, standard deviation, least and greatest value.
    """
    rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    columns = rows[0] if rows else {}
    described = {name: _describe([row[name] for row in rows]) for name in columns if name is not None}
    return {name: numbers for name, numbers in described.items() if numbers}


def _describe(cells: list[str | None]) -> dict[str, float]:
    """Describe a column; an empty one, or one with a cell that is no number, gives nothing."""
    try:
        values = [float(cell) for cell in cells if cell and cell.strip()]
    except ValueError:
        return {}
    if not values or not all(map(math.isfinite, values)):
        return {}
    return {
        "count": len(values),
        "mean": statistics.fmean(values),
        "stdev": statistics.stdev(values) if len(values) > 1 else 0.0,
        "min": min(values),
        "max": max(values),
    }


@task
def primes(n: int) -> list[int]:
    """Return the primes up to n, at most a million, by the sieve of Eratosthenes."""
    if n > MOST:
        raise ValueError(f"n is at most {MOST}")
    if n < 2:  # noqa: PLR2004  (the first prime)
        return []
    sieve = bytearray([1]) * (n + 1)
    sieve[:2] = bytes(2)
    root = math.isqrt(n)
    for candidate in range(2, root + 1):
        checkpoint()
        progress(candidate, root)
        if sieve[candidate]:
            sieve[candidate * candidate :: candidate] = bytes(
                len(range(candidate * candidate, n + 1, candidate))
            )
    return [number for number, is_prime in enumerate(sieve) if is_prime]


@task(executor="process", timeout=600)
def fibonacci(n: int) -> int:
    """Return the n-th Fibonacci number, at most the fortieth, by the definition: hard work for its size.

    In a process of its own: it holds up neither HTTP nor other jobs, and can be killed.
    """
    if not 0 <= n <= DEEPEST:
        raise ValueError(f"n is between 0 and {DEEPEST}")
    return _fibonacci(n)


def _fibonacci(n: int) -> int:
    return n if n < 2 else _fibonacci(n - 1) + _fibonacci(n - 2)  # noqa: PLR2004  (by definition)


@task
def sleep(seconds: float) -> float:
    """Sleep in a thread, and wake up early when the job is cancelled. Return the seconds slept."""
    begin = time.monotonic()
    while (left := begin + seconds - time.monotonic()) > 0:
        checkpoint()
        progress(round(seconds - left, 1), seconds, "sleeping")
        time.sleep(min(left, SLICE))
    return time.monotonic() - begin


@task
async def nap(seconds: float) -> float:
    """Sleep in a coroutine, which occupies no thread: a thousand of them sleep at a time."""
    begin = time.monotonic()
    await asyncio.sleep(seconds)
    return time.monotonic() - begin


@task
def fail(message: str = "as you asked") -> None:
    """Fail on purpose, to see what a failure looks like."""
    raise RuntimeError(message)


@task(retry=Retry(max_attempts=3, backoff=0.1))
def flaky(failures: int = 1) -> int:
    """Fail in the first attempts, and return the number of the first that succeeds.

    A job gets three attempts, unless its submission says otherwise.
    """
    attempt = context().attempt
    if 0 < attempt <= failures:
        raise ConnectionError(f"attempt {attempt} was not answered")
    return attempt


@task(secret=("password",))
def log_in(user: str, password: str) -> str:
    """Greet a user. The password is shown nowhere: not with the job, and not in its log."""
    if not password:
        raise PermissionError(f"{user} has to give a password")
    LOGGER.info("%s logs in", user)
    print(f"{user} is logged in")  # noqa: T201  (it is kept with the job)
    return f"Welcome, {user}"


@task(max_running=1, limit_key="{customer}")
def invoice(customer: str, amount: float) -> str:
    """Write an invoice: one at a time for each customer, any number of customers side by side."""
    time.sleep(SLICE)
    return f"{customer} owes {amount:.2f}"


@task
def count_words_of_all(texts: list[str]) -> Generator[list[Future[int]], list[int], dict[str, int]]:
    """Count the words of many texts side by side, then combine.

    A generator: it holds no thread while it waits.
    """
    counts = yield [submit(count_words, text) for text in texts]
    return {"texts": len(counts), "words": sum(counts), "longest": max(counts, default=0)}


@task
def word_frequencies(text: str, parts: int = 4) -> Generator[Any, Any, dict[str, int]]:
    """Count how often each word occurs: split the text, count the parts side by side, merge."""
    words = text.casefold().split()
    size = max(1, math.ceil(len(words) / max(parts, 1)))
    pieces = [words[start : start + size] for start in range(0, len(words), size)]
    tallies = yield [submit(_tally, piece) for piece in pieces]
    merged: dict[str, int] = {}
    for tally in tallies:
        for word, n in tally.items():
            merged[word] = merged.get(word, 0) + n
    return dict(sorted(merged.items(), key=lambda item: (-item[1], item[0])))


def _tally(words: list[str]) -> dict[str, int]:
    tally: dict[str, int] = {}
    for word in words:
        tally[word] = tally.get(word, 0) + 1
    return tally
