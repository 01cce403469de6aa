"""How things look: text that may be anybody's, JSON for people, tables by the width, times."""

import io
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from app.cli.screen import Column, Screen, compact, moment, now, plain, pretty, short, span, table, word
from tests.cli.cli_tasks import HOSTILE

OBEYED = "\x00\x07\x08\x1b\x7f\x9b\r\u202e\u2066\u200f\u2028\ufeff\ud800"


def drawn(renderable, width):
    screen = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    screen.print(renderable)
    return screen.file.getvalue().splitlines()


def test_what_a_terminal_would_obey_is_written_as_an_escape():
    assert plain(HOSTILE) == "[red]x[/red]\\x1b[2J\\x9b2J\\x07\\u202e"
    assert plain(OBEYED).isprintable()
    assert plain("naïve 日本 🎈 ümlaut") == "naïve 日本 🎈 ümlaut"


def test_line_breaks_and_tabs_are_left_only_where_lines_are_wanted():
    assert plain("a\n\tb\r") == "a\\n\\tb\\r"
    assert plain("a\n\tb\r", lines=True) == "a\n\tb\\r"


def test_no_console_here_reads_markup_or_emoji_codes():
    out = io.StringIO()
    Screen(out).print("[red]:smile:[/red] [link=http://x]y[/link]")
    assert out.getvalue() == "[red]:smile:[/red] [link=http://x]y[/link]\n"


def test_json_bears_nothing_that_a_terminal_obeys_and_says_the_same():
    value = {OBEYED[:-1]: [OBEYED[:-1], "ü"]}
    for text in (compact(value), pretty(value, 80).plain):
        assert json.loads(text) == value
        assert all(character.isprintable() for character in text.replace("\n", ""))


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        (None, ["null"]),
        ({"a": [1, 2], "b": {}}, ['{"a": [1, 2], "b": {}}']),
        (
            list(range(20)),
            ["[", "  0, 1, 2, 3, 4, 5, 6, 7, 8, 9,", "  10, 11, 12, 13, 14, 15, 16,", "  17, 18, 19", "]"],
        ),
        (
            {"name": "x" * 20, "list": [[1, 2], [3]], "empty": []},
            ["{", f'  "name": "{"x" * 20}",', '  "list": [[1, 2], [3]],', '  "empty": []', "}"],
        ),
        ([{"a": "x" * 30}], ["[", "  {", f'    "a": "{"x" * 30}"', "  }", "]"]),
    ],
)
def test_json_for_people_takes_the_lines_that_the_width_asks_for(value, lines):
    shown = pretty(value, 32).plain
    assert shown.split("\n") == lines
    assert json.loads(shown) == value


COLUMNS = (
    Column("ID", whole=True),
    Column("NAME"),
    Column("N", whole=True, right=True),
    Column("MORE", width=60),
)
ROWS = [("0123456789abcdef", "short", 7, "seen"), ("0123456789abcdef", "long" * 20, 4711, "seen")]


@pytest.mark.parametrize("width", [30, 40, 50])
def test_a_table_fits_its_width_and_shortens_no_id(width):
    lines = drawn(table(COLUMNS, ROWS, width), width)
    assert max(map(len, lines)) <= width
    assert [line[:16] for line in lines[2:]] == ["0123456789abcdef"] * 2
    assert lines[3].split()[1].endswith("…")
    assert [line.split()[-1] for line in lines[2:]] == ["7", "4711"]
    assert "MORE" not in lines[0]


def test_a_wide_terminal_has_room_for_more_columns():
    lines = drawn(table(COLUMNS, ROWS, 130), 130)
    assert lines[0].split() == ["ID", "NAME", "N", "MORE"]
    assert "long" * 20 in lines[3]


def test_a_cell_is_one_line_whatever_it_holds():
    lines = drawn(table(COLUMNS, [(word("a\nb"), HOSTILE, 1, "")], 80), 80)
    assert len(lines) == 3
    assert plain(HOSTILE) in lines[2]


@pytest.mark.parametrize(
    ("seconds", "long", "brief"),
    [
        (-1, "0 ms", "0 s"),
        (0.0423, "42 ms", "0 s"),
        (1.25, "1.2 s", "1 s"),
        (59.9, "59 s", "59 s"),
        (60, "1 min", "1 min"),
        (125, "2 min 5 s", "2 min"),
        (3725, "1 h 2 min", "1 h"),
        (90_000, "1 d 1 h", "1 d"),
        (86_400 * 400, "400 d", "400 d"),
    ],
)
def test_durations_are_told_in_their_largest_units(seconds, long, brief):
    assert (span(seconds), short(seconds)) == (long, brief)


def test_a_moment_says_how_far_away_it_is():
    assert moment(now() - timedelta(hours=2, seconds=1)).endswith("(2 h ago)")
    assert "(in 59 min" in moment(now() + timedelta(minutes=59, seconds=59))


def test_a_terminal_of_another_encoding_is_shown_escapes(terminal, client):
    job = client.options(queue="日本").submit("say", "naïve")
    client.result(job.id)
    shown = terminal("list", "--queue", "日本", width=130, PYTHONIOENCODING="ascii")
    assert shown.end() == 0
    assert "\\u65e5\\u672c" in shown.text


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("at", [datetime.max, datetime.min])  # noqa: DTZ901  (given one below)
def test_times_at_the_ends_of_the_calendar_are_shown(monkeypatch, zone, at):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert moment(at.replace(tzinfo=UTC))[:4] in {"9999", "0001", "1-01"}
    monkeypatch.undo()
    time.tzset()
