"""Following jobs: what a reader is told, when it reads, and what is left of it afterwards."""

import asyncio
import json
import time
from contextlib import aclosing, closing, suppress

import pytest

from app.jobs.lifecycle import Claimed, Failed, Logged, Progressed, Reopened, Succeeded
from app.jobs.model import Failure, Job, Line, Progress, Slot, new_id, wall_clock
from app.service import Filter, InvalidCursorError, NoSuchJobError, StoreDownError, Streams
from app.service import streams as streams_module
from app.service.cursors import from_cursor, to_cursor
from app.service.streams import PAGE, PAUSE_PER_WORK
from app.service.waiters import Waiters
from app.stores.base import Change, Insert, Purge, StoreUnavailableError
from app.stores.sqlite import SqliteStore
from app.stores.writer import Writer

HOUR = 3600.0
PATIENCE = 30
ALWAYS_THE_LONGEST = 1e9


class CountedStore(SqliteStore):
    """Counts how often records are read, and can be told to fail."""

    reads = 0
    down = False

    async def records(self, *args, **kwargs):
        self.reads += 1
        if self.down:
            raise StoreUnavailableError("the disk is full")
        return await super().records(*args, **kwargs)


class Desk:
    """A store, and readers who are told when it was written; what a worker does is done by hand."""

    def __init__(self, store, writer):
        self.store = store
        self.writer = writer
        self.waiters = Waiters()
        self.streams = self.with_pace()
        self.tokens = 0
        writer.listen(self.waiters.notify)

    def with_pace(self, beat=HOUR, pause=0.0, per_work=PAUSE_PER_WORK):
        return Streams(self.store, self.waiters, beat=beat, pause=pause, per_work=per_work)

    def submit(self, tenant="t", task="work", queue="default"):
        now = wall_clock()
        job = Job(new_id(now), tenant, task, Slot.THREAD, now, now, queue=queue)
        return self.writer.submit(Insert([job])).result(PATIENCE)[0]

    def apply(self, job, *events):
        return self.writer.submit(Change(job.id, events)).result(PATIENCE)

    def start(self, job):
        self.tokens += 1
        return self.apply(job, Claimed(self.tokens, "worker-1"))

    def log(self, job, count):
        lines = tuple(Line("", 20, n, f"line {n}") for n in range(count))
        return self.apply(job, Logged(job.token, lines))

    def finish(self, job):
        return self.apply(job, Succeeded(job.token, "2"))

    def fail(self, job):
        return self.apply(job, Failed(job.token, Failure("ValueError", "bad", "Traceback")))

    def done(self, lines=0):
        job = self.start(self.submit())
        self.log(job, lines)
        return self.finish(job)

    def nobody_listens(self):
        return not self.waiters._by_job and not self.waiters._by_tenant


@pytest.fixture
def desk(tmp_path):
    with closing(CountedStore(tmp_path / "jobs.db")) as store, closing(Writer(store, wall_clock)) as writer:
        yield Desk(store, writer)


def run(test):
    async def limited():
        async with asyncio.timeout(PATIENCE):
            return await test

    return asyncio.run(limited())


async def all_of(stream):
    return [entry async for part in stream for entry in part.entries]


async def some_of(stream, count):
    """Return so many entries, and leave the stream open."""
    found = []
    while len(found) < count:
        found += (await anext(stream)).entries
    return found


def states(entries):
    return [json.loads(entry.record.data).get("state", entry.record.kind) for entry in entries]


# One job


def test_a_job_that_is_done_is_told_from_its_beginning_to_its_end(desk):
    job = desk.done(lines=1)

    async def test():
        return await all_of(await desk.streams.of_job("t", job.id))

    entries = run(test())
    assert states(entries) == ["pending", "running", "log", "finished"]
    assert {(entry.job_id, entry.task, entry.queue) for entry in entries} == {(job.id, "work", "default")}
    assert desk.nobody_listens()


def test_a_job_is_followed_until_it_is_done(desk):
    job = desk.submit()

    async def test():
        stream = await desk.streams.of_job("t", job.id)
        seen = states(await some_of(stream, 1))
        running = await asyncio.to_thread(desk.start, job)
        seen += states(await some_of(stream, 1))
        await asyncio.to_thread(desk.log, running, 2)
        seen += states(await some_of(stream, 2))
        await asyncio.to_thread(desk.finish, running)
        return seen + states(await all_of(stream))

    assert run(test()) == ["pending", "running", "log", "log", "finished"]
    assert desk.nobody_listens()


def test_every_cursor_resumes_after_what_it_stands_for(desk):
    job = desk.done(lines=3)

    async def test():
        entries = await all_of(await desk.streams.of_job("t", job.id))
        rest = [await all_of(await desk.streams.of_job("t", job.id, e.cursor)) for e in entries[:-1]]
        return entries, rest

    entries, rest = run(test())
    assert rest == [entries[n + 1 :] for n in range(len(entries) - 1)]


def test_who_knows_the_end_of_a_job_is_told_nothing(desk):
    job = desk.done()

    async def test():
        entries = await all_of(await desk.streams.of_job("t", job.id))
        return await desk.streams.of_job("t", job.id, entries[-1].cursor)

    assert run(test()) is None


def test_who_knows_the_last_event_of_a_job_that_is_not_done_is_told_what_comes(desk):
    job = desk.start(desk.submit())

    async def test():
        known = await some_of(await desk.streams.of_job("t", job.id), 2)
        stream = await desk.streams.of_job("t", job.id, known[-1].cursor)
        next_one = asyncio.ensure_future(all_of(stream))
        await asyncio.to_thread(desk.finish, job)
        return await next_one

    assert states(run(test())) == ["finished"]


def test_a_new_run_is_told_to_who_knows_the_end_of_the_last_one(desk):
    job = desk.fail(desk.start(desk.submit()))

    async def test():
        end = (await all_of(await desk.streams.of_job("t", job.id)))[-1]
        await asyncio.to_thread(desk.apply, job, Reopened())
        stream = await desk.streams.of_job("t", job.id, end.cursor)
        seen = states(await some_of(stream, 1))
        await asyncio.to_thread(lambda: desk.finish(desk.start(job)))
        return seen + states(await all_of(stream))

    assert run(test()) == ["pending", "running", "finished"]


def test_the_end_of_an_earlier_run_does_not_end_the_stream(desk):
    job = desk.fail(desk.start(desk.submit()))
    desk.finish(desk.start(desk.apply(job, Reopened())))

    async def test():
        return await all_of(await desk.streams.of_job("t", job.id))

    assert states(run(test())) == ["pending", "running", "finished", "pending", "running", "finished"]


@pytest.mark.parametrize("lines", [PAGE - 3, PAGE - 2, 3 * PAGE])
def test_a_long_history_is_told_page_by_page_and_whole(desk, lines):
    job = desk.done(lines)

    async def test():
        return [part async for part in await desk.streams.of_job("t", job.id)]

    parts = run(test())
    entries = [entry for part in parts for entry in part.entries]
    assert len(entries) == lines + 3
    assert max(len(part.entries) for part in parts) <= PAGE
    positions = [from_cursor(entry.cursor) for entry in entries]
    assert positions == sorted(set(positions))
    assert states(entries[-1:]) == ["finished"]


def test_what_is_no_longer_kept_shows_as_a_gap_once_and_first(desk):
    job = desk.start(desk.submit())
    desk.apply(job, *(Progressed(job.token, Progress(n)) for n in range(500)))
    desk.finish(job)

    async def test():
        return [part async for part in await desk.streams.of_job("t", job.id)]

    parts = run(test())
    assert [part.gap is None for part in parts] == [False] + [True] * (len(parts) - 1)
    assert parts[0].gap == to_cursor(0)
    entries = [entry for part in parts for entry in part.entries]
    assert states(entries[-1:]) == ["finished"]
    assert len(entries) < 500


def test_a_job_that_is_not_there_or_anothers_cannot_be_followed(desk):
    job = desk.submit(tenant="other")

    async def test(job_id):
        await desk.streams.of_job("t", job_id)

    for job_id in (job.id, new_id(wall_clock())):
        with pytest.raises(NoSuchJobError):
            run(test(job_id))


@pytest.mark.parametrize("cursor", ["", "x", "not a cursor", "AAAAAAAAAAA=", "gAAAAAAAAAA", to_cursor(99)])
def test_a_cursor_that_was_not_handed_out_is_refused(desk, cursor):
    job = desk.submit()

    async def of_job():
        await desk.streams.of_job("t", job.id, cursor)

    async def of_tenant():
        await desk.streams.of_tenant("t", Filter(), cursor)

    for test in (of_job, of_tenant):
        with pytest.raises(InvalidCursorError):
            run(test())


def test_the_stream_of_a_job_that_is_erased_meanwhile_ends(desk):
    job = desk.done(lines=2 * PAGE)

    async def test():
        stream = await desk.streams.of_job("t", job.id)
        first = await some_of(stream, PAGE)
        await asyncio.to_thread(desk.writer.submit(Purge(job.id, "t")).result, PATIENCE)
        return first, await all_of(stream)

    first, rest = run(test())
    assert (len(first), rest) == (PAGE, [])
    assert desk.nobody_listens()


def test_the_stream_of_a_job_whose_end_was_erased_unseen_ends(desk):
    job = desk.start(desk.submit())

    async def test():
        stream = await desk.streams.of_job("t", job.id)
        await some_of(stream, 2)
        await asyncio.to_thread(desk.finish, job)
        await asyncio.to_thread(desk.writer.submit(Purge(job.id, "t")).result, PATIENCE)
        return await all_of(stream)

    assert run(test()) == []


def test_a_store_that_is_down_ends_a_stream_with_its_error(desk):
    job = desk.submit()

    async def test():
        stream = await desk.streams.of_job("t", job.id)
        await some_of(stream, 1)
        desk.store.down = True
        await asyncio.to_thread(desk.start, job)
        with pytest.raises(StoreDownError):
            await all_of(stream)

    run(test())
    assert desk.nobody_listens()


# All jobs of a tenant


def test_a_tenants_stream_begins_now_and_says_where(desk):
    desk.done()

    async def test():
        stream = await desk.streams.of_tenant("t", Filter())
        begin = await anext(stream)
        job = await asyncio.to_thread(desk.submit)
        [entry] = await some_of(stream, 1)
        await stream.aclose()
        async with aclosing(await desk.streams.of_tenant("t", Filter(), begin.cursor)) as resumed:
            assert await some_of(resumed, 1) == [entry]
        return begin, job, entry

    begin, job, entry = run(test())
    assert (begin.entries, begin.gap) == ((), None)
    assert entry.job_id == job.id
    assert desk.nobody_listens()


def test_a_tenants_stream_tells_of_its_own_jobs_that_fit_alone(desk):
    async def test():
        stream = await desk.streams.of_tenant("t", Filter(task="work", queue="books"))
        await anext(stream)
        for tenant, task, queue in (
            ("other", "work", "books"),
            ("t", "play", "books"),
            ("t", "work", "default"),
            ("t", "work", "books"),
        ):
            await asyncio.to_thread(desk.submit, tenant, task, queue)
        async with aclosing(stream):
            return await some_of(stream, 1)

    [entry] = run(test())
    assert (entry.task, entry.queue) == ("work", "books")


def test_a_tenants_stream_keeps_the_order_of_each_job(desk):
    jobs = [desk.submit() for _ in range(3)]

    async def test():
        stream = await desk.streams.of_tenant("t", Filter(), to_cursor(0))
        await asyncio.to_thread(lambda: [desk.finish(desk.start(job)) for job in reversed(jobs)])
        async with aclosing(stream):
            return await some_of(stream, 9)

    entries = run(test())
    for job in jobs:
        of_job = [entry for entry in entries if entry.job_id == job.id]
        assert states(of_job) == ["pending", "running", "finished"]


# When it reads


def test_a_commit_wakes_the_loop_once_and_only_for_somebody_whom_it_concerns(desk):
    class Loop:
        calls = 0

        def call_soon_threadsafe(self, *_):
            self.calls += 1

    mine, other = Job("a", "t", "work", Slot.THREAD, 0, 0), Job("b", "u", "work", Slot.THREAD, 0, 0)

    async def test():
        waiters, loop = Waiters(), Loop()
        with waiters.waiting("a", any_change=True), waiters.waiting("a", any_change=False):
            waiters._loop = loop
            waiters.notify([other] * 100)
            none = loop.calls
            waiters.notify([mine, other, mine])
            once = loop.calls
        waiters.notify([mine])
        return none, once, loop.calls

    assert run(test()) == (0, 1, 1)


def test_commits_in_quick_succession_are_read_together(desk):
    job = desk.start(desk.submit())
    commits, pause = 200, 0.05

    async def test():
        stream = await desk.with_pace(pause=pause, per_work=ALWAYS_THE_LONGEST).of_tenant("t", Filter())
        await anext(stream)
        reads, began = desk.store.reads, time.monotonic()
        writing = asyncio.to_thread(lambda: [desk.log(job, 1) for _ in range(commits)])
        async with aclosing(stream):
            entries, _ = await asyncio.gather(some_of(stream, commits), writing)
        return entries, desk.store.reads - reads, time.monotonic() - began

    entries, reads, seconds = run(test())
    assert len(entries) == commits
    # One at once, one for each pause; and one more for each page that was full.
    assert reads <= seconds / pause + 2 + commits / PAGE


def test_a_reader_with_little_to_read_rests_but_little(desk):
    job = desk.start(desk.submit())

    async def test():
        stream = await desk.with_pace(pause=HOUR).of_tenant("t", Filter())
        await anext(stream)
        found = []
        async with aclosing(stream):
            for _ in range(3):
                await asyncio.to_thread(desk.log, job, 1)
                found += await some_of(stream, 1)
        return found

    assert len(run(test())) == 3


def test_a_reader_that_takes_nothing_reads_nothing(desk):
    job = desk.start(desk.submit())

    async def test():
        stream = await desk.streams.of_job("t", job.id)
        await some_of(stream, 2)
        reads = desk.store.reads
        await asyncio.to_thread(lambda: [desk.log(job, 1) for _ in range(20)])
        unread = desk.store.reads - reads
        await asyncio.to_thread(desk.finish, job)
        return unread, await all_of(stream)

    unread, rest = run(test())
    assert (unread, len(rest)) == (0, 21)


def test_a_reader_gets_signs_of_life_while_nothing_happens(desk):
    job = desk.submit()

    async def test():
        async with aclosing(await desk.with_pace(beat=0.01).of_job("t", job.id)) as stream:
            return [await anext(stream) for _ in range(3)]

    told, *signs = run(test())
    assert [(sign.entries, sign.gap, sign.cursor) for sign in signs] == [([], None, told.cursor)] * 2


def test_signs_of_life_carry_a_reader_past_what_does_not_concern_it(desk):
    async def test():
        stream = await desk.with_pace(beat=0.01).of_tenant("t", Filter(task="rare"))
        begin = await anext(stream)
        await asyncio.to_thread(desk.submit)
        async with aclosing(stream):
            sign = await anext(stream)
            while sign.cursor == begin.cursor:
                sign = await anext(stream)
        return sign, to_cursor(await desk.store.last_position())

    sign, last = run(test())
    assert (sign.entries, sign.cursor) == ([], last)


def test_a_reader_that_goes_away_is_forgotten(desk):
    job = desk.submit()

    async def test():
        stream = await desk.streams.of_job("t", job.id)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await all_of(stream)

    run(test())
    assert desk.nobody_listens()


# When the service stops


def test_a_service_that_stops_tells_all_that_is_stored_and_ends_the_streams(desk):
    job = desk.start(desk.submit())

    async def test():
        streams = [await desk.streams.of_job("t", job.id), await desk.streams.of_tenant("t", Filter())]
        for stream in streams:
            await anext(stream)
        await asyncio.to_thread(desk.finish, job)
        desk.waiters.release()
        return [[part async for part in stream] for stream in streams]

    of_job, of_tenant = run(test())
    assert states(of_job[-1].entries) == ["finished"]
    assert states(of_tenant[0].entries) == ["finished"]
    assert of_tenant[-1].stopping
    assert desk.nobody_listens()


def test_the_stream_of_a_job_that_goes_on_later_ends_with_the_service(desk):
    job = desk.submit()

    async def test():
        stream = await desk.streams.of_job("t", job.id)
        await anext(stream)
        desk.waiters.release()
        late = await desk.streams.of_job("t", job.id)
        return [part async for part in stream], [part async for part in late]

    rest, late = run(test())
    assert [part.stopping for part in rest] == [True]
    assert [part.stopping for part in late] == [False, True]


def test_a_reader_that_lags_behind_does_not_hold_up_the_end(desk, monkeypatch):
    monkeypatch.setattr(streams_module, "LAST_READS", 0.0)
    job = desk.done(lines=10 * PAGE)

    async def test():
        stream = await desk.streams.of_job("t", job.id)
        await anext(stream)
        desk.waiters.release()
        return [part async for part in stream]

    *parts, last = run(test())
    assert sum(len(part.entries) for part in parts) <= PAGE
    assert last.stopping


# Logs


def test_a_log_has_what_was_logged_in_its_order(desk):
    job = desk.done(lines=3)
    records = run(desk.streams.log("t", job.id))
    assert [json.loads(record.data)["message"] for record in records] == ["line 0", "line 1", "line 2"]


def test_a_job_that_has_logged_nothing_has_an_empty_log_and_no_other_has_any(desk):
    job = desk.done()
    assert run(desk.streams.log("t", job.id)) == []
    with pytest.raises(NoSuchJobError):
        run(desk.streams.log("other", job.id))
