"""Memory of earlier responses. No I/O.

A *store* serves every connection (``store: true``). In addition, each connection remembers the
newest completed response of each of its lanes, and no older one. On hosts without lanes everything
runs on the default lane, so a connection remembers one response.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from rtllm.simulator import refusal

Item: TypeAlias = dict[str, Any]
DropOn: TypeAlias = Literal["start", "end"]
Remembers: TypeAlias = Literal["lanes", "connection", "everything", "everywhere", "nothing"]
Evicts: TypeAlias = Literal["own lane", "any lane", "never"]
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Remembered:
    """A response that may be continued: everything that the model has seen and generated."""

    id: str
    context: tuple[Item, ...]


class Newest(dict[str, V]):
    """A mapping by id that forgets its oldest entries beyond a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: str, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._limit:
            del self[next(iter(self))]


_ITEMS_EACH = 8  # items of a response that are remembered individually


class Store:
    """The memory that outlives a connection.

    Args:
        keep: How many responses are kept; the oldest are forgotten.

    Attributes:
        responses: The responses that may be continued.
        wholes: The stored responses as ``GET`` returns them.
        items: The stored items, by id.
        births: The id of the reasoning item that an item was created with, by id.
        calls: The same for calls, by call_id: their own id, and the reasoning's. Only for encrypted
            reasoning, which a client can send back.
        sealed: The encrypted contents that were sent, with the ids of their items.
    """

    def __init__(self, keep: int = 10_000) -> None:
        self.responses: Newest[Remembered] = Newest(keep)
        self.wholes: Newest[dict[str, Any]] = Newest(keep)
        self.items: Newest[Item] = Newest(_ITEMS_EACH * keep)
        self.births: Newest[str] = Newest(_ITEMS_EACH * keep)
        self.calls: Newest[tuple[str, str]] = Newest(_ITEMS_EACH * keep)
        self.sealed: Newest[str] = Newest(_ITEMS_EACH * keep)

    def note_output(self, output: Iterable[Item]) -> None:
        """Remember which of the sent items belong together, stored or not."""
        reasoning: Item | None = None
        for item in output:
            if item["type"] == "reasoning":
                reasoning = item
                if item["encrypted_content"] is not None:
                    self.sealed[item["encrypted_content"]] = item["id"]
            elif reasoning is not None:
                self.births[item["id"]] = reasoning["id"]
                if item["type"] == "function_call" and reasoning["encrypted_content"] is not None:
                    self.calls[item["call_id"]] = (item["id"], reasoning["id"])

    def keep(self, response: Remembered, output: Iterable[Item], whole: dict[str, Any]) -> None:
        """Store a response, so that every connection finds it."""
        self.responses[response.id] = response
        self.wholes[response.id] = whole
        for item in output:
            self.items[item["id"]] = item


class ConnectionMemory:
    """The responses that one connection can continue.

    Args:
        store: The store that all connections share.
        drop_on: When a lane forgets its old response: when its next request starts (clients must
            expect this), or when that one has ended.
        forgets_on_failure: Whether a failed response makes the connection forget all others.
        remembers: What is kept without ``store``: the newest response of each lane, or of the
            connection; every response of the connection, or of all connections; or nothing.
        evicts: When an error evicts the parent: on its own lane, on any lane, or never.
    """

    def __init__(
        self,
        store: Store,
        *,
        drop_on: DropOn = "start",
        forgets_on_failure: bool = False,
        remembers: Remembers = "lanes",
        evicts: Evicts = "own lane",
    ) -> None:
        self.store = store
        self._remembers = remembers
        self._evicts = evicts
        self._older: dict[str, Remembered] = {}
        self._forgets_on_failure = forgets_on_failure
        self._drop_on = drop_on
        self._newest: dict[str | None, Remembered] = {}

    def begin(self, lane: str | None, parent_id: str | None) -> Remembered | None:
        """Start a request on a lane and look up its parent.

        The lookup happens at the start, not when the frame arrived, so changes of the parent's lane
        in between count. A request that fails here has not started and drops nothing.

        Raises:
            RequestError: If the parent is not remembered (any more).
        """
        parent = None if parent_id is None else self._find(parent_id)
        if self._drop_on == "start":
            self._newest.pop(self._place(lane), None)
        return parent

    def _place(self, lane: str | None) -> str | None:
        """Return the lane whose memory a lane uses."""
        return None if self._remembers == "connection" else lane

    def _find(self, response_id: str) -> Remembered:
        for response in self._newest.values():
            if response.id == response_id:
                return response
        if response_id in self._older:
            return self._older[response_id]
        if response_id in self.store.responses:
            return self.store.responses[response_id]
        raise refusal.parent_not_found(response_id)

    def complete(self, lane: str | None, response: Remembered) -> None:
        """Make a completed response the newest of its lane."""
        match self._remembers:
            case "nothing":
                return
            case "everything":
                self._older[response.id] = response
            case "everywhere":
                self.store.responses[response.id] = response
        self._newest[self._place(lane)] = response

    def fail(self, lane: str | None, parent_id: str | None, *, began: bool = False) -> None:
        """End a request with an error: a parent on the same lane is evicted.

        A fork from another lane does not evict the parent. Stored responses can be loaded again, so
        the eviction does not affect them. ``began`` distinguishes a failed response from a rejected
        request.
        """
        if began and self._forgets_on_failure:
            self._newest.clear()
        if self._evicts == "never":
            return
        own = self._place(lane)
        for place, newest in list(self._newest.items()):
            if newest.id == parent_id and (place == own or self._evicts == "any lane"):
                del self._newest[place]

    def held(self) -> dict[str | None, str]:
        """Return the response ids that the lanes hold, for tests and debugging."""
        return {lane: response.id for lane, response in self._newest.items()}
