"""What a turn needs of the way that its requests take: a pool of sockets, or HTTP."""

from typing import Protocol

from rtllm.conversations import Conversation
from rtllm.transport.attempt import Attempt
from rtllm.transport.pool import Asked
from rtllm.turn import Turn
from rtllm.usage import Account


class Route(Protocol):
    """A way to the service, on one event loop."""

    @property
    def newest_connection(self) -> int:
        """The number of the newest connection that is open."""

    def conversation_of(self, asked: Asked) -> Conversation:
        """The conversation that a request belongs to."""

    async def launch(
        self,
        asked: Asked,
        conversation: Conversation,
        turn: Turn,
        *,
        whole: bool,
        avoid: set[int],
    ) -> Attempt:
        """Send a turn's request; raises FaultError if it couldn't be sent."""

    def abandon(self, attempt: Attempt, account: Account) -> None:
        """Leave an attempt to itself; waits for nothing."""

    def refused_lanes(self) -> None:
        """The host has no lanes."""

    def missed(self, attempt: Attempt) -> None:
        """The service no longer knows what an attempt continued."""

    async def aclose(self) -> None:
        """Close everything within a limit."""
