"""How long a turn waits, and how often it is tried again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a turn waits, in seconds.

    Attributes:
        base: For the first output of an attempt, and for each gap between outputs.
        connect: For a connection.
        open_item: For the next event of a reasoning, tool call or hosted tool item that is
            open, since such items may take long without a word.
        whole: For the whole turn.
        speech_floor: Characters a second that speech must bring, counted over the base limit,
            while a message is open; 0: speech may dribble.
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
    """How often and after what wait a turn is tried again.

    Attributes:
        budget: Paid resends.
        interval: Seconds before the second and later ones; the first waits a tenth at most.
        max_wait: The longest wait; where the service asks for more, the turn ends instead.
    """

    budget: int = 3
    interval: float = 2.0
    max_wait: float = 8.0
