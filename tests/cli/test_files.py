"""errand submit --file: a job for each line, a batch at a time."""

import json

import pytest

from app.cli.batches import BATCH


@pytest.fixture
def file(tmp_path):
    def write(*lines, name="jobs.jsonl"):
        path = tmp_path / name
        path.write_bytes(
            b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines)
        )
        return path

    return write


def stored(client, queue):
    return list(client.jobs(queue=queue))


def ids(done):
    return [json.loads(line)["id"] for line in done.out.splitlines()]


def test_lines_are_submissions_as_in_http(errand, client, file):
    path = file(
        '{"task": "add", "args": [1], "queue": "own", "tags": {"n": "1"}}',
        "",
        '{"task": "add", "kwargs": {"a": 2}, "retry": {"max_attempts": 2}, "delay": 3600}',
    )
    done = errand("submit", "--file", path)
    assert (done.code, done.err) == (0, "")
    first, second = map(client.get, ids(done))
    assert (first.args, first.queue, first.tags) == ([1], "own", {"n": "1"})
    assert (second.kwargs, second.max_attempts, second.state) == ({"a": 2}, 2, "pending")


def test_with_a_task_the_lines_are_its_arguments(errand, client, file):
    done = errand("submit", "take", "--file", file("[1, true]", '{"a": 2}', "3", '"four"', "\ufeff5"[1:]))
    jobs = list(map(client.get, ids(done)))
    assert [job.args for job in jobs] == [[1, True], [], [3], ["four"], [5]]
    assert jobs[1].kwargs == {"a": 2}


def test_options_fill_what_the_lines_leave_out(errand, client, file):
    path = file('{"task": "add", "args": [1]}', '{"task": "add", "args": [1], "queue": "own"}')
    jobs = list(map(client.get, ids(errand("submit", "--file", path, "--queue", "given", "--priority", 3))))
    assert [(job.queue, job.priority) for job in jobs] == [("given", 3), ("own", 3)]


def test_more_lines_than_a_batch_holds_are_all_submitted_in_their_order(errand, client, file):
    count = 2 * BATCH + 1
    done = errand("submit", "add", "--file", file(*range(count)), "--queue", "many")
    assert done.code == 0
    assert len(set(ids(done))) == count
    assert client.get(ids(done)[-1]).args == [count - 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON (Expecting"),
        ("[NaN]", "not JSON (NaN is no JSON)"),
        (b"\xff\n", "not UTF-8 text"),
        ("[1]", "a submission is a JSON object, and this is array; name the TASK before --file"),
        ('{"args": [1]}', "the field 'task' is to be the name of a task"),
        ('{"task": "add", "arg": [1]}', "a submission has no field 'arg'"),
        ('{"task": "add", "tags": "a"}', "the field 'tags' is to be an object"),
        ('{"task": "add", "args": 1}', "the field 'args' is to be an array"),
        ('{"task": "ad", "args": [1]}', "task: no task of this name; did you mean 'add'?"),
        ('{"task": "add", "args": ["x"]}', "args.0: Input should be a valid integer"),
        ('{"task": "add", "args": [1], "priority": 1000}', "priority: Input should be less than"),
    ],
)
def test_a_bad_line_is_named_and_nothing_of_its_batch_is_stored(errand, client, file, line, message):
    good = '{"task": "add", "args": [1], "queue": "bad"}'
    done = errand("submit", "--file", file(good, "", line, good))
    assert (done.code, done.out) == (2, "")
    assert f"jobs.jsonl, line 3: {message}" in done.err
    assert done.err.endswith("; nothing was stored\n")
    assert stored(client, "bad") == []


def test_long_lines_are_submitted_fewer_at_a_time(errand, client, file, monkeypatch):
    monkeypatch.setattr("app.client.calls.BATCH_BYTES", 2000)
    done = errand("submit", "add", "--file", file(*range(100)), "--queue", "long lines", "--json")
    assert done.code == 0
    assert len(done.out.splitlines()) == 100
    assert len(list(client.jobs(queue="long lines"))) == 100


def test_a_line_that_cannot_be_sent_is_named(errand, file):
    done = errand("submit", "add", "--file", file(1, 2, "1e400"))
    assert done.code == 2
    assert "line 3: " in done.err


def test_the_batches_before_a_bad_line_are_stored_and_that_is_said(errand, client, file):
    done = errand("submit", "add", "--file", file(*range(BATCH), "x"), "--queue", "half")
    assert done.code == 2
    assert f"line {BATCH + 1}: not JSON" in done.err
    assert "; the 1,000 jobs of the batches before are stored\n" in done.err
    assert len(ids(done)) == len(stored(client, "half")) == BATCH


def test_the_standard_input_is_a_file_too(errand_process):
    done = errand_process("submit", "add", "--file", "-", stdin="1\n2\n")
    assert (done.code, len(done.out.splitlines())) == (0, 2)
    bad = errand_process("submit", "add", "--file", "-", stdin="1\nx")
    assert bad.code == 2
    assert bad.err.startswith("errand: standard input, line 2: not JSON")


def test_a_file_that_is_not_there_and_options_that_make_no_sense_with_one_are_refused(errand, file):
    assert "nowhere cannot be read: No such file" in errand("submit", "--file", "nowhere").err
    for options in (["add", "1"], ["add", "--wait"], ["add", "--idempotency-key", "k"]):
        done = errand("submit", *options, "--file", file("1"))
        assert done.code == 2
        assert "with --file there are no arguments" in done.err


def test_at_a_terminal_a_bar_shows_how_far_it_is_and_a_line_what_came_of_it(terminal, file):
    shown = terminal("submit", "add", "--file", file(*range(BATCH + 5)))
    assert shown.end() == 0
    assert "100%" in shown.text
    assert shown.text.endswith("1,005 jobs submitted\r\n")
