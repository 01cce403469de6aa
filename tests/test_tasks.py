"""The sample tasks, called as the plain functions that they are."""

import asyncio
import inspect

import pytest

from app import FutureCancelledError, Task, tasks
from app.jobs.context import SCOPE, Context
from app.jobs.registry import Kind, load


def run(generator):
    """Run a generator task outside a job."""
    task = Task(generator)
    task.step()
    return task.result(timeout=10)


class Job:
    """The scope of a job's attempt."""

    def __init__(self, attempt):
        self.context = Context("the id", attempt)


@pytest.fixture
def within():
    """Return a function that says which attempt the code runs in."""
    tokens = []
    yield lambda attempt: tokens.append(SCOPE.set(Job(attempt)))
    for token in reversed(tokens):
        SCOPE.reset(token)


@pytest.mark.parametrize(("text", "words"), [("", 0), (" ", 0), ("to be or not to be", 6), ("one\n\ttwo", 2)])
def test_count_words_counts_what_white_space_separates(text, words):
    assert tasks.count_words(text) == words


def test_fibonacci_goes_by_the_definition_within_its_limits():
    assert [tasks.fibonacci(n) for n in range(10)] == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]
    for n in (-1, 41):
        with pytest.raises(ValueError, match="between 0 and 40"):
            tasks.fibonacci(n)


def test_csv_statistics_describes_the_numeric_columns_only():
    described = tasks.csv_statistics("name,price,pages\nfirst,2.5,100\nsecond,3.5,\n")
    assert described == {
        "price": {"count": 2, "mean": 3.0, "stdev": pytest.approx(0.7071, abs=1e-4), "min": 2.5, "max": 3.5},
        "pages": {"count": 1, "mean": 100.0, "stdev": 0.0, "min": 100.0, "max": 100.0},
    }


@pytest.mark.parametrize("text", ["", "a,b\n", "a\nnan\n", "a\ninf\n", "a\n\n", "a,b\n1\n2,3,4\n"])
def test_csv_statistics_survives_whatever_it_is_given(text):
    assert all(numbers["count"] for numbers in tasks.csv_statistics(text).values())


def test_csv_statistics_takes_another_delimiter():
    assert tasks.csv_statistics("a;b\n1;2", ";")["b"]["max"] == 2.0


@pytest.mark.parametrize(
    ("n", "primes"), [(-5, []), (0, []), (1, []), (2, [2]), (3, [2, 3]), (4, [2, 3]), (12, [2, 3, 5, 7, 11])]
)
def test_primes_are_the_primes(n, primes):
    assert tasks.primes(n) == primes


def test_primes_agree_with_their_number_up_to_a_million_and_go_no_further():
    assert len(tasks.primes(1_000_000)) == 78_498
    with pytest.raises(ValueError, match="at most"):
        tasks.primes(1_000_001)


def test_sleep_and_nap_return_what_they_have_slept():
    assert tasks.sleep(0) >= 0
    assert asyncio.run(tasks.nap(0)) >= 0


def test_fail_fails_with_the_message():
    with pytest.raises(RuntimeError, match="out of ink"):
        tasks.fail("out of ink")


def test_flaky_fails_in_its_first_attempts_and_returns_the_number_of_the_next(within):
    for attempt in (1, 2):
        within(attempt)
        with pytest.raises(ConnectionError, match=f"attempt {attempt} was not answered"):
            tasks.flaky(2)
    within(3)
    assert tasks.flaky(2) == 3


def test_flaky_does_not_fail_outside_a_job():
    assert tasks.flaky() == 0


def test_log_in_greets_and_keeps_the_password_to_itself(capsys, caplog):
    caplog.set_level("INFO")
    assert tasks.log_in("ada", "hunter2") == "Welcome, ada"
    assert caplog.messages == ["ada logs in"]
    assert capsys.readouterr().out == "ada is logged in\n"
    with pytest.raises(PermissionError, match="ada has to give a password"):
        tasks.log_in("ada", "")


def test_invoice_names_the_customer_and_the_amount():
    assert tasks.invoice("Ada & Co", 12.5) == "Ada & Co owes 12.50"


def test_the_samples_show_retries_secrets_and_limits():
    registry = load(["app.tasks"])
    assert registry.get("flaky").retry.max_attempts == 3
    log_in, invoice = registry.get("log_in"), registry.get("invoice")
    assert log_in.shown(["ada", "hunter2"], {}) == '{"args":["ada","***"],"kwargs":{}}'
    assert log_in.limit_key_of(log_in.signature.check(["ada", "hunter2"], {})) is None
    assert invoice.limit_key_of(invoice.signature.check(["Ada & Co", 12.5], {})) == "Ada & Co"


def test_count_words_of_all_combines_its_parts():
    assert run(tasks.count_words_of_all(["to be", "or not to be"])) == {"texts": 2, "words": 6, "longest": 4}
    assert run(tasks.count_words_of_all([])) == {"texts": 0, "words": 0, "longest": 0}


@pytest.mark.parametrize("parts", [-1, 0, 1, 3, 100])
def test_word_frequencies_do_not_depend_on_the_number_of_parts(parts):
    assert run(tasks.word_frequencies("To be or not to be", parts)) == {"be": 2, "to": 2, "not": 1, "or": 1}


def test_word_frequencies_of_nothing_are_none():
    assert run(tasks.word_frequencies("")) == {}


def test_the_samples_show_all_three_kinds_and_each_says_what_it_does():
    registry = load(["app.tasks"])
    assert {definition.kind for definition in registry} == set(Kind)
    assert all(definition.doc for definition in registry)


def test_the_samples_need_the_standard_library_and_the_public_names_only():
    source = inspect.getsource(tasks)
    assert "from app import Future, Retry, checkpoint, context, progress, submit, task" in source
    assert "pydantic" not in source


def test_a_cancelled_generator_ends_with_its_calls():
    task = Task(tasks.word_frequencies("a b"))
    assert task.cancel()
    with pytest.raises(FutureCancelledError):
        task.result()
