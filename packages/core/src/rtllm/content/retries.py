"""Settings of a turn's retries, as the user gives them.

How each kind of fault is handled is in `rtllm.retry.policy`, how long a retry waits in
`rtllm.retry.backoff`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a turn is sent again, and how long it waits before.

    Attributes:
        budget: The number of retries that count.
        interval: Seconds before the second and later ones; the first waits at most a tenth of a
            second.
        max_wait: The longest wait; if the service asks for more, the turn fails instead.
    """

    budget: int = 3
    interval: float = 2.0
    max_wait: float = 8.0
