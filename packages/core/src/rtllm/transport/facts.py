"""Facts: the calls by which the runtime reports events; see `rtllm.engine.engine.Engine`."""

from typing import Any, Protocol

from rtllm.retry.faults import Fault
from rtllm.retry.redaction import Secrets


class Facts(Protocol):
    """Receives the facts about connections and HTTP exchanges, by their numbers."""

    def asked(self, number: int, address: str) -> None:
        """Report the address that a connection or an exchange asks, without its query."""

    def connected(self, number: int) -> None:
        """Report that a connection is open, or that the service answers with a stream."""

    def authenticated(self, number: int, secrets: Secrets) -> None:
        """Report the credentials that the host was sent, which its errors may repeat."""

    def connect_failed(self, number: int, fault: Fault) -> None:
        """Report that a connection could not be opened."""

    def received(self, number: int, data: Any) -> None:
        """Report a frame, or a piece of an HTTP response."""

    def sent(self, attempt: int) -> None:
        """Report that a request was written; over HTTP, that it is going out."""

    def heard(self, number: int) -> None:
        """Report a ping or a pong."""

    def lost(self, number: int, fault: Fault | None) -> None:
        """Report that a connection or an exchange is over."""

    def loop_ends(self) -> None:
        """Report that the event loop cancels its tasks."""
