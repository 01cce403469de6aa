"""What a job has said, on its way to the store: what is taken when, and that nothing is lost or doubled."""

import logging
import threading

import pytest

from app.core import Future, wait
from app.jobs.errors import StaleTokenError
from app.jobs.lifecycle import Logged, Progressed
from app.jobs.model import LINE_COST, Job, Line, Progress, Slot
from app.jobs.output import LIMIT
from app.jobs.process import Report
from app.jobs.streams import LINE_LIMIT
from app.stores.base import OperationFailedError, StoreUnavailableError
from app.worker.said import PART, Said
from tests.worker.house import PATIENCE

TOKEN = 7


class Ears:
    """Hears that there is news, and answers reports as it is told."""

    def __init__(self):
        self.heard = []
        self.reports = []
        self.refusal = None

    @property
    def reported(self):
        return [text for report in self.reports for text in report]

    def has_news(self, said):
        self.heard.append(said)

    def report(self, said):
        self.reports.append(texts(said.take()))
        said.stored(answer(self.refusal))


def said_of(ears, logged=0):
    job = Job("the id", "ours", "task", Slot.THREAD, 0, 0, token=TOKEN, logged=logged)
    return Said(job, ears)


@pytest.fixture
def ears():
    return Ears()


@pytest.fixture
def said(ears):
    return said_of(ears)


def answer(exception=None):
    future = Future()
    if exception is None:
        future.set_result(None)
    else:
        future.set_exception(exception)
    return future


def texts(events):
    return [line.text for event in events if isinstance(event, Logged) for line in event.lines]


def progress_in(events):
    return [event.progress.done for event in events if isinstance(event, Progressed)]


def rest_of(said):
    rests = []
    said.close(rests.append)
    [rest] = rests
    return rest


# -- taken -------------------------------------------------------------------


def test_progress_and_lines_are_taken_together_under_the_claims_token(said):
    said.progress(Progress(1))
    said.say("a.b", logging.ERROR, "line")
    progressed, logged = said.take()
    assert progressed == Progressed(TOKEN, Progress(1))
    assert logged.token == TOKEN
    assert [line[:2] + line[3:] for line in logged.lines] == [("a.b", logging.ERROR, "line")]


def test_of_progress_the_latest_is_taken_and_once(said):
    for n in range(3):
        said.progress(Progress(n))
    assert progress_in(said.take()) == [2]
    said.stored(answer())
    assert said.take() == ()
    assert rest_of(said) == ()


def test_the_news_is_told_once_until_something_is_taken(said, ears):
    for n in range(3):
        said.say("", logging.INFO, str(n))
        said.progress(Progress(n))
    assert ears.heard == [said]
    said.take()
    said.say("", logging.INFO, "more")
    assert ears.heard == [said] * 2


def test_while_something_is_being_stored_nothing_is_taken(said, ears):
    said.say("", logging.INFO, "one")
    assert texts(said.take()) == ["one"]
    said.say("", logging.INFO, "two")
    assert said.take() == ()
    said.stored(answer())
    # There was news, and nobody would look.
    assert ears.heard == [said] * 3
    assert texts(said.take()) == ["two"]


def test_what_could_not_be_stored_is_taken_again_in_its_order(said, ears):
    said.progress(Progress(1))
    said.say("", logging.INFO, "one")
    said.take()
    said.say("", logging.INFO, "two")
    assert said.take() == ()
    said.stored(answer(StoreUnavailableError()))
    assert ears.heard == [said] * 3
    again = said.take()
    assert (progress_in(again), texts(again)) == ([1], ["one", "two"])
    said.stored(answer())
    assert rest_of(said) == ()


@pytest.mark.parametrize("refusal", [StaleTokenError("over"), OperationFailedError("never")])
def test_what_is_refused_is_not_taken_again(said, refusal):
    said.progress(Progress(1))
    said.say("", logging.INFO, "one")
    said.take()
    said.stored(answer(refusal))
    assert rest_of(said) == ()


# -- the end -----------------------------------------------------------------


def test_the_rest_comes_with_the_end_and_after_that_nothing(said, ears):
    said.progress(Progress(1))
    said.write(logging.INFO, "one\nnot ended")
    said.write(logging.WARNING, "10 %\r20 %\r")
    said.write(logging.ERROR, "")
    rest = rest_of(said)
    assert (progress_in(rest), texts(rest)) == ([1], ["one", "not ended", "20 %"])
    heard = len(ears.heard)
    said.progress(Progress(2))
    said.write(logging.INFO, "late\n")
    said.say("a", logging.INFO, "late")
    said.take_in(Report("the id", TOKEN, Progress(3), [Line("", 20, 0.0, "late")], 4))
    assert (said.take(), rest_of(said), len(ears.heard)) == ((), (), heard)


@pytest.mark.parametrize("lost", [True, False])
def test_the_end_waits_until_it_is_known_what_is_stored(said, lost):
    rests = []
    said.say("", logging.INFO, "one")
    said.take()
    said.say("", logging.INFO, "two")
    said.close(lambda rest: rests.append(("first", texts(rest))))
    said.close(lambda rest: rests.append(("second", texts(rest))))
    assert rests == []
    said.stored(answer(StoreUnavailableError() if lost else None))
    assert rests == [("first", ["one", "two"] if lost else ["two"]), ("second", [])]


@pytest.mark.parametrize("refusal", [None, StoreUnavailableError(), StaleTokenError()])
def test_a_great_many_lines_are_stored_in_parts_before_the_end(said, ears, refusal):
    ears.refusal = refusal
    lines = [str(n) for n in range(2 * PART + 1)]
    for line in lines:
        said.say("", logging.INFO, line)
    rest = texts(rest_of(said))
    if refusal is None:
        assert (ears.reports, rest) == ([lines[:PART], lines[PART : 2 * PART]], lines[2 * PART :])
    else:
        # Not one part after the other, each of which would fail.
        assert ears.reports == [lines[:PART]]
        assert rest == (lines if isinstance(refusal, StoreUnavailableError) else lines[PART:])


# -- the limit ---------------------------------------------------------------


def test_what_is_beyond_the_limit_is_counted_and_told_at_the_end(said):
    long = "x" * LINE_LIMIT
    fit = LIMIT // (LINE_LIMIT + LINE_COST)
    for _ in range(fit + 5):
        said.say("", logging.INFO, long)
    said.say("", logging.INFO, "short, and dropped all the same")
    assert texts(said.take()) == [long] * fit
    said.stored(answer())
    assert texts(rest_of(said)) == ["... 6 more lines were dropped"]


def test_empty_lines_take_room_too_and_few_are_held(said, ears):
    said.write(logging.INFO, "\n" * LIMIT)
    assert len(said._lines) <= LIMIT // LINE_COST + 1
    *rest, last = texts(rest_of(said))
    kept = [*ears.reported, *rest]
    assert set(kept) == {""}
    assert last == f"... {LIMIT - len(kept)} more lines were dropped"


@pytest.mark.parametrize("logged", [LIMIT - LINE_COST - 1, LIMIT, LIMIT + 100])
def test_what_earlier_attempts_have_logged_takes_room(ears, logged):
    said = said_of(ears, logged)
    fits = logged < LIMIT
    for n in range(3):
        said.say("", logging.INFO, str(n))
    assert texts(rest_of(said)) == ["0"] * fits + [f"... {3 - fits} more lines were dropped"]


def test_who_says_nothing_has_nothing_dropped(ears):
    assert rest_of(said_of(ears, LIMIT + 100)) == ()


def test_what_a_process_has_dropped_counts(said):
    said.take_in(Report("the id", TOKEN, None, [Line("", 20, 0.0, "kept")], 3))
    said.take_in(Report("the id", TOKEN, Progress(1), [], 4))
    rest = rest_of(said)
    assert texts(rest) == ["kept", "... 7 more lines were dropped"]
    assert (progress_in(rest), said.dropped) == ([1], 7)


# -- many threads ------------------------------------------------------------


def test_each_thread_has_its_own_line_and_all_come_in_their_order(said):
    def speak(n):
        for k in range(50):
            said.write(logging.INFO, f"{n}")
            said.write(logging.INFO, f":{k}\n")

    threads = [threading.Thread(target=speak, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = texts(rest_of(said))
    for n in range(4):
        assert [text for text in found if text.startswith(f"{n}:")] == [f"{n}:{k}" for k in range(50)]
    assert len(found) == 200


def test_however_many_speak_at_once_every_line_is_stored_or_counted(said, ears):
    total, kept, going = 4 * 20_000, [], threading.Event()

    def speak():
        for _ in range(20_000):
            said.say("", logging.INFO, "x")

    def collect():
        while not going.is_set():
            kept.extend(texts(said.take()))
            said.stored(answer())

    threads = [threading.Thread(target=speak) for _ in range(4)]
    collector = threading.Thread(target=collect)
    for thread in (*threads, collector):
        thread.start()
    for thread in threads:
        thread.join()
    going.set()
    collector.join()
    *rest, last = texts(rest_of(said))
    kept += [*ears.reported, *rest]
    assert len(kept) == LIMIT // (1 + LINE_COST)
    assert last == f"... {total - len(kept)} more lines were dropped"


def test_a_finalizer_that_waits_for_another_thread_that_prints_is_not_held_up(said, ears):
    """Wherever it comes in. The news is told while it is taken in, so it stands for all the places."""
    others = []

    def print_elsewhere(_):
        other = threading.Thread(target=said.write, args=(logging.INFO, "from elsewhere\n"))
        other.start()
        other.join(PATIENCE)
        others.append(other.is_alive())

    ears.has_news = print_elsewhere
    with said._lock:
        said.write(logging.INFO, "here\n")
    assert others == [False]
    assert texts(rest_of(said)) == ["here", "from elsewhere"]


def test_nothing_is_held_of_what_is_stored(said):
    future = Future()
    said.say("", logging.INFO, "one")
    said.take()
    future.add_done_callback(said.stored)
    future.set_result(None)
    assert wait([future], PATIENCE).done
    assert (said._unstored, list(said._lines)) == ([], [])
