"""What the runtime's two sides tell of what happens; see `rtllm.engine.engine.Engine`."""

from typing import Any, Protocol

from rtllm.retry.faults import Fault


class Facts(Protocol):
    """Takes the facts of connections and HTTP exchanges, by their numbers."""

    def connected(self, number: int) -> None:
        """Note that a connection is open, or that the service answers with a stream."""

    def connect_failed(self, number: int, fault: Fault) -> None:
        """Note that a connection could not be opened."""

    def received(self, number: int, data: Any) -> None:
        """Note what came: a frame, or a piece of an HTTP answer."""

    def sent(self, attempt: int) -> None:
        """Note that a request was written; over HTTP, that it is going out."""

    def heard(self, number: int) -> None:
        """Note a ping or a pong."""

    def lost(self, number: int, fault: Fault | None) -> None:
        """Note that a connection or an exchange is over."""

    def loop_ends(self) -> None:
        """Note that the event loop cancels what runs on it."""
