"""What a turn needs of the way that its requests take: a pool of sockets, or HTTP."""

from collections.abc import Mapping
from typing import Any, Protocol

from rtllm.chain import Outline, Plan
from rtllm.conversations import Membership
from rtllm.faults import Fault
from rtllm.items import Item
from rtllm.request import Network
from rtllm.transport.attempt import Attempt
from rtllm.turn import Turn
from rtllm.usage import Account


class Asked(Protocol):
    """What a way must know of a request."""

    @property
    def outline(self) -> Outline:
        """The legal context."""

    @property
    def conversation(self) -> str | None:
        """The name of its conversation, if it gives one."""

    @property
    def model(self) -> str:
        """The model that shall answer."""

    @property
    def stored(self) -> bool:
        """Whether the service shall store the answer."""

    @property
    def network(self) -> Network:
        """What to open connections with."""

    @property
    def headers(self) -> Mapping[str, str]:
        """More headers, where the request goes over HTTP."""

    @property
    def query(self) -> Mapping[str, str]:
        """More query parameters, likewise."""

    @property
    def warm_up(self) -> bool:
        """Whether the service shall only prepare the context."""

    def detached(self) -> "Asked":
        """The same request, to be kept beyond its answer: it leads to no client."""

    def frame(self, plan: Plan, lane: str | None, *, generate: bool = True) -> bytes:
        """Encode the request as planned; without `generate` no answer is asked for."""

    def completion(self) -> dict[str, Any]:
        """Encode the request for Chat Completions."""

    def record(self, output: tuple[Item, ...]) -> tuple[Item, ...] | None:
        """The items that the framework will record for an output, None if it can't."""


class Route(Protocol):
    """A way to the service, on one event loop."""

    @property
    def falls_back(self) -> bool:
        """Whether a request that can't take the socket may take HTTP instead."""

    @property
    def renewable(self) -> bool:
        """Whether the next connection may prove its right with another key."""

    @property
    def newest_connection(self) -> int:
        """The number of the newest connection that is open."""

    def join(self, asked: Asked) -> Membership:
        """Find the conversation that a request belongs to, or begin one."""

    def mark_of(self, attempt: Attempt) -> str | None:
        """The mark of what answers an attempt; None where nothing can be continued."""

    async def launch(
        self,
        asked: Asked,
        member: Membership,
        turn: Turn,
        *,
        whole: bool,
        bare: bool,
        over_http: bool,
        avoid: set[int],
    ) -> Attempt:
        """Send a turn's request; raises FaultError if it couldn't be sent."""

    def abandon(self, attempt: Attempt, account: Account) -> None:
        """Leave an attempt to itself; waits for nothing."""

    def is_mute(self, attempt: Attempt) -> bool:
        """Whether nothing ever came over the connection of an attempt."""

    def fell_back(self, fault: Fault, attempt: Attempt | None) -> None:
        """The socket failed a turn, which takes HTTP now."""

    def has_no_http(self) -> None:
        """HTTP doesn't do on this host."""

    def refused_lanes(self) -> None:
        """The host has no lanes."""

    def missed(self, attempt: Attempt) -> None:
        """The service no longer knows what an attempt continued."""

    def shut(self) -> None:
        """Take nothing new from now on: what is asked while it closes finds another one."""

    async def aclose(self) -> None:
        """Close everything within a limit."""
