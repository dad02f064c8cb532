"""What the service remembers of earlier responses. No I/O.

A *store* serves every connection (``store: true``). Beside it, each connection holds
the newest completed response of each of its lanes, and nothing older; on hosts without
lanes everything runs on the default lane, so one response a connection is what remains.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from rtllm.simulator import refusal

Item: TypeAlias = dict[str, Any]
DropOn: TypeAlias = Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class Remembered:
    """A response that may be continued: all that the model has seen and said."""

    id: str
    context: tuple[Item, ...]
    tokens: int


@dataclass(slots=True)
class Store:
    """What outlives a connection.

    ``wholes`` are the stored responses as they are shown to who asks for them.
    ``births`` links an item to the reasoning item it was born with, ``sealed`` holds the
    encrypted contents that were given out: both are checked when a client sends items back.
    """

    responses: dict[str, Remembered] = field(default_factory=dict)
    wholes: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: dict[str, Item] = field(default_factory=dict)
    births: dict[str, str] = field(default_factory=dict)
    sealed: set[str] = field(default_factory=set)

    def note_output(self, output: Iterable[Item]) -> None:
        """Remember how given-out items belong together, stored or not."""
        reasoning: str | None = None
        for item in output:
            if item["type"] == "reasoning":
                reasoning = item["id"]
                self.sealed.add(item["encrypted_content"])
            elif reasoning is not None:
                self.births[item["id"]] = reasoning

    def keep(self, response: Remembered, output: Iterable[Item], whole: dict[str, Any]) -> None:
        """Store a response, so that every connection finds it."""
        self.responses[response.id] = response
        self.wholes[response.id] = whole
        self.items.update((item["id"], item) for item in output)


class ConnectionMemory:
    """The responses that one connection can continue.

    Args:
        store: What all connections share.
        drop_on: When a lane forgets its old response: as soon as its next request starts
            (what a client must reckon with), or when that one has ended.
    """

    def __init__(self, store: Store, *, drop_on: DropOn = "start") -> None:
        self.store = store
        self._drop_on = drop_on
        self._newest: dict[str | None, Remembered] = {}

    def begin(self, lane: str | None, parent_id: str | None) -> Remembered | None:
        """Start a request on a lane and look its parent up.

        The lookup happens here, not when the frame arrived: what the parent's lane did
        in between counts. A request that fails here has not started and drops nothing.

        Raises:
            RequestError: If the parent is not remembered (any more).
        """
        parent = None if parent_id is None else self._find(parent_id)
        if self._drop_on == "start":
            self._newest.pop(lane, None)
        return parent

    def _find(self, response_id: str) -> Remembered:
        for response in self._newest.values():
            if response.id == response_id:
                return response
        if response_id in self.store.responses:
            return self.store.responses[response_id]
        raise refusal.parent_not_found(response_id)

    def complete(self, lane: str | None, response: Remembered) -> None:
        """Make a completed response the newest of its lane."""
        self._newest[lane] = response

    def fail(self, lane: str | None, parent_id: str | None) -> None:
        """End a request in an error: a parent on the same lane is evicted.

        A fork from another lane leaves the parent to its own lane. Stored responses can
        be loaded again, so for them the eviction changes nothing.
        """
        newest = self._newest.get(lane)
        if newest is not None and newest.id == parent_id:
            del self._newest[lane]

    def held(self) -> dict[str | None, str]:
        """The response ids that the lanes hold, for tests and for looking at."""
        return {lane: response.id for lane, response in self._newest.items()}
