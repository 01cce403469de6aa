"""The contract of stores, fourth part: retries and runs, expiry, keys, what hangs on a job, and its end."""

import asyncio

import pytest

from app.core import State
from app.jobs.errors import JobNotDoneError, JobNotPendingError, JobNotRetriableError, TransitionError
from app.jobs.lifecycle import (
    CancelRequested,
    Edited,
    Failed,
    Logged,
    Progressed,
    Reopened,
    Succeeded,
)
from app.jobs.model import SECOND, Attempt, Failure, Hold, Line, Outcome, Progress, Slot, Stopped
from app.stores.base import (
    ONCE_KEPT,
    Applied,
    Change,
    Claim,
    Filter,
    Insert,
    JobNotFoundError,
    KeyHeldError,
    KeyReusedError,
    Limits,
    Once,
    Paging,
    Promote,
    Promoted,
    Purge,
    QueueFullError,
    Recover,
    Replayed,
    Sweep,
    Swept,
)
from app.stores.sqlite_records import PROGRESS_KEPT
from tests.stores.driving import (
    BROKEN,
    KNOWN,
    NOW,
    Database,
    change,
    changes_of,
    claim,
    get,
    ids,
    insert,
    new_job,
    one,
    page,
    scheduled,
)

ONCE = Once("/jobs", "k1", b"digest")


def read(coroutine):
    return asyncio.run(coroutine)


def records(store, job, after=0, limit=1000):
    return read(store.records("ours", after, limit, job_id=job.id))


def told(store, job):
    """Return the kinds and data of a job's records."""
    return [(stored.record.kind.value, stored.record.data) for stored in records(store, job).records]


def started(store, **fields):
    """Store a job and start it."""
    insert(store, new_job(**fields))
    (running,) = claim(store, 1)
    return running


def failed(store, **fields):
    running = started(store, **fields)
    return change(store, running, Failed(running.token, BROKEN))


class Living(Database):
    # -- retries and runs ----------------------------------------------------

    def test_a_failed_attempt_waits_for_its_time_and_is_remembered(self, store):
        running = started(store, max_attempts=2)
        waiting = change(store, running, Failed(running.token, BROKEN, 2 * SECOND), now=NOW + 1)
        past = Attempt(1, 1, "worker", NOW, NOW + 1, BROKEN)
        assert (waiting.state, waiting.attempt, waiting.attempts) == (State.PENDING, 1, (past,))
        assert (waiting.hold, waiting.run_at) == (Hold.DUE_LATER, NOW + 1 + 2 * SECOND)
        assert get(store, running) == waiting
        assert claim(store, 1, now=waiting.run_at) == []
        assert one(store, Promote(), waiting.run_at) == Promoted(1, None)
        (again,) = claim(store, 1, now=waiting.run_at)
        ended = change(store, again, Failed(again.token, BROKEN, SECOND))
        assert (ended.state, ended.outcome, ended.attempt) == (State.FINISHED, Outcome.FAILED, 2)
        assert get(store, running) == ended
        assert ended.attempts == (past,)

    def test_a_retry_without_a_wait_stands_behind_its_lane(self, store):
        running = started(store, max_attempts=2)
        others = [new_job(), new_job()]
        insert(store, *others)
        change(store, running, Failed(running.token, BROKEN, 0))
        assert ids(claim(store, 9)) == [*ids(others), running.id]

    def test_a_failed_job_gets_a_new_run_and_keeps_its_history(self, store):
        ended = failed(store, key="k", expires_at=NOW + SECOND)
        again = change(store, ended, Reopened(), tenant="ours", now=NOW + 5)
        assert again == get(store, ended)
        assert (again.state, again.run, again.attempt, again.outcome) == (State.PENDING, 2, 0, None)
        assert (again.exception, again.finished_at, again.expires_at) == (None, None, None)
        assert again.attempts == (Attempt(1, 1, "worker", NOW, NOW, BROKEN),)
        (running,) = claim(store, 1)
        done = change(store, running, Succeeded(running.token, "1"))
        assert get(store, done) == done
        assert (done.run, done.result, len(done.attempts)) == (2, "1", 1)
        assert isinstance(change(store, done, Reopened()), JobNotRetriableError)

    def test_a_new_run_that_is_cancelled_in_the_batch_that_began_it_has_raised_nothing(self, store):
        ended = failed(store)
        changes = [Change(ended.id, (event,)) for event in (Reopened(), CancelRequested())]
        _, cancelled = store.apply(changes, NOW).outcomes
        assert (cancelled.run, cancelled.outcome, cancelled.exception) == (2, Outcome.CANCELLED, None)
        assert get(store, ended) == cancelled

    def test_a_cancelled_job_that_never_began_has_no_attempt_to_remember(self, store):
        insert(store, job := new_job())
        change(store, job, CancelRequested())
        again = change(store, job, Reopened())
        assert (again.run, again.attempts, again.cancellation) == (2, (), None)

    def test_a_new_run_of_a_task_that_is_unknown_is_held_back(self, store):
        ended = failed(store, task="gone")
        one(store, Recover(KNOWN))
        assert change(store, ended, Reopened()).hold is Hold.UNKNOWN_TASK
        assert claim(store, 9) == []
        one(store, Recover({**KNOWN, "gone": Slot.COROUTINE}))
        assert ids(claim(store, 0, 9)) == [ended.id]

    def test_a_new_run_occupies_what_its_task_needs_now(self, store):
        ended = failed(store)
        one(store, Recover({"plain": Slot.COROUTINE}))
        assert change(store, ended, Reopened()).slot is Slot.COROUTINE
        assert ids(claim(store, 9, 9)) == [ended.id]

    # -- changes of what waits -----------------------------------------------

    def test_a_pending_job_can_be_edited(self, store):
        insert(store, first := new_job(), job := scheduled(60, tags={"a": "1"}))
        edited = change(store, job, Edited(priority=5, run_at=NOW, tags={"b": "2"}), tenant="ours")
        assert edited == get(store, job)
        assert (edited.priority, edited.run_at, edited.tags, edited.hold) == (5, NOW, {"b": "2"}, Hold.NONE)
        assert ids(claim(store, 9)) == [job.id, first.id]
        assert isinstance(change(store, job, Edited(priority=1)), JobNotPendingError)

    def test_a_ready_job_can_be_put_off(self, store):
        insert(store, job := new_job())
        change(store, job, Edited(run_at=NOW + SECOND))
        assert claim(store, 9) == []
        assert one(store, Promote(), NOW + SECOND) == Promoted(1, None)
        assert ids(claim(store, 9)) == [job.id]

    # -- expiry --------------------------------------------------------------

    def test_what_was_not_started_in_time_is_cancelled(self, store):
        job = scheduled(60, expires_at=NOW + SECOND)
        insert(store, job, new_job(expires_at=NOW + 9 * SECOND))
        assert one(store, Promote(), NOW) == Promoted(0, NOW + SECOND)
        applied = store.apply([Promote()], NOW + SECOND)
        assert applied.outcomes[0] == Promoted(1, NOW + 9 * SECOND)
        expired = get(store, job)
        assert (expired.state, expired.cancellation) == (
            State.CANCELLED,
            (NOW + SECOND, Stopped.NOT_STARTED, "expired"),
        )
        assert set(changes_of(applied)) == {job.id}

    def test_a_claim_starts_nothing_that_has_expired_and_takes_the_next_one(self, store):
        insert(store, expired := new_job(expires_at=NOW), job := new_job(expires_at=NOW + 1))
        applied = store.apply([Claim("worker", {Slot.THREAD: 1})], NOW)
        assert ids(applied.outcomes[0]) == [job.id]
        assert changes_of(applied)[expired.id].cancellation.reason == "expired"

    def test_a_job_that_was_tried_in_time_does_not_expire(self, store):
        running = started(store, max_attempts=2, expires_at=NOW + SECOND)
        change(store, running, Failed(running.token, BROKEN, 9 * SECOND))
        assert one(store, Promote(), NOW + 2 * SECOND) == Promoted(0, NOW + 9 * SECOND)
        one(store, Promote(), NOW + 9 * SECOND)
        assert ids(claim(store, 1, now=NOW + 9 * SECOND)) == [running.id]

    # -- keys ----------------------------------------------------------------

    def test_a_key_stands_for_the_job_that_has_it_until_that_is_done(self, store):
        insert(store, first := new_job(key="k", arguments='{"args":[1],"kwargs":{}}'))
        second = new_job(key="k")
        applied = store.apply([Insert([second])], NOW)
        assert (applied.outcomes, applied.changed) == ([[first]], [])
        assert get(store, second) is None
        (running,) = claim(store, 9)
        assert one(store, Insert([second])) == [running]
        change(store, running, Succeeded(running.token, "1"))
        assert one(store, Insert([second])) == [second]

    @pytest.mark.parametrize(
        "other", [{"tenant": "theirs"}, {"task": "coroutine"}, {"key": "l"}, {"key": None}]
    )
    def test_a_key_is_a_tenants_and_a_tasks(self, store, other):
        insert(store, new_job(key="k"), job := new_job(**{"key": "k", **other}))
        assert get(store, job, job.tenant) == job

    def test_two_of_one_insertion_with_one_key_are_one_job(self, store):
        jobs = [new_job(key="k"), new_job(), new_job(key="k")]
        assert one(store, Insert(jobs)) == [jobs[0], jobs[1], jobs[0]]
        assert get(store, jobs[2]) is None

    def test_two_of_one_batch_with_one_key_are_one_job(self, store):
        jobs = [new_job(key="k"), new_job(key="k")]
        assert store.apply([Insert([job]) for job in jobs], NOW).outcomes == [[jobs[0]], [jobs[0]]]

    def test_a_job_that_ends_in_the_batch_of_another_with_its_key_stands_for_it(self, store):
        running = started(store, key="k")
        settle = Change(running.id, (Succeeded(running.token, "1"),))
        _, standing = store.apply([settle, Insert([new_job(key="k")])], NOW).outcomes
        assert standing == [running]

    def test_a_new_run_needs_its_key(self, store):
        ended = failed(store, key="k")
        insert(store, holder := new_job(key="k"))
        assert isinstance(change(store, ended, Reopened()), KeyHeldError)
        change(store, holder, CancelRequested())
        assert change(store, ended, Reopened()).run == 2
        assert one(store, Insert([new_job(key="k")]))[0].id == ended.id

    def test_two_new_runs_of_one_batch_do_not_share_a_key(self, store):
        first, second = failed(store, key="k"), failed(store, key="k")
        outcomes = store.apply([Change(job.id, (Reopened(),)) for job in (first, second)], NOW).outcomes
        assert outcomes[0].run == 2
        assert isinstance(outcomes[1], KeyHeldError)

    def test_a_new_run_has_its_key_also_where_another_had_it_before_in_the_batch(self, store):
        first, second = failed(store, key="k"), failed(store, key="k")
        outcomes = store.apply(
            [
                Insert([new_job(key="k", expires_at=NOW)]),
                Promote(),
                Change(first.id, (Reopened(),)),
                Change(second.id, (Reopened(),)),
            ],
            NOW,
        ).outcomes
        assert outcomes[2].run == 2
        assert isinstance(outcomes[3], KeyHeldError)

    # -- idempotency ---------------------------------------------------------

    def test_an_idempotency_key_stands_for_its_submission(self, store):
        job, again = new_job(), new_job()
        assert one(store, Insert([job], once=ONCE)) == [job]
        applied = store.apply([Insert([again], Limits(queue=0), ONCE)], NOW)
        assert (applied.outcomes, applied.changed) == ([Replayed([job])], [])
        (running,) = claim(store, 9)
        assert one(store, Insert([again], once=ONCE)) == Replayed([running])
        assert read(store.recall("ours", ONCE, NOW)) == Replayed([running])

    def test_two_of_one_batch_are_one_submission(self, store):
        job = new_job()
        outcomes = store.apply([Insert([job], once=ONCE), Insert([new_job()], once=ONCE)], NOW).outcomes
        assert outcomes == [[job], Replayed([job])]

    def test_another_body_is_refused(self, store):
        other = ONCE._replace(digest=b"other")
        one(store, Insert([new_job()], once=ONCE))
        assert isinstance(one(store, Insert([new_job()], once=other)), KeyReusedError)
        with pytest.raises(KeyReusedError):
            read(store.recall("ours", other, NOW))

    @pytest.mark.parametrize("other", [ONCE._replace(route="/jobs/batch"), ONCE._replace(key="k2")])
    def test_a_key_is_of_one_route(self, store, other):
        one(store, Insert([new_job()], once=ONCE))
        assert read(store.recall("ours", other, NOW)) is None
        assert isinstance(one(store, Insert([new_job()], once=other)), list)

    def test_a_key_is_of_one_tenant(self, store):
        one(store, Insert([new_job()], once=ONCE))
        assert read(store.recall("theirs", ONCE, NOW)) is None
        assert isinstance(one(store, Insert([new_job(tenant="theirs")], once=ONCE)), list)

    def test_what_was_refused_stands_for_nothing(self, store):
        assert isinstance(one(store, Insert([new_job()], Limits(queue=0), ONCE)), QueueFullError)
        assert isinstance(one(store, Insert([new_job()], once=ONCE)), list)

    def test_a_key_is_forgotten_after_a_day(self, store):
        one(store, Insert([new_job()], once=ONCE))
        later = NOW + ONCE_KEPT
        assert read(store.recall("ours", ONCE, later - 1)) is not None
        assert read(store.recall("ours", ONCE, later)) is None
        assert one(store, Insert([job := new_job()], once=ONCE), later) == [job]

    def test_a_key_outlives_the_store(self, open_store):
        first = open_store()
        jobs = [new_job(), new_job()]
        one(first, Insert(jobs, once=ONCE))
        first.close()
        second = open_store()
        assert one(second, Insert([new_job()], once=ONCE)) == Replayed(jobs)
        second.close()

    def test_all_jobs_of_an_insertion_are_stored_or_none(self, store):
        limits = Limits(queue=2)
        assert isinstance(one(store, Insert([new_job() for _ in range(3)], limits)), QueueFullError)
        assert page(store, Filter(), Paging()).jobs == []
        assert len(one(store, Insert([new_job() for _ in range(2)], limits))) == 2

    # -- history -------------------------------------------------------------

    def test_a_jobs_history_is_kept_in_order(self, store):
        running = started(store)
        lines = (Line("mine", 20, 1.5, "one"), Line("", 30, 2.0, "two"))
        events = (Progressed(running.token, Progress(1)), Logged(running.token, lines))
        change(store, running, *events, Succeeded(running.token, "1"))
        kinds = [kind for kind, _ in told(store, running)]
        assert kinds == ["state", "state", "progress", "log", "log", "state"]
        stored = records(store, running).records
        assert [record.position for record in stored] == sorted({record.position for record in stored})
        assert {(record.job_id, record.task, record.queue) for record in stored} == {
            (running.id, "plain", "default")
        }
        assert read(store.last_position()) == stored[-1].position
        assert read(store.log("ours", running.id)) == [stored[3], stored[4]]
        assert stored[3].record.at == round(1.5 * SECOND)

    def test_what_is_logged_raises_no_version_and_is_told(self, store):
        running = started(store)
        applied = store.apply(
            [Change(running.id, (Logged(running.token, (Line("", 20, 1.0, "abc"),)),))], NOW
        )
        (logged,) = applied.changed
        assert (logged.version, logged.logged) == (running.version, Line("", 20, 1.0, "abc").cost)
        assert get(store, running) == logged

    def test_what_a_stale_claim_logs_is_refused(self, store):
        running = started(store)
        change(store, running, Succeeded(running.token, "1"))
        outcome = change(store, running, Logged(running.token, (Line("", 20, 1.0, "late"),)))
        assert isinstance(outcome, TransitionError)
        assert read(store.log("ours", running.id)) == []

    def test_a_change_that_is_refused_leaves_no_record(self, store):
        running = started(store)
        before = told(store, running)
        change(store, running, Progressed(running.token, Progress(1)), Succeeded(running.token + 1, "1"))
        assert told(store, running) == before

    def test_history_is_read_from_any_position(self, store):
        running = started(store)
        first, second = records(store, running).records
        part = records(store, running, limit=1)
        assert (part.records, part.position, part.more) == ([first], first.position, True)
        rest = records(store, running, after=part.position)
        assert (rest.records, rest.position, rest.more) == ([second], second.position, False)
        nothing = records(store, running, after=rest.position)
        assert (nothing.records, nothing.position) == ([], rest.position)
        assert records(store, running, after=2**70).records == []

    def test_the_history_of_others_is_not_there(self, store):
        insert(store, theirs := new_job(tenant="theirs"))
        assert records(store, theirs).records == []
        assert read(store.log("ours", theirs.id)) == []
        assert read(store.records("ours", 0, 9)).records == []
        assert len(read(store.records("theirs", 0, 9)).records) == 1
        for strange in ("no UUID", "0" * 36):
            assert read(store.records("ours", 0, 9, job_id=strange)).records == []

    def test_the_history_of_all_jobs_that_fit_is_read_in_parts(self, open_store):
        store = open_store(examined=10)
        jobs = [new_job(queue="q" if n == 17 else "r") for n in range(20)]
        insert(store, *jobs)
        found, after, more = [], 0, True
        while more:
            part = read(store.records("ours", after, 5, where=Filter(queue="q")))
            found += [stored.job_id for stored in part.records]
            after, more = part.position, part.more
        assert found == [jobs[17].id]
        assert after == read(store.last_position())
        store.close()

    def test_a_job_that_reports_progress_without_end_keeps_the_last_of_it(self, store):
        running = started(store)
        for done in range(2 * PROGRESS_KEPT):
            change(store, running, Progressed(running.token, Progress(done)))
        kept = [data for kind, data in told(store, running) if kind == "progress"]
        assert len(kept) <= PROGRESS_KEPT + 1
        assert kept[-1] == f'{{"done":{2 * PROGRESS_KEPT - 1},"total":null,"message":null}}'
        assert records(store, running).trimmed
        assert not records(store, running, after=records(store, running).position).trimmed
        # What was said otherwise is all there.
        assert [kind for kind, _ in told(store, running)][:2] == ["state", "state"]

    # -- erasure -------------------------------------------------------------

    def test_a_job_that_is_done_can_be_erased_with_all_that_hangs_on_it(self, store):
        ended = failed(store)
        change(store, ended, Reopened())
        assert isinstance(one(store, Purge(ended.id, "ours")), JobNotDoneError)
        change(store, ended, CancelRequested())
        assert isinstance(one(store, Purge(ended.id, "theirs")), JobNotFoundError)
        last = read(store.last_position())
        erased = get(store, ended)
        assert store.apply([Purge(ended.id, "ours")], NOW) == Applied([None], [erased])
        assert get(store, ended) is None
        assert records(store, ended).records == []
        assert isinstance(one(store, Purge(ended.id, "ours")), JobNotFoundError)
        assert isinstance(change(store, ended, Reopened()), JobNotFoundError)
        # Positions are cursors: none is dealt twice.
        assert read(store.last_position()) == last
        assert read(store.records("ours", 0, 9)).trimmed
        assert not read(store.records("theirs", 0, 9)).trimmed

    def test_an_end_is_told_also_when_the_job_is_erased_in_its_batch(self, store):
        running = started(store)
        end = Change(running.id, (Succeeded(running.token, "1"),))
        (told_of,) = store.apply([end, Purge(running.id, "ours")], NOW).changed
        assert (told_of.id, told_of.outcome) == (running.id, Outcome.SUCCEEDED)

    def test_positions_go_on_after_the_last_job_was_erased(self, open_store):
        first = open_store()
        ended = failed(first)
        one(first, Purge(ended.id, "ours"))
        last = read(first.last_position())
        first.close()
        second = open_store()
        insert(second, job := new_job())
        assert records(second, job).position > last
        second.close()

    def test_a_replay_leaves_out_what_was_erased(self, store):
        jobs = [new_job(), new_job()]
        one(store, Insert(jobs, once=ONCE))
        change(store, jobs[0], CancelRequested())
        one(store, Purge(jobs[0].id, "ours"))
        assert one(store, Insert([new_job()], once=ONCE)) == Replayed([jobs[1]])
        assert read(store.recall("ours", ONCE, NOW)) == Replayed([jobs[1]])

    def test_what_is_old_is_erased_a_part_at_a_time(self, store):
        ended = [failed(store) for _ in range(3)]
        insert(store, waiting := new_job())
        assert one(store, Sweep(NOW - 1, NOW - 1)) == Swept(0, 0, more=False)
        assert one(store, Sweep(NOW, NOW, limit=2)) == Swept(2, 0, more=True)
        assert one(store, Sweep(NOW, NOW, limit=2)) == Swept(1, 0, more=False)
        assert [get(store, job) for job in ended] == [None] * 3
        assert get(store, waiting) == waiting
        assert isinstance(one(store, Insert([new_job()], Limits(tenant=1))), Exception)
        assert isinstance(one(store, Insert([new_job()], Limits(tenant=2))), list)

    def test_results_go_before_their_jobs_if_they_are_kept_for_less(self, store):
        running = started(store)
        done, ended = change(store, running, Succeeded(running.token, "[1]")), failed(store)
        assert one(store, Sweep(NOW - 1, NOW)) == Swept(0, 1, more=False)
        assert get(store, done) == done._replace(result=None, version=done.version + 1)
        assert get(store, ended) == ended
        assert one(store, Sweep(NOW - 1, NOW)) == Swept(0, 0, more=False)

    def test_a_job_is_kept_while_an_idempotency_key_stands_for_it(self, store):
        job = new_job(key="k")
        insert(store, job)
        one(store, Insert([new_job(key="k")], once=ONCE))
        change(store, job, CancelRequested())
        late = NOW + ONCE_KEPT
        assert one(store, Sweep(late - 1, 0), late - 1).jobs == 0
        assert one(store, Sweep(late, 0), late).jobs == 1
        assert get(store, job) is None

    def test_a_job_that_is_run_again_in_the_batch_of_a_sweep_is_kept(self, store):
        ended = failed(store)
        outcomes = store.apply([Change(ended.id, (Reopened(),)), Sweep(NOW, NOW)], NOW).outcomes
        assert (outcomes[0].run, outcomes[1].jobs) == (2, 0)
        assert get(store, ended).run == 2
        change(store, ended, CancelRequested())
        outcomes = store.apply([Sweep(NOW, NOW), Change(ended.id, (Reopened(),))], NOW).outcomes
        assert outcomes[0].jobs == 1
        assert isinstance(outcomes[1], JobNotFoundError)
        assert get(store, ended) is None

    # -- what others may see -------------------------------------------------

    def test_what_is_shown_of_arguments_is_kept_beside_them(self, store):
        job = new_job(arguments='{"args":["s3cret"],"kwargs":{}}', shown='{"args":["***"],"kwargs":{}}')
        insert(store, job)
        assert get(store, job) == job
        (claimed,) = claim(store, 1)
        assert claimed.arguments == job.arguments
        failure = Failure("ValueError", "x", "")
        assert change(store, claimed, Failed(claimed.token, failure)).shown == job.shown
