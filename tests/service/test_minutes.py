"""Minutes: what has happened in each, with the time passed in."""

import tracemalloc

import pytest

from app.jobs.lifecycle import MAX_LOSSES
from app.jobs.model import SECOND, Failure, Job, Outcome, Slot
from app.service.minutes import (
    FAILURES,
    FAILURES_SHOWN,
    KEPT,
    KINDS,
    MINUTE,
    OTHERS,
    Failing,
    FailureCount,
    Happening,
    Minutes,
    Span,
    Traffic,
    ending,
    submissions,
)
from tests.stores.driving import NOW

BEGIN = NOW // MINUTE * MINUTE
"""Of a minute."""

NOTHING = Traffic(0, 0, 0, 0, None, None)


def submitted(at, tenant="t"):
    return Happening(tenant, at, "submitted")


def failed(at, name="E", task="task", message="", job="id"):
    return Happening("t", at, "failed", failing=Failing(name, task, message, job))


def counted(*happenings, now=BEGIN):
    minutes = Minutes()
    minutes.add(happenings, now)
    return minutes


def minutely(minutes, now, tenant="t"):
    return [traffic.submitted for _, traffic in minutes.of(tenant, now).minutes]


def test_there_are_sixty_minutes_and_the_current_one_is_the_last():
    recount = Minutes().of("t", BEGIN + MINUTE - 1)
    assert [at for at, _ in recount.minutes] == [BEGIN - n * MINUTE for n in range(KEPT - 1, -1, -1)]
    assert {traffic for _, traffic in recount.minutes} == {recount.hour} == {NOTHING}
    assert recount.failures == []


def test_what_happens_falls_into_its_own_minute():
    now = BEGIN + MINUTE
    minutes = counted(*map(submitted, (BEGIN - 1, BEGIN, BEGIN + MINUTE - 1, now)), now=now)
    assert minutely(minutes, now)[-3:] == [1, 2, 1]
    assert minutes.of("t", now).hour.submitted == 4


def test_minutes_move_on_and_are_forgotten_after_an_hour():
    minutes = counted(submitted(BEGIN))
    for passed in range(KEPT):
        assert minutely(minutes, BEGIN + passed * MINUTE).index(1) == KEPT - 1 - passed
    over = BEGIN + KEPT * MINUTE
    assert minutes.of("t", over).hour == NOTHING
    minutes.add([], over)
    assert not minutes._tenants


def test_what_comes_too_late_is_not_counted():
    minutes = counted(submitted(BEGIN - (KEPT - 1) * MINUTE), submitted(BEGIN - (KEPT - 1) * MINUTE - 1))
    assert minutely(minutes, BEGIN) == [1] + [0] * (KEPT - 1)


def test_what_is_in_the_future_of_a_clock_that_was_set_back_counts_as_of_now():
    minutes = counted(submitted(BEGIN + 5 * MINUTE), submitted(BEGIN + 500 * MINUTE))
    assert minutely(minutes, BEGIN)[-1] == 2


def test_a_clock_that_is_set_back_or_ahead_loses_no_more_than_what_is_out_of_sight():
    minutes = counted(submitted(BEGIN), now=BEGIN)
    minutes.add([submitted(BEGIN - 30 * MINUTE)], BEGIN - 30 * MINUTE)
    assert minutely(minutes, BEGIN)[-1] == minutely(minutes, BEGIN)[-31] == 1
    minutes.add([submitted(BEGIN - 500 * MINUTE)], BEGIN - 500 * MINUTE)
    assert len(minutes._tenants["t"]) == 1


def test_tenants_are_apart():
    minutes = counted(submitted(BEGIN, "a"), submitted(BEGIN, "a"), submitted(BEGIN, "b"))
    assert [minutes.of(tenant, BEGIN).hour.submitted for tenant in "abc"] == [2, 1, 0]


def test_waits_and_runs_are_percentiles_of_the_minute_and_of_the_hour():
    waits = [Happening("t", BEGIN, "succeeded", wait=10, run=16 * SECOND) for _ in range(99)]
    minutes = counted(*waits, Happening("t", BEGIN - MINUTE, "cancelled", wait=12, run=3))
    recount = minutes.of("t", BEGIN)
    (_, before), (_, current) = recount.minutes[-2:]
    assert (before.wait, before.run) == (Span(*[12e-6] * 3), Span(*[3e-6] * 3))
    assert current.wait == Span(*[10e-6] * 3)
    assert current.run.p50 == pytest.approx(16, rel=1 / 16)
    assert recount.hour.wait == Span(10e-6, 10e-6, 10e-6)
    assert recount.hour[:4] == (0, 99, 0, 1)


# -- what there is to count of a job ------------------------------------------


def job(**fields):
    return Job("id", "t", "task", Slot.THREAD, created_at=1, run_at=2, **fields)


def test_a_submission_counts_when_it_was_made():
    assert list(submissions([job()])) == [("t", 1, "submitted", None, None, None, 1)]


def test_submissions_of_a_tenant_at_the_same_time_are_counted_together():
    times = [BEGIN - MINUTE, BEGIN, BEGIN, BEGIN]
    jobs = [job()._replace(tenant=tenant, created_at=at) for tenant in "tu" for at in times]
    found = list(submissions(jobs))
    assert [(happening.tenant, happening.times) for happening in found] == [
        ("t", 1), ("t", 3), ("u", 1), ("u", 3),
    ]  # fmt: skip
    assert minutely(counted(*found), BEGIN)[-2:] == [1, 3]


@pytest.mark.parametrize("outcome", Outcome)
def test_an_end_counts_when_it_came_with_what_the_last_attempt_took(outcome):
    happening = ending(job(started_at=5, finished_at=9, outcome=outcome))
    assert happening == ("t", 9, outcome, 3, 4, None, 1)
    assert happening.kind in KINDS
    assert counted(happening._replace(at=BEGIN)).of("t", BEGIN).hour[1:4].count(1) == 1


def test_what_was_never_started_has_neither_waited_nor_run():
    happening = ending(job(finished_at=9, outcome=Outcome.CANCELLED))
    assert happening == ("t", 9, "cancelled", None, None, None, 1)


def test_a_failure_is_cut_to_what_is_shown_of_it():
    error = Failure("E" * 999, "é" * 201, "long")
    failing = ending(job(finished_at=9, outcome=Outcome.FAILED, exception=error)).failing
    assert failing == ("E" * 199 + "…", "task", "é" * 199 + "…", "id")
    shortest = ending(job(finished_at=9, outcome=Outcome.FAILED, exception=Failure("E", "m" * 200, "")))
    assert shortest.failing.message == "m" * 200


def test_a_worker_that_is_lost_too_often_is_a_failure_too():
    error = Failure("WorkerLost", "", "")
    lost = ending(job(finished_at=9, outcome=Outcome.FAILED, exception=error, losses=MAX_LOSSES))
    assert lost.failing.type == "WorkerLost"


# -- failures -----------------------------------------------------------------


def test_failures_are_counted_by_type_and_task_the_most_frequent_first():
    minutes = counted(
        failed(BEGIN - MINUTE, "E", job="0"),
        failed(BEGIN + 3, "F", message="new", job="2"),
        failed(BEGIN + 2, "F", message="old", job="1"),
        failed(BEGIN + 1, "F", "other", job="3"),
        failed(BEGIN, "E", message="last", job="4"),
        failed(BEGIN, "E", job="5"),
    )
    assert minutes.of("t", BEGIN).failures == [
        FailureCount("E", "task", 3, "", "5", BEGIN),
        FailureCount("F", "task", 2, "new", "2", BEGIN + 3),
        FailureCount("F", "other", 1, "", "3", BEGIN + 1),
    ]


def test_the_latest_failure_of_the_hour_is_shown_although_it_was_counted_first():
    minutes = counted(failed(BEGIN, message="late"), failed(BEGIN - 9 * MINUTE, message="early"))
    assert [failure[2:4] for failure in minutes.of("t", BEGIN).failures] == [(2, "late")]


def test_failures_of_very_many_kinds_are_counted_together():
    kinds = [failed(BEGIN, f"E{n}", job=str(n)) for n in range(FAILURES + 50)]
    failures = counted(*kinds, failed(BEGIN, "E0")).of("t", BEGIN).failures
    assert len(failures) == FAILURES_SHOWN
    assert failures[0] == FailureCount(OTHERS, OTHERS, 50, "", str(FAILURES + 49), BEGIN)
    assert failures[1][:3] == ("E0", "task", 2)


def test_memory_is_bounded_whatever_happens():
    minutes = Minutes()

    def fill(now):
        for n in range(500):
            name, long = f"{now}{n}", "x" * 150
            happening = failed(now, name + long, f"task{n}", name + long)
            minutes.add([happening._replace(wait=n << (n % 40), run=1 << (n % 50))], now)

    tracemalloc.start()
    try:
        for minute in range(KEPT):
            fill(BEGIN + minute * MINUTE)
        full, _ = tracemalloc.get_traced_memory()
        for minute in range(KEPT, KEPT + 5):
            fill(BEGIN + minute * MINUTE)
        later, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert full < 20 * 1024 * 1024
    assert later < full * 1.1
    assert all(len(minute.failures) <= FAILURES + 1 for minute in minutes._tenants["t"].values())
