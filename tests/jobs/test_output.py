"""What a job in a process prints, logs and reports: taken in there, sent in parts, repeated in the worker."""

import enum
import io
import logging
import sys
import threading
import time

import pytest

from app.jobs import output
from app.jobs.model import LINE_COST, Line, Progress
from app.jobs.output import JOB, LIMIT, PART, PART_LINES, Output, dropped_line, repeat
from app.jobs.streams import LINE_LIMIT

PATIENCE = 30


class Sent:
    """What was sent, by an Output that sends here."""

    def __init__(self):
        self.parts = []
        self.dropped = 0
        self.news = threading.Condition()

    def __call__(self, progress, lines, dropped):
        with self.news:
            self.dropped += dropped
            self.parts.append((progress, list(lines)))
            self.news.notify_all()

    def wait_for(self, condition):
        with self.news:
            assert self.news.wait_for(lambda: condition(self), PATIENCE)

    @property
    def lines(self):
        return [line for _, lines in self.parts for line in lines]

    @property
    def texts(self):
        return [line.text for line in self.lines]

    @property
    def progress(self):
        return [progress for progress, _ in self.parts if progress is not None]


class FirstJob(Output):
    """The first one of a new process, in which nobody has touched the streams and the log."""

    def __init__(self, sent, real):
        super().__init__(logging.INFO, sent)
        self._real = real

    def __enter__(self):
        # Here and not in a fixture: pytest puts its own in their place when the test begins.
        sys.stdout, sys.stderr = self._real
        logging.root.handlers.clear()
        return super().__enter__()


@pytest.fixture
def real(monkeypatch, tmp_path):
    """Files in place of stdout and stderr, with a capture of the test's own, as in a new process."""
    capture = output._Capture()
    monkeypatch.setattr(output, "CAPTURE", capture)
    streams, handlers, level = (sys.stdout, sys.stderr), logging.root.handlers[:], logging.root.level
    with (tmp_path / "out").open("w+") as out, (tmp_path / "err").open("w+") as err:
        yield out, err
    # It stays among those that a fork parts.
    capture._streams = []
    sys.stdout, sys.stderr = streams
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def sent():
    return Sent()


@pytest.fixture
def job(sent, real):
    return FirstJob(sent, real)


def written(file):
    file.flush()
    file.seek(0)
    return file.read()


# -- taken in ----------------------------------------------------------------


def test_what_is_printed_and_logged_comes_in_its_order(job, sent):
    before = time.time()
    with job:
        print("one", 1)
        print("two", file=sys.stderr)
        logging.getLogger("a.b").warning("three %d", 3)
        logging.getLogger("a.b").debug("too fine")
    assert [line[:2] + line[3:] for line in sent.lines] == [
        ("", logging.INFO, "one 1"),
        ("", logging.WARNING, "two"),
        ("a.b", logging.WARNING, "three 3"),
    ]
    assert all(before <= line.at <= time.time() for line in sent.lines)


def test_lines_are_whole_however_they_are_written(job, sent):
    with job:
        print("a", "b", sep="\n", end="")
        print("c")
        print("not ended", end="")
    assert sent.texts == ["a", "bc", "not ended"]


def test_of_a_line_that_is_redrawn_the_last_state_is_taken(job, sent):
    with job:
        for percent in (10, 20, 30):
            print(f"\r{percent} %", end="")
        print()
        print("windows\r")
        print("1\r2\r", end="")
    assert sent.texts == ["30 %", "windows", "2"]


def test_a_line_without_an_end_is_cut(job, sent):
    with job:
        for _ in range(2 * LINE_LIMIT + 2):
            sys.stdout.write("x")
    assert [len(text) for text in sent.texts] == [
        LINE_LIMIT + 1 + len("... (8193 characters in all)") - 1
    ] * 2


def test_a_long_line_is_shortened_and_says_so(job, sent):
    with job:
        print("x" * (LINE_LIMIT + 1))
        print("y" * LINE_LIMIT)
    assert sent.texts[0] == "x" * LINE_LIMIT + f"... ({LINE_LIMIT + 1} characters in all)"
    assert "y" * LINE_LIMIT in sent.texts


def test_what_no_store_takes_is_shown_as_escapes(job, sent):
    with job:
        print("a\0b\ud800ü")
        logging.getLogger("\ud800").warning("c\0")
    assert sent.texts == ["a\\x00b\\ud800ü", "c\\x00"]
    assert sent.lines[1].logger == "\\ud800"


def test_bytes_are_taken_in_as_text(job, sent):
    with job:
        print("text")
        assert sys.stdout.buffer.write("bytes ü\n".encode()) == 9
        sys.stdout.buffer.write(bytearray(b"\xff\n"))
        sys.stderr.buffer.write(b"rest")
    assert sent.texts == ["text", "bytes ü", "\\xff", "rest"]


def test_only_text_can_be_written(job):
    with job, pytest.raises(TypeError, match="argument must be str, not bytes"):
        sys.stdout.write(b"bytes")


def test_a_level_of_any_class_is_sent_as_a_number(job, sent):
    class Level(enum.IntEnum):
        MINE = 35

    with job:
        logging.getLogger("a").log(Level.MINE, "own level")
    assert type(sent.lines[0].level) is int


def test_a_record_that_cannot_be_formatted_is_told_as_logging_does(job, sent):
    with job:
        logging.getLogger("a").warning("%d", "no number")
    assert sent.texts[0] == "--- Logging error ---"


def test_lines_of_many_threads_are_whole(job, sent):
    def say(n):
        for _ in range(50):
            print(f"thread {n}")

    with job:
        threads = [threading.Thread(target=say, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(sent.texts) == sorted(f"thread {n}" for n in range(4) for _ in range(50))


def test_a_finalizer_may_print_while_a_line_is_taken_in(job, sent, monkeypatch):
    make, finalizers = output.line_of, ["finalizer"]

    def line(*args):
        if finalizers:
            print(finalizers.pop())
        return make(*args)

    monkeypatch.setattr(output, "line_of", line)
    with job:
        print("line")
    assert sorted(sent.texts) == ["finalizer", "line"]


def test_the_streams_have_what_code_asks_of_them(job, real):
    with job:
        out = sys.stdout
        assert (out.writable(), out.buffer.writable(), out.isatty()) == (True, True, False)
        assert out.fileno() == out.buffer.fileno() == real[0].fileno()
        assert (out.encoding, out.line_buffering) == (real[0].encoding, False)
        out.reconfigure(line_buffering=True)
        assert out.line_buffering
        with pytest.raises(AttributeError):
            out.no_such_thing  # noqa: B018


# -- sent --------------------------------------------------------------------


def test_lines_are_sent_while_the_code_runs(job, sent):
    with job:
        print("early")
        sent.wait_for(lambda sent: sent.texts == ["early"])
        print("later")
        sent.wait_for(lambda sent: sent.texts == ["early", "later"])


def test_parts_are_bounded(job, sent, monkeypatch):
    monkeypatch.setattr(output, "INTERVAL", 3600)
    with job:
        for _ in range(PART_LINES + 1):
            print("short")
        for _ in range(10):
            print("x" * LINE_LIMIT)
    assert len(sent.lines) == PART_LINES + 11
    assert max(len(lines) for _, lines in sent.parts) <= PART_LINES
    assert max(sum(len(line.text) for line in lines) for _, lines in sent.parts) < PART + LINE_LIMIT


def test_at_the_end_the_rest_is_sent_without_a_pause(job, sent, monkeypatch):
    monkeypatch.setattr(output, "INTERVAL", 3600)
    with job:
        print("first")
        sent.wait_for(lambda sent: sent.parts)
        for _ in range(5 * PART_LINES):
            print("wakes the sender once more")
    assert len(sent.lines) == 5 * PART_LINES + 1


def test_what_is_beyond_the_limit_is_counted(job, sent):
    with job:
        for _ in range(LIMIT // LINE_LIMIT):
            print("x" * LINE_LIMIT)
        print("short, and dropped all the same")
        print()
    kept = LIMIT // (LINE_LIMIT + LINE_COST)
    assert set(sent.texts) == {"x" * LINE_LIMIT}
    assert (len(sent.lines), sent.dropped) == (kept, LIMIT // LINE_LIMIT + 2 - kept)


def test_how_many_are_dropped_is_told_while_the_code_runs(job, sent):
    with job:
        print("\n" * LIMIT, end="")
        sent.wait_for(lambda sent: sent.dropped > LIMIT // 2)
        print("one more")
    assert sent.dropped == LIMIT + 1 - len(sent.lines)


def test_a_line_stands_for_those_that_were_dropped():
    line = dropped_line(7)
    assert line[:2] + line[3:] == ("", logging.WARNING, "... 7 more lines were dropped")


def test_empty_lines_take_room_too(job, sent):
    with job:
        print("\n" * (LIMIT // LINE_COST + 10), end="")
    assert sent.dropped >= 10


def test_of_progress_the_latest_is_sent(job, sent, monkeypatch):
    monkeypatch.setattr(output, "INTERVAL", 3600)
    with job:
        for n in range(10_000):
            job.progress(Progress(n))
    assert sent.progress[-1] == Progress(9_999)
    assert len(sent.progress) <= 3
    job.progress(Progress(10_000))
    assert sent.progress[-1] == Progress(9_999)
    job.say("", logging.INFO, "after the end")
    assert (sent.texts, sent.dropped) == ([], 0)


def test_without_a_thread_all_is_sent_at_the_end(job, sent, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with job:
        print("line")
        job.progress(Progress(1))
    assert (sent.texts, sent.progress) == (["line"], [Progress(1)])


# -- one job after the other --------------------------------------------------


def test_between_jobs_and_beside_them_a_thread_left_behind_prints_for_itself(job, sent, real):
    turns, done = threading.Semaphore(0), threading.Semaphore(0)

    def straggle():
        for say in (print, logging.getLogger("left").warning, print):
            turns.acquire()
            say("straggler")
            done.release()

    with job:
        thread = threading.Thread(target=straggle)
        thread.start()
        turns.release()
        done.acquire()
    turns.release()
    done.acquire()
    after = Sent()
    with Output(logging.INFO, after):
        turns.release()
        done.acquire()
        print("mine")
    thread.join()
    assert (sent.texts, after.texts) == (["straggler"], ["mine"])
    assert written(real[1]) == "WARNING left: straggler\nstraggler\n"


def test_whatever_a_job_puts_in_place_of_the_streams_the_next_one_prints(job, sent):
    with job:
        sys.stdout.close()
        sys.stdout.buffer.close()
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, "utf-8")
        print("held back by the wrapper")
        del sys.stderr
    after = Sent()
    with Output(logging.INFO, after):
        print("out", flush=True)
        print("err", file=sys.stderr)
        logging.getLogger("a").info("log")
    assert sent.texts == ["held back by the wrapper"]
    assert after.texts == ["out", "err", "log"]


def test_logging_that_the_job_configures_itself_is_printed_once(job, sent):
    with job:
        logging.basicConfig(force=True, format="mine: %(message)s")
        logging.getLogger("a").warning("now")
    after = Sent()
    with Output(logging.INFO, after):
        logging.getLogger("a").warning("then")
        logging.root.handlers.clear()
    last = Sent()
    with Output(logging.INFO, last):
        logging.getLogger("a").warning("again")
    assert (sent.texts, after.texts, last.texts) == (["mine: now"], ["mine: then"], ["again"])


def test_a_forked_process_prints_for_itself(job, sent, real):
    with job:
        print("begun ", end="")
        print("sent?")
        print("not ended", end="")
        job._lock.acquire()
        output.CAPTURE._part()
        # As if by another thread, which the forked process has not.
        print("forked")
        logging.getLogger("a").warning("not handled here")
    assert "forked" not in sent.texts
    assert "not ended" not in sent.texts
    assert written(real[0]) == "forked\n"


def test_a_process_forked_between_jobs_prints_for_itself_too(job, sent, real):
    with job:
        print("sent")
    output.CAPTURE._part()
    print("forked")
    assert sent.texts == ["sent"]
    assert written(real[0]) == "forked\n"


def test_a_capture_that_took_nothing_over_leaves_all_as_it_is(capsys):
    output._Capture()._part()
    output._Capture().say("", logging.INFO, "nobody's")
    print("here")
    assert capsys.readouterr() == ("here\n", "")


# -- repeated ------------------------------------------------------------------


def test_lines_are_printed_and_logged_in_the_worker(capsys, caplog):
    caplog.set_level(logging.INFO)
    repeat(
        [
            Line("", logging.INFO, 1.0, "out"),
            Line("", logging.WARNING, 2.0, "err"),
            Line("a.b", logging.WARNING, 3.0, "100 % logged"),
            Line("a.b", logging.DEBUG, 4.0, "too fine"),
        ],
        "the job",
    )
    assert capsys.readouterr() == ("out\n", "err\n")
    (record,) = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == ("a.b", logging.WARNING, "100 % logged")
    assert (record.created, record.msecs, getattr(record, JOB)) == (3.0, 0.0, "the job")


def test_lines_are_repeated_as_far_as_the_stream_can(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), "ascii")
    lines = [Line("", logging.INFO, 1.0, "grün")]
    monkeypatch.setattr(sys, "stdout", narrow)
    repeat(lines, "the job")
    narrow.flush()
    assert narrow.buffer.getvalue() == b"gr\\xfcn\n"
    narrow.close()
    repeat(lines, "the job")
    monkeypatch.setattr(sys, "stdout", None)
    repeat(lines, "the job")
