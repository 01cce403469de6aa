"""What the pages' modules do by themselves, each called in a page."""

import json
import shlex

import pytest

NUMBERS = ["0", "-7", "12.5", "5.0", "1e-07", "0.1", "354224848179261915075", "-0.30000000000000004", "1E400"]


@pytest.fixture(scope="module")
def call(chromium, house):
    """Return a function that calls a function of a module with these arguments; `page` is where it does."""
    context = chromium.new_context(base_url=house.url)
    page = context.new_page()
    page.goto("/#/nowhere")

    def call(module, function, *arguments):
        return page.evaluate(
            "async ([module, name, args]) => (await import(`/static/${module}.js`))[name](...args)",
            [module, function, list(arguments)],
        )

    call.page = page
    yield call
    context.close()


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_written_as_they_were_read(call, number):
    text = f'{{"a":[{number}],"b":{{"c":{number}}}}}'
    written = call.page.evaluate(
        """async text => {
          const { parse, write } = await import("/static/json.js");
          return write(parse(text));
        }""",
        text,
    )
    assert written == text


def test_json_is_indented_as_python_does_it(call):
    value = {"a": [1, {"b": None, "c": "\u2028\n"}], "d": {}, "e": []}
    assert call("json", "write", value, 2) == json.dumps(value, indent=2, ensure_ascii=False)


@pytest.mark.parametrize("typed", ["", "x", "01", "1.", "+1", "0x10", "Infinity", "NaN", "1_000", " 1"])
def test_what_is_no_json_number_is_none(call, typed):
    assert call("json", "number", typed) is None


STREAM = (
    ": events follow\nretry: 2000\n\n"
    'event: state\nid: a\ndata: {"x": 1}\n\n'
    "event: log\r\nid: b\r\ndata: one\r\ndata:  two\r\n\r\n"
    ": still here\nid: c\n\n"
    "data\n\n"
)


def test_events_are_the_same_however_the_stream_is_cut(call):
    read = """async ([stream, size]) => {
      const { Parser } = await import("/static/sse.js");
      const events = [];
      const parser = new Parser(event => events.push(event));
      for (let at = 0; at < stream.length; at += size) parser.feed(stream.slice(at, at + size));
      return [events, parser.id];
    }"""
    events = [
        {"type": "state", "id": "a", "data": '{"x": 1}'},
        {"type": "log", "id": "b", "data": "one\n two"},
        {"type": "message", "id": "c", "data": ""},
    ]
    for size in (1, 2, 3, 7, len(STREAM)):
        assert call.page.evaluate(read, [STREAM, size]) == [events, "c"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\N{EN DASH}"),
        (0, "0 ms"),
        (0.0042, "4.2 ms"),
        (0.9996, "1.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (90061, "1 d 1 h"),
    ],
)
def test_lengths_of_time_are_told_in_two_units_at_most(call, seconds, text):
    assert call("format", "duration", seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3, "just now"),
        (-0.5, "just now"),
        (59, "55 s ago"),
        (61, "1 min ago"),
        (-3590, "in 59 min"),
        (90000, "1 d ago"),
    ],
)
def test_how_long_ago_is_told_in_one_unit(call, seconds, text):
    assert call("format", "ago", seconds) == text


@pytest.mark.parametrize("text", ["", "plain", "it's", '$HOME `x` \\ "y"', "a\nb", "'; rm -rf / #", "é"])
def test_a_shell_reads_what_was_quoted(call, text):
    assert shlex.split(call("curl", "quoted", text)) == [text]


def test_an_address_says_again_what_it_was_made_of(call):
    query = {"tag": ["a:b", "c:d&e"], "q": "x y/ü", "state": "", "cursor": None}
    address = call("router", "toHash", ["jobs", 'a/b?"#'], query)
    read = """async hash => {
      const { parseHash } = await import("/static/router.js");
      const { parts, query } = parseHash(hash);
      return [parts, [...query]];
    }"""
    assert call.page.evaluate(read, address) == [
        ["jobs", 'a/b?"#'],
        [["tag", "a:b"], ["tag", "c:d&e"], ["q", "x y/ü"]],
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("href", "javascript:alert(1)"),
        ("href", " javascript:alert(1)"),
        ("href", "//elsewhere.example"),
        ("href", "/\\elsewhere.example"),
        ("href", "https://elsewhere.example"),
        ("href", "data:text/html,x"),
        ("onclick", "alert(1)"),
        ("style", "color: red"),
    ],
)
def test_no_element_is_made_that_leads_elsewhere_or_runs_a_text(call, name, value):
    outcome = call.page.evaluate(
        """async ([name, value]) => {
          const { h } = await import("/static/dom.js");
          try { h("a", { [name]: value }); return "made"; } catch (error) { return error.name; }
        }""",
        [name, value],
    )
    assert outcome == "TypeError"


def test_markup_is_text(call):
    text = "<img src=x onerror=alert(1)>"
    made = call.page.evaluate(
        """async text => {
          const { h } = await import("/static/dom.js");
          const element = h("p", { title: text }, text);
          return [element.childElementCount, element.textContent, element.title];
        }""",
        text,
    )
    assert made == [0, text, text]


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [("abc", "xaybcz", 3), ("abcd", "bd", 2), ("abc", "cab", 2), ("abc", "abc", 0)],
)
def test_elements_that_stay_where_they_are_do_not_leave_the_page(call, before, after, changes):
    arranged = call.page.evaluate(
        """async ([before, after]) => {
          const { arrange, h } = await import("/static/dom.js");
          const made = Object.fromEntries([...before + after].map(name => [name, h("p", null, name)]));
          const parent = h("div", null, [...before].map(name => made[name]));
          const observer = new MutationObserver(() => {});
          observer.observe(parent, { childList: true });
          arrange(parent, [...after].map(name => made[name]));
          return [parent.textContent, observer.takeRecords().length];
        }""",
        [before, after],
    )
    assert arranged == [after, changes]
