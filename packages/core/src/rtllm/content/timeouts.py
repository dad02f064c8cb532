"""Timeouts and retries of a turn."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of a turn, in seconds.

    Attributes:
        base: The limit for the first output of an attempt, and for each gap between outputs.
        connect: The limit for connecting.
        open_item: The limit for the next event while a reasoning, tool call or hosted tool item is
            open, since such items may take long without text.
        whole: The limit for the turn in total.
        speech_floor: The minimum speed of speech in characters per second while a message is open,
            measured over the base limit; 0 for no minimum.
    """

    base: float = 10.0
    connect: float = 10.0
    open_item: float = 30.0
    whole: float = 120.0
    speech_floor: float = 0.0

    @classmethod
    def of(
        cls,
        base: float,
        connect: float | None = None,
        whole: float = 120.0,
        speech_floor: float = 0.0,
    ) -> "Timeouts":
        """Derive all limits from the base limit."""
        return cls(base, min(base, connect or base), max(30.0, 3 * base), whole, speech_floor)


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
