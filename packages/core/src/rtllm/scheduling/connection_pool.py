"""Connections and lanes as values: which one a turn takes, and what each still remembers.

The service remembers, for each lane of a connection, the newest response that ended there.
So a lane is two things: a place to run, and the memory of one state. Each conversation uses
up to eight lanes in least-recently-used order, never its parent's: the last states stay alive
without being stored, and a failed continuation can't evict its parent.

Nothing here waits or sends; `rtllm.transport` carries out what is chosen.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rtllm.context.outline import LaneAddress, ResponseAnchor
from rtllm.scheduling.lanes import (
    CONVERSATIONS_PER_CONNECTION,
    EvictionCost,
    Lane,
    LaneChoice,
    PooledConnection,
    Tenant,
)

LANES_PER_CONVERSATION = 8
ACTIVE_PER_CONNECTION = 8  # documented: 16, and queued beyond; a queue is silence
NAMES_PER_CONNECTION = 32  # documented, never freed; 4 conversations of 8 lanes fill it
IDLE_BEFORE_DISPLACED = 60.0  # seconds
IDLE_BEFORE_CLOSED = 900.0  # seconds; a caller may be silent for long, and a state is worth it
ROTATE_AT = 11 / 12
"""The part of a connection's lifetime after which it is exchanged: 55 of 60 minutes."""
MAX_CONNECTIONS = 512
"""How many connections there may be at once, unless the user says otherwise."""
ALIVE = 180.0  # seconds after its last request in which a conversation counts as going on
NEXT_TRY = 30.0  # seconds until an exchange that failed is tried again


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What is due for connections that are open.

    Attributes:
        exchange: Those whose lifetime is nearly over.
        close: Those that nobody used for long.
        next_at: When to look again; None if nothing will be due.
    """

    exchange: tuple[int, ...]
    close: tuple[int, ...]
    next_at: float | None


class ConnectionPool:
    """The connections of one client.

    Args:
        lanes: Whether the host takes lanes, as far as is known.
        one_model: Whether a connection answers one model only.
        lifetime: Seconds that a connection lives.
        max_connections: How many there may be at once.
    """

    def __init__(
        self,
        *,
        lanes: bool,
        one_model: bool = False,
        lifetime: float = math.inf,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.lanes_on = lanes
        self._one_model = one_model
        self._lifetime = lifetime
        self._max = max_connections
        self._connections: dict[int, PooledConnection] = {}
        self._homes: dict[int, tuple[int, Lane | None]] = {}
        self._tick = 0
        self._number = 0

    def __repr__(self) -> str:
        kind = "with lanes" if self.lanes_on else "without lanes"
        return f"<Fleet {kind}: {list(self._connections.values())}>"

    def waiting(self) -> dict[int, int]:
        """Count the turns that wait for each connection."""
        return {c.number: c.waiting for c in self._connections.values()}

    def running(self) -> dict[int, int]:
        """Count the attempts that run on each connection."""
        return {c.number: len(c.running) for c in self._connections.values()}

    def tenants(self) -> dict[int, tuple[int, ...]]:
        """List the conversations on each connection."""
        return {c.number: tuple(c.tenants) for c in self._connections.values()}

    @property
    def is_full(self) -> bool:
        """Whether no more connections may be opened."""
        return len(self._connections) >= self._max

    # -- connections ---------------------------------------------------------------------

    def opening(self, model: str) -> int:
        """Count a connection that is being made for a model; returns its number."""
        self._number += 1
        only = model if self._one_model else None
        self._connections[self._number] = PooledConnection(self._number, self.lanes_on, only)
        return self._number

    def opened(self, number: int, now: float) -> None:
        """A connection can be used."""
        if (connection := self._connections.get(number)) is not None:
            connection.is_open = True
            connection.active_at = now
            connection.exchange_at = now + self._lifetime * ROTATE_AT

    def upkeep(self, now: float) -> Upkeep:
        """Tell which connections are too old, and which nobody used for long.

        A connection is named for its exchange once in a while only, until it is gone.
        """
        old: list[int] = []
        unused: list[int] = []
        due: list[float] = []
        for connection in self._connections.values():
            if not connection.is_open:
                continue
            if connection.idle and now >= connection.active_at + IDLE_BEFORE_CLOSED:
                unused.append(connection.number)
                continue
            if now >= connection.exchange_at:
                old.append(connection.number)
                connection.exchange_at = now + NEXT_TRY
            # A busy connection is looked at again when it could be unused at the earliest.
            unused_at = max(connection.active_at, now if not connection.idle else 0.0)
            due.append(min(connection.exchange_at, unused_at + IDLE_BEFORE_CLOSED))
        return Upkeep(tuple(old), tuple(unused), min(due, default=None))

    def is_alive(self, number: int, conversation: int, now: float) -> bool:
        """Whether a conversation on a connection was heard of lately."""
        connection = self._connections.get(number)
        tenant = connection.tenants.get(conversation) if connection is not None else None
        return tenant is not None and now - tenant.last_used < ALIVE

    def was_used(self, number: int) -> bool:
        """Whether a conversation is on a connection."""
        connection = self._connections.get(number)
        return connection is not None and bool(connection.tenants)

    def lost(self, number: int) -> list[int]:
        """A connection is gone, and all that it remembered; returns what ran on it."""
        connection = self._connections.pop(number, None)
        if connection is None:
            return []
        attempts = list(connection.running)
        for attempt in attempts:
            self._homes.pop(attempt, None)
        return attempts

    def exchanged(self, old: int, new: int) -> None:
        """A connection takes the place of another, which is gone.

        It is as unused as the other one was: else a connection that nobody uses would be
        exchanged for ever where a lifetime is shorter than what an unused one is kept for.
        """
        connections = self._connections
        if old in connections and new in connections:
            connections[new].active_at = connections[old].active_at
        self.lost(old)

    def wait_for(self, number: int, change: int) -> None:
        """Count turns that wait for a connection to open (+1) or no longer do (-1)."""
        if (connection := self._connections.get(number)) is not None:
            connection.waiting += change

    def without_lanes(self) -> None:
        """The host has no lanes after all: what runs and is remembered moves to the default.

        Such a host remembers the newest response of a connection and nothing else, and not
        even that once the next one runs.
        """
        self.lanes_on = False
        for connection in self._connections.values():
            if not connection.lanes_on:
                continue
            connection.lanes_on = False
            latest = max(connection.lanes.values(), key=lambda lane: lane.used, default=None)
            default = Lane(None)
            if latest is not None:
                default = Lane(
                    None, latest.conversation, latest.newest, latest.eviction_cost, latest.used
                )
            connection.lanes = {None: default}
            connection.running = dict.fromkeys(connection.running)
            if default.conversation is not None:
                connection.tenants = {
                    c: tenant
                    for c, tenant in connection.tenants.items()
                    if c == default.conversation
                }

    def surplus(self) -> list[int]:
        """Connections to give up because there are too many: idle ones, longest unused first.

        Those on which only abandoned answers still run come after the idle ones.
        """
        over = len(self._connections) - self._max
        if over <= 0:
            return []
        unused = [
            c
            for c in self._connections.values()
            if c.is_open and not c.waiting and c.abandoned.issuperset(c.running)
        ]
        unused.sort(key=lambda c: (len(c.running), c.used))
        return [c.number for c in unused[:over]]

    def spares_missing(self, wanted: int) -> int:
        """How many warm connections should be opened in the background.

        A host with lanes runs the next answer beside a cut one, so one open socket is enough.
        """
        if self.lanes_on:
            return min(wanted, 1) if not self._connections else 0
        spares = sum(1 for c in self._connections.values() if not c.tenants and not c.running)
        return max(0, min(wanted - spares, self._max - len(self._connections)))

    def runs_only_drains(self, number: int) -> bool:
        """Whether nothing that a turn waits for runs on a connection."""
        connection = self._connections.get(number)
        return connection is not None and connection.abandoned.issuperset(connection.running)

    # -- choosing ------------------------------------------------------------------------

    def can_continue(
        self, anchor: ResponseAnchor, conversation: int, avoid: Collection[int] = ()
    ) -> bool:
        """Tell whether an anchor can be continued right now, over none of some connections."""
        if anchor.stored:
            return True
        on_its_own = anchor.home.connection not in avoid
        return on_its_own and self._seat_beside(anchor, conversation) is not None

    def choose(
        self,
        conversation: int,
        anchor: ResponseAnchor | None,
        model: str,
        now: float,
        avoid: Collection[int] = (),
    ) -> LaneChoice | None:
        """Choose where an attempt runs; changes nothing.

        Args:
            conversation: The conversation's number.
            anchor: What it continues; None for a whole context.
            model: The model that shall answer.
            now: Seconds, for telling idle conversations.
            avoid: Connections that just failed.

        Returns:
            The seat, or None if a new connection is needed.
        """
        if anchor is not None:
            beside = self._seat_beside(anchor, conversation)
            if beside is not None and beside.connection not in avoid:
                return beside
        usable = [
            c
            for c in self._connections.values()
            if c.number not in avoid and c.model in (None, model)
        ]
        for connection in self._in_order(usable, conversation):
            lane = self._free_lane(connection, conversation, None)
            if lane is not None:
                return LaneChoice(connection.number, lane.name, connection.is_open)
        displaced = self._displaceable(usable, now)
        if displaced is not None:
            connection, tenant = displaced
            lane = self._free_lane(connection, conversation, None, evicted=tenant)
            if lane is not None:
                return LaneChoice(connection.number, lane.name, connection.is_open, evicts=tenant)
        return None

    def seat_on(self, number: int, conversation: int) -> LaneChoice | None:
        """A place on one connection, None if it has no room."""
        connection = self._connections.get(number)
        if connection is None or not connection.is_open:
            return None
        if not connection.lanes_on and connection.tenants:
            return None
        lane = self._free_lane(connection, conversation, None)
        return None if lane is None else LaneChoice(number, lane.name, is_open=True)

    def _seat_beside(self, anchor: ResponseAnchor, conversation: int) -> LaneChoice | None:
        """A seat where the anchor's own connection still remembers it."""
        connection = self._connections.get(anchor.home.connection)
        if connection is None or not connection.is_open:
            return None
        is_prepared = anchor.state.length == (0, 0)  # a prompt, which any conversation may join
        if self.lanes_on and is_prepared and not connection.has_room_for(conversation):
            return None
        if connection.find_lane(anchor.home.lane).newest != anchor.response_id:
            return None
        if not connection.lanes_on:
            return LaneChoice(connection.number, None, is_open=True) if connection.idle else None
        lane = self._free_lane(connection, conversation, anchor.home)
        return None if lane is None else LaneChoice(connection.number, lane.name, is_open=True)

    def _in_order(
        self, usable: list[PooledConnection], conversation: int
    ) -> Iterator[PooledConnection]:
        """Connections for a context that none of them knows, the best first."""
        yield from (c for c in usable if c.is_open and conversation in c.tenants)
        yield from (c for c in usable if c.is_open and not c.tenants)
        if self.lanes_on:
            yield from (
                c for c in usable if c.is_open and 0 < len(c.tenants) < CONVERSATIONS_PER_CONNECTION
            )
        yield from (c for c in usable if not c.is_open and self._has_place(c, conversation))

    def _has_place(self, connection: PooledConnection, conversation: int) -> bool:
        if not connection.lanes_on:
            return connection.waiting == 0
        others = sum(1 for tenant in connection.tenants if tenant != conversation)
        return others < CONVERSATIONS_PER_CONNECTION and (
            connection.waiting < CONVERSATIONS_PER_CONNECTION
        )

    def _displaceable(
        self, usable: list[PooledConnection], now: float
    ) -> tuple[PooledConnection, int] | None:
        """An idle conversation that may lose its place: a side call; at the cap, any."""
        at_cap = len(self._connections) >= self._max
        found: tuple[tuple[bool, float], PooledConnection, int] | None = None
        for connection in usable:
            if not connection.is_open or (not connection.lanes_on and not connection.idle):
                continue
            for number, tenant in connection.tenants.items():
                lanes = [lane for lane in connection.lanes.values() if lane.conversation == number]
                if any(connection.busy(lane) or lane.forks for lane in lanes):
                    continue
                idle_side_call = tenant.turns < 2 and now - tenant.last_used > IDLE_BEFORE_DISPLACED
                if not idle_side_call and not at_cap:
                    continue
                key = (not idle_side_call, tenant.last_used)
                if found is None or key < found[0]:
                    found = (key, connection, number)
        return None if found is None else found[1:]

    def _free_lane(
        self,
        connection: PooledConnection,
        conversation: int,
        parent: LaneAddress | None,
        evicted: int | None = None,
    ) -> Lane | None:
        """The lane whose loss costs least, of those that are free for a conversation.

        Those of a conversation that is to be evicted count as free.
        """

        def cost(lane: Lane) -> EvictionCost:
            is_freed = lane.conversation is not None and lane.conversation == evicted
            kept = lane.eviction_cost
            return min(kept, EvictionCost.ABANDONED) if is_freed else kept

        if not connection.lanes_on:
            return connection.find_lane(None) if not connection.running else None
        if len(connection.running) >= ACTIVE_PER_CONNECTION:
            return None
        free: list[Lane] = []
        count = 0
        for lane in connection.lanes.values():
            if lane.conversation not in (conversation, None, evicted):
                continue
            count += lane.conversation == conversation
            is_parent = parent is not None and lane.name == parent.lane
            if not is_parent and not lane.forks and not connection.busy(lane):
                free.append(lane)
        if count >= LANES_PER_CONVERSATION:
            free = [lane for lane in free if lane.conversation == conversation]
        elif (
            all(cost(lane) is not EvictionCost.NOTHING for lane in free)
            and len(connection.lanes) < NAMES_PER_CONNECTION
        ):
            return Lane(f"lane-{len(connection.lanes) + 1}", conversation)
        return min(free, key=lambda lane: (cost(lane), lane.used), default=None)

    # -- what happens to attempts ----------------------------------------------------------

    def commit(
        self,
        attempt: int,
        seat: LaneChoice,
        conversation: int,
        anchor: ResponseAnchor | None,
        now: float,
    ) -> None:
        """An attempt is sent: its lane runs and forgets, its parent's lane rests."""
        connection = self._connections[seat.connection]
        self._tick += 1
        connection.used = self._tick
        connection.active_at = now
        if seat.evicts is not None:
            self._evict(connection, seat.evicts)
        if not connection.lanes_on:
            for tenant in [g for g in connection.tenants if g != conversation]:
                self._evict(connection, tenant)
        stay = connection.tenants.setdefault(conversation, Tenant(now))
        stay.last_used = now
        stay.turns += 1
        parent: Lane | None = None
        if anchor is not None and anchor.home.connection == seat.connection:
            held = connection.use_lane(anchor.home.lane)
            if held.newest == anchor.response_id:
                held.used = self._tick
                held.eviction_cost = EvictionCost.STATE
                parent = held
        lane = connection.use_lane(seat.lane)
        lane.conversation = conversation
        lane.newest = None  # assumed: dropped when its next request starts
        lane.eviction_cost = EvictionCost.NOTHING
        lane.used = self._tick
        if parent is not None and parent is not lane:
            parent.forks.add(attempt)
        connection.running[attempt] = lane.name
        self._homes[attempt] = (connection.number, parent)

    def in_progress(self, attempt: int) -> None:
        """The service took an attempt in hand: from here its parent's lane may be used."""
        number, parent = self._homes.get(attempt, (0, None))
        if parent is not None:
            parent.forks.discard(attempt)
            self._homes[attempt] = (number, None)

    def abandon(self, attempt: int) -> None:
        """Nobody waits for an attempt any more; it drains.

        If its parent is gone when the service takes it in hand, nothing is lost by that.
        """
        self.in_progress(attempt)
        connection = self._connections.get(self._homes.get(attempt, (0, None))[0])
        if connection is not None:
            connection.abandoned.add(attempt)

    def end(self, attempt: int, response_id: str | None, now: float) -> LaneAddress | None:
        """An attempt has ended on the service.

        Args:
            attempt: Which.
            response_id: The response that the lane remembers now; None if it remembers none.
            now: When.

        Returns:
            Where the response is remembered, None if the connection is gone.
        """
        self.in_progress(attempt)
        number, _ = self._homes.pop(attempt, (0, None))
        connection = self._connections.get(number)
        if connection is None:
            return None
        connection.active_at = now
        was_abandoned = attempt in connection.abandoned
        connection.abandoned.discard(attempt)
        lane = connection.use_lane(connection.running.pop(attempt, None))
        self._tick += 1
        lane.used = self._tick
        if was_abandoned and not connection.lanes_on:
            response_id = None  # one memory a connection: better free than kept for nobody
        lane.newest = response_id
        lane.eviction_cost = EvictionCost.NOTHING
        if response_id is not None:
            lane.eviction_cost = EvictionCost.ABANDONED if was_abandoned else EvictionCost.STATE
        if lane.conversation not in connection.tenants:
            lane.conversation = None  # it was seen out while this ran
        return LaneAddress(number, lane.name)

    def evict(self, anchor: ResponseAnchor) -> None:
        """The service no longer knows an anchor."""
        connection = self._connections.get(anchor.home.connection)
        if connection is not None:
            lane = connection.find_lane(anchor.home.lane)
            if lane.newest == anchor.response_id:
                lane.newest, lane.eviction_cost = None, EvictionCost.NOTHING

    def release(self, conversation: int) -> None:
        """A conversation is over: its lanes and places are free."""
        for connection in self._connections.values():
            if conversation in connection.tenants:
                self._evict(connection, conversation)

    def _evict(self, connection: PooledConnection, conversation: int) -> None:
        """Give a conversation's lanes to all; what they remember lasts until one is taken."""
        connection.tenants.pop(conversation, None)
        for lane in connection.lanes.values():
            if lane.conversation == conversation and not connection.busy(lane):
                lane.conversation = None
                lane.eviction_cost = min(lane.eviction_cost, EvictionCost.ABANDONED)
