"""When a failed job runs again: the policy, the verdict on an exception, and the wait."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.model import SECOND, Backoff
from app.jobs.retry import MAX_ATTEMPTS, MAX_SECONDS, ONCE, Retry, RetryLater, verdict_on, wait_before

STEADY = Backoff(first=1.0, factor=2.0, longest=10.0, jitter=False)


def test_each_wait_is_longer_up_to_the_longest():
    waits = [wait_before(STEADY, attempt, True) for attempt in range(1, 7)]
    assert waits == [seconds * SECOND for seconds in (1, 2, 4, 8, 10, 10)]


def test_jitter_takes_off_up_to_half_of_a_wait():
    jittery = STEADY._replace(jitter=True)
    assert wait_before(jittery, 2, True, lambda: 0.0) == 2 * SECOND
    assert wait_before(jittery, 2, True, lambda: 1.0) == SECOND
    assert SECOND <= wait_before(jittery, 2, True) <= 2 * SECOND


def test_what_is_not_worth_it_is_not_retried():
    assert wait_before(STEADY, 1, False) is None


@pytest.mark.parametrize("seconds", [0.0, 7.5])
def test_a_wait_of_the_codes_own_choice_comes_before_the_policys(seconds):
    assert wait_before(STEADY, 1, seconds) == seconds * SECOND


SECONDS = st.floats(0, MAX_SECONDS)


@given(
    backoff=st.builds(Backoff, SECONDS, st.floats(1, MAX_SECONDS), SECONDS, st.booleans()),
    attempt=st.integers(1, MAX_ATTEMPTS),
    chance=st.floats(0, 1),
)
def test_no_wait_is_longer_than_the_longest(backoff, attempt, chance):
    wait = wait_before(backoff, attempt, True, lambda: chance)
    assert 0 <= wait <= round(backoff.longest * SECOND)


# -- the policy --------------------------------------------------------------


def test_any_exception_is_worth_another_attempt_unless_the_policy_says_which():
    assert Retry().covers(ValueError())
    assert Retry().covers(SystemExit())
    chosen = Retry(on=(OSError,), never=(FileNotFoundError,))
    assert chosen.covers(ConnectionError())
    assert not chosen.covers(ValueError())
    assert not chosen.covers(FileNotFoundError())


def test_a_task_without_a_policy_has_one_attempt():
    assert ONCE.max_attempts == 1


def test_what_travels_with_a_job_are_the_waits():
    assert Retry(backoff=2, factor=3, max_backoff=4, jitter=False).waits == Backoff(2, 3, 4, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": MAX_ATTEMPTS + 1},
        {"max_attempts": True},
        {"max_attempts": 2.0},
        {"backoff": -1},
        {"backoff": float("nan")},
        {"backoff": "1"},
        {"max_backoff": MAX_SECONDS + 1},
        {"factor": 0.5},
        {"factor": float("inf")},
    ],
)
def test_a_policy_without_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Retry(**wrong)


@pytest.mark.parametrize("wrong", [{"on": (1,)}, {"never": ("ValueError",)}, {"on": (int,)}])
def test_what_is_no_exception_class_is_refused(wrong):
    with pytest.raises(TypeError, match="exception classes"):
        Retry(**wrong)


# -- the verdict -------------------------------------------------------------


def test_the_verdict_is_the_policys():
    assert verdict_on(Retry(on=(OSError,)), OSError()) is True
    assert verdict_on(Retry(on=(OSError,)), ValueError()) is False


def test_a_class_that_cannot_say_what_its_instances_are_is_not_retried():
    class Meta(type):
        def __instancecheck__(cls, instance):
            raise RuntimeError("no")

    class StrangeError(Exception, metaclass=Meta):
        pass

    assert verdict_on(Retry(on=(StrangeError,)), ValueError()) is False


def test_a_job_can_ask_for_its_own_wait_whatever_the_policy_says():
    assert verdict_on(Retry(never=(RetryLater,)), RetryLater(30)) == 30.0
    assert verdict_on(ONCE, RetryLater(0)) == 0.0
    assert verdict_on(ONCE, RetryLater(0)) is not False


def test_a_wait_that_was_tampered_with_is_the_policys():
    tampered = RetryLater(1)
    tampered.seconds = "soon"
    assert verdict_on(Retry(), tampered) is True


@pytest.mark.parametrize("seconds", [-1, float("nan"), MAX_SECONDS + 1, "1", True])
def test_a_wait_without_sense_is_refused(seconds):
    with pytest.raises(ValueError, match="a job is run again in 0 to"):
        RetryLater(seconds)


def test_a_wish_has_a_message_and_can_be_pickled():
    assert str(RetryLater(1.5)) == "run again in 1.5 s"
    copy = pickle.loads(pickle.dumps(RetryLater(2, "the other side is busy")))
    assert (copy.seconds, str(copy)) == (2, "the other side is busy")
