"""errand submit: arguments, options, waiting, and how it ends."""

import json
import re

import pytest

from tests.cli.conftest import NOWHERE


def test_with_wait_the_result_is_printed_as_json_on_one_line(errand):
    assert errand("submit", "count_words", "to be or not to be", "--wait") == (0, "6\n", "")
    assert errand("submit", "take", '{"a": 1}', "many=[1, 2]", "--wait").out == '[{"a":1},false,[1,2]]\n'


def test_without_it_the_job_is_printed(errand, client):
    done = errand("submit", "add", 1, "b=2")
    job = json.loads(done.out)
    assert (done.code, job["task"], job["args"], job["kwargs"]) == (0, "add", [1], {"b": 2})
    assert client.get(job["id"]).task == "add"


def test_every_option_reaches_the_job(errand):
    options = ["--queue", "q", "--priority", -3, "--delay", 3600, "--timeout", 1.5, "--expires-in", 7200]
    more = ["--max-attempts", 4, "--key", "k", "--tag", "team=books", "--tag", "a:b=c"]
    job = json.loads(errand("submit", "add", 1, *options, *more).out)
    assert (job["queue"], job["priority"], job["timeout"], job["max_attempts"]) == ("q", -3, 1.5, 4)
    assert (job["key"], job["tags"], job["state"]) == ("k", {"team": "books", "a": "b=c"}, "pending")
    assert job["created_at"] < job["run_at"] < job["expires_at"]


def test_a_due_time_may_be_written_without_an_offset(errand):
    job = json.loads(errand("submit", "add", 1, "--run-at", "2035-01-31T09:00").out)
    assert job["run_at"].startswith("2035-01-3")
    refused = errand("submit", "add", 1, "--run-at", "tomorrow")
    assert refused.code == 2
    assert "--run-at 'tomorrow'" in refused.err


def test_the_same_idempotency_key_stands_for_the_same_job(errand):
    first, second = (json.loads(errand("submit", "add", 5, "--idempotency-key", "five").out) for _ in "ab")
    assert first["id"] == second["id"]


def test_awkward_arguments_have_ways_of_their_own(errand):
    assert errand("submit", "add", "--wait", "--", "-5", "3").out == "-2\n"
    assert errand("submit", "say", "text=times=1", "--wait").out == '"times=1"\n'
    assert errand("submit", "add", "--args", "[1, 2]", "--wait").out == "3\n"
    assert errand("submit", "add", 1, "--kwargs", '{"b": 5}', "--wait").out == "6\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ad", "1"], "there is no task 'ad'; did you mean add?"),
        (["quite_another"], "there is no task 'quite_another'; `errand tasks` shows what there is"),
        ([], "name a task; `errand tasks` shows what there is"),
        (["add", "one"], "a takes int, written as JSON like 3; 'one' is no JSON"),
        (["add", "1.5"], "args.0: Input should be a valid integer"),
        (["add"], "Missing required argument 'a'"),
        (["add", "1", "2", "3"], "args.2: Unexpected positional argument"),
        (["add", "1", "--args", "[1]"], "values without names stand in --args or on the command line"),
        (["add", "--args", "{}"], "--args takes an array of JSON like '[\"to be\", 3]'"),
        (["add", "--kwargs", "{"], "--kwargs is no JSON"),
        (["add", "a=1", "--kwargs", '{"a": 1}'], "a is given twice"),
        (["add", "1", "--tag", "team"], "--tag 'team': a tag is written key=value"),
        (["add", "1", "--priority", "900"], "priority: Input should be less than or equal to 100"),
        (["add", "1", "--delay", "1", "--run-at", "2035-01-01"], "delay and run_at exclude each other"),
        (["add", "1", "--delay", "nan"], "what add is submitted with cannot be JSON"),
        (["add", "1", "--idempotency-key", "ü"], "--idempotency-key takes 1 to 255 visible ASCII characters"),
        (["add", "1", "--idempotency-key", "a\nb"], "--idempotency-key takes"),
        (["say", "\udcff"], "argument 3 is not UTF-8 text"),
        (["add", "-5"], "No such option: -5 (arguments that begin with a dash come after --)"),
        (["add", "1", "--wait-timeout", "-1"], "Invalid value for '--wait-timeout'"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(errand, arguments, message):
    done = errand("submit", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert re.fullmatch(r"errand: .+\n", done.err)


def test_a_job_that_fails_is_told_and_exit_code_1(errand):
    done = errand("submit", "break_down", "no ink\nat all", "--wait")
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(r"errand: job [0-9a-f-]{36} failed: ValueError: no ink …\n", done.err)


def test_a_job_that_is_cancelled_is_told_truthfully_and_exit_code_3(errand):
    done = errand("submit", "add", 1, "--delay", 3600, "--expires-in", 0.1, "--wait")
    assert (done.code, done.out) == (3, "")
    assert re.fullmatch(r"errand: job \S+ cancelled before it began \(expired\)\n", done.err)


def test_a_wait_that_takes_too_long_is_exit_code_4_and_the_job_goes_on(errand, client, gate):
    done = errand("submit", "hold", "--wait-timeout", 0.2)
    assert (done.code, done.out) == (4, "")
    found = re.fullmatch(
        r"errand: job (\S+) is still \w+ after 200 ms, and goes on; `errand watch \1` follows it\n", done.err
    )
    assert found
    gate.GO_ON.set()
    assert client.result(found[1], timeout=30) == "held"


def test_a_service_that_does_not_answer_is_exit_code_5(errand):
    done = errand("submit", "add", 1, "--url", NOWHERE)
    assert (done.code, done.out) == (5, "")
    assert re.fullmatch(r"errand: http://127\.0\.0\.1:9 cannot be reached: .+; start it with .+\n", done.err)


def test_a_refusal_by_the_service_is_exit_code_1(errand, client):
    job = client.submit("add", 1)
    client.result(job.id)
    done = errand("cancel", job.id)
    assert done.code == 1
    assert f"{job.id}: the job has finished: its outcome stands" in done.err


def test_at_a_terminal_the_result_is_coloured_json_and_a_bar_shows_how_far_it_is(terminal, gate):
    shown = terminal("submit", "hold", "--wait")
    assert "25%" in shown.read(until="25%")
    gate.GO_ON.set()
    assert shown.end() == 0
    assert '\x1b[32m"held"\x1b[0m\r\n' in shown.text


def test_colours_can_be_switched_off(terminal):
    shown = terminal("submit", "say", "word", "--wait", NO_COLOR="1")
    assert shown.end() == 0
    assert '"word"\r\n' in shown.text
    assert "\x1b[3" not in shown.text


def test_json_is_the_same_at_a_terminal_when_it_is_asked_for(terminal):
    shown = terminal("submit", "add", "1", "--json")
    assert shown.end() == 0
    assert json.loads(shown.text)["task"] == "add"


def test_ctrl_c_while_it_waits_leaves_the_job_running_and_says_how_to_go_on(terminal, client, gate):
    shown = terminal("submit", "hold", "--wait")
    shown.read(until="25%")
    shown.interrupt()
    assert shown.end() == 130
    found = re.search(r"errand: job (\S+) goes on; `errand watch \1` follows it", shown.text)
    assert found
    gate.GO_ON.set()
    assert client.result(found[1], timeout=30) == "held"


def test_what_a_hostile_task_returns_and_reports_is_not_obeyed(terminal):
    shown = terminal("submit", "[red]hostile", "--wait")
    assert shown.end() == 0
    assert "[red]x[/red]\\u001b[2J\\u009b2J\\u0007\\u202e" in shown.text
    failed = terminal("submit", "[red]hostile", "fails=true", "--wait")
    assert failed.end() == 1
    assert "ValueError: [red]x[/red]\\x1b[2J\\x9b2J\\x07\\u202e" in failed.text
    for text in (shown.text, failed.text):
        assert "\x1b[2J" not in text
        assert not {"\x07", "\x9b", "\u202e"} & set(text)
