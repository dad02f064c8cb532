"""Cancellation: what a barge-in leaves running, and how long that may take to drain.

A cancelled turn is over at once: `rtllm.engine.turns.Turns.finish` reports it, and no wait delays
the caller. No event is documented that stops an answer, so the turn's attempt drains on its lane:
it is read unheard until it ends, and its usage is booked. `rtllm.scheduling` places the next
request on another lane, or on another connection. Over HTTP the exchange is cut off instead.
"""

from rtllm.content.usage import UsageCategory
from rtllm.engine.attempt import Attempt
from rtllm.engine.attempts import Attempts
from rtllm.engine.state import EngineState
from rtllm.retry.faults import CANCELLED

DRAIN_LIMIT = 60.0
"""Seconds that a cancelled answer may take to end before its connection is given up."""


class Cancellation:
    """Leaves attempts that no turn waits for any more, and gives them up when they don't end.

    Args:
        state: What the engine holds.
        attempts: Ends them.
    """

    def __init__(self, state: EngineState, attempts: Attempts) -> None:
        self._state = state
        self._attempts = attempts

    def abandon(self, attempt: Attempt, category: UsageCategory, now: float) -> None:
        """Let an attempt drain without its turn; over HTTP it is cut off.

        Args:
            attempt: The attempt.
            category: What its tokens count as.
            now: When.
        """
        if attempt.finished or attempt.abandoned is not None:
            return
        attempt.abandoned = category
        if attempt.connection < 0:
            attempt.fault = CANCELLED
            self._attempts.end(attempt, now)
            return
        self._state.planner.abandon(attempt.number)
        self._state.timers.set(("drain", attempt.number), now + DRAIN_LIMIT)

    def give_up(self, number: int, now: float) -> int | None:
        """Tell which connection to close, since an answer on it did not drain in time.

        Args:
            number: The attempt.
            now: When.

        Returns:
            The connection's number. None if the attempt has ended, or if turns still need its
            connection: then it is looked at again later.
        """
        attempt = self._state.attempts.get(number)
        if attempt is None:
            return None
        connection = self._state.connections.find(attempt.connection)
        if connection is None or all(a.abandoned for a in connection.attempts()):
            return attempt.connection
        self._state.timers.set(("drain", number), now + DRAIN_LIMIT)
        return None
