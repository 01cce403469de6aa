"""The contract of stores, fifth part: limits and pauses. What they hold back is not ready."""

import asyncio

import pytest

from app.core import State
from app.jobs.lifecycle import CancelRequested, Edited, Failed, Released, Reopened, Succeeded
from app.jobs.model import SECOND, Slot
from app.stores.base import Caps, Change, Claim, Insert, Pause, Promote, Queue, Recover
from tests.stores.driving import (
    BROKEN,
    KNOWN,
    NOW,
    Database,
    change,
    claim,
    get,
    ids,
    insert,
    new_job,
    one,
    scheduled,
)

CAPPED = {"plain": Caps(each=1)}


def limit(store, **caps):
    one(store, Recover(KNOWN, {"plain": Caps(**caps)}))


def of_key(key, **fields):
    return new_job(limit_key=key, **fields)


def finish(store, *jobs):
    for job in jobs:
        change(store, job, Succeeded(job.token, "1"))


def pause(store, tenant, queue, *, paused, limit=2):
    """Pause or resume a queue, part by part, to the end."""
    while one(store, Pause(tenant, queue, paused, limit)):
        pass


def queues(store, tenant="ours"):
    return list(asyncio.run(store.queues(tenant)))


class Gating(Database):
    # -- limits --------------------------------------------------------------

    def test_no_more_of_a_task_run_than_may(self, store):
        limit(store, each=2)
        insert(store, *[of_key("") for _ in range(5)])
        first = claim(store, 9)
        assert len(first) == 2
        assert claim(store, 9) == []
        finish(store, first[0])
        second = claim(store, 9)
        assert len(second) == 1
        finish(store, first[1], *second)
        assert len(claim(store, 9)) == 2

    def test_a_slot_is_filled_by_the_next_of_the_key_in_the_batch_that_settles(self, store):
        limit(store, each=1)
        insert(store, *[of_key("") for _ in range(2)])
        (running,) = claim(store, 9)
        settle = Change(running.id, (Succeeded(running.token, "1"),))
        _, claimed = store.apply([settle, Claim("worker", {Slot.THREAD: 1})], NOW).outcomes
        assert len(claimed) == 1

    def test_keys_do_not_hold_up_each_other(self, store):
        limit(store, each=1)
        flood, other = [of_key("a") for _ in range(50)], of_key("b")
        insert(store, *flood, other)
        assert set(ids(claim(store, 9))) == {flood[0].id, other.id}

    def test_a_jobs_limits_compose(self, store):
        limit(store, each=1, all=2)
        insert(store, *[of_key(key) for key in "aabbcc"])
        running = claim(store, 9)
        assert [job.limit_key for job in running] == ["a", "b"]
        finish(store, running[0])
        # Neither the second of `b`, whose key is full, nor both of the others: two of all may run.
        (next_one,) = claim(store, 9)
        assert next_one.limit_key in "ac"

    def test_the_limit_of_all_keys_is_shared_fairly(self, store):
        limit(store, each=5, all=1)
        insert(store, *[of_key("a") for _ in range(20)], of_key("b"))
        seen = []
        for _ in range(3):
            (running,) = claim(store, 9)
            seen.append(running.limit_key)
            finish(store, running)
        assert "b" in seen

    def test_tenants_share_a_limit_fairly(self, store):
        limit(store, each=1)
        insert(store, *[of_key("") for _ in range(20)], theirs := of_key("", tenant="theirs"))
        seen = []
        for _ in range(3):
            (running,) = claim(store, 9)
            seen.append(running.id)
            finish(store, running)
        assert theirs.id in seen

    def test_a_key_that_may_run_many_does_not_starve_another(self, store):
        limit(store, each=100)
        insert(store, *[of_key("a") for _ in range(50)], of_key("b"))
        assert "b" in {job.limit_key for job in claim(store, 3)}

    def test_a_higher_priority_takes_the_permit_of_what_has_not_begun(self, store):
        limit(store, each=1)
        low, high = of_key(""), of_key("", priority=1)
        insert(store, low)
        insert(store, high)
        assert ids(claim(store, 9)) == [high.id]

    def test_a_higher_priority_takes_nothing_from_what_runs(self, store):
        limit(store, each=1)
        insert(store, of_key(""))
        (running,) = claim(store, 9)
        insert(store, of_key("", priority=1), of_key("", priority=2))
        assert claim(store, 9) == []
        finish(store, running)
        (highest,) = claim(store, 9)
        assert highest.priority == 2

    def test_a_job_that_waits_for_all_keys_gives_way_to_a_higher_one_of_its_key(self, store):
        limit(store, each=1, all=1)
        insert(store, of_key("a"))
        (running,) = claim(store, 9)
        insert(store, of_key("b"), high := of_key("b", priority=1))
        finish(store, running)
        assert ids(claim(store, 9)) == [high.id]

    def test_a_job_whose_priority_is_lowered_gives_up_its_permit(self, store):
        limit(store, each=1)
        insert(store, first := of_key("", priority=2), second := of_key("", priority=1))
        change(store, first, Edited(priority=0))
        assert ids(claim(store, 9)) == [second.id]

    @pytest.mark.parametrize(
        "end",
        [
            lambda job: Failed(job.token, BROKEN),
            lambda job: Failed(job.token, BROKEN, SECOND),
            lambda job: Succeeded(job.token, "1"),
        ],
    )
    def test_each_end_of_an_attempt_gives_the_permit_back(self, store, end):
        limit(store, each=1)
        insert(store, of_key("", max_attempts=2), other := of_key(""))
        (running,) = claim(store, 9)
        change(store, running, end(running))
        assert ids(claim(store, 9)) == [other.id]

    def test_a_job_put_back_keeps_its_permit_and_comes_first(self, store):
        limit(store, each=1)
        insert(store, of_key(""), of_key(""))
        (running,) = claim(store, 9)
        change(store, running, Released(running.token))
        assert ids(claim(store, 9)) == [running.id]

    def test_a_job_that_is_cancelled_or_put_off_gives_its_permit_back(self, store):
        limit(store, each=1)
        jobs = [of_key("") for _ in range(3)]
        insert(store, *jobs)
        change(store, jobs[0], CancelRequested())
        change(store, jobs[1], Edited(run_at=NOW + SECOND))
        assert ids(claim(store, 9)) == [jobs[2].id]

    def test_what_has_expired_gives_its_permit_to_the_next_one_at_once(self, store):
        limit(store, each=1)
        insert(store, of_key("", expires_at=NOW), job := of_key(""))
        assert ids(claim(store, 9)) == [job.id]

    def test_what_becomes_due_passes_the_limit_too(self, store):
        limit(store, each=1)
        insert(store, *[scheduled(1, limit_key="") for _ in range(2)])
        one(store, Promote(), NOW + SECOND)
        assert len(claim(store, 9, now=NOW + SECOND)) == 1

    def test_limits_hold_after_the_store_is_opened_again(self, open_store):
        first = open_store()
        limit(first, each=2)
        insert(first, *[of_key("") for _ in range(5)])
        first.close()
        second = open_store()
        limit(second, each=1)
        assert len(claim(second, 9)) == 1
        limit(second, each=3)
        one(second, Promote(), NOW + 9 * SECOND)
        assert len(claim(second, 9, now=NOW + 9 * SECOND)) == 3
        second.close()

    def test_a_limit_that_is_lifted_holds_nothing_back(self, store):
        limit(store, each=1)
        insert(store, *[of_key("") for _ in range(3)])
        one(store, Recover(KNOWN))
        assert len(claim(store, 9)) == 3

    def test_a_limit_of_each_key_that_becomes_one_of_all_holds_nothing_else_back(self, store):
        limit(store, each=1)
        insert(store, *[of_key("a") for _ in range(3)])
        limit(store, all=2)
        assert len(claim(store, 9)) == 2

    def test_a_limit_that_is_new_holds_for_what_waits(self, store):
        insert(store, *[new_job() for _ in range(3)])
        limit(store, each=1)
        assert len(claim(store, 9)) == 1
        insert(store, new_job(task="coroutine", slot=Slot.COROUTINE))
        assert len(claim(store, 0, 9)) == 1

    def test_a_new_run_of_a_job_that_is_older_than_the_limit_counts(self, store):
        insert(store, old := new_job())
        change(store, old, CancelRequested())
        limit(store, each=1)
        insert(store, of_key(""))
        assert change(store, old, Reopened()).limit_key == ""
        assert len(claim(store, 9)) == 1

    def test_a_change_says_all_of_a_job_that_another_one_of_its_batch_comes_before(self, store):
        limit(store, each=1)
        insert(store, job := of_key("", arguments='{"args":[1],"kwargs":{}}', shown="{}", max_attempts=2))
        (running,) = claim(store, 1)
        change(store, running, Failed(running.token, BROKEN, 0))
        edit = Change(job.id, (Edited(tags={"late": "yes"}),))
        edited = store.apply([Insert([of_key("", priority=1)]), edit], NOW).outcomes[1]
        assert edited == get(store, job)
        assert (edited.arguments, edited.shown, len(edited.attempts)) == (job.arguments, "{}", 1)
        assert change(store, job, CancelRequested()) == get(store, job)

    def test_a_batch_that_fails_grants_nothing(self, store):
        limit(store, each=1)
        for _ in range(3):
            with pytest.raises(Exception):  # noqa: B017, PT011
                store.apply([Insert([of_key("")]), Insert([new_job(task="\ud800")])], NOW)
        insert(store, of_key(""))
        assert len(claim(store, 9)) == 1

    # -- pauses --------------------------------------------------------------

    def test_a_paused_queue_accepts_and_does_not_run(self, store):
        insert(store, before := new_job(queue="q"), other := new_job())
        pause(store, "ours", "q", paused=True)
        insert(store, after := new_job(queue="q", priority=9))
        assert ids(claim(store, 9)) == [other.id]
        pause(store, "ours", "q", paused=False)
        assert ids(claim(store, 9)) == [after.id, before.id]

    @pytest.mark.parametrize("jobs", [[], [{"priority": 1}]])
    def test_a_pause_holds_from_its_first_part_on(self, store, jobs):
        insert(store, *[new_job(queue="q", **fields) for fields in [{}] * 5 + jobs], other := new_job())
        assert one(store, Pause("ours", "q", paused=True, limit=2)) is True
        assert ids(claim(store, 9)) == [other.id]
        pause(store, "ours", "q", paused=True)
        assert claim(store, 9) == []

    def test_a_pause_that_ends_half_way_holds_nothing_back(self, store):
        insert(store, *[new_job(queue="q") for _ in range(6)])
        one(store, Pause("ours", "q", paused=True, limit=4))
        one(store, Pause("ours", "q", paused=False, limit=1))
        assert len(claim(store, 9)) == 3
        pause(store, "ours", "q", paused=False)
        assert len(claim(store, 9)) == 3

    def test_what_a_process_has_left_of_a_pause_or_its_end_the_next_one_does(self, open_store):
        first = open_store()
        insert(first, *[new_job(queue=queue) for queue in "qr" * 5])
        pause(first, "ours", "r", paused=True)
        one(first, Pause("ours", "q", paused=True, limit=1))
        one(first, Pause("ours", "r", paused=False, limit=1))
        first.close()
        second = open_store()
        one(second, Recover(KNOWN))
        assert {job.queue for job in claim(second, 99)} == {"r"}
        pause(second, "ours", "q", paused=False)
        assert len(claim(second, 99)) == 5
        second.close()

    def test_what_runs_goes_on_and_what_becomes_ready_is_held_back(self, store):
        insert(store, new_job(max_attempts=2), scheduled(1))
        (running,) = claim(store, 9)
        pause(store, "ours", "default", paused=True)
        assert change(store, running, Failed(running.token, BROKEN, 0)).state is State.PENDING
        one(store, Promote(), NOW + SECOND)
        assert claim(store, 9) == []
        pause(store, "ours", "default", paused=False)
        assert len(claim(store, 9)) == 2

    def test_a_pause_is_one_tenants_and_one_queues(self, store):
        pause(store, "ours", "default", paused=True)
        insert(store, theirs := new_job(tenant="theirs"), other := new_job(queue="q"))
        assert set(ids(claim(store, 9))) == {theirs.id, other.id}

    def test_a_pause_outlives_the_store_and_recovery(self, open_store):
        first = open_store()
        insert(first, new_job(), new_job(task="gone"))
        pause(first, "ours", "default", paused=True)
        one(first, Recover(KNOWN))
        first.close()
        second = open_store()
        one(second, Recover({**KNOWN, "gone": Slot.THREAD}))
        assert claim(second, 9) == []
        pause(second, "ours", "default", paused=False)
        assert len(claim(second, 9)) == 2
        second.close()

    def test_pausing_twice_changes_nothing(self, store):
        insert(store, new_job())
        for paused in (True, True, False, False):
            pause(store, "ours", "default", paused=paused)
        assert len(claim(store, 9)) == 1

    def test_a_paused_job_can_be_cancelled_and_edited(self, store):
        insert(store, job := new_job(), other := new_job())
        pause(store, "ours", "default", paused=True)
        assert change(store, job, CancelRequested()).state is State.CANCELLED
        assert change(store, other, Edited(priority=3)).priority == 3
        assert claim(store, 9) == []
        assert get(store, other).state is State.PENDING

    def test_a_pause_gives_permits_to_other_queues(self, store):
        limit(store, each=1)
        insert(store, held := of_key("", queue="q"), other := of_key(""))
        pause(store, "ours", "q", paused=True)
        (running,) = claim(store, 9)
        assert running.id == other.id
        pause(store, "ours", "q", paused=False)
        assert claim(store, 9) == []
        finish(store, running)
        assert ids(claim(store, 9)) == [held.id]

    def test_queues_show_what_waits_and_runs_in_them(self, store):
        insert(
            store, new_job(), new_job(run_at=NOW - 5), scheduled(60, queue="later"), new_job(tenant="theirs")
        )
        pause(store, "ours", "empty", paused=True)
        assert queues(store) == [
            Queue("default", paused=False, pending=2, running=0, oldest=NOW - 5),
            Queue("empty", paused=True, pending=0, running=0, oldest=None),
            Queue("later", paused=False, pending=1, running=0, oldest=None),
        ]
        (running, *_) = claim(store, 1)
        assert queues(store, running.tenant)[0].running == 1
