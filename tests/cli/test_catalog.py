"""errand tasks, queues, pause, resume."""

import json
import re


def test_tasks_are_json_with_their_schemas(errand):
    done = errand("tasks")
    found = {task["name"]: task for task in map(json.loads, done.out.splitlines())}
    assert found["add"]["parameters"]["properties"]["b"]["default"] == 1
    assert json.loads(errand("tasks", "add").out) == found["add"]


def test_at_a_terminal_a_task_is_a_line_like_its_signature_and_the_first_of_its_documentation(terminal):
    shown = terminal("tasks", NO_COLOR="1")
    assert shown.end() == 0
    text = shown.plain
    assert "add(a: int, b: int = 1) -> int\r\n    Add two numbers.\r\nsay(" in text
    assert max(map(len, text.splitlines())) <= 80


def test_at_a_terminal_one_task_is_shown_in_full(terminal):
    shown = terminal("tasks", "fibonacci", NO_COLOR="1")
    assert shown.end() == 0
    text = shown.plain
    assert text.startswith("fibonacci(n: int) -> int\r\n")
    assert "In a process of its own" in text
    assert "runs in a process, queue default, timeout in seconds 600" in text


def test_a_wrong_name_is_answered_with_those_that_are_near(errand):
    done = errand("tasks", "fibonaci")
    assert (done.code, done.err) == (2, "errand: there is no task 'fibonaci'; did you mean fibonacci?\n")


def test_a_queue_is_paused_and_resumed(errand, client):
    paused = json.loads(errand("pause", "mails").out)
    assert (paused["name"], paused["paused"]) == ("mails", True)
    job = client.options(queue="mails").submit("add", 1)
    (queue,) = (one for one in map(json.loads, errand("queues").out.splitlines()) if one["name"] == "mails")
    assert (queue["paused"], queue["pending"]) == (True, 1)
    assert json.loads(errand("resume", "mails").out)["paused"] is False
    assert client.result(job.id, timeout=30) == 2


def test_at_a_terminal_queues_are_a_table_and_a_pause_is_told(terminal):
    paused = terminal("pause", "mails and more", NO_COLOR="1")
    assert paused.end() == 0
    assert "mails and more is paused: 0 pending, 0 running" in paused.text
    shown = terminal("queues", NO_COLOR="1")
    assert shown.end() == 0
    assert re.search(r"mails and more +paused +0 +0", shown.plain)
    resumed = terminal("resume", "mails and more", NO_COLOR="1")
    assert resumed.end() == 0
    assert "mails and more runs: 0 pending, 0 running" in resumed.text
