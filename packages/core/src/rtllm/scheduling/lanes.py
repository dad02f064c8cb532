"""Lanes and connections as values, as the pool sees them."""

import math
from dataclasses import dataclass, field
from enum import IntEnum

CONVERSATIONS_PER_CONNECTION = 4


class EvictionCost(IntEnum):
    """What reusing a lane would lose."""

    NOTHING = 0
    ABANDONED = 1
    """A complete response that no turn waited for any more."""
    STATE = 2


@dataclass(slots=True)
class Lane:
    """A ``stream_id`` of a connection; the default lane has the name None."""

    name: str | None
    conversation: int | None = None
    newest: str | None = None
    eviction_cost: EvictionCost = EvictionCost.NOTHING
    used: int = 0
    forks: set[int] = field(default_factory=set)
    """Attempts that continue this lane's response and are not in progress yet."""


@dataclass(slots=True)
class Tenant:
    """A conversation's use of a connection."""

    last_used: float
    turns: int = 0
    is_stored: bool = True
    """Whether the service stores all its responses there, so that eviction loses none."""


@dataclass(slots=True)
class PooledConnection:
    """A WebSocket, as the pool sees it."""

    number: int
    lanes_on: bool
    model: str | None = None
    """The only model that it serves, if the host allows one model per connection."""
    is_open: bool = False
    rotate_at: float = math.inf
    """When it is due for replacement."""
    active_at: float = 0.0
    """When it opened, or a request on it was last sent or ended."""
    waiting: int = 0
    """The number of turns that wait until it is open."""
    reserved_for: int | None = None
    """The only conversation whose turns may wait for it; None if all may."""
    tenants: dict[int, Tenant] = field(default_factory=dict)
    lanes: dict[str | None, Lane] = field(default_factory=dict)
    running: dict[int, str | None] = field(default_factory=dict)
    """The running attempts, in the order in which they were sent, with their lanes."""
    abandoned: set[int] = field(default_factory=set)
    used: int = 0

    @property
    def idle(self) -> bool:
        """Whether no attempt runs on it and no turn waits for it."""
        return not self.running and not self.waiting

    def is_used_by_others(self, conversation: int) -> bool:
        """Whether another conversation uses it, or a turn waits for it."""
        has_foreign_attempts = bool(self.running) and conversation not in self.tenants
        has_other_tenants = any(tenant != conversation for tenant in self.tenants)
        return has_other_tenants or has_foreign_attempts or self.waiting > 0

    def has_room_for(self, conversation: int) -> bool:
        """Whether a conversation uses it or may join; a warmed-up prompt counts as one."""
        return conversation in self.tenants or len(self.tenants) < CONVERSATIONS_PER_CONNECTION

    def busy(self, lane: Lane) -> bool:
        """Whether an attempt runs on a lane."""
        return lane.name in self.running.values()

    def find_lane(self, name: str | None) -> Lane:
        """Find the lane with a name, or return a new one; changes nothing.

        On a host without lanes it is always the default lane.
        """
        key = name if self.lanes_on else None
        return self.lanes.get(key) or Lane(key)

    def use_lane(self, name: str | None) -> Lane:
        """Find the lane with a name, and add it if it is new."""
        lane = self.find_lane(name)
        return self.lanes.setdefault(lane.name, lane)


@dataclass(frozen=True, slots=True)
class LaneChoice:
    """The connection and lane for one attempt.

    Attributes:
        connection: The connection's number.
        lane: The lane's name, None for the default lane.
        is_open: Whether the connection is already open.
        evicts: The number of the conversation that loses its lanes there; None if none does.
    """

    connection: int
    lane: str | None
    is_open: bool
    evicts: int | None = None


OVER_HTTP = LaneChoice(0, None, is_open=True)
"""The choice for a request over HTTP, which needs no connection."""
