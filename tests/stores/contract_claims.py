"""The contract of stores, second part: whose turn it is, what is due, and what was lost."""

import pytest

from app.core import State
from app.jobs.errors import StaleTokenError
from app.jobs.lifecycle import (
    CancelRequested,
    Claimed,
    Released,
    Succeeded,
    backoff_after_loss,
    transition,
)
from app.jobs.model import SECOND, Hold, Outcome, Slot, Stopped
from app.stores.base import (
    Change,
    Claim,
    Insert,
    Promote,
    Promoted,
    Recover,
)
from tests.stores.driving import (
    KNOWN,
    NOW,
    Database,
    bare,
    change,
    changes_of,
    claim,
    get,
    ids,
    insert,
    new_job,
    one,
    scheduled,
)


class Claiming(Database):
    # -- claims --------------------------------------------------------------

    def test_a_claim_hands_out_no_more_than_what_is_free_of_each_kind(self, store):
        threads = [new_job() for _ in range(3)]
        coroutines = [new_job(slot=Slot.COROUTINE) for _ in range(3)]
        insert(store, *threads, *coroutines)
        assert ids(claim(store, 2, 1)) == [*ids(threads[:2]), coroutines[0].id]
        assert ids(claim(store, 0, 0)) == []
        assert ids(claim(store, 9, 0)) == [threads[2].id]
        assert ids(claim(store, 9, 9)) == ids(coroutines[1:])

    def test_a_claimed_job_comes_whole_and_with_a_token_of_its_own(self, store):
        jobs = [new_job(arguments=f'{{"args":[{n}],"kwargs":{{}}}}') for n in range(20)]
        insert(store, *jobs)
        claimed = claim(store, 20)
        assert [job.arguments for job in claimed] == [job.arguments for job in jobs]
        assert len({job.token for job in claimed}) == 20
        assert claimed == [get(store, job) for job in jobs]
        assert {(job.worker, job.attempt, job.started_at) for job in claimed} == {("worker", 1, NOW)}

    def test_the_highest_priority_goes_first(self, store):
        low, normal, high = new_job(priority=-1), new_job(), new_job(priority=1)
        insert(store, low, normal, high)
        assert ids(claim(store, 2)) == ids([high, normal])
        assert ids(claim(store, 2)) == ids([low])

    def test_within_a_lane_the_oldest_goes_first(self, store):
        jobs = [new_job() for _ in range(10)]
        for job in jobs:
            insert(store, job)
        assert ids(claim(store, 3)) + ids(claim(store, 7)) == ids(jobs)

    @pytest.mark.parametrize("lane", ["tenant", "queue"])
    def test_lanes_of_one_priority_take_turns(self, store, lane):
        many = [new_job(**{lane: "many"}) for _ in range(20)]
        insert(store, *many)
        few = [new_job(**{lane: "few"}) for _ in range(3)]
        insert(store, *few)
        first = [getattr(job, lane) for job in claim(store, 6)]
        assert (first.count("many"), first.count("few")) == (3, 3)

    def test_a_lane_that_comes_late_is_next_and_gets_nothing_for_the_past(self, store):
        insert(store, *[new_job(queue="early") for _ in range(20)])
        claim(store, 10)
        insert(store, *[new_job(queue="late") for _ in range(9)])
        queues = [job.queue for job in claim(store, 6)]
        assert (queues.count("early"), queues.count("late")) == (3, 3)

    def test_lanes_take_turns_after_the_store_is_opened_again(self, open_store):
        first = open_store()
        insert(first, *[new_job(queue="early") for _ in range(20)])
        claim(first, 10)
        first.close()
        second = open_store()
        insert(second, *[new_job(queue="late") for _ in range(9)])
        queues = [job.queue for job in claim(second, 6)]
        assert (queues.count("early"), queues.count("late")) == (3, 3)
        second.close()

    def test_insertions_that_failed_do_not_put_their_lane_behind_the_others(self, store):
        for _ in range(9):
            with pytest.raises(Exception):  # noqa: B017, PT011
                store.apply([Insert([new_job(queue="q")]), Insert([new_job(task="\ud800")])], NOW)
        insert(store, new_job(queue="q"))
        insert(store, *[new_job(queue="other") for _ in range(9)])
        assert "q" in {job.queue for job in claim(store, 2)}

    def test_a_tenant_gets_no_more_turns_by_naming_a_thousand_queues(self, store):
        insert(store, *[new_job(queue=f"q{n}") for n in range(1000)])
        insert(store, theirs := new_job(tenant="theirs"))
        assert theirs.id in ids(claim(store, 10))

    def test_tenants_with_a_hundred_queues_and_with_one_take_turns(self, store):
        for _ in range(5):
            insert(store, *[new_job(queue=f"q{n}") for n in range(100)], new_job(tenant="theirs"))
        claimed = [job.tenant for job in claim(store, 50)]
        assert claimed.count("theirs") >= 4

    def test_the_queues_of_a_tenant_take_its_turns_among_themselves(self, store):
        insert(store, *[new_job(queue="q") for _ in range(30)])
        insert(store, *[new_job(queue="r") for _ in range(30)])
        queues = [job.queue for job in claim(store, 20)]
        assert 5 <= queues.count("r") <= 15

    def test_what_is_held_back_is_not_claimed(self, store):
        insert(store, scheduled(1), scheduled(1, priority=100))
        assert claim(store, 9, now=NOW + 2 * SECOND) == []

    def test_a_job_is_claimed_in_the_batch_that_inserts_it(self, store):
        job = new_job(arguments='{"args":[7],"kwargs":{}}')
        applied = store.apply([Claim("worker", {Slot.THREAD: 1}), Insert([job])], NOW)
        (claimed,), inserted = applied.outcomes
        assert inserted == [job]
        assert claimed == transition(job, Claimed(claimed.token, "worker"), NOW) == get(store, job)
        assert changes_of(applied) == {job.id: bare(claimed)}

    def test_a_slot_is_filled_in_the_batch_that_settles_its_job(self, store):
        insert(store, new_job(), new_job())
        (first,) = claim(store, 1)
        settle = Change(first.id, (Succeeded(first.token, "1"),))
        applied = store.apply([settle, Claim("worker", {Slot.THREAD: 1})], NOW)
        finished, (second,) = applied.outcomes
        assert (finished.state, second.state) == (State.FINISHED, State.RUNNING)
        assert changes_of(applied) == {job.id: bare(job) for job in (finished, second)}

    def test_a_job_cancelled_in_the_same_batch_is_not_claimed(self, store):
        job = new_job()
        insert(store, job)
        applied = store.apply([Claim("worker", {Slot.THREAD: 1}), Change(job.id, (CancelRequested(),))], NOW)
        assert applied.outcomes[0] == []
        assert get(store, job).state is State.CANCELLED

    def test_two_claims_of_a_batch_share_no_job(self, store):
        insert(store, *[new_job() for _ in range(3)])
        operation = Claim("worker", {Slot.THREAD: 2})
        first, second = store.apply([operation, operation], NOW).outcomes
        assert (len(first), len(second)) == (2, 1)
        assert not set(ids(first)) & set(ids(second))

    def test_a_job_put_back_is_claimed_again_before_those_behind_it(self, store):
        jobs = [new_job() for _ in range(5)]
        insert(store, *jobs)
        (running,) = claim(store, 1)
        change(store, running, Released(running.token))
        (again,) = claim(store, 1)
        assert again.id == running.id
        assert again.token != running.token
        assert again.attempt == 1

    # -- due times -----------------------------------------------------------

    def test_promotion_makes_ready_what_is_due_and_tells_when_the_next_one_is(self, store):
        soon, later, last = scheduled(1), scheduled(2), scheduled(3)
        insert(store, last, later, soon)
        assert one(store, Promote(), NOW) == Promoted(0, soon.run_at)
        applied = store.apply([Promote(), Claim("worker", {Slot.THREAD: 9})], later.run_at)
        assert applied.outcomes[0] == Promoted(2, last.run_at)
        assert ids(applied.outcomes[1]) == ids([soon, later])
        assert set(changes_of(applied)) == set(ids([soon, later]))
        assert one(store, Promote(), last.run_at) == Promoted(1, None)

    def test_a_promotion_keeps_to_its_limit_and_the_earliest_go_first(self, store):
        jobs = [scheduled(seconds) for seconds in (3, 1, 2)]
        insert(store, *jobs)
        late = NOW + 9 * SECOND
        assert one(store, Promote(limit=2), late) == Promoted(2, jobs[0].run_at)
        assert ids(claim(store, 9, now=late)) == ids([jobs[1], jobs[2]])
        assert one(store, Promote(limit=2), late) == Promoted(1, None)

    def test_a_clock_that_steps_back_strands_nothing_that_is_ready(self, store):
        job, later = new_job(), scheduled(1)
        insert(store, job, later)
        one(store, Promote(), NOW + SECOND)
        assert ids(claim(store, 9, now=NOW - 9 * SECOND)) == ids([job, later])

    def test_a_scheduled_job_cancelled_in_the_same_batch_is_not_promoted(self, store):
        job = scheduled(1)
        insert(store, job)
        outcomes = store.apply([Change(job.id, (CancelRequested(),)), Promote()], NOW + SECOND).outcomes
        assert outcomes[1] == Promoted(0, None)

    def test_a_promotion_sees_the_jobs_of_its_own_batch(self, store):
        due, later = scheduled(1), scheduled(5)
        applied = store.apply([Promote(), Insert([due]), Insert([later])], NOW + SECOND)
        assert applied.outcomes[0] == Promoted(1, later.run_at)
        assert set(changes_of(applied)) == set(ids([due, later]))

    # -- recovery ------------------------------------------------------------

    def test_what_ran_is_lost_and_returns_after_a_backoff(self, store):
        insert(store, new_job(), new_job())
        (running,) = claim(store, 1)
        applied = store.apply([Recover(KNOWN)], NOW)
        (lost,) = applied.outcomes[0].lost
        assert lost.id == running.id
        assert changes_of(applied) == {lost.id: bare(get(store, lost))}
        assert (lost.state, lost.losses, lost.attempt) == (State.PENDING, 1, 0)
        assert one(store, Promote(), NOW) == Promoted(0, NOW + backoff_after_loss(1))
        assert isinstance(change(store, running, Succeeded(running.token, "1")), StaleTokenError)

    def test_the_third_loss_is_the_last(self, store):
        insert(store, new_job())
        now = NOW
        for losses in range(1, 4):
            (running,) = claim(store, 1, now=now)
            (lost,) = one(store, Recover(KNOWN), now).lost
            assert lost.losses == losses
            now += backoff_after_loss(losses)
            one(store, Promote(), now)
        assert (lost.state, lost.outcome, lost.exception.type) == (
            State.FINISHED,
            Outcome.FAILED,
            "WorkerLost",
        )
        assert get(store, running) == lost

    def test_a_lost_job_that_was_asked_to_stop_is_cancelled(self, store):
        insert(store, new_job())
        (running,) = claim(store, 1)
        change(store, running, CancelRequested())
        (lost,) = one(store, Recover(KNOWN)).lost
        assert (lost.state, lost.cancellation.outcome) == (State.CANCELLED, Stopped.KILLED)

    def test_jobs_of_unknown_tasks_are_held_back_until_the_task_is_known(self, store):
        known, unknown = new_job(), [new_job(task="gone"), new_job(task="gone", tenant="theirs")]
        insert(store, known, *unknown)
        recovered = one(store, Recover(KNOWN))
        assert (recovered.lost, recovered.unknown) == ([], {"gone": 2})
        assert get(store, unknown[0]) == unknown[0]._replace(hold=Hold.UNKNOWN_TASK, version=2)
        assert ids(claim(store, 9)) == [known.id]

        assert one(store, Recover(KNOWN)).unknown == {"gone": 2}
        assert get(store, unknown[0]).version == 2

        assert one(store, Recover({**KNOWN, "gone": Slot.THREAD})).unknown == {}
        assert ids(claim(store, 9)) == ids(unknown)

    def test_a_scheduled_job_of_an_unknown_task_waits_for_both(self, store):
        job = scheduled(1, task="gone")
        insert(store, job)
        assert one(store, Recover(KNOWN)).unknown == {"gone": 1}
        assert one(store, Promote(), NOW + SECOND) == Promoted(1, None)
        assert claim(store, 9) == []
        assert one(store, Recover({"gone": Slot.THREAD})).unknown == {}
        assert ids(claim(store, 9)) == [job.id]

    def test_a_lost_job_of_an_unknown_task_is_held_back_for_both_reasons(self, store):
        insert(store, new_job(task="gone"))
        claim(store, 1)
        (lost,) = one(store, Recover(KNOWN)).lost
        assert lost.hold == Hold.DUE_LATER | Hold.UNKNOWN_TASK
        assert bare(lost) == bare(get(store, lost))

    def test_recovery_sorts_what_waits_by_the_slot_its_task_needs_now(self, store):
        insert(store, new_job(), scheduled(1))
        one(store, Recover({"plain": Slot.COROUTINE}))
        one(store, Promote(), NOW + SECOND)
        assert claim(store, 9) == []
        assert [job.slot for job in claim(store, 0, 9)] == [Slot.COROUTINE] * 2

    def test_jobs_let_go_take_turns_with_the_other_lanes(self, store):
        insert(store, *[new_job(task="gone", queue="gone") for _ in range(9)])
        one(store, Recover(KNOWN))
        insert(store, *[new_job() for _ in range(9)])
        one(store, Recover({**KNOWN, "gone": Slot.THREAD}))
        insert(store, new_job(task="gone", queue="gone"))
        queues = [job.queue for job in claim(store, 6)]
        assert (queues.count("default"), queues.count("gone")) == (3, 3)

    def test_jobs_let_go_stand_behind_what_is_ready_in_their_lane(self, store):
        gone = [new_job(task="gone") for _ in range(3)]
        insert(store, *gone)
        one(store, Recover(KNOWN))
        ready = new_job()
        insert(store, ready)
        one(store, Recover({**KNOWN, "gone": Slot.THREAD}))
        newest = new_job()
        insert(store, newest)
        assert ids(claim(store, 9)) == ids([ready, *gone, newest])

    def test_recovery_and_promotion_in_one_batch_agree(self, store):
        insert(store, scheduled(1, task="gone"), new_job())
        claim(store, 1)
        cancelled = new_job(task="gone")
        insert(store, cancelled)
        late = NOW + SECOND
        applied = store.apply([Change(cancelled.id, (CancelRequested(),)), Recover(KNOWN), Promote()], late)
        assert applied.outcomes[1].unknown == {"gone": 1}
        assert applied.outcomes[2] == Promoted(1, late + backoff_after_loss(1))
        assert claim(store, 9, now=late) == []
        assert all(bare(get(store, job)) == job for job in changes_of(applied).values())
