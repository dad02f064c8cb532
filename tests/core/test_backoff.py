"""How long a resend waits."""

import pytest

from rtllm.content.retries import RetryPolicy
from rtllm.retry.backoff import backoff


def test_the_first_paid_resend_waits_a_tenth_of_a_second_then_the_interval() -> None:
    policy = RetryPolicy(interval=2.0)
    assert backoff(policy, 0, None, jitter=0.5) == pytest.approx(0.1)
    assert backoff(policy, 1, None, jitter=0.5) == pytest.approx(2.0)
    assert backoff(policy, 2, None, jitter=0.5) == pytest.approx(2.0)


def test_a_short_interval_is_not_lengthened() -> None:
    assert backoff(RetryPolicy(interval=0.02), 0, None, jitter=0.5) == pytest.approx(0.02)


def test_chance_moves_the_wait_by_half_of_it() -> None:
    policy = RetryPolicy(interval=2.0)
    assert backoff(policy, 1, None, jitter=0.0) == pytest.approx(1.0)
    assert backoff(policy, 1, None, jitter=1.0) == pytest.approx(3.0)


def test_the_wait_that_the_service_names_is_kept_as_it_is() -> None:
    assert backoff(RetryPolicy(interval=2.0), 1, 0.0, jitter=1.0) == 0.0
    assert backoff(RetryPolicy(interval=2.0), 0, 5.5, jitter=1.0) == 5.5
