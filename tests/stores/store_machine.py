"""A store beside a model of plain Python, driven through the same history.

The model is a dictionary of jobs moved by the lifecycle's functions. Where a store is
free to choose (which jobs a claim takes, the tokens, what it cancels because it has
expired), the choice is checked against what it was free to do, and then taken over.
Which gate holds a job back is the store's own; the model knows only whether one may.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import reduce
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.core import State
from app.jobs.errors import JobFinishedError, JobNotDoneError, StaleTokenError, TransitionError
from app.jobs.history import SUBMITTED, Record, RecordKind, records_of
from app.jobs.lifecycle import (
    CancelRequested,
    Claimed,
    Died,
    Due,
    Edited,
    Event,
    Expired,
    Failed,
    Logged,
    Lost,
    Progressed,
    Released,
    Reopened,
    Succeeded,
    transition,
)
from app.jobs.model import GATES, NO_ARGUMENTS, SECOND, Failure, Hold, Job, Line, Progress, Slot
from app.stores.base import (
    ONCE_KEPT,
    Applied,
    Caps,
    Change,
    Claim,
    Filter,
    Insert,
    JobNotFoundError,
    KeyHeldError,
    KeyReusedError,
    Limits,
    Once,
    Operation,
    Paging,
    Pause,
    Promote,
    Promoted,
    Purge,
    QueueFullError,
    QuotaExceededError,
    Recover,
    Replayed,
    Store,
    Sweep,
)
from app.stores.figures import Counts, StateCounts
from tests.stores.driving import NOW, Open, bare, changes_of, new_job

TASKS = {
    "plain": Slot.THREAD,
    "coroutine": Slot.COROUTINE,
    "both": Slot.THREAD,
    "keyed": Slot.THREAD,
    "total": Slot.COROUTINE,
}
WITHOUT = [{}, {}, {"both": Slot.COROUTINE}, {"plain": None}, {"coroutine": None}, {"keyed": None}]
LIMITED = {"keyed": ["x", "y"], "total": ["x", "y"]}
"""Tasks with limit keys."""
CAPS = [
    {"keyed": Caps(each=1), "total": Caps(each=2, all=2)},
    {"keyed": Caps(each=2), "total": Caps(each=1, all=1), "plain": Caps(all=2)},
    {"keyed": Caps(all=2), "total": Caps(each=1)},
    {},
]

FREE = st.fixed_dictionaries({Slot.THREAD: st.integers(0, 3), Slot.COROUTINE: st.integers(0, 3)})
BROKEN = Failure("ValueError", "broken", "")
ENDINGS = st.sampled_from(
    [
        lambda token: (Succeeded(token, "1"),),
        lambda token: (Failed(token, BROKEN),),
        lambda token: (Failed(token, BROKEN, 0),),
        lambda token: (Failed(token, BROKEN, 2 * SECOND),),
        lambda token: (Died(token, Failure("ProcessDied", "killed", "")),),
        lambda token: (Died(token, Failure("ProcessDied", "killed", ""), SECOND),),
        lambda token: (Released(token),),
        lambda token: (Progressed(token, Progress(token % 7)),),
        lambda token: (Logged(token, (Line("a", 20, 1.5, "said"),)),),
        lambda token: (
            Progressed(token, Progress(1, 2, "done")),
            Logged(token, (Line("", 20, 1.0, "one"), Line("", 30, 2.0, "two"))),
            Succeeded(token, "[]"),
        ),
    ]
)
EDITS = st.builds(
    lambda priority, seconds, tags: (priority, seconds, tags),
    st.none() | st.integers(0, 1),
    st.sampled_from([None, -1, 0, 2]),
    st.none() | st.just({"new": "tag"}),
)


class StoreMachine(RuleBasedStateMachine):
    """A subclass provides the database."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {}
        self.history: dict[str, list[Record]] = {}
        self.kept_until: dict[str, int] = {}
        self.once: dict[tuple[str, str], tuple[bytes, list[str], int]] = {}
        self.paused: set[tuple[str, str]] = set()
        self.caps: dict[str, Caps] = {}
        self.known: dict[str, Slot] | None = None
        self.left = False
        self.tokens: set[int] = set()
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

    def move(self, job_id: str, event: Event) -> None:
        """Apply an event to a job of the model, and take note of what it leaves behind."""
        before = self.jobs[job_id]
        self.jobs[job_id] = after = transition(before, event, self.now)
        if after is not before:
            self.history[job_id] += records_of(event, after, self.now)
            self.ended += [after] if after.done else []

    def apply(self, *operations: Operation) -> Applied:
        """Carry out a batch here and there, and compare what was done."""
        before = dict(self.jobs)
        self.erased: set[str] = set()
        self.ended: list[Job] = []
        self.inserted: set[str] = set()
        applied = self.store.apply(operations, self.now)
        pairs = list(zip(operations, applied.outcomes, strict=True))
        unlisted: set[str] = set()
        for operation, outcome in sorted(pairs, key=lambda pair: ORDER.get(type(pair[0]), 1)):
            match operation:
                case Insert():
                    self.follow_insertion(operation, outcome)
                case Change():
                    self.follow_change(operation, outcome)
                case Claim():
                    self.follow_claim(operation, outcome, applied)
                case Promote():
                    self.follow_promotion(operation, outcome)
                case Recover():
                    unlisted |= self.follow_recovery(operation, outcome)
                case Pause():
                    assert isinstance(outcome, bool)
                    self.left = outcome
                    queue = {(operation.tenant, operation.queue)}
                    self.paused = self.paused | queue if operation.paused else self.paused - queue
                case Purge():
                    self.follow_purge(operation, outcome)
                case Sweep():
                    unlisted |= self.follow_sweep(operation, outcome)
        changed = {id_ for id_, job in self.jobs.items() if job != before.get(id_)}
        listed = {id_: ungated(job) for id_, job in changes_of(applied).items()}
        assert self.erased <= set(listed)
        listed = {id_: job for id_, job in listed.items() if id_ not in self.erased}
        assert changed - unlisted <= set(listed) <= changed
        assert listed == {id_: bare(self.jobs[id_]) for id_ in listed}
        assert sorted(job.id for job in applied.inserted) == sorted(self.inserted)
        ended = [(job.id, job.run, job.outcome, job.finished_at) for job in applied.ended]
        assert sorted(ended) == sorted((job.id, job.run, job.outcome, job.finished_at) for job in self.ended)
        return applied

    def follow_insertion(self, operation: Insert, outcome: Any) -> None:
        tenant, once = operation.jobs[0].tenant, operation.once
        known = once and self.once.get((tenant, once.key))
        if known and known[2] > self.now - ONCE_KEPT:
            if known[0] != once.digest:
                assert isinstance(outcome, KeyReusedError)
            else:
                assert isinstance(outcome, Replayed)
                assert [job.id for job in outcome.jobs] == [id_ for id_ in known[1] if id_ in self.jobs]
            return
        standing = []
        for job in operation.jobs:
            holder = self.holder(job)
            if holder is None:
                self.jobs[job.id] = holder = self.with_key(job)
                self.history[job.id] = [Record(RecordKind.STATE, self.now, SUBMITTED)]
                self.inserted.add(job.id)
            standing.append(holder)
        assert list(map(ungated, outcome)) == standing
        if once:
            self.once[tenant, once.key] = once.digest, [job.id for job in standing], self.now
            for job in standing:
                self.kept_until[job.id] = max(self.kept_until.get(job.id, 0), self.now + ONCE_KEPT)

    def with_key(self, job: Job) -> Job:
        """Return a job as the limits of its task count it."""
        return job._replace(limit_key="") if job.limit_key is None and job.task in self.caps else job

    def holder(self, job: Job) -> Job | None:
        """Return who has the job's key, another than itself."""
        if job.key is None:
            return None
        mine = (job.tenant, job.task, job.key)
        others = [other for other in self.jobs.values() if not other.done and other.id != job.id]
        return next((other for other in others if (other.tenant, other.task, other.key) == mine), None)

    def follow_change(self, operation: Change, outcome: Any) -> None:
        job = self.jobs.get(operation.id)
        if job is None or operation.tenant not in (None, job.tenant):
            assert isinstance(outcome, JobNotFoundError)
            return
        reopened = Reopened() in operation.events
        if reopened and job.done and self.holder(job):
            assert isinstance(outcome, KeyHeldError)
            return
        expected = result_of(job, operation.events, self.now)
        if not isinstance(expected, Job):
            assert type(outcome) is type(expected)
            return
        for event in operation.events:
            self.move(job.id, event)
        if reopened and self.known is not None:
            slot = self.known.get(job.task)
            moved = self.with_key(self.jobs[job.id])
            self.jobs[job.id] = (
                moved._replace(hold=moved.hold | Hold.UNKNOWN_TASK)
                if slot is None
                else moved._replace(slot=slot)
            )
        assert ungated(outcome) == self.jobs[job.id]

    # -- claims: what the store is free to choose, and what not ---------------

    def runnable(self, job: Job) -> bool:
        expired = job.expires_at is not None and job.expires_at <= self.now and not job.attempt
        return job.ready and not expired and (job.tenant, job.queue) not in self.paused

    def running(self, task: str, key: str | None = None) -> int:
        jobs = [job for job in self.jobs.values() if job.state is State.RUNNING and job.task == task]
        return sum(key is None or job.limit_key == key for job in jobs)

    def is_full(self, job: Job) -> bool:
        caps = self.caps.get(job.task, Caps())
        each_full = caps.each is not None and self.running(job.task, job.limit_key) >= caps.each
        return each_full or (caps.all is not None and self.running(job.task) >= caps.all)

    def follow_claim(self, operation: Claim, outcome: list[Job], applied: Applied) -> None:
        for job in applied.changed:
            mine = self.jobs[job.id]
            if job.state is State.CANCELLED and not mine.done:
                # Nobody has asked for it in this batch, or it would be done here too.
                self.move(job.id, Expired())
                assert self.jobs[job.id].done
        for job in outcome:
            assert self.runnable(self.jobs[job.id])
            assert job.token not in self.tokens
            self.tokens.add(job.token)
            self.move(job.id, Claimed(job.token, operation.worker))
            assert bare(ungated(job)) == bare(self.jobs[job.id])
        for slot, free in operation.free.items():
            taken = [job.priority for job in outcome if job.slot is slot]
            assert len(taken) <= free
            left = [
                job.priority
                for job in self.jobs.values()
                if job.slot is slot and self.runnable(job) and not self.is_full(job)
            ]
            # As many as can be, and none while one of a higher priority stays.
            assert not left or len(taken) == free
            assert not (left and taken) or max(left) <= min(taken)
        self.check_caps()

    def check_caps(self) -> None:
        for task, caps in self.caps.items():
            assert caps.all is None or self.running(task) <= caps.all
            for key in {job.limit_key for job in self.jobs.values() if job.task == task}:
                assert caps.each is None or self.running(task, key) <= caps.each

    # -- the clock, recovery, erasure ----------------------------------------

    def follow_promotion(self, operation: Promote, outcome: Promoted) -> None:
        pending = [job for job in self.jobs.values() if job.state is State.PENDING]
        expiring = [job for job in pending if job.expires_at is not None and not job.attempt]
        expired = [job.id for job in expiring if job.expires_at <= self.now]
        for job_id in expired:
            self.move(job_id, Expired())
        waiting = [job for job in self.jobs.values() if job.hold & Hold.DUE_LATER]
        due = [job.id for job in waiting if job.run_at <= self.now]
        for job_id in due:
            self.move(job_id, Due())
        later = [job.run_at for job in waiting if job.run_at > self.now]
        later += [job.expires_at for job in expiring if job.expires_at > self.now]
        assert outcome == Promoted(len(expired) + len(due), min(later, default=None))

    def follow_recovery(self, operation: Recover, outcome: Any) -> set[str]:
        """Follow, and return whom it may have held back, let go, or given another slot without listing it."""
        lost = [job.id for job in self.jobs.values() if job.state is State.RUNNING]
        for job_id in lost:
            self.move(job_id, Lost(self.jobs[job_id].token))
        self.known, self.caps = dict(operation.slots), dict(operation.caps)
        for job in self.jobs.values():
            if job.state is State.PENDING:
                self.jobs[job.id] = self.routed(job, operation)
        unknown = [job for job in self.jobs.values() if job.hold & Hold.UNKNOWN_TASK]
        assert outcome.unknown == {
            task: sum(job.task == task for job in unknown) for task in {job.task for job in unknown}
        }
        assert {bare(_hashable(ungated(job))) for job in outcome.lost} == {
            bare(_hashable(self.jobs[job_id])) for job_id in lost
        }
        return set(self.jobs) - set(lost)

    def follow_purge(self, operation: Purge, outcome: Any) -> None:
        job = self.jobs.get(operation.id)
        if job is None or job.tenant != operation.tenant:
            assert isinstance(outcome, JobNotFoundError)
        elif not job.done:
            assert isinstance(outcome, JobNotDoneError)
        else:
            assert outcome is None
            del self.jobs[job.id]
            self.erased.add(job.id)

    def follow_sweep(self, operation: Sweep, outcome: Any) -> set[str]:
        """Follow, and return whose results were dropped."""
        done = [job for job in self.jobs.values() if job.done]
        ages = {job.id: max(job.finished_at, self.kept_until.get(job.id, 0)) for job in done}
        old = [job.id for job in done if ages[job.id] <= operation.jobs]
        for job_id in old:
            del self.jobs[job_id]
        dropped = set()
        for job in done:
            if job.id in self.jobs and job.result is not None and ages[job.id] <= operation.results:
                now = self.runner.run(self.store.get(job.tenant, job.id))
                # It may not have come to those that ended while the clock stood back.
                if now.result is None:
                    dropped.add(job.id)
                    self.jobs[job.id] = job._replace(result=None, version=job.version + 1)
        assert (outcome.jobs, outcome.results) == (len(old), len(dropped))
        return dropped

    def routed(self, job: Job, operation: Recover) -> Job:
        slot = operation.slots.get(job.task)
        if slot is None:
            routed = job._replace(hold=job.hold | Hold.UNKNOWN_TASK)
        else:
            routed = job._replace(hold=job.hold & ~Hold.UNKNOWN_TASK, slot=slot)
        routed = routed if routed == job else routed._replace(version=job.version + 1)
        has_key = job.limit_key is not None or job.task not in operation.caps
        return routed if has_key else routed._replace(limit_key="")

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
            arguments=data.draw(st.sampled_from([NO_ARGUMENTS, '{"args":[1],"kwargs":{}}'])),
            key=data.draw(st.sampled_from([None, None, "k"])),
            limit_key=data.draw(st.sampled_from(LIMITED.get(task) or [None])),
            max_attempts=data.draw(st.integers(1, 3)),
            expires_at=data.draw(st.sampled_from([None, None, self.now + 2 * SECOND])),
        )

    @rule(data=st.data(), n=st.integers(1, 4))
    def submit(self, data: st.DataObject, n: int) -> None:
        self.apply(*[Insert([self.drawn_job(data)]) for _ in range(n)])

    @rule(data=st.data(), n=st.integers(1, 4))
    def submit_all_or_none(self, data: st.DataObject, n: int) -> None:
        jobs = [self.drawn_job(data)._replace(tenant="a") for _ in range(n)]
        self.apply(Insert(jobs))

    @rule(data=st.data(), key=st.sampled_from("kl"), body=st.sampled_from([b"1", b"1", b"2"]))
    def submit_once(self, data: st.DataObject, key: str, body: bytes) -> None:
        once = Once("/jobs", key, body)
        self.apply(*[Insert([self.drawn_job(data)], once=once) for _ in range(2)])

    @rule(data=st.data())
    def submit_at_the_limits(self, data: st.DataObject) -> None:
        """The limits count exactly: one less and there is no room."""
        job = self.drawn_job(data)._replace(key=None)
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

    @rule(data=st.data(), n=st.integers(0, 4), ending=st.none() | ENDINGS, free=FREE)
    def submit_and_settle_while_slots_are_free(
        self, data: st.DataObject, n: int, ending: Any, free: dict[Slot, int]
    ) -> None:
        """As a service does all day: the claim comes with what it finds."""
        ended: list[Operation] = []
        if ending is not None and self.count(state=State.RUNNING):
            job = self.chosen(data, State.RUNNING)
            ended = [Change(job.id, ending(job.token))]
        claims = [Claim("worker", free)] * data.draw(st.integers(1, 2))
        self.apply(*[Insert([self.drawn_job(data)]) for _ in range(n)], *ended, *claims)

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
    @rule(data=st.data(), edit=EDITS)
    def edit(self, data: st.DataObject, edit: Any) -> None:
        priority, seconds, tags = edit
        run_at = None if seconds is None else self.now + seconds * SECOND
        self.apply(Change(self.chosen(data).id, (Edited(priority, run_at, tags),)))

    @precondition(lambda self: self.count(done=True))
    @rule(data=st.data(), again=st.booleans())
    def run_again(self, data: st.DataObject, again: bool) -> None:
        job = self.chosen(data, State.FINISHED, State.CANCELLED)
        self.apply(*[Change(job.id, (Reopened(),))] * (1 + again))

    @rule(tenant=st.sampled_from("ab"), queue=st.sampled_from("qr"), paused=st.booleans())
    def pause(self, tenant: str, queue: str, paused: bool) -> None:
        self.apply(Pause(tenant, queue, paused, limit=2))
        while self.left:
            # Until then what is paused may still have permits, and what is let go may wait.
            self.apply(Pause(tenant, queue, paused, limit=2))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), tenant=st.sampled_from("ab"))
    def purge(self, data: st.DataObject, tenant: str) -> None:
        job = self.chosen(data)
        self.apply(Purge(job.id, tenant), Change(job.id, (CancelRequested(),)))

    @rule(jobs=st.sampled_from([-ONCE_KEPT, -20, -5]), results=st.integers(-6, 0))
    def sweep(self, jobs: int, results: int) -> None:
        self.apply(Sweep(self.now + jobs * SECOND, self.now + results * SECOND))

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

    @rule(without=st.sampled_from(WITHOUT), caps=st.sampled_from(CAPS), also=st.booleans())
    def recover(self, without: dict[str, Slot | None], caps: dict[str, Caps], also: bool) -> None:
        slots = {task: slot for task, slot in {**TASKS, **without}.items() if slot is not None}
        operations = [Recover(slots, caps), Promote(), Claim("worker", {Slot.THREAD: 1})]
        self.apply(*operations[: 3 if also else 1])

    @rule(data=st.data(), caps=st.sampled_from(CAPS))
    def recover_what_has_just_come(self, data: st.DataObject, caps: dict[str, Caps]) -> None:
        claim = Claim("worker", {Slot.THREAD: 9, Slot.COROUTINE: 9})
        self.apply(
            Insert([self.drawn_job(data)]), Insert([self.drawn_job(data)]), Recover(TASKS, caps), claim
        )

    @rule(caps=st.sampled_from(CAPS))
    def open_again(self, caps: dict[str, Caps]) -> None:
        self.store.close()
        self.store = self.opener()
        # Whoever opens it says first what is known: until then no limit holds.
        self.apply(Recover(TASKS, caps))

    # -- what always holds ---------------------------------------------------

    @invariant()
    def the_store_has_what_the_model_has(self) -> None:
        if not hasattr(self, "store"):
            return
        for job in self.jobs.values():
            stored = self.runner.run(self.store.get(job.tenant, job.id))
            assert ungated(stored) == job
            assert stored.version == job.version
            read = self.runner.run(self.store.records(job.tenant, 0, 1000, job_id=job.id))
            assert [stored.record for stored in read.records] == self.history[job.id]
            assert (read.trimmed, read.more) == (False, False)
        listed = [
            job.id
            for tenant in "ab"
            for job in self.runner.run(self.store.list(tenant, Filter(), Paging(500))).jobs
        ]
        assert sorted(listed) == sorted(self.jobs)
        for tenant in "ab":
            own = [job for job in self.jobs.values() if job.tenant == tenant]
            assert self.runner.run(self.store.counts(tenant)) == counts_of(own)
        self.check_inside()


ORDER = {Insert: 0, Claim: 2}
"""What of a batch happens first, and what last."""


def ungated(job: Job) -> Job:
    """Return a job as it is for all but the store."""
    return job._replace(hold=job.hold & ~GATES)


def counts_of(jobs: Sequence[Job]) -> Counts:
    """Return what a store is to count."""
    tasks, queues = ({getattr(job, name) for job in jobs} for name in ("task", "queue"))
    return Counts(
        states_of(jobs),
        {task: states_of(job for job in jobs if job.task == task) for task in tasks},
        {queue: states_of(job for job in jobs if job.queue == queue) for queue in queues},
    )


def states_of(jobs: Iterable[Job]) -> StateCounts:
    counts = Counter(job.state for job in jobs)
    return StateCounts(*(counts[State(name)] for name in StateCounts._fields))


def result_of(job: Job, events: Sequence[Event], now: int) -> Job | TransitionError:
    """Return the job after all events, or what refuses one of them."""
    try:
        return reduce(lambda job, event: transition(job, event, now), events, job)
    except TransitionError as exc:
        return exc


def _hashable(job: Job) -> Job:
    return job._replace(tags=())
