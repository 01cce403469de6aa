"""Events over HTTP: what is on the wire, from where it begins, and where it ends."""

import re
import socket
import threading

import pytest

from app.jobs.lifecycle import Logged, Progressed, Reopened, Succeeded
from app.jobs.model import Line, Progress
from app.service import Streams
from app.service.cursors import to_cursor
from tests.api.conftest import running
from tests.api.following import following

UNKNOWN = "0198c0de-0000-7000-8000-000000000000"


def listeners(api):
    """Return how many listen to jobs and tenants; looked at on the loop, where they come and go."""
    waiters, found, looked = api.service._waiters, [], threading.Event()

    def look():
        by = (waiters._by_job, waiters._by_tenant)
        found.append(sum(len(signals) for listeners in by for signals in listeners.values()))
        looked.set()

    waiters._loop.call_soon_threadsafe(look)
    assert looked.wait(10)
    return found[0]


def on_loop(api, call):
    api.service._waiters._loop.call_soon_threadsafe(call)


def done(api, lines=()):
    """Run a job through its life by hand; return its id."""
    job = api.submit()
    [claimed] = api.claim()
    api.apply(job["id"], Progressed(claimed.token, Progress(1, 2, "half")))
    api.apply(job["id"], Logged(claimed.token, tuple(lines)), Succeeded(claimed.token, "2"))
    return job["id"]


# One job


def test_the_whole_life_of_a_job_is_sent_and_the_stream_ends(api):
    job_id = done(api, [Line("books", 30, 1_700_000_000.5, "ink is low\nvery")])
    with following(api.client, f"/jobs/{job_id}/events") as stream:
        first, *sent = stream.blocks()
    assert (first.retry, first.event, bool(first.comment)) == ("2000", None, True)
    assert [block.event for block in sent] == ["state", "state", "progress", "log", "state"]
    assert [block.data["state"] for block in sent if block.event == "state"] == [
        "pending",
        "running",
        "finished",
    ]
    for block in sent:
        assert (block.data["job"], block.data["task"], block.data["queue"]) == (job_id, "add", "default")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", block.data["at"])
    assert sent[2].data["message"] == "half"
    assert sent[3].data["message"] == "ink is low\nvery"
    assert sent[3].data["at"] == "2023-11-14T22:13:20.500000Z"
    assert sent[4].data["outcome"] == "succeeded"
    assert len({block.id for block in sent}) == len(sent)


def test_the_headers_forbid_to_keep_or_to_gather_what_is_sent(api):
    with following(api.client, f"/jobs/{done(api)}/events") as stream:
        headers = stream.answer.headers
    assert stream.answer.status_code == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert "content-length" not in headers


def test_events_are_sent_as_they_happen(api):
    job = api.submit()
    with following(api.client, f"/jobs/{job['id']}/events") as stream:
        events = stream.events()
        assert next(events).data["state"] == "pending"
        [claimed] = api.claim()
        assert next(events).data["state"] == "running"
        api.apply(job["id"], Progressed(claimed.token, Progress(3)))
        assert next(events).data["done"] == 3
        api.apply(job["id"], Succeeded(claimed.token, "2"))
        assert [event.data["state"] for event in events] == ["finished"]


def test_events_bear_no_arguments_results_or_tracebacks(api):
    job = api.submit(task="anything", args=["the secret argument"])
    api.fail(job["id"])
    other = api.submit(task="anything")
    api.finish(other["id"], '"the secret result"')
    texts = [api.client.get(f"/jobs/{job_id}/events").text for job_id in (job["id"], other["id"])]
    assert "ValueError" in texts[0]
    assert "too bad" in texts[0]
    for text in texts:
        assert "secret" not in text
        assert "Traceback" not in text


def test_a_reader_comes_back_with_the_id_of_any_event_and_gets_the_rest(api):
    job_id = done(api)
    with following(api.client, f"/jobs/{job_id}/events") as stream:
        sent = list(stream.events())
    for number, event in enumerate(sent[:-1]):
        with following(api.client, f"/jobs/{job_id}/events", event.id) as stream:
            assert list(stream.events()) == sent[number + 1 :]


def test_an_id_holds_across_a_restart(tmp_path):
    with running(tmp_path / "jobs.db") as api:
        job_id = done(api)
        with following(api.client, f"/jobs/{job_id}/events") as stream:
            first, *rest = stream.events()
    with (
        running(tmp_path / "jobs.db") as again,
        following(again.client, f"/jobs/{job_id}/events", first.id) as stream,
    ):
        assert list(stream.events()) == rest


def test_who_knows_the_final_event_gets_204_and_does_not_come_back(api):
    job_id = done(api)
    with following(api.client, f"/jobs/{job_id}/events") as stream:
        *_, last = stream.events()
    answer = api.client.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": last.id})
    assert (answer.status_code, answer.content) == (204, b"")
    api_again = api.client.head(f"/jobs/{job_id}/events", headers={"Last-Event-ID": last.id})
    assert api_again.status_code == 204


def test_a_new_run_is_sent_to_who_knows_the_end_of_the_last_one(api):
    job = api.submit()
    api.fail(job["id"])
    with following(api.client, f"/jobs/{job['id']}/events") as stream:
        *_, last = stream.events()
    api.apply(job["id"], Reopened())
    with following(api.client, f"/jobs/{job['id']}/events", last.id) as stream:
        event = stream.next()
    assert (event.data["state"], event.data["run"]) == ("pending", 2)


def test_what_is_no_longer_kept_is_sent_as_a_gap(api):
    job = api.submit()
    [claimed] = api.claim()
    api.apply(job["id"], *(Progressed(claimed.token, Progress(n)) for n in range(500)))
    with following(api.client, f"/jobs/{job['id']}/events") as stream:
        gap, first = stream.next(), stream.next()
    assert gap.event == "gap"
    assert list(gap.data) == ["reason"]
    with following(api.client, f"/jobs/{job['id']}/events", gap.id) as stream:
        assert first in (stream.next(), stream.next())


def test_an_empty_last_event_id_is_none(api):
    job_id = done(api)
    with following(api.client, f"/jobs/{job_id}/events", "") as stream:
        assert len(list(stream.events())) == 4


@pytest.mark.parametrize(
    "last", ["x", "nonsense", "AAAAAAAAAAA=", "gAAAAAAAAAA", "AAAAAAAAAAE, AAAAAAAAAAE", "é"]
)
@pytest.mark.parametrize("path", ["/jobs/{}/events", "/events"])
def test_a_bad_last_event_id_is_a_422_that_names_it(api, path, last):
    job_id = api.submit()["id"]
    answer = api.client.get(path.format(job_id), headers={"Last-Event-ID": last.encode()})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-parameters")
    assert answer.json()["errors"][0]["loc"] == ["header", "Last-Event-ID"]


def test_the_id_of_an_event_that_is_still_to_come_is_refused(api):
    job_id = api.submit()["id"]
    headers = {"Last-Event-ID": to_cursor(1000)}
    assert api.client.get(f"/jobs/{job_id}/events", headers=headers).status_code == 422


@pytest.mark.parametrize("job_id", [UNKNOWN, "x", "%7B0198c0de-0000-7000-8000-000000000000%7D"])
@pytest.mark.parametrize("what", ["events", "logs"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_unknown_job_has_neither_events_nor_logs(shared, job_id, what, method):
    assert shared.client.request(method, f"/jobs/{job_id}/{what}").status_code == 404


def test_an_id_in_upper_case_is_the_same(api):
    job_id = done(api)
    with following(api.client, f"/jobs/{job_id.upper()}/events") as stream:
        assert {event.data["job"] for event in stream.events()} == {job_id}


@pytest.mark.parametrize("query", ["wait=1", "state=running", "x="])
def test_a_parameter_that_a_jobs_events_do_not_know_is_refused(api, query):
    answer = api.client.get(f"/jobs/{api.submit()['id']}/events?{query}")
    assert answer.status_code == 422


# All jobs


def test_the_stream_of_all_jobs_begins_now_and_says_where(api):
    done(api)
    with following(api.client, "/events") as stream:
        blocks = stream.blocks()
        assert next(blocks).retry == "2000"
        begin = next(blocks)
        assert (begin.event, begin.data) == (None, None)
        job = api.submit()
        event = next(blocks)
        assert (event.event, event.data["job"], event.data["state"]) == ("state", job["id"], "pending")
    with following(api.client, "/events", begin.id) as stream:
        assert stream.next() == event


def test_the_stream_of_all_jobs_can_be_filtered_as_the_list(api):
    with following(api.client, "/events?queue=books&task=anything&tag=team:a&tag=for:b") as stream:
        blocks = stream.blocks()
        next(blocks), next(blocks)
        api.submit(task="anything")
        api.submit(queue="books")
        api.submit(task="anything", queue="books", tags={"team": "a"})
        wanted = api.submit(task="anything", queue="books", tags={"team": "a", "for": "b"})
        assert next(blocks).data["job"] == wanted["id"]


@pytest.mark.parametrize(
    "query", ["limit=5", "cursor=AAAAAAAAAAE", "state=asleep", "what=1", "task=a&task=b"]
)
def test_a_bad_filter_is_a_422_that_names_it(api, query):
    answer = api.client.get(f"/events?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", query.partition("=")[0]]


def test_a_tenant_sees_its_own_jobs_alone(serve):
    api = serve(api_keys="books:secret-1,ops:secret-2")
    books, ops = ({"Authorization": f"Bearer {secret}"} for secret in ("secret-1", "secret-2"))
    assert api.client.get("/events").status_code == 401
    body = {"task": "add", "args": [1]}
    with following(api.client, "/events", **ops) as stream:
        blocks = stream.blocks()
        next(blocks), next(blocks)
        hidden = api.client.post("/jobs", json=body, headers=books).json()["id"]
        shown = api.client.post("/jobs", json=body, headers=ops).json()["id"]
        assert next(blocks).data["job"] == shown
    for what in ("events", "logs"):
        assert api.client.get(f"/jobs/{hidden}/{what}", headers=ops).status_code == 404
        assert api.client.get(f"/jobs/{hidden}/{what}").status_code == 401


# While nothing happens, and at the end


@pytest.mark.parametrize("path", ["/jobs/{}/events", "/events"])
def test_a_comment_now_and_then_shows_that_the_connection_lives(api, path):
    job_id = api.submit()["id"]
    api.service.streams = Streams(api.service._store, api.service._waiters, beat=0.01)
    with following(api.client, path.format(job_id)) as stream:
        blocks = stream.blocks()
        first = [next(blocks) for _ in range(2)]
        beats = [next(blocks) for _ in range(3)]
    assert first[0].comment
    assert all(beat.comment and beat.event is None for beat in beats)


@pytest.mark.parametrize("path", ["/jobs/{}/events", "/events"])
def test_a_service_that_stops_ends_the_streams_with_a_comment(api, path):
    job_id = api.submit()["id"]
    with following(api.client, path.format(job_id)) as stream:
        blocks = stream.blocks()
        next(blocks), next(blocks)
        on_loop(api, api.service.release_waiters)
        rest = list(blocks)
    assert [bool(block.comment) for block in rest] == [True]
    assert listeners(api) == 0


@pytest.mark.parametrize("path", ["/jobs/{}/events", "/events"])
def test_a_reader_that_hangs_up_leaves_nothing_behind(api, path):
    job_id = api.submit()["id"]
    with following(api.client, path.format(job_id)) as stream:
        blocks = stream.blocks()
        next(blocks), next(blocks)
        assert listeners(api) == 1
        stream.answer.close()
        while listeners(api):
            pass


def test_a_reader_that_takes_nothing_holds_up_neither_the_job_nor_others(api):
    job = api.submit()
    [claimed] = api.claim()
    host, port = api.url.removeprefix("http://").split(":")
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect((host, int(port)))
        stuck.sendall(f"GET /jobs/{job['id']}/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        stuck.recv(1)
        lines = tuple(Line("", 20, 0.0, "x" * 8000) for _ in range(100))
        for _ in range(20):
            api.apply(job["id"], Logged(claimed.token, lines))
        api.apply(job["id"], Succeeded(claimed.token, "2"))
        with following(api.client, f"/jobs/{job['id']}/events") as stream:
            assert len(list(stream.events())) == 2003
    while listeners(api):
        pass


@pytest.mark.parametrize("path", ["/jobs/{}/events", "/events"])
def test_head_is_answered_at_once_with_the_headers_alone(api, path):
    job_id = api.submit()["id"]
    answer = api.client.head(path.format(job_id))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "content-length" not in answer.headers
    # The connection can be used again.
    assert api.client.get(f"/jobs/{job_id}").status_code == 200


def test_events_know_no_other_method(shared):
    for path in (f"/jobs/{UNKNOWN}/events", "/events"):
        answer = shared.client.post(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_a_store_that_fails_midway_ends_the_stream_with_a_comment(api, monkeypatch):
    from app.stores.base import StoreUnavailableError

    async def fail(*_, **__):
        raise StoreUnavailableError("/secret/path is full")

    job = api.submit()
    with following(api.client, f"/jobs/{job['id']}/events") as stream:
        blocks = stream.blocks()
        next(blocks), next(blocks)
        monkeypatch.setattr(api.service._store, "records", fail)
        api.claim()
        [last] = blocks
    assert last.comment
    assert "secret" not in last.comment
