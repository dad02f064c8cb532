"""The pool of connections and lanes: which one an attempt uses, and what each remembers.

For each lane of a connection the service remembers the newest response that ended there. So a lane
is both a slot for one running response and the memory of one response. Each conversation uses up to
eight lanes in least-recently-used order, but never the lane of the response that it continues. So
its last responses can be continued without being stored, and a failed continuation can't evict the
response that it continues.

Nothing here waits or sends; `rtllm.engine` uses the choices.
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
ACTIVE_PER_CONNECTION = 8  # documented: 16, and requests beyond that are queued without notice
NAMES_PER_CONNECTION = 32  # documented, never freed; 4 conversations with 8 lanes use them all
IDLE_BEFORE_EVICTED = 60.0  # seconds
IDLE_BEFORE_CLOSED = 900.0  # seconds; callers may be silent for long, and a full context is slow
ROTATE_AT = 11 / 12
"""The part of a connection's lifetime after which it is replaced: 55 of 60 minutes."""
MAX_CONNECTIONS = 512
"""The default limit of connections."""
CROWDED = 32
"""From this many connections on, idle conversations whose responses are stored are evicted before
another connection is opened. Over a day of short calls sockets stay few."""
ALIVE = 180.0  # seconds after its last request during which a conversation counts as active
NEXT_TRY = 30.0  # seconds until a failed replacement is tried again


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Connections that are due for replacement or closing.

    Attributes:
        rotate: Those near the end of their lifetime.
        close: Those that were unused for long.
        next_at: When to check again; None if nothing will be due.
    """

    rotate: tuple[int, ...]
    close: tuple[int, ...]
    next_at: float | None


class ConnectionPool:
    """The connections of one client, with the use of their lanes.

    Args:
        lanes: Whether the host supports lanes, as far as is known.
        one_model: Whether a connection serves one model only.
        lifetime: Seconds that a connection lasts.
        max_connections: The limit of connections.

    Attributes:
        lanes_on: Whether the host supports lanes, as far as is known now.
        has_changed: Whether a place may have become free since this was last reset. Requests that
            wait for one are tried again then.
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
        self._addresses: dict[int, tuple[int, Lane | None]] = {}
        self._tick = 0
        self._number = 0
        self.has_changed = False

    def __repr__(self) -> str:
        kind = "with lanes" if self.lanes_on else "without lanes"
        return f"<ConnectionPool {kind}: {list(self._connections.values())}>"

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

    @property
    def may_have_room(self) -> bool:
        """Whether a connection may be opened, or one may be used or replaced."""
        return not self.is_full or any(
            c.is_open and (len(c.running) < self._most_active or c.abandoned.issuperset(c.running))
            for c in self._connections.values()
        )

    @property
    def _most_active(self) -> int:
        """How many attempts a connection runs at a time."""
        return ACTIVE_PER_CONNECTION if self.lanes_on else 1

    # -- connections ---------------------------------------------------------------------

    def add(self, model: str) -> int:
        """Add a connection that is being opened for a model; return its number."""
        self._number += 1
        only = model if self._one_model else None
        self._connections[self._number] = PooledConnection(self._number, self.lanes_on, only)
        return self._number

    def mark_open(self, number: int, now: float) -> None:
        """Record that a connection is open."""
        if (connection := self._connections.get(number)) is not None:
            self.has_changed = True
            connection.is_open = True
            connection.active_at = now
            connection.rotate_at = now + self._lifetime * ROTATE_AT

    def upkeep(self, now: float) -> Upkeep:
        """List the connections that are too old, and those that were unused for long.

        An old connection is listed again only after a pause, until it is gone.
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
            if now >= connection.rotate_at:
                old.append(connection.number)
                connection.rotate_at = now + NEXT_TRY
            # A busy connection is checked again at the earliest time at which it could be unused.
            unused_at = max(connection.active_at, now if not connection.idle else 0.0)
            due.append(min(connection.rotate_at, unused_at + IDLE_BEFORE_CLOSED))
        return Upkeep(tuple(old), tuple(unused), min(due, default=None))

    def is_alive(self, number: int, conversation: int, now: float) -> bool:
        """Whether a conversation on a connection was active recently."""
        connection = self._connections.get(number)
        tenant = connection.tenants.get(conversation) if connection is not None else None
        return tenant is not None and now - tenant.last_used < ALIVE

    def was_used(self, number: int) -> bool:
        """Whether a conversation uses a connection."""
        connection = self._connections.get(number)
        return connection is not None and bool(connection.tenants)

    def remove(self, number: int) -> list[int]:
        """Remove a connection with all that it remembered; return the attempts that ran on it."""
        connection = self._connections.pop(number, None)
        if connection is None:
            return []
        self.has_changed = True
        attempts = list(connection.running)
        for attempt in attempts:
            self._addresses.pop(attempt, None)
        return attempts

    def replace_connection(self, old: int, new: int) -> None:
        """Replace a connection by another one, and remove it.

        The new one inherits the idle time. Otherwise an unused connection would be replaced forever
        if its lifetime is shorter than the idle time after which it is closed.
        """
        connections = self._connections
        if old in connections and new in connections:
            connections[new].active_at = connections[old].active_at
        self.remove(old)

    def wait_for(self, number: int, change: int) -> None:
        """Count a turn that waits for a connection to open (+1) or no longer does (-1)."""
        if (connection := self._connections.get(number)) is not None:
            self.has_changed = self.has_changed or change < 0
            connection.waiting += change
            if not connection.waiting:
                connection.reserved_for = None

    def reserve(self, number: int, conversation: int) -> None:
        """Let only one conversation wait for a connection that is being opened."""
        if (connection := self._connections.get(number)) is not None:
            connection.reserved_for = conversation

    def list_used_by_others(self, conversation: int) -> set[int]:
        """List the connections that other conversations use."""
        return {c.number for c in self._connections.values() if c.is_used_by_others(conversation)}

    def stop_using_lanes(self) -> None:
        """Switch to one lane per connection, because the host does not support lanes.

        What runs and is remembered moves to the default lane. Such a host remembers only the newest
        response of a connection, and forgets it when the next request runs.
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
        """List the connections to close because there are too many, the longest idle first.

        Those on which only abandoned attempts run come after the idle ones.
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

    def count_missing_warm(self, wanted: int) -> int:
        """Count the warm connections that should be opened in advance.

        A host with lanes runs the next response while a cancelled one drains, so one open
        connection is enough.
        """
        if self.lanes_on:
            return min(wanted, 1) if not self._connections else 0
        spares = sum(1 for c in self._connections.values() if not c.tenants and not c.running)
        return max(0, min(wanted - spares, self._max - len(self._connections)))

    def find_unusable(self, model: str, avoid: Collection[int]) -> int | None:
        """Find the idle connection, the longest unused one, that a request can never use.

        Args:
            model: The model of the request.
            avoid: The connections that it must not use.
        """
        unusable = [
            c
            for c in self._connections.values()
            if c.is_open and c.idle and (c.number in avoid or c.model not in (None, model))
        ]
        return min(unusable, key=lambda c: c.used).number if unusable else None

    def list_drains(self) -> list[int]:
        """List the connections on which only abandoned attempts run."""
        return [
            c.number
            for c in self._connections.values()
            if c.is_open and c.running and c.abandoned.issuperset(c.running)
        ]

    def runs_only_drains(self, number: int) -> bool:
        """Whether no attempt on a connection belongs to a waiting turn."""
        connection = self._connections.get(number)
        return connection is not None and connection.abandoned.issuperset(connection.running)

    # -- choosing ------------------------------------------------------------------------

    def can_continue(
        self, anchor: ResponseAnchor, conversation: int, avoid: Collection[int] = ()
    ) -> bool:
        """Whether an anchor can be continued right now, without using some connections."""
        if anchor.stored:
            return True
        is_usable = anchor.lane_address.connection not in avoid
        return is_usable and self._choose_lane_near(anchor, conversation) is not None

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
            anchor: The response to continue; None for a full context.
            model: The model of the request.
            now: Seconds, to detect idle conversations.
            avoid: The connections not to use.

        Returns:
            The connection and lane, or None if a new connection is needed.
        """
        if anchor is not None:
            lane_choice = self._choose_lane_near(anchor, conversation)
            if lane_choice is not None and lane_choice.connection not in avoid:
                return lane_choice
        usable = [
            c
            for c in self._connections.values()
            if c.number not in avoid and c.model in (None, model)
        ]
        for connection in self._in_order(usable, conversation):
            lane = self._find_free_lane(connection, conversation, None)
            if lane is not None:
                return LaneChoice(connection.number, lane.name, connection.is_open)
        for connection, tenant in self._list_evictable(usable, now):
            lane = self._find_free_lane(connection, conversation, None, evicted=tenant)
            if lane is not None:
                return LaneChoice(connection.number, lane.name, connection.is_open, evicts=tenant)
        return self._share(usable, conversation) if self.is_full else None

    def _share(self, usable: list[PooledConnection], conversation: int) -> LaneChoice | None:
        """Choose a lane on a connection that has more conversations than usual.

        At the limit of connections this is better than to wait.
        """
        for connection in sorted(usable, key=_running_on):
            if connection.is_open:
                lane = self._find_free_lane(connection, conversation, None)
                if lane is not None:
                    return LaneChoice(connection.number, lane.name, is_open=True)
        return None

    def choose_lane_on(self, number: int, conversation: int) -> LaneChoice | None:
        """Choose a lane on one connection; None if it has none free."""
        connection = self._connections.get(number)
        if connection is None or not connection.is_open:
            return None
        if not connection.lanes_on and connection.tenants:
            return None
        lane = self._find_free_lane(connection, conversation, None)
        return None if lane is None else LaneChoice(number, lane.name, is_open=True)

    def _choose_lane_near(self, anchor: ResponseAnchor, conversation: int) -> LaneChoice | None:
        """Choose a lane on the connection that remembers an anchor; None if it no longer does."""
        connection = self._connections.get(anchor.lane_address.connection)
        if connection is None or not connection.is_open:
            return None
        # A warmed-up prompt can be continued by every conversation, a stored response anywhere.
        need_not_stay = anchor.stored or anchor.known_prefix.is_prompt_only
        if self.lanes_on and need_not_stay and not connection.has_room_for(conversation):
            return None
        if connection.find_lane(anchor.lane_address.lane).newest != anchor.response_id:
            return None
        if not connection.lanes_on:
            return LaneChoice(connection.number, None, is_open=True) if connection.idle else None
        lane = self._find_free_lane(connection, conversation, anchor.lane_address)
        return None if lane is None else LaneChoice(connection.number, lane.name, is_open=True)

    def _in_order(
        self, usable: list[PooledConnection], conversation: int
    ) -> Iterator[PooledConnection]:
        """List connections for a full context, the best first."""
        yield from (c for c in usable if c.is_open and conversation in c.tenants)
        yield from (c for c in usable if c.is_open and not c.tenants)
        if self.lanes_on:
            yield from (
                c for c in usable if c.is_open and 0 < len(c.tenants) < CONVERSATIONS_PER_CONNECTION
            )
        yield from (c for c in usable if not c.is_open and self._may_wait_for(c, conversation))

    def _may_wait_for(self, connection: PooledConnection, conversation: int) -> bool:
        if connection.reserved_for not in (None, conversation):
            return False
        if not connection.lanes_on:
            return connection.waiting == 0
        others = sum(1 for tenant in connection.tenants if tenant != conversation)
        return others < CONVERSATIONS_PER_CONNECTION and (
            connection.waiting < CONVERSATIONS_PER_CONNECTION
        )

    def _list_evictable(
        self, usable: list[PooledConnection], now: float
    ) -> Iterator[tuple[PooledConnection, int]]:
        """List the idle conversations that may be evicted, those first that cost least.

        Idle side calls may be evicted; from `CROWDED` connections on, also conversations whose
        responses are all stored; at the limit of connections, every idle conversation.
        """
        at_cap = len(self._connections) >= self._max
        is_crowded = len(self._connections) >= CROWDED
        found: list[tuple[tuple[bool, float], PooledConnection, int]] = []
        for connection in usable:
            if not connection.is_open or len(connection.running) >= self._most_active:
                continue
            for number, tenant in connection.tenants.items():
                lanes = [lane for lane in connection.lanes.values() if lane.conversation == number]
                if any(connection.busy(lane) or lane.forks for lane in lanes):
                    continue
                idle_side_call = tenant.turns < 2 and now - tenant.last_used > IDLE_BEFORE_EVICTED
                if not idle_side_call and not at_cap and not (is_crowded and tenant.is_stored):
                    continue
                found.append(((not idle_side_call, tenant.last_used), connection, number))
        found.sort(key=_cost_of)
        for _, connection, number in found:
            yield connection, number

    def _find_free_lane(
        self,
        connection: PooledConnection,
        conversation: int,
        parent: LaneAddress | None,
        evicted: int | None = None,
    ) -> Lane | None:
        """Choose the free lane whose reuse costs least.

        The lanes of a conversation that is to be evicted count as free.
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
        lane_choice: LaneChoice,
        conversation: int,
        anchor: ResponseAnchor | None,
        now: float,
        *,
        stored: bool = False,
    ) -> None:
        """Mark an attempt as sent.

        Its lane becomes busy and forgets its response. The lane of the response that it
        continues is reserved until `mark_in_progress`.

        Args:
            attempt: The attempt's number.
            lane_choice: Where it is sent.
            conversation: The conversation's number.
            anchor: The response that it continues; None for a full context.
            now: Seconds, to detect idle conversations.
            stored: Whether the service stores its response beyond the connection.
        """
        connection = self._connections[lane_choice.connection]
        self._tick += 1
        connection.used = self._tick
        connection.active_at = now
        if lane_choice.evicts is not None:
            self._evict(connection, lane_choice.evicts)
        if not connection.lanes_on:
            for other in [number for number in connection.tenants if number != conversation]:
                self._evict(connection, other)
        tenant = connection.tenants.setdefault(conversation, Tenant(now))
        tenant.last_used = now
        tenant.turns += 1
        tenant.is_stored = tenant.is_stored and stored
        parent: Lane | None = None
        if anchor is not None and anchor.lane_address.connection == lane_choice.connection:
            held = connection.use_lane(anchor.lane_address.lane)
            if held.newest == anchor.response_id:
                held.used = self._tick
                held.eviction_cost = EvictionCost.STATE
                parent = held
        lane = connection.use_lane(lane_choice.lane)
        lane.conversation = conversation
        lane.newest = None  # assumed: the service drops it when the lane's next request starts
        lane.eviction_cost = EvictionCost.NOTHING
        lane.used = self._tick
        if parent is not None and parent is not lane:
            parent.forks.add(attempt)
        connection.running[attempt] = lane.name
        self._addresses[attempt] = (connection.number, parent)

    def mark_in_progress(self, attempt: int) -> None:
        """Mark an attempt as being processed, which frees the lane of the response it continues."""
        number, parent = self._addresses.get(attempt, (0, None))
        if parent is not None:
            self.has_changed = True
            parent.forks.discard(attempt)
            self._addresses[attempt] = (number, None)

    def abandon(self, attempt: int) -> None:
        """Mark an attempt as draining: no turn waits for it.

        It no longer reserves the lane of the response that it continues. If that response is
        evicted now, only the drained attempt can fail.
        """
        self.mark_in_progress(attempt)
        connection = self._connections.get(self._addresses.get(attempt, (0, None))[0])
        if connection is not None:
            self.has_changed = True
            connection.abandoned.add(attempt)

    def end(self, attempt: int, response_id: str | None, now: float) -> LaneAddress | None:
        """Record that an attempt has ended on the service.

        Args:
            attempt: The number of the attempt.
            response_id: The response that the lane remembers now; None if it remembers none.
            now: When.

        Returns:
            The lane that remembers the response, None if the connection is gone.
        """
        self.mark_in_progress(attempt)
        number, _ = self._addresses.pop(attempt, (0, None))
        connection = self._connections.get(number)
        if connection is None:
            return None
        self.has_changed = True
        connection.active_at = now
        was_abandoned = attempt in connection.abandoned
        connection.abandoned.discard(attempt)
        lane = connection.use_lane(connection.running.pop(attempt, None))
        self._tick += 1
        lane.used = self._tick
        if was_abandoned and not connection.lanes_on:
            response_id = None  # so that the connection's only memory is free
        lane.newest = response_id
        lane.eviction_cost = EvictionCost.NOTHING
        if response_id is not None:
            lane.eviction_cost = EvictionCost.ABANDONED if was_abandoned else EvictionCost.STATE
        if lane.conversation not in connection.tenants:
            lane.conversation = None  # its conversation was evicted while it ran
        return LaneAddress(number, lane.name)

    def evict(self, anchor: ResponseAnchor) -> None:
        """Record that the service no longer knows an anchor."""
        connection = self._connections.get(anchor.lane_address.connection)
        if connection is not None:
            lane = connection.find_lane(anchor.lane_address.lane)
            if lane.newest == anchor.response_id:
                lane.newest, lane.eviction_cost = None, EvictionCost.NOTHING

    def release(self, conversation: int) -> None:
        """Free the lanes of a conversation that is over."""
        for connection in self._connections.values():
            if conversation in connection.tenants:
                self.has_changed = True
                self._evict(connection, conversation)

    def _evict(self, connection: PooledConnection, conversation: int) -> None:
        """Free a conversation's lanes. They remember their responses until they are reused."""
        connection.tenants.pop(conversation, None)
        for lane in connection.lanes.values():
            if lane.conversation == conversation and not connection.busy(lane):
                lane.conversation = None
                lane.eviction_cost = min(lane.eviction_cost, EvictionCost.ABANDONED)


def _cost_of(evictable: tuple[tuple[bool, float], PooledConnection, int]) -> tuple[bool, float]:
    return evictable[0]


def _running_on(connection: PooledConnection) -> int:
    return len(connection.running)
