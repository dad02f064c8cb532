"""Cancellation: the attempts that a barge-in leaves running, and their time limit for draining.

A cancelled turn is over at once: `rtllm.engine.turns.Turns.finish` reports it, and the caller does
not wait. There is no documented event that stops a response, so the turn's attempt drains on its
lane: its frames are read until it ends, and its usage is recorded. `rtllm.scheduling` places the
next request on another lane, or on another connection. Over HTTP the exchange is cancelled instead.
"""

from rtllm.content.usage import UsageCategory
from rtllm.engine.attempt import Attempt
from rtllm.engine.attempts import Attempts
from rtllm.engine.state import EngineState
from rtllm.retry.faults import CANCELLED

DRAIN_LIMIT = 60.0
"""Seconds that a cancelled response may drain before its connection is closed."""


class Cancellation:
    """Drains attempts that no turn waits for any more, within a time limit.

    Args:
        state: The engine's shared state.
        attempts: Ends them.
    """

    def __init__(self, state: EngineState, attempts: Attempts) -> None:
        self._state = state
        self._attempts = attempts

    def abandon(self, attempt: Attempt, category: UsageCategory, now: float) -> None:
        """Let an attempt drain without its turn; over HTTP it is cancelled.

        Args:
            attempt: The attempt.
            category: The usage category of its tokens.
            now: When.
        """
        if attempt.finished or attempt.abandoned is not None:
            return
        attempt.abandoned = category
        if attempt.over_http:
            attempt.fault = CANCELLED
            self._attempts.end(attempt, now)
            return
        self._state.planner.abandon(attempt.number)
        self._state.timers.set(("drain", attempt.number), now + DRAIN_LIMIT)

    def find_connection_to_close(self, number: int, now: float) -> int | None:
        """Return the connection to close because a response on it did not drain in time.

        Args:
            number: The attempt.
            now: When.

        Returns:
            The connection's number. None if the attempt has ended, or if turns still use its
            connection; then it is checked again later.
        """
        attempt = self._state.attempts.get(number)
        if attempt is None:
            return None
        connection = self._state.connections.find(attempt.connection)
        if connection is None or all(a.abandoned for a in connection.attempts()):
            return attempt.connection
        self._state.timers.set(("drain", number), now + DRAIN_LIMIT)
        return None
