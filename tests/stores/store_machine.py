"""A store beside a model of plain Python, driven through the same history.

The model is a dictionary of jobs moved by the lifecycle's functions. Where a store is
free to choose (which jobs a claim takes, the tokens), the choice is checked against
what it was free to do, and then taken over.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from functools import reduce
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.core import State
from app.jobs.errors import JobFinishedError, StaleTokenError, TransitionError
from app.jobs.lifecycle import (
    CancelRequested,
    Claimed,
    Died,
    Due,
    Event,
    Failed,
    Lost,
    Progressed,
    Released,
    Succeeded,
    transition,
)
from app.jobs.model import SECOND, Failure, Hold, Job, Progress, Slot
from app.stores.base import (
    Applied,
    Change,
    Claim,
    Filter,
    Insert,
    JobNotFoundError,
    Limits,
    Operation,
    Paging,
    Promote,
    Promoted,
    QueueFullError,
    QuotaExceededError,
    Recover,
    Store,
)
from tests.stores.driving import NOW, Open, bare, changes_of, new_job

TASKS = {"plain": Slot.THREAD, "coroutine": Slot.COROUTINE, "both": Slot.THREAD}
WITHOUT = [{}, {"both": Slot.COROUTINE}, {"plain": None}, {"coroutine": None}]

FREE = st.fixed_dictionaries({Slot.THREAD: st.integers(0, 3), Slot.COROUTINE: st.integers(0, 3)})
ENDINGS = st.sampled_from(
    [
        lambda token: (Succeeded(token, "1"),),
        lambda token: (Failed(token, Failure("ValueError", "broken", "")),),
        lambda token: (Died(token, Failure("ProcessDied", "killed", "")),),
        lambda token: (Released(token),),
        lambda token: (Progressed(token, Progress(token % 7)),),
        lambda token: (Progressed(token, Progress(1, 2, "done")), Succeeded(token, "[]")),
    ]
)


class StoreMachine(RuleBasedStateMachine):
    """A subclass provides the database."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {}
        self.tokens: set[int] = set()
        self.over: list[tuple[str, int]] = []
        self.now = NOW
        self.resources = ExitStack()
        self.runner = self.resources.enter_context(asyncio.Runner())

    def database(self) -> Any:
        raise NotImplementedError

    def check_inside(self) -> None:
        """Check what only this kind of store can be asked."""

    @initialize()
    def open(self) -> None:
        self.opener: Open = self.resources.enter_context(self.database())
        self.store: Store = self.opener()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
        self.resources.close()

    # -- the model -----------------------------------------------------------

    def chosen(self, data: st.DataObject, *states: State) -> Job:
        jobs = [job for job in self.jobs.values() if job.state in (states or State)]
        return data.draw(st.sampled_from(jobs))

    def count(self, **conditions: Any) -> int:
        return sum(all(getattr(job, k) == v for k, v in conditions.items()) for job in self.jobs.values())

    def apply(self, *operations: Operation) -> Applied:
        """Carry out a batch here and there, and compare what was done."""
        before = dict(self.jobs)
        applied = self.store.apply(operations, self.now)
        pairs = list(zip(operations, applied.outcomes, strict=True))
        held: set[str] = set()
        for operation, outcome in sorted(pairs, key=lambda pair: isinstance(pair[0], Claim)):
            match operation:
                case Insert():
                    self.jobs[operation.job.id] = outcome
                case Change():
                    self.follow_change(operation, outcome)
                case Claim():
                    self.follow_claim(operation, outcome)
                case Promote():
                    self.follow_promotion(operation, outcome)
                case Recover():
                    held = self.follow_recovery(operation, outcome)
        changed = {id_ for id_, job in self.jobs.items() if job != before.get(id_)}
        listed = changes_of(applied)
        assert changed - held <= set(listed) <= changed
        assert listed == {id_: bare(self.jobs[id_]) for id_ in listed}
        return applied

    def follow_change(self, operation: Change, outcome: Any) -> None:
        job = self.jobs[operation.id]
        if operation.tenant not in (None, job.tenant):
            assert isinstance(outcome, JobNotFoundError)
            return
        expected = result_of(job, operation.events, self.now)
        if isinstance(expected, Job):
            assert outcome == expected
            self.jobs[job.id] = expected
        else:
            assert type(outcome) is type(expected)

    def follow_claim(self, operation: Claim, outcome: list[Job]) -> None:
        for slot, free in operation.free.items():
            ready = sorted(
                (job.priority for job in self.jobs.values() if job.ready and job.slot is slot), reverse=True
            )
            taken = [job.priority for job in outcome if job.slot is slot]
            # As many as can be, and none while one of a higher priority stays.
            assert taken == ready[:free]
        for job in outcome:
            assert job == transition(self.jobs[job.id], Claimed(job.token, operation.worker), self.now)
            assert job.token not in self.tokens
            self.tokens.add(job.token)
            self.jobs[job.id] = job

    def follow_promotion(self, operation: Promote, outcome: Promoted) -> None:
        waiting = [job for job in self.jobs.values() if job.hold & Hold.DUE_LATER]
        due = [job for job in waiting if job.run_at <= self.now]
        later = min((job.run_at for job in waiting if job.run_at > self.now), default=None)
        assert outcome == Promoted(len(due), later)
        for job in due:
            self.jobs[job.id] = transition(job, Due(), self.now)

    def follow_recovery(self, operation: Recover, outcome: Any) -> set[str]:
        """Follow, and return whom it may have held back, let go, or given another slot without listing it."""
        lost = [job for job in self.jobs.values() if job.state is State.RUNNING]
        for job in lost:
            self.jobs[job.id] = transition(job, Lost(job.token), self.now)
        for job in self.jobs.values():
            if job.state is State.PENDING:
                self.jobs[job.id] = self.routed(job, operation)
        unknown = [job for job in self.jobs.values() if job.hold & Hold.UNKNOWN_TASK]
        assert outcome.unknown == {
            task: sum(job.task == task for job in unknown) for task in {job.task for job in unknown}
        }
        assert {bare(job) for job in map(_hashable, outcome.lost)} == {
            bare(_hashable(self.jobs[job.id])) for job in lost
        }
        return set(self.jobs) - {job.id for job in lost}

    def routed(self, job: Job, operation: Recover) -> Job:
        slot = operation.slots.get(job.task)
        if slot is None:
            routed = job._replace(hold=job.hold | Hold.UNKNOWN_TASK)
        else:
            routed = job._replace(hold=job.hold & ~Hold.UNKNOWN_TASK, slot=slot)
        return routed if routed == job else routed._replace(version=job.version + 1)

    # -- what happens --------------------------------------------------------

    def drawn_job(self, data: st.DataObject) -> Job:
        delay = data.draw(st.sampled_from([0, 0, 1, 5]))
        task = data.draw(st.sampled_from(sorted(TASKS)))
        return new_job(
            tenant=data.draw(st.sampled_from("ab")),
            queue=data.draw(st.sampled_from("qr")),
            priority=data.draw(st.integers(0, 1)),
            task=task,
            slot=TASKS[task],
            run_at=self.now + delay * SECOND,
            hold=Hold.DUE_LATER if delay else Hold.NONE,
        )

    @rule(data=st.data(), n=st.integers(1, 4))
    def submit(self, data: st.DataObject, n: int) -> None:
        self.apply(*[Insert([self.drawn_job(data)]) for _ in range(n)])

    @rule(data=st.data())
    def submit_at_the_limits(self, data: st.DataObject) -> None:
        """The limits count exactly: one less and there is no room."""
        job = self.drawn_job(data)
        waiting = self.count(queue=job.queue, state=State.PENDING)
        unfinished = self.count(tenant=job.tenant, done=False)
        full, quota = self.store.apply(
            [Insert([job], Limits(queue=waiting)), Insert([job], Limits(tenant=unfinished))], self.now
        ).outcomes
        assert isinstance(full, QueueFullError)
        assert isinstance(quota, QuotaExceededError)
        self.apply(Insert([job], Limits(waiting + 1, unfinished + 1)))
        assert job.id in self.jobs

    @rule(free=FREE)
    def claim(self, free: dict[Slot, int]) -> None:
        self.apply(Claim("worker", free))

    @precondition(lambda self: self.count(state=State.RUNNING))
    @rule(data=st.data(), ending=ENDINGS)
    def settle(self, data: st.DataObject, ending: Any) -> None:
        job = self.chosen(data, State.RUNNING)
        self.apply(Change(job.id, ending(job.token)))

    @precondition(lambda self: self.tokens and self.jobs)
    @rule(data=st.data(), ending=ENDINGS)
    def settle_by_a_token_that_is_over(self, data: st.DataObject, ending: Any) -> None:
        job = self.chosen(data)
        token = data.draw(st.sampled_from(sorted(self.tokens - {job.token}) or [0]))
        outcome = self.apply(Change(job.id, ending(token))).outcomes[0]
        assert isinstance(outcome, StaleTokenError)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), tenant=st.sampled_from([None, "a", "b"]))
    def cancel(self, data: st.DataObject, tenant: str | None) -> None:
        job = self.chosen(data)
        outcome = self.apply(Change(job.id, (CancelRequested(),), tenant)).outcomes[0]
        if tenant in (None, job.tenant):
            assert isinstance(outcome, JobFinishedError) == (job.state is State.FINISHED)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), free=FREE)
    def everything_together(self, data: st.DataObject, free: dict[Slot, int]) -> None:
        running = self.chosen(data)
        events: tuple[Event, ...] = data.draw(ENDINGS)(running.token or 0)
        self.apply(
            Claim("first", free),
            Change(running.id, events),
            Insert([self.drawn_job(data)]),
            Promote(),
            Change(self.chosen(data).id, (CancelRequested("with others"),)),
            Claim("second", free),
        )

    @rule(seconds=st.integers(-3, 6))
    def the_clock_moves(self, seconds: int) -> None:
        self.now += seconds * SECOND
        self.apply(Promote())

    @rule(without=st.sampled_from(WITHOUT), also=st.booleans())
    def recover(self, without: dict[str, Slot | None], also: bool) -> None:
        slots = {task: slot for task, slot in {**TASKS, **without}.items() if slot is not None}
        operations = [Recover(slots), Promote(), Claim("worker", {Slot.THREAD: 1})]
        self.apply(*operations[: 3 if also else 1])

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = self.opener()

    # -- what always holds ---------------------------------------------------

    @invariant()
    def the_store_has_what_the_model_has(self) -> None:
        if not hasattr(self, "store"):
            return
        for job in self.jobs.values():
            assert self.runner.run(self.store.get(job.tenant, job.id)) == job
        listed = [
            job.id
            for tenant in "ab"
            for job in self.runner.run(self.store.list(tenant, Filter(), Paging(500))).jobs
        ]
        assert sorted(listed) == sorted(self.jobs)
        self.check_inside()


def result_of(job: Job, events: Sequence[Event], now: int) -> Job | TransitionError:
    """Return the job after all events, or what refuses one of them."""
    try:
        return reduce(lambda job, event: transition(job, event, now), events, job)
    except TransitionError as exc:
        return exc


def _hashable(job: Job) -> Job:
    return job._replace(tags=())
