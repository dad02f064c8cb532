"""What an engine holds, shared by its parts."""

import logging
from bisect import insort
from collections import deque
from hashlib import blake2b

from rtllm.codec.carried_fields import CarriedFields
from rtllm.engine.actions import Action
from rtllm.engine.attempt import Attempt
from rtllm.engine.connections import Connections, TimerKey
from rtllm.engine.options import EngineOptions, HostKnowledge
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.request_planner import RequestPlanner
from rtllm.engine.timers import Timers
from rtllm.engine.turn import ActiveTurn, Rebuild
from rtllm.retry.http_failover import HttpFailover, HttpTrust

logger = logging.getLogger(__name__)


class EngineState:
    """Everything that an engine remembers.

    Attributes:
        options: What the engine is made with.
        knowledge: What the host has shown.
        planner: Conversations, and what of them can be continued.
        pool: What each connection is for.
        timers: All deadlines.
        connections: The connections and HTTP exchanges.
        turns: The turns that are not over, by number.
        attempts: The attempts that are not booked, by number.
        due: Turns to be placed when the present fact has settled.
        rebuilds: Connections whose preparation goes on then.
        queued: Turns that wait for room on a connection, the oldest first.
        actions: What the present fact has decided so far.
        fallback: Whether requests take the WebSocket or HTTP.
        http_trust: Whether failures over HTTP count against it.
        max_frame: The largest frame that the host takes, in bytes.
        latest: The latest request of each conversation, where connections are rebuilt.
        carried: What hosts want back with calls, by conversation.
    """

    def __init__(self, options: EngineOptions, knowledge: HostKnowledge | None) -> None:
        profile = options.profile
        self.options = options
        self.knowledge = knowledge or HostKnowledge(profile.name, lanes=profile.lanes)
        self.planner = RequestPlanner(
            lanes=self.knowledge.lanes,
            memory=profile.memory if options.chaining is not False else "none",
            lifetime=profile.lifetime,
            one_model=profile.one_model,
            rebuilds=options.rebuild,
            marks=options.marks,
            max_connections=options.max_connections,
        )
        self.pool = self.planner.pool
        self.timers: Timers[TimerKey] = Timers()
        self.actions: list[Action] = []
        self.connections = Connections(
            self.actions.append, self.timers, self.pool, options.warm_connections
        )
        self.turns: dict[int, ActiveTurn] = {}
        self.attempts: dict[int, Attempt] = {}
        self.due: deque[ActiveTurn] = deque()
        self.rebuilds: deque[Rebuild] = deque()
        self.queued: list[ActiveTurn] = []
        self.fallback = HttpFailover()
        self.http_trust = HttpTrust()
        self.max_frame = profile.max_frame
        self.latest: dict[int, PreparedRequest] = {}
        self.carried = CarriedFields()
        self._turn_number = 0
        self._draws = 0
        self._has_told_full = False

    def can_fall_back(self, now: float) -> bool:
        """Whether a request that the WebSocket can't carry may take HTTP."""
        options = self.options
        wanted = options.websocket and options.http_fallback
        return wanted and self.fallback.may_take_http(now)

    def place_queued(self) -> None:
        """Place the turn again that waited longest for room on a connection."""
        while self.queued:
            turn = self.queued.pop(0)
            if turn.state == "connecting" and turn.waits_for is None:
                turn.become("due")
                self.due.append(turn)
                return

    def next_turn(self) -> int:
        """Number a new turn."""
        self._turn_number += 1
        return self._turn_number

    def draw(self) -> float:
        """Draw a number from 0 to 1; the seed decides it."""
        self._draws += 1
        digest = blake2b(f"{self.options.seed}:{self._draws}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) / 2**32

    def without_lanes(self) -> None:
        """Use no lanes from now on."""
        self.pool.without_lanes()
        self.knowledge.without_lanes()

    def queue(self, turn: ActiveTurn) -> None:
        """Let a turn wait until a connection has room, within its limit."""
        if not self._has_told_full:
            self._has_told_full = True
            logger.warning(
                "all %d connections are busy, so requests wait; raise max_connections if the "
                "host allows more",
                self.options.max_connections,
            )
        insort(self.queued, turn, key=_number_of)


def _number_of(turn: ActiveTurn) -> int:
    return turn.number
