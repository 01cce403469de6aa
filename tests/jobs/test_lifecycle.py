"""The lifecycle: every cell of its table, everything that is not in it, and what holds in any history."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.core import State
from app.jobs.errors import (
    JobFinishedError,
    JobNotPendingError,
    JobNotRetriableError,
    StaleTokenError,
    TransitionError,
)
from app.jobs.lifecycle import (
    MAX_LOSSES,
    TRANSITIONS,
    CancelRequested,
    Claimed,
    Died,
    Due,
    Edited,
    Expired,
    Failed,
    Logged,
    Lost,
    Progressed,
    Released,
    Reopened,
    Succeeded,
    backoff_after_loss,
    transition,
)
from app.jobs.model import (
    SECOND,
    Attempt,
    Cancellation,
    Failure,
    Hold,
    Job,
    Line,
    Outcome,
    Progress,
    Slot,
    Stopped,
)

NOW = 1_750_000_000_000_000
TOKEN = 7
BROKEN = Failure("ValueError", "broken", "Traceback: …")
LINES = (Line("mine", 20, 1.0, "one"), Line("", 30, 2.0, "three"))

PENDING = Job(
    id="0198f00d-0000-7000-8000-000000000001",
    tenant="default",
    task="plain",
    slot=Slot.THREAD,
    created_at=NOW,
    run_at=NOW,
)
SCHEDULED = PENDING._replace(hold=Hold.DUE_LATER, run_at=NOW + SECOND)
RUNNING = transition(PENDING, Claimed(TOKEN, "worker"), NOW)
ASKED = transition(RUNNING, CancelRequested("why"), NOW)
CANCELLED = transition(PENDING, CancelRequested(), NOW)
STOPPED = transition(ASKED, Failed(TOKEN, BROKEN), NOW)
SUCCEEDED = transition(RUNNING, Succeeded(TOKEN, "1"), NOW)
FAILED = transition(RUNNING, Failed(TOKEN, BROKEN), NOW)

EVENTS = [
    Due(),
    Expired(),
    Edited(priority=7),
    Reopened(),
    Logged(TOKEN, LINES),
    Failed(TOKEN, BROKEN, SECOND),
    Died(TOKEN, BROKEN, 0),
    Claimed(TOKEN + 1, "worker"),
    Progressed(TOKEN, Progress(1)),
    Succeeded(TOKEN, "1"),
    Failed(TOKEN, BROKEN),
    Died(TOKEN, BROKEN),
    Released(TOKEN),
    Lost(TOKEN),
    CancelRequested(),
]
JOBS = {
    "pending": PENDING,
    "running": RUNNING,
    "asked": ASKED,
    "cancelled": CANCELLED,
    "stopped": STOPPED,
    "succeeded": SUCCEEDED,
    "failed": FAILED,
}


def later(job, event):
    return transition(job, event, NOW + SECOND)


# -- the table ---------------------------------------------------------------


def test_a_due_job_is_ready():
    job = later(SCHEDULED, Due())
    assert job == SCHEDULED._replace(hold=Hold.NONE, version=2)
    assert job.ready


def test_a_due_job_stays_held_back_by_what_else_holds_it():
    job = later(SCHEDULED._replace(hold=Hold.DUE_LATER | Hold.UNKNOWN_TASK), Due())
    assert job.hold is Hold.UNKNOWN_TASK
    assert not job.ready


def test_a_job_that_waits_for_no_time_is_unchanged_when_it_comes():
    assert later(PENDING, Due()) is PENDING


def test_a_claim_starts_an_attempt():
    assert later(PENDING, Claimed(5, "host:1")) == PENDING._replace(
        state=State.RUNNING, attempt=1, token=5, worker="host:1", started_at=NOW + SECOND, version=2
    )


@pytest.mark.parametrize("hold", [Hold.DUE_LATER, Hold.UNKNOWN_TASK, Hold.DUE_LATER | Hold.UNKNOWN_TASK])
def test_a_job_that_is_held_back_cannot_be_claimed(hold):
    with pytest.raises(TransitionError, match="is not ready"):
        later(PENDING._replace(hold=hold), Claimed(5, "host:1"))


def test_a_pending_job_is_cancelled_at_once():
    job = later(SCHEDULED, CancelRequested("expired"))
    assert job == SCHEDULED._replace(
        state=State.CANCELLED,
        outcome=Outcome.CANCELLED,
        hold=Hold.NONE,
        finished_at=NOW + SECOND,
        cancellation=Cancellation(NOW + SECOND, Stopped.NOT_STARTED, "expired"),
        version=2,
    )


def test_progress_is_noted():
    job = later(RUNNING, Progressed(TOKEN, Progress(1, 2, "half")))
    assert job == RUNNING._replace(progress=Progress(1, 2, "half"), version=3)


def test_progress_that_says_nothing_new_changes_nothing():
    job = later(RUNNING, Progressed(TOKEN, Progress(1)))
    assert later(job, Progressed(TOKEN, Progress(1))) is job


def test_a_request_to_cancel_a_running_job_is_noted_once():
    noted = Cancellation(NOW, Stopped.PENDING, "why")
    assert later(RUNNING, CancelRequested("why")) == RUNNING._replace(
        cancellation=noted._replace(requested_at=NOW + SECOND), version=3
    )
    assert ASKED.cancellation == noted
    assert ASKED.asked_to_stop
    assert later(ASKED, CancelRequested("again")) is ASKED


def test_a_job_that_returns_has_succeeded():
    job = later(RUNNING, Succeeded(TOKEN, "[1]"))
    assert job == RUNNING._replace(
        state=State.FINISHED,
        outcome=Outcome.SUCCEEDED,
        result="[1]",
        token=None,
        finished_at=NOW + SECOND,
        version=3,
    )


def test_a_result_after_a_request_counts_and_the_request_came_too_late():
    job = later(ASKED, Succeeded(TOKEN, "1"))
    assert (job.state, job.outcome, job.result) == (State.FINISHED, Outcome.SUCCEEDED, "1")
    assert job.cancellation == Cancellation(NOW, Stopped.TOO_LATE, "why")


def test_a_job_that_raises_has_failed():
    job = later(RUNNING, Failed(TOKEN, BROKEN))
    assert job == RUNNING._replace(
        state=State.FINISHED,
        outcome=Outcome.FAILED,
        exception=BROKEN,
        token=None,
        finished_at=NOW + SECOND,
        version=3,
    )


def test_a_job_that_raises_after_a_request_is_cancelled_and_was_cooperative():
    assert (STOPPED.state, STOPPED.outcome) == (State.CANCELLED, Outcome.CANCELLED)
    assert STOPPED.cancellation == Cancellation(NOW, Stopped.COOPERATIVE, "why")
    assert STOPPED.exception is None


def test_a_job_whose_process_died_has_failed():
    assert later(RUNNING, Died(TOKEN, BROKEN)) == later(RUNNING, Failed(TOKEN, BROKEN))


def test_a_job_whose_process_died_after_a_request_is_cancelled_and_was_killed():
    job = later(ASKED, Died(TOKEN, BROKEN))
    assert (job.state, job.outcome, job.exception) == (State.CANCELLED, Outcome.CANCELLED, None)
    assert job.cancellation == Cancellation(NOW, Stopped.KILLED, "why")


def test_a_released_job_returns_at_no_cost():
    told = later(RUNNING, Progressed(TOKEN, Progress(1)))
    assert later(told, Released(TOKEN)) == PENDING._replace(version=4)


def test_a_lost_job_returns_after_a_backoff_and_keeps_its_attempt():
    assert later(RUNNING, Lost(TOKEN)) == PENDING._replace(
        losses=1, hold=Hold.DUE_LATER, run_at=NOW + SECOND + backoff_after_loss(1), version=3
    )


def test_the_backoff_after_a_loss_doubles():
    assert [backoff_after_loss(n) for n in (1, 2, 3)] == [SECOND, 2 * SECOND, 4 * SECOND]


def test_a_job_is_given_up_after_three_losses():
    job = PENDING
    for n in range(1, MAX_LOSSES + 1):
        job = later(later(later(job, Due()), Claimed(n, "worker")), Lost(n))
        assert (job.losses, job.done) == (n, n == 3)
    assert (job.state, job.outcome, job.token) == (State.FINISHED, Outcome.FAILED, None)
    assert job.exception == Failure("WorkerLost", "the worker was lost 3 times while it ran this job", "")
    assert job.attempt == 1


@pytest.mark.parametrize("event", [Released(TOKEN), Lost(TOKEN)], ids=["released", "lost"])
def test_a_job_with_a_request_never_returns_to_pending(event):
    job = later(ASKED, event)
    assert (job.state, job.outcome) == (State.CANCELLED, Outcome.CANCELLED)
    assert job.cancellation == Cancellation(NOW, Stopped.KILLED, "why")
    assert (job.losses, job.exception) == (0, None)


def test_a_cancelled_job_may_be_cancelled_again():
    assert later(CANCELLED, CancelRequested("again")) is CANCELLED
    assert later(STOPPED, CancelRequested("again")) is STOPPED


# -- retries -----------------------------------------------------------------

GRANTED = PENDING._replace(max_attempts=2)
FIRST = transition(GRANTED, Claimed(TOKEN, "worker"), NOW)
PAST = Attempt(1, 1, "worker", NOW, NOW + SECOND, BROKEN)


@pytest.mark.parametrize("event", [Failed, Died])
def test_a_failure_with_attempts_left_waits_for_the_next_one(event):
    job = later(FIRST, event(TOKEN, BROKEN, 5))
    assert job == GRANTED._replace(
        attempt=1, attempts=(PAST,), hold=Hold.DUE_LATER, run_at=NOW + SECOND + 5, version=3
    )


def test_a_retry_without_a_wait_is_ready_at_once():
    assert later(FIRST, Failed(TOKEN, BROKEN, 0)).ready


def test_the_last_attempt_fails_the_job_whatever_it_says():
    second = later(later(later(FIRST, Failed(TOKEN, BROKEN, 5)), Due()), Claimed(9, "other"))
    assert (second.attempt, second.attempts) == (2, (PAST,))
    job = later(second, Failed(9, BROKEN, 5))
    assert (job.outcome, job.exception, job.attempts) == (Outcome.FAILED, BROKEN, (PAST,))


def test_a_failure_that_is_not_to_be_retried_is_final_though_attempts_are_left():
    assert later(FIRST, Failed(TOKEN, BROKEN)).outcome is Outcome.FAILED


def test_a_failure_after_a_request_is_not_retried():
    asked = later(FIRST, CancelRequested())
    assert later(asked, Failed(TOKEN, BROKEN, 5)).state is State.CANCELLED
    assert later(asked, Died(TOKEN, BROKEN, 5)).cancellation.outcome is Stopped.KILLED


def test_a_loss_in_a_later_attempt_costs_none_and_forgets_none():
    second = later(later(later(FIRST, Failed(TOKEN, BROKEN, 5)), Due()), Claimed(9, "other"))
    lost = later(second, Lost(9))
    assert (lost.attempt, lost.losses, lost.attempts) == (1, 1, (PAST,))


# -- expiry, edits, logs, runs -----------------------------------------------

EXPIRING = SCHEDULED._replace(expires_at=NOW + SECOND)


def test_a_job_that_was_not_started_in_time_is_cancelled():
    job = later(EXPIRING, Expired())
    assert (job.state, job.hold) == (State.CANCELLED, Hold.NONE)
    assert job.cancellation == Cancellation(NOW + SECOND, Stopped.NOT_STARTED, "expired")


@pytest.mark.parametrize(
    "job", [SCHEDULED, EXPIRING._replace(expires_at=NOW + SECOND + 1), EXPIRING._replace(attempt=1)]
)
def test_what_need_not_start_by_now_or_was_tried_in_time_does_not_expire(job):
    assert later(job, Expired()) is job


@pytest.mark.parametrize("event", [Released(TOKEN), Lost(TOKEN)])
def test_what_was_started_in_time_does_not_expire_when_it_is_put_back(event):
    running = transition(PENDING._replace(expires_at=NOW + 1), Claimed(TOKEN, "worker"), NOW)
    waiting = later(running, event)
    assert waiting.expires_at is None
    assert later(waiting, Expired()) is waiting


def test_an_edit_changes_what_it_names():
    job = later(PENDING, Edited(priority=3, tags={"a": "b"}))
    assert job == PENDING._replace(priority=3, tags={"a": "b"}, version=2)
    assert later(job, Edited(priority=3)) is job
    assert later(job, Edited()) is job


def test_a_new_due_time_holds_a_job_back_or_lets_it_go():
    put_off = later(PENDING, Edited(run_at=NOW + 2 * SECOND))
    assert (put_off.hold, put_off.run_at) == (Hold.DUE_LATER, NOW + 2 * SECOND)
    held = put_off._replace(hold=put_off.hold | Hold.UNKNOWN_TASK)
    assert later(held, Edited(run_at=NOW)).hold is Hold.UNKNOWN_TASK


def test_what_is_logged_is_counted_and_raises_no_version():
    assert later(RUNNING, Logged(TOKEN, LINES)) == RUNNING._replace(logged=sum(line.cost for line in LINES))


def test_a_failed_job_is_run_again_as_if_it_were_new():
    failed = later(FIRST, Failed(TOKEN, BROKEN))._replace(losses=2, expires_at=NOW)
    again = transition(failed, Reopened(), NOW + 9)
    assert again == GRANTED._replace(run=2, run_at=NOW + 9, attempts=(PAST,), version=failed.version + 1)


def test_a_cancelled_job_is_run_again_and_its_request_is_forgotten():
    again = later(CANCELLED, Reopened())
    assert (again.state, again.run, again.cancellation, again.attempts) == (State.PENDING, 2, None, ())
    stopped = later(STOPPED, Reopened())
    assert stopped.attempts == (Attempt(1, 1, "worker", NOW, NOW, None),)


# -- what the table does not have ---------------------------------------------


@pytest.mark.parametrize(("name", "event"), list(itertools.product(JOBS, EVENTS)))
def test_whatever_the_table_does_not_have_is_refused(name, event):
    job = JOBS[name]
    if (job.state, type(event)) in TRANSITIONS and (name, type(event)) != ("succeeded", Reopened):
        assert later(job, event).version - job.version in (0, 1)
        return
    with pytest.raises(TransitionError) as refusal:
        later(job, event)
    own = {CancelRequested: JobFinishedError, Edited: JobNotPendingError, Reopened: JobNotRetriableError}
    if type(event) in own:
        assert type(refusal.value) is own[type(event)]
    elif isinstance(event, (Claimed, Due, Expired)):
        assert str(refusal.value) == f"a {job.state} job knows no {type(event).__name__}"
    else:
        # Nobody holds it any more, so the token says it already.
        assert type(refusal.value) is StaleTokenError


def test_the_table_holds_what_its_page_says():
    assert {(state.value, event.__name__) for state, event in TRANSITIONS} == {
        ("pending", "Due"),
        ("pending", "Expired"),
        ("pending", "Edited"),
        ("pending", "Claimed"),
        ("pending", "CancelRequested"),
        ("running", "Progressed"),
        ("running", "Logged"),
        ("running", "CancelRequested"),
        ("running", "Succeeded"),
        ("running", "Failed"),
        ("running", "Died"),
        ("running", "Released"),
        ("running", "Lost"),
        ("cancelled", "CancelRequested"),
        ("cancelled", "Reopened"),
        ("finished", "Reopened"),
    }


@pytest.mark.parametrize("event", [event for event in EVENTS if hasattr(event, "token")])
@pytest.mark.parametrize("token", [TOKEN - 1, 0, -TOKEN])
def test_an_event_with_the_token_of_another_claim_is_refused(event, token):
    if isinstance(event, Claimed):
        with pytest.raises(TransitionError, match="a running job knows no Claimed"):
            later(RUNNING, event._replace(token=token))
    else:
        with pytest.raises(StaleTokenError, match="not held by this claim"):
            later(RUNNING, event._replace(token=token))


# -- any history -------------------------------------------------------------


class History(RuleBasedStateMachine):
    """Throws events at one job, fitting or not."""

    def __init__(self):
        super().__init__()
        self.job = PENDING._replace(max_attempts=2, expires_at=NOW + 9 * SECOND)
        self.final = {}
        self.now = NOW

    @rule(
        event=st.sampled_from(EVENTS),
        token=st.sampled_from([None, None, None, 1, 2]),
        seconds=st.integers(-2, 5),
    )
    def happen(self, event, token, seconds):
        before, self.now = self.job, self.now + seconds * SECOND
        if hasattr(event, "token"):
            fitting = 1 if before.token is None else before.token
            event = event._replace(token=fitting if token is None else token)
        try:
            self.job = transition(before, event, self.now)
        except TransitionError:
            return
        if self.job is before:
            return
        assert self.job.version == before.version + (not isinstance(event, Logged))
        assert (before.state, type(event)) in TRANSITIONS
        assert self.job.attempts[: len(before.attempts)] == before.attempts
        assert (self.job.run - before.run) == isinstance(event, Reopened)
        if before.cancellation is not None and not isinstance(event, Reopened):
            assert self.job.state is not State.PENDING
            assert self.job.cancellation is not None

    @invariant()
    def a_final_state_is_final(self):
        """Each run has exactly one."""
        assert self.final.get(self.job.run, self.job) is self.job
        if self.job.done:
            self.final[self.job.run] = self.job

    @invariant()
    def the_fields_agree_with_the_state(self):
        job = self.job
        assert (job.token is None) == (job.state is not State.RUNNING)
        assert job.done == (job.outcome is not None) == (job.finished_at is not None)
        assert (job.state is State.CANCELLED) == (job.outcome is Outcome.CANCELLED)
        assert (job.result is not None) == (job.outcome is Outcome.SUCCEEDED)
        assert (job.exception is not None) == (job.outcome is Outcome.FAILED)
        assert not job.hold or job.state is State.PENDING
        assert job.asked_to_stop == (job.state is State.RUNNING and job.cancellation is not None)

    @invariant()
    def attempts_and_losses_are_bounded(self):
        assert 0 <= self.job.attempt <= self.job.max_attempts
        assert 0 <= self.job.losses <= MAX_LOSSES
        waits = self.job.state is State.PENDING
        assert waits <= (self.job.attempt == sum(past.run == self.job.run for past in self.job.attempts))
        assert waits <= (self.job.started_at is None)
        numbers = [(past.run, past.number) for past in self.job.attempts]
        assert numbers == sorted(set(numbers))


TestHistory = History.TestCase
TestHistory.settings = settings(
    derandomize=True, database=None, deadline=None, max_examples=100, stateful_step_count=30
)
