"""Backoff: the wait before a resend, and the wait that a client's turns share."""

from rtllm.content.retries import RetryPolicy

FIRST_INTERVAL = 0.1
"""The longest wait before the first retry in seconds, as in LiveKit Agents (*seen* in 1.8.9)."""


def backoff(
    policy: RetryPolicy, paid_resends: int, retry_after: float | None, jitter: float
) -> float:
    """Compute the wait before a resend.

    Args:
        policy: The turn's retry policy.
        paid_resends: How many resends of the turn were charged to the budget before.
        retry_after: The wait that the service asks for, in seconds; None if it asks for none.
        jitter: A random number from 0 to 1, so that turns that failed together retry separately.

    Returns:
        The wait in seconds: the service's, or 0.5 to 1.5 intervals.
    """
    if retry_after is not None:
        return retry_after
    interval = policy.interval if paid_resends else min(FIRST_INTERVAL, policy.interval)
    return interval * (0.5 + jitter)


class SharedWait:
    """The waits that rate limits impose on all requests of a client, one for each model.

    A rate limit counts the requests of all callers together (documented by OpenAI: per project
    and model). A request sent before the wait of another one is over would only prolong it.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def note(self, model: str, until: float) -> None:
        """Note until when requests of a model wait; a longer wait that is known stays."""
        self._until[model] = max(until, self._until.get(model, until))

    def until(self, model: str, now: float) -> float | None:
        """Return until when requests of a model wait; None if they need not."""
        until = self._until.get(model)
        if until is not None and until <= now:
            del self._until[model]
            return None
        return until
