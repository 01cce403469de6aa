"""The contract of stores, sixth part: figures. Each submission and each end is told once."""

import asyncio

import pytest

from app.core import State
from app.jobs.lifecycle import CancelRequested, Failed, Progressed, Released, Reopened, Succeeded
from app.jobs.model import SECOND, Failure, Outcome, Progress
from app.stores.base import Change, Claim, Insert, Limits, Once, Promote, Purge, Recover, Sweep
from app.stores.figures import Counts, StateCounts
from tests.stores.driving import (
    BROKEN,
    KNOWN,
    NOW,
    Database,
    bare,
    change,
    claim,
    get,
    ids,
    insert,
    new_job,
    one,
)

NONE = StateCounts()
FREE = dict.fromkeys(KNOWN.values(), 9)
TOKEN = -1
"""Stands for that of the claim."""


def borne(event, token):
    """Return an event with the claim's own token, if it bears any."""
    return event._replace(token=token) if hasattr(event, "token") else event


def counts(store, tenant="ours"):
    return asyncio.run(store.counts(tenant))


def apply(store, *operations, now=NOW):
    return store.apply(operations, now)


def ended(applied):
    return list(map(bare, applied.ended))


class Figuring(Database):
    # -- what a batch tells --------------------------------------------------

    def test_what_is_new_is_told_once(self, store):
        job, other = new_job(key="k"), new_job(key="k")
        applied = apply(store, Insert([job, other]), Insert([new_job()], Limits(queue=0)))
        assert list(applied.inserted) == [job]
        assert not apply(store, Insert([other])).inserted
        assert not apply(store, Claim("worker", FREE)).inserted

    def test_what_is_new_is_told_as_it_was_submitted_when_it_is_claimed_at_once(self, store):
        job = new_job()
        applied = apply(store, Insert([job]), Claim("worker", FREE))
        assert list(applied.inserted) == [job]
        assert applied.changed[0].state is State.RUNNING

    def test_a_replayed_submission_is_not_new(self, store):
        once = Once("/jobs", "key", b"digest")
        assert apply(store, Insert([new_job()], once=once)).inserted
        assert not apply(store, Insert([new_job()], once=once)).inserted

    @pytest.mark.parametrize(
        ("events", "outcome"),
        [
            ([Succeeded(TOKEN, "1")], Outcome.SUCCEEDED),
            ([Failed(TOKEN, BROKEN)], Outcome.FAILED),
            ([Progressed(TOKEN, Progress(1)), Succeeded(TOKEN, "1")], Outcome.SUCCEEDED),
            ([CancelRequested(), Failed(TOKEN, BROKEN)], Outcome.CANCELLED),
            ([CancelRequested(), Released(TOKEN)], Outcome.CANCELLED),
        ],
    )
    def test_an_end_is_told_once_whatever_it_is(self, store, events, outcome):
        insert(store, new_job(), new_job())
        running, _ = claim(store, 2)
        applied = apply(store, Change(running.id, [borne(event, running.token) for event in events]))
        assert ended(applied) == [bare(get(store, running))]
        assert applied.ended[0].outcome is outcome
        again = apply(
            store, Change(running.id, (CancelRequested(),)), Change(running.id, (Succeeded(0, "2"),))
        )
        assert not again.ended

    def test_what_is_no_end_is_not_told(self, store):
        insert(store, new_job(max_attempts=2))
        (running,) = claim(store, 1)
        assert not apply(store, Change(running.id, (Progressed(running.token, Progress(1)),))).ended
        assert not apply(store, Change(running.id, (CancelRequested(), Succeeded(1, "1")))).ended
        assert not apply(store, Change(running.id, (Failed(running.token, BROKEN, retry_in=0),))).ended
        (again,) = claim(store, 1)
        assert not apply(store, Change(again.id, (Released(again.token),))).ended

    def test_the_end_of_what_was_cancelled_or_has_expired_before_it_began_is_told(self, store):
        waiting, late, later = new_job(), new_job(expires_at=NOW + 1), new_job(expires_at=NOW + 2)
        insert(store, waiting, late, later)
        cancelled = apply(store, Change(waiting.id, (CancelRequested(),)))
        expired = apply(store, Promote(), now=NOW + 1)
        claimed = apply(store, Claim("worker", FREE), now=NOW + 2)
        told = [applied.ended for applied in (cancelled, expired, claimed)]
        assert [ids(jobs) for jobs in told] == [[waiting.id], [late.id], [later.id]]

    def test_the_end_of_what_was_lost_for_the_last_time_is_told(self, store):
        insert(store, new_job())
        for second in (0, 10, 20):
            apply(store, Promote(), now=NOW + second * SECOND)
            claim(store, 1, now=NOW + second * SECOND)
            applied = apply(store, Recover(KNOWN), now=NOW + second * SECOND)
            assert len(applied.ended) == (second == 20)
        assert applied.ended[0].exception.type == "WorkerLost"

    def test_an_end_is_told_although_the_same_batch_runs_or_erases_the_job(self, store):
        insert(store, new_job(), new_job())
        again, gone = claim(store, 2)
        applied = apply(
            store,
            Change(again.id, (Failed(again.token, BROKEN),)),
            Change(again.id, (Reopened(),)),
            Change(gone.id, (Succeeded(gone.token, "1"),)),
            Purge(gone.id, "ours"),
        )
        assert [(job.id, job.outcome, job.run) for job in applied.ended] == [
            (again.id, Outcome.FAILED, 1),
            (gone.id, Outcome.SUCCEEDED, 1),
        ]

    def test_what_is_erased_has_not_ended_again(self, store):
        insert(store, new_job(), new_job())
        for job in claim(store, 2):
            change(store, job, Succeeded(job.token, "1"))
        assert not apply(store, Purge(job.id, "ours")).ended
        assert not apply(store, Sweep(NOW, NOW)).ended

    # -- counts --------------------------------------------------------------

    def test_jobs_are_counted_by_state_task_and_queue(self, store):
        assert counts(store) == Counts(NONE, {}, {})
        insert(store, *[new_job() for _ in range(4)])
        done, failed, stopped = claim(store, 3)
        change(store, done, Succeeded(done.token, "1"))
        change(store, failed, Failed(failed.token, BROKEN))
        change(store, stopped, CancelRequested(), Failed(stopped.token, BROKEN))
        insert(store, new_job(task="coroutine", queue="q", slot=KNOWN["coroutine"]))
        claim(store, 0, 1)
        insert(store, new_job(tenant="theirs"))
        shown = counts(store)
        assert shown == Counts(
            StateCounts(1, 1, 1, 2),
            {"coroutine": StateCounts(running=1), "plain": StateCounts(1, 0, 1, 2)},
            {"default": StateCounts(1, 0, 1, 2), "q": StateCounts(running=1)},
        )
        assert [list(shown.tasks), list(shown.queues)] == [["coroutine", "plain"], ["default", "q"]]
        assert counts(store, "theirs").jobs == StateCounts(pending=1)

    def test_a_queue_and_a_task_of_which_nothing_is_left_are_not_counted(self, store):
        insert(store, new_job(task="", queue=""))
        assert counts(store).queues == {"": StateCounts(pending=1)}
        (running,) = claim(store, 1)
        change(store, running, Succeeded(running.token, "1"))
        one(store, Purge(running.id, "ours"))
        assert counts(store) == Counts(NONE, {}, {})

    # -- the past ------------------------------------------------------------

    def test_what_happened_of_late_is_there_without_what_may_be_large(self, store):
        old, failing, waiting = new_job(created_at=NOW - 9), new_job(), new_job(task="other")
        insert(store, old, failing, waiting)
        for job in claim(store, 2, now=NOW + 3):
            change(store, job, Failed(job.token, Failure("E", "why", "Traceback: …")), now=NOW + 5)
        recent = store.recent(NOW, 10)
        assert {job.id for job in recent.submitted} == {failing.id, waiting.id}
        assert [(job.tenant, job.created_at) for job in recent.submitted] == [("ours", NOW)] * 2
        assert {job.id for job in recent.ended} == {old.id, failing.id}
        for job in recent.ended:
            assert (job.task, job.outcome) == ("plain", Outcome.FAILED)
            assert (job.run_at, job.started_at, job.finished_at) == (NOW, NOW + 3, NOW + 5)
            assert job.exception == Failure("E", "why", "")
        assert recent.complete_from == NOW
        assert store.recent(NOW + 6, 10) == ([], [], NOW + 6)

    def test_what_has_succeeded_or_never_began_is_there_too(self, store):
        insert(store, new_job(), new_job())
        (running,) = claim(store, 1)
        change(store, running, Succeeded(running.token, '"long"'))
        (other,) = claim(store, 1)
        change(store, other, CancelRequested(), Released(other.token))
        recent = store.recent(NOW, 10)
        assert {(job.outcome, job.exception, job.result) for job in recent.ended} == {
            (Outcome.SUCCEEDED, None, None),
            (Outcome.CANCELLED, None, None),
        }

    def ended_one_by_one(self, store, *jobs):
        """Store each job, run it and let it end at once, a second after the one before."""
        for second, job in enumerate(jobs):
            now = NOW + second * SECOND
            insert(store, job._replace(created_at=now))
            (running,) = claim(store, 1, now=now)
            change(store, running, Succeeded(running.token, "1"), now=now)

    def test_no_more_than_so_many_are_looked_at_and_it_says_from_when_on_all_are_there(self, store):
        self.ended_one_by_one(store, *[new_job() for _ in range(5)])
        recent = store.recent(NOW, 2)
        for times in (
            [job.created_at for job in recent.submitted],
            [job.finished_at for job in recent.ended],
        ):
            assert sorted(times) == [NOW + 3 * SECOND, NOW + 4 * SECOND]
        assert NOW + 3 * SECOND < recent.complete_from <= NOW + 4 * SECOND
        assert store.recent(NOW, 6).complete_from == NOW

    def test_an_old_job_that_has_ended_only_now_is_there_too(self, store):
        insert(store, new_job(priority=1), *[new_job() for _ in range(3)])
        (running,) = claim(store, 1)
        change(store, running, Succeeded(running.token, "1"), now=NOW + 1)
        recent = store.recent(NOW, 2)
        assert (len(recent.submitted), ids(recent.ended)) == (2, [running.id])
        assert recent.complete_from == NOW + 1

    def test_a_new_job_is_there_however_many_others_an_idempotency_key_points_to(self, store):
        for number in range(3):
            one(store, Insert([new_job()], once=Once("/jobs", str(number), b"digest")))
        for job in claim(store, 3):
            change(store, job, Succeeded(job.token, "1"))
        self.ended_one_by_one(store, new_job())
        recent = store.recent(NOW, 2)
        assert recent.submitted[0].id in ids(recent.ended)
        assert recent.complete_from > NOW + SECOND
