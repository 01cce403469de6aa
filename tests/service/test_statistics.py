"""Statistics of a service: fed by what the writer commits, and by the store at the start."""

import asyncio
import threading
from contextlib import closing

import pytest

from app.jobs.lifecycle import CancelRequested, Failed, Reopened, Succeeded
from app.jobs.model import SECOND, Failure, Outcome, Slot
from app.service import Service, StoreDownError
from app.service.minutes import KEPT, MINUTE
from app.service.statistics import UNCOUNTED, Statistics
from app.service.workers import RUNNING_SHOWN, WorkerStatus, seen_by
from app.stores.base import Change, Claim, Insert, Purge, Sweep
from app.stores.sqlite import SqliteStore
from app.stores.writer import Writer
from tests.stores.driving import new_job
from tests.worker.house import PATIENCE, ManualClock

TENANT = "ours"


class Desk:
    """A store, a writer and their statistics, and what happens to jobs."""

    def __init__(self, folder):
        self.clock = ManualClock()
        self.store = SqliteStore(folder / "jobs.db")
        self.writer = Writer(self.store, self.clock)
        self.statistics = Statistics(self.store, self.writer, self.clock)

    def insert(self, count=1, apart=0, **fields):
        """Submit jobs in a batch. apart: microseconds from one to the next."""
        now = self.clock()
        times = [now - n * apart for n in range(count)]
        jobs = [new_job(created_at=at, run_at=now, tenant=TENANT, **fields) for at in times]
        return self.writer.submit(Insert(jobs)).result(PATIENCE)

    def claim(self, count=1):
        return self.writer.submit(Claim("worker", {Slot.THREAD: count})).result(PATIENCE)

    def change(self, job, *events):
        return self.writer.submit(Change(job.id, events)).result(PATIENCE)

    def run(self, seconds=0, error=None):
        """Submit a job and let it end after so many seconds."""
        self.insert()
        (job,) = self.claim()
        self.clock.now += round(seconds * SECOND)
        failed = Failed(job.token, Failure(error or "", "why", ""))
        return self.change(job, failed if error else Succeeded(job.token, "1"))

    def overview(self, tenant=TENANT):
        return asyncio.run(self.statistics.overview(tenant))

    def hour(self):
        return self.overview().recount.hour

    def restart(self):
        self.statistics.close()
        self.statistics = Statistics(self.store, self.writer, self.clock)

    def close(self):
        self.statistics.close()
        self.writer.close()
        self.store.close()


@pytest.fixture
def desk(tmp_path):
    with closing(Desk(tmp_path)) as desk:
        yield desk


def test_each_run_is_counted_once_when_it_ends_and_no_other_change_of_it(desk):
    desk.insert(max_attempts=2)
    (job,) = desk.claim()
    desk.change(job, Failed(job.token, Failure("E", "", ""), retry_in=0))
    assert desk.hour()[:4] == (1, 0, 0, 0)
    (job,) = desk.claim()
    desk.change(job, CancelRequested())
    desk.change(job, Failed(job.token, Failure("E", "", "")))
    desk.change(job, CancelRequested())
    assert desk.hour()[:4] == (1, 0, 0, 1)
    desk.change(job, Reopened())
    (job,) = desk.claim()
    desk.change(job, Succeeded(job.token, "1"))
    assert desk.hour()[:4] == (1, 1, 0, 1)
    desk.writer.submit(Purge(job.id, TENANT)).result(PATIENCE)
    assert desk.hour()[:4] == (1, 1, 0, 1)


def test_a_job_that_is_erased_in_the_batch_that_ends_it_is_counted(desk):
    desk.insert()
    (job,) = desk.claim()
    entered, go = threading.Event(), threading.Event()
    desk.writer.listen(lambda _: (entered.set(), go.wait(PATIENCE)))
    held = desk.writer.submit(Sweep(0, 0))
    assert entered.wait(PATIENCE)
    futures = [
        desk.writer.submit(Change(job.id, (Succeeded(job.token, "1"),))),
        desk.writer.submit(Purge(job.id, TENANT)),
    ]
    go.set()
    for future in (held, *futures):
        future.result(PATIENCE)
    assert desk.hour()[:4] == (1, 1, 0, 0)


def test_waits_and_runs_are_those_of_the_last_attempt(desk):
    desk.insert(max_attempts=2)
    desk.clock.now += 5 * SECOND
    (job,) = desk.claim()
    desk.clock.now += 50 * SECOND
    desk.change(job, Failed(job.token, Failure("E", "", ""), retry_in=0))
    desk.clock.now += 2 * SECOND
    (job,) = desk.claim()
    desk.clock.now += 10 * SECOND
    desk.change(job, Succeeded(job.token, "1"))
    assert desk.hour().wait == pytest.approx((2, 2, 2), rel=1 / 16)
    assert desk.hour().run == pytest.approx((10, 10, 10), rel=1 / 16)


def test_minutes_pass(desk):
    desk.run()
    desk.clock.now += MINUTE
    desk.run(error="E")
    shown = desk.overview()
    assert [traffic[:3] for _, traffic in shown.recount.minutes[-2:]] == [(1, 1, 0), (1, 0, 1)]
    assert shown.at == desk.clock()
    desk.clock.now += KEPT * MINUTE
    assert desk.hour()[:4] == (0, 0, 0, 0)
    assert desk.overview().recount.failures == []
    assert desk.overview().jobs.finished == 2


def test_what_is_noted_is_counted_in_parts_and_not_all_when_somebody_asks(desk):
    counted = threading.Event()
    add = desk.statistics._minutes.add

    def watched(happenings, now):
        add(happenings, now)
        counted.set()

    desk.statistics._minutes.add = watched
    desk.insert(UNCOUNTED - 1, apart=1)
    assert len(desk.statistics._notes) == UNCOUNTED - 1
    assert not counted.is_set()
    desk.insert()
    assert counted.wait(PATIENCE)
    assert not desk.statistics._notes
    assert desk.hour().submitted == UNCOUNTED


def test_of_a_batch_there_is_one_note(desk):
    desk.insert(3 * UNCOUNTED)
    assert len(desk.statistics._notes) == 1
    assert desk.hour().submitted == 3 * UNCOUNTED


def test_notes_hold_no_jobs(desk):
    desk.run()
    notes = list(desk.statistics._notes)
    assert [note.kind for note in notes] == ["submitted", "succeeded"]
    # A result may be a megabyte, and wait here for hours.
    assert not any("result" in note._fields for note in notes)


# -- the start ----------------------------------------------------------------


def test_a_restart_finds_what_happened_before_it(desk):
    desk.run(3)
    desk.clock.now += 20 * MINUTE
    desk.run(5, error="ValueError")
    desk.insert()
    before = desk.overview()
    desk.restart()
    assert desk.overview() == before
    desk.run(1)
    assert desk.hour()[:4] == (4, 2, 1, 0)


def test_a_restart_forgets_what_is_over_an_hour_old(desk):
    desk.run()
    desk.clock.now += KEPT * MINUTE
    desk.restart()
    assert desk.hour()[:4] == (0, 0, 0, 0)


def test_the_minutes_are_complete_from_the_first_one_unless_there_were_too_many_jobs(desk, monkeypatch):
    monkeypatch.setattr("app.service.statistics.EXAMINED", 2)
    assert desk.overview().since == desk.overview().recount.minutes[0][0]
    for _ in range(3):
        desk.run()
        desk.clock.now += MINUTE
    desk.restart()
    last = desk.clock() - MINUTE
    assert last - MINUTE < desk.overview().since <= last
    desk.clock.now += KEPT * MINUTE
    assert desk.overview().since == desk.overview().recount.minutes[0][0]


def test_a_store_of_which_nothing_can_be_read_keeps_no_service_from_starting(desk, monkeypatch, caplog):
    desk.run()
    monkeypatch.setattr("app.stores.sqlite_reads.NEWEST", "SELECT * FROM nowhere LIMIT ?")
    desk.restart()
    assert "the statistics begin anew" in caplog.text
    shown = desk.overview()
    assert (shown.since, shown.recount.hour.succeeded, shown.jobs.finished) == (desk.clock(), 0, 1)
    desk.run()
    assert desk.hour().succeeded == 1


# -- reading, and the end -----------------------------------------------------


def test_tenants_are_apart(desk):
    desk.run(error="E")
    theirs = desk.overview("theirs")
    assert theirs.jobs == (0, 0, 0, 0)
    assert (theirs.tasks, theirs.queues, theirs.recount.failures) == ({}, {}, [])
    assert theirs.recount.hour.failed == 0


def test_of_very_many_queues_the_busiest_are_shown(desk, monkeypatch):
    monkeypatch.setattr("app.service.statistics.NAMES_SHOWN", 2)
    for queue, jobs in (("d", 1), ("c", 3), ("b", 1), ("a", 2)):
        desk.insert(jobs, queue=queue)
    desk.insert(task="other", queue="a")
    shown = desk.overview()
    assert list(shown.queues) == ["a", "c"]
    assert list(shown.tasks) == ["other", "plain"]
    assert shown.jobs.pending == 8
    for job in desk.claim(9):
        desk.change(job, Succeeded(job.token, "1"))
    desk.insert(queue="b")
    assert "b" in desk.overview().queues


def test_a_store_that_cannot_be_read_is_told_as_such(desk, monkeypatch):
    monkeypatch.setattr("app.stores.sqlite_reads.COUNTS", "SELECT * FROM nowhere WHERE ?")
    with pytest.raises(StoreDownError):
        desk.overview()


def test_jobs_that_end_when_the_service_is_closed_do_no_harm(desk, caplog):
    desk.statistics.close()
    desk.insert(UNCOUNTED + 1)
    assert desk.run().outcome is Outcome.SUCCEEDED
    assert len(desk.statistics._notes) < UNCOUNTED
    assert caplog.text == ""


def test_a_service_has_them(serve):
    def add(a: int, b: int) -> int:
        return a + b

    async def test(service):
        job = service.house.submit(add, 1, 2)
        assert (await service.wait("tests", job.id, PATIENCE)).result == "3"
        shown = await service.statistics.overview("tests")
        assert (shown.jobs.finished, shown.recount.hour[:4]) == (1, (1, 1, 0, 0))
        assert isinstance(service, Service)

    serve(test, add)


# -- workers ------------------------------------------------------------------


def test_a_worker_is_shown_with_the_oldest_of_the_tenants_own_jobs():
    jobs = [new_job(tenant=tenant, started_at=at) for at in range(RUNNING_SHOWN + 5) for tenant in "ab"]
    worker = WorkerStatus("h:1", "h", 1, "0", 0, 0, False, [], jobs[::-1])
    shown = seen_by("a", worker)
    assert [job.started_at for job in shown.running] == list(range(RUNNING_SHOWN))
    assert {job.tenant for job in shown.running} == {"a"}
    assert seen_by("c", worker).running == []
    assert len(worker.running) == len(jobs)


def test_a_clock_that_was_set_back_begins_anew(desk):
    desk.run()
    assert desk.overview().since < desk.clock()
    desk.clock.now -= 30 * MINUTE
    assert desk.overview().since == desk.clock()
    desk.clock.now += 5 * MINUTE
    assert desk.overview().since == desk.clock() - 5 * MINUTE
