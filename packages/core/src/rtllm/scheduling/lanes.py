"""Lanes and connections as values: what the pool knows of each."""

import math
from dataclasses import dataclass, field
from enum import IntEnum

CONVERSATIONS_PER_CONNECTION = 4


class EvictionCost(IntEnum):
    """What would be lost if a lane were reused."""

    NOTHING = 0
    ABANDONED = 1
    """A whole answer that nobody was waiting for any more."""
    STATE = 2


@dataclass(slots=True)
class Lane:
    """A ``stream_id`` of a connection; the name None is the default lane."""

    name: str | None
    conversation: int | None = None
    newest: str | None = None
    eviction_cost: EvictionCost = EvictionCost.NOTHING
    used: int = 0
    forks: set[int] = field(default_factory=set)
    """Attempts that continue this lane's response and were not taken in hand yet."""


@dataclass(slots=True)
class Tenant:
    """A conversation's stay on a connection."""

    last_used: float
    turns: int = 0


@dataclass(slots=True)
class PooledConnection:
    """A socket as the pool sees it."""

    number: int
    lanes_on: bool
    model: str | None = None
    """The only model that it answers, where the host allows one for each connection."""
    is_open: bool = False
    exchange_at: float = math.inf
    """When another one shall take its place."""
    active_at: float = 0.0
    """When something was last sent or ended on it, or it opened."""
    waiting: int = 0
    """Turns that wait until it is open."""
    tenants: dict[int, Tenant] = field(default_factory=dict)
    lanes: dict[str | None, Lane] = field(default_factory=dict)
    running: dict[int, str | None] = field(default_factory=dict)
    """Attempts in flight, in the order in which they were sent, and their lanes."""
    abandoned: set[int] = field(default_factory=set)
    used: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing runs on it and no turn waits for it."""
        return not self.running and not self.waiting

    def has_room_for(self, conversation: int) -> bool:
        """Whether a conversation is on it, or may join; a prepared prompt counts as one."""
        return conversation in self.tenants or len(self.tenants) < CONVERSATIONS_PER_CONNECTION

    def busy(self, lane: Lane) -> bool:
        """Whether a response runs on a lane."""
        return lane.name in self.running.values()

    def find_lane(self, name: str | None) -> Lane:
        """Find the lane of a name, an unused one if it is new; changes nothing.

        On a host without lanes this is always the default lane.
        """
        key = name if self.lanes_on else None
        return self.lanes.get(key) or Lane(key)

    def use_lane(self, name: str | None) -> Lane:
        """Find the lane of a name, and keep it if it is new."""
        lane = self.find_lane(name)
        return self.lanes.setdefault(lane.name, lane)


@dataclass(frozen=True, slots=True)
class LaneChoice:
    """A place for one attempt.

    Attributes:
        connection: The connection's number.
        lane: The lane's name, None for the default lane.
        is_open: Whether the connection is open already.
        evicts: The number of the conversation that loses its lanes there; None if none does.
    """

    connection: int
    lane: str | None
    is_open: bool
    evicts: int | None = None


OVER_HTTP = LaneChoice(0, None, is_open=True)
"""The place of a request that needs no socket."""
