"""The contract of stores, first part: what is stored, changed and counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import State
from app.jobs.errors import JobFinishedError, StaleTokenError, TransitionError
from app.jobs.lifecycle import (
    CancelRequested,
    Claimed,
    Failed,
    Progressed,
    Released,
    Succeeded,
    transition,
)
from app.jobs.model import Failure, Outcome, Progress, Slot, Stopped
from app.stores.base import (
    Applied,
    Change,
    Claim,
    Filter,
    Insert,
    JobNotFoundError,
    Limits,
    Page,
    Paging,
    Probe,
    QueueFullError,
    QuotaExceededError,
)
from tests.stores.driving import (
    BROKEN,
    NOW,
    QUICK,
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
    page,
    scheduled,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NUMBER = st.integers(0, 2**62)
LINK = st.none() | TEXT
JOBS = st.builds(
    new_job,
    tenant=TEXT,
    task=TEXT,
    slot=st.sampled_from(Slot),
    created_at=NUMBER,
    run_at=NUMBER,
    arguments=TEXT,
    queue=TEXT,
    priority=st.integers(-100, 100),
    tags=st.dictionaries(TEXT, TEXT, max_size=3),
    key=LINK,
    run=st.integers(1, 2**31),
    attempt=st.integers(0, 2**31),
    max_attempts=st.integers(1, 2**31),
    losses=st.integers(0, 2),
    timeout=st.none() | st.floats(0, allow_nan=False, allow_infinity=False),
    expires_at=st.none() | NUMBER,
    parent=LINK,
    root=LINK,
    step=st.none() | NUMBER,
    traceparent=LINK,
    version=st.integers(1, 2**31),
)
AMOUNT = st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15)
PROGRESS = st.builds(Progress, AMOUNT, st.none() | AMOUNT, st.none() | TEXT)
ENDINGS = st.one_of(
    st.builds(lambda text: lambda token: Succeeded(token, text), TEXT),
    st.builds(lambda *texts: lambda token: Failed(token, Failure(*texts)), TEXT, TEXT, TEXT),
)


class Storing(Database):
    # -- storing and reading -------------------------------------------------

    @QUICK
    @given(job=JOBS, asked=st.booleans(), reason=LINK, progress=PROGRESS, ending=ENDINGS)
    def test_everything_stored_is_read_back_as_it_was(self, job, asked, reason, progress, ending):
        with self.database() as opener:
            store = opener()
            insert(store, job)
            assert get(store, job, job.tenant) == job

            (claimed,) = one(store, Claim("wörker", dict.fromkeys(Slot, 1)), NOW + 1)
            assert claimed == transition(job, Claimed(claimed.token, "wörker"), NOW + 1)
            assert get(store, job, job.tenant) == claimed

            request = [CancelRequested(reason)] if asked else []
            for events in ([*request, Progressed(claimed.token, progress)], [ending(claimed.token)]):
                expected = claimed
                for event in events:
                    expected = transition(expected, event, NOW + 2)
                claimed = change(store, job, *events, now=NOW + 2)
                assert claimed == expected
                assert get(store, job, job.tenant) == expected
            store.close()

    def test_what_was_applied_is_there_after_the_store_is_opened_again(self, open_store):
        first = open_store()
        jobs = [new_job(), new_job()]
        insert(first, *jobs)
        (running,) = claim(first, 1)
        first.close()

        second = open_store()
        assert [get(second, job) for job in jobs] == [running, jobs[1]]
        second.close()

    def test_an_empty_batch_does_nothing(self, store):
        assert store.apply([], NOW) == Applied([], [])

    def test_a_probe_has_no_outcome_and_changes_no_job(self, store):
        assert store.apply([Probe(), Probe()], NOW) == Applied([None, None], [])

    def test_an_insertion_reports_the_job_and_lists_it_as_changed(self, store):
        job = new_job()
        assert store.apply([Insert([job])], NOW) == Applied([[job]], [job], inserted=(job,))

    def test_a_job_that_is_there_already_is_not_replaced(self, store):
        job = new_job()
        insert(store, job)
        with pytest.raises(Exception):  # noqa: B017, PT011  (each database has its own)
            store.apply([Insert([job._replace(task="another")])], NOW)
        assert get(store, job) == job

    def test_a_batch_that_cannot_be_carried_out_stores_nothing(self, store):
        good, bad = new_job(), new_job(queue="\ud800")
        with pytest.raises(Exception):  # noqa: B017, PT011
            store.apply([Insert([good], Limits(queue=1)), Insert([bad])], NOW)
        assert get(store, good) is None
        assert claim(store, 9) == []
        # Nor is it counted: there is still room for one.
        assert one(store, Insert([good], Limits(queue=1, tenant=1))) == [good]

    @pytest.mark.parametrize(
        "name", ["", "no-uuid", "0" * 32, "0198f00d-0000-7000-8000-00000000000", "\ud800"]
    )
    def test_what_is_no_uuid_is_the_id_of_no_job(self, store, name):
        assert get(store, name) is None
        assert isinstance(one(store, Change(name, (CancelRequested(),))), JobNotFoundError)

    # -- outcomes ------------------------------------------------------------

    def test_a_refused_operation_harms_no_other_of_its_batch(self, store):
        job, other = new_job(), new_job()
        insert(store, job)
        outcomes = store.apply(
            [
                Change(job.id, (Succeeded(1, "1"),)),
                Insert([new_job()], Limits(queue=0)),
                Insert([other]),
                Change(new_job().id, (CancelRequested(),)),
                Change(job.id, (CancelRequested("why"),)),
            ],
            NOW,
        ).outcomes

        assert isinstance(outcomes[0], StaleTokenError)
        assert isinstance(outcomes[1], QueueFullError)
        assert outcomes[2] == [other]
        assert isinstance(outcomes[3], JobNotFoundError)
        assert outcomes[4] == get(store, job)
        assert outcomes[4].cancellation == (NOW, Stopped.NOT_STARTED, "why")

    def test_all_events_of_a_change_happen_or_none(self, store):
        insert(store, new_job())
        (running,) = claim(store, 1)
        told = Progressed(running.token, Progress(1))
        outcome = change(store, running, told, Succeeded(running.token + 1, "1"))
        assert isinstance(outcome, StaleTokenError)
        assert get(store, running) == running

    def test_a_change_that_changes_nothing_is_not_listed(self, store):
        job = new_job()
        insert(store, job)
        cancelled = change(store, job, CancelRequested())
        assert store.apply([Change(job.id, (CancelRequested(),))], NOW + 1) == Applied([cancelled], [])

    def test_a_finished_job_refuses_to_be_cancelled(self, store):
        insert(store, new_job())
        (running,) = claim(store, 1)
        finished = change(store, running, Succeeded(running.token, "[1]"))
        assert isinstance(change(store, running, CancelRequested()), JobFinishedError)
        assert get(store, running) == finished

    def test_a_change_returns_the_arguments_too(self, store):
        job = new_job(arguments='{"args":[1],"kwargs":{}}')
        insert(store, job)
        assert change(store, job, CancelRequested()).arguments == job.arguments

    def test_several_changes_of_one_job_build_on_each_other(self, store):
        insert(store, new_job())
        (running,) = claim(store, 1)
        told = Change(running.id, (Progressed(running.token, Progress(1)),))
        asked = Change(running.id, (CancelRequested(),))
        done = Change(running.id, (Succeeded(running.token, "1"),))
        applied = store.apply([told, asked, done], NOW)
        assert [job.version for job in applied.outcomes] == [3, 4, 5]
        assert changes_of(applied) == {running.id: bare(applied.outcomes[-1])}
        assert applied.outcomes[-1].cancellation.outcome is Stopped.TOO_LATE

    def test_a_job_can_be_changed_in_the_batch_that_inserts_it(self, store):
        job = new_job()
        applied = store.apply([Insert([job]), Change(job.id, (CancelRequested(),))], NOW)
        assert applied.outcomes[1].state is State.CANCELLED
        assert changes_of(applied) == {job.id: bare(get(store, job))}

    def test_an_inserted_job_is_listed_as_changed_though_a_change_of_it_is_refused(self, store):
        job = new_job()
        applied = store.apply([Insert([job]), Change(job.id, (CancelRequested(),), "theirs")], NOW)
        assert isinstance(applied.outcomes[1], JobNotFoundError)
        assert changes_of(applied) == {job.id: bare(job)}

    def test_many_operations_go_into_one_batch(self, store):
        jobs = [new_job() for _ in range(700)]
        insert(store, *jobs)
        running = claim(store, 600)
        applied = store.apply([Change(job.id, (Succeeded(job.token, "1"),)) for job in running], NOW)
        assert all(job.outcome is Outcome.SUCCEEDED for job in applied.outcomes)
        assert set(changes_of(applied)) == set(ids(running))
        assert len(claim(store, 700)) == 100

    # -- tenants -------------------------------------------------------------

    def test_a_tenant_sees_and_changes_its_own_jobs_only(self, store):
        job = new_job(tenant="ours")
        insert(store, job)
        assert get(store, job, "theirs") is None
        assert isinstance(change(store, job, CancelRequested(), tenant="theirs"), JobNotFoundError)
        assert page(store, Filter(), Paging(), "theirs") == Page([], None)
        assert page(store, Filter(task="plain"), Paging(), "theirs") == Page([], None)
        assert get(store, job) == job
        assert change(store, job, CancelRequested(), tenant="ours").state is State.CANCELLED

    # -- limits --------------------------------------------------------------

    def test_a_queue_takes_as_many_waiting_jobs_of_all_tenants_as_its_limit(self, store):
        limits = Limits(queue=2)
        batch = [Insert([new_job(tenant=name, queue="q")], limits) for name in ("a", "b", "c")]
        outcomes = store.apply([*batch, Insert([new_job(queue="other")], limits)], NOW).outcomes
        assert [isinstance(outcome, list) for outcome in outcomes] == [True, True, False, True]
        assert isinstance(outcomes[2], QueueFullError)
        assert isinstance(one(store, Insert([new_job(queue="q")], limits)), QueueFullError)

        # What runs does not wait.
        claim(store, 3)
        assert isinstance(one(store, Insert([new_job(queue="q")], limits)), list)

    def test_each_insertion_of_a_batch_gets_its_own_jobs(self, store):
        batch = [Insert([new_job() for _ in range(n)], Limits(queue=6, tenant=6)) for n in (1, 3, 2)]
        assert store.apply(batch, NOW).outcomes == [insertion.jobs for insertion in batch]
        inserted = [job for insertion in batch for job in insertion.jobs]
        assert page(store, Filter(), Paging()).jobs == inserted[::-1]
        assert [job.id for job in claim(store, 9)] == [job.id for job in inserted]

    @pytest.mark.parametrize("limits", [Limits(queue=3), Limits(tenant=3)])
    def test_of_the_insertions_of_a_batch_those_are_taken_for_which_there_is_room(self, store, limits):
        batch = [Insert([new_job() for _ in range(n)], limits) for n in (2, 2, 1, 1)]
        outcomes = store.apply(batch, NOW).outcomes
        assert [isinstance(outcome, list) for outcome in outcomes] == [True, False, True, False]
        inserted = [*batch[0].jobs, *batch[2].jobs]
        assert page(store, Filter(), Paging()).jobs == inserted[::-1]

    def test_each_insertion_of_a_batch_is_subject_to_limits_of_its_own(self, store):
        batch = [Insert([new_job()]), Insert([new_job()], Limits(queue=1))]
        accepted, refused = store.apply(batch, NOW).outcomes
        assert accepted == batch[0].jobs
        assert isinstance(refused, QueueFullError)

    def test_each_insertion_of_a_batch_counts_for_its_own_tenant(self, store):
        insert(store, new_job(tenant="theirs"), new_job(tenant="theirs"))
        batch = [Insert([new_job(tenant=name)], Limits(tenant=2)) for name in ("ours", "theirs")]
        accepted, refused = store.apply(batch, NOW).outcomes
        assert accepted == batch[0].jobs
        assert isinstance(refused, QuotaExceededError)

    def test_insertions_of_a_batch_that_have_one_key_are_one_job(self, store):
        first, second, other = new_job(key="k"), new_job(key="k"), new_job()
        batch = [Insert([first]), Insert([second, other])]
        assert store.apply(batch, NOW).outcomes == [[first], [first, other]]
        assert page(store, Filter(), Paging()).jobs == [other, first]

    def test_a_tenant_has_as_many_unfinished_jobs_as_its_limit(self, store):
        limits = Limits(tenant=2)
        batch = [Insert([new_job(queue=name)], limits) for name in ("a", "b", "c")]
        outcomes = store.apply([*batch, Insert([new_job(tenant="theirs")], limits)], NOW).outcomes
        assert [isinstance(outcome, list) for outcome in outcomes] == [True, True, False, True]
        assert isinstance(outcomes[2], QuotaExceededError)

        (running,) = claim(store, 1)
        assert isinstance(one(store, Insert([new_job()], limits)), QuotaExceededError)
        change(store, running, Failed(running.token, BROKEN))
        assert isinstance(one(store, Insert([new_job()], limits)), list)

    def test_scheduled_jobs_count_as_waiting(self, store):
        insert(store, scheduled(9, queue="q"))
        assert isinstance(one(store, Insert([new_job(queue="q")], Limits(queue=1))), QueueFullError)

    def test_limits_hold_after_the_store_is_opened_again(self, open_store):
        first = open_store()
        cancelled = new_job()
        insert(first, cancelled, new_job(), new_job())
        change(first, cancelled, CancelRequested())
        claim(first, 1)
        first.close()

        second = open_store()
        assert isinstance(one(second, Insert([new_job()], Limits(tenant=2))), QuotaExceededError)
        assert isinstance(one(second, Insert([new_job()], Limits(queue=1))), QueueFullError)
        assert isinstance(one(second, Insert([new_job()], Limits(queue=2, tenant=3))), list)
        second.close()

    # -- fencing -------------------------------------------------------------

    def test_a_token_of_an_earlier_claim_settles_nothing(self, store):
        insert(store, new_job())
        (first,) = claim(store, 1)
        change(store, first, Released(first.token))
        (second,) = claim(store, 1)
        for event in (
            Succeeded(first.token, "1"),
            Failed(first.token, BROKEN),
            Progressed(first.token, Progress(1)),
            Released(first.token),
        ):
            assert isinstance(change(store, first, event), StaleTokenError)
        assert get(store, first) == second
        assert change(store, first, Succeeded(second.token, "2")).result == "2"

    def test_a_job_is_settled_once(self, store):
        insert(store, new_job())
        (running,) = claim(store, 1)
        settle = Change(running.id, (Succeeded(running.token, "1"),))
        first, second = store.apply([settle, settle], NOW).outcomes
        assert first.result == "1"
        assert isinstance(second, TransitionError)
        assert isinstance(one(store, settle), TransitionError)
