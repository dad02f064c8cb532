"""State of an engine, shared by its parts."""

import logging
from bisect import bisect_right
from collections import deque
from hashlib import blake2b

from rtllm.codec.carried_fields import CarriedFields
from rtllm.context.prompt_cache import SentPrompt
from rtllm.engine.actions import Action
from rtllm.engine.attempt import Attempt
from rtllm.engine.connections import Connections, TimerKey
from rtllm.engine.options import EngineOptions, HostKnowledge
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.request_planner import RequestPlanner
from rtllm.engine.timers import Timers
from rtllm.engine.tracing import Tracer
from rtllm.engine.turn import ActiveTurn, Rebuild
from rtllm.retry.backoff import SharedWait
from rtllm.retry.http_fallback import HttpFallback, HttpTrust

logger = logging.getLogger(__name__)


class EngineState:
    """Everything that an engine remembers.

    Attributes:
        options: The engine's settings.
        knowledge: What was learned about the host.
        planner: The conversations, and what of them can be continued.
        pool: The use of each connection.
        timers: All deadlines.
        connections: The connections and HTTP exchanges.
        turns: The turns that are not over, by number.
        attempts: The attempts that are not recorded yet, by number.
        due: Turns to send at the end of the current fact.
        rebuilds: Connections to go on rebuilding at the end of the current fact.
        queued: Turns that wait for a free connection, the oldest first.
        actions: The actions that the current fact has produced so far.
        trace: Emits the trace events.
        fallback: Whether requests use the WebSocket or HTTP.
        http_trust: Whether failures over HTTP count against it.
        max_frame: The largest frame that the host accepts, in bytes.
        latest: The latest request of each conversation, for rebuilding connections.
        latest_prompt: What the latest request sent, if reports about the prompt cache are wanted.
        carried: The fields that hosts want back with calls, by conversation.
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
        self.trace = Tracer(
            self.actions.append, options.marks, options.pricing, is_on=options.tracing
        )
        self.connections = Connections(
            self.actions.append, self.timers, self.pool, options.warm_connections, self.trace
        )
        self.turns: dict[int, ActiveTurn] = {}
        self.attempts: dict[int, Attempt] = {}
        self.due: deque[ActiveTurn] = deque()
        self.rebuilds: deque[Rebuild] = deque()
        self.queued: list[ActiveTurn] = []
        self._tried = 0
        self.fallback = HttpFallback()
        self.http_trust = HttpTrust()
        self.rate_limits = SharedWait()
        self.max_frame = profile.max_frame
        self.latest: dict[int, PreparedRequest] = {}
        self.latest_prompt: SentPrompt | None = None
        self.carried = CarriedFields()
        self._turn_number = 0
        self._draws = 0
        self._has_warned_full = False

    def can_fall_back(self, now: float) -> bool:
        """Whether a request that can't use the WebSocket may use HTTP."""
        options = self.options
        wanted = options.websocket and options.http_fallback
        return wanted and self.fallback.may_use_http(now)

    def next_queued(self) -> ActiveTurn | None:
        """Return the next turn that waits for a free connection, if one may be free.

        Each change of the pool lets all of them be tried once, the oldest first: a turn that can't
        use what is free keeps no later one from it.
        """
        if self.pool.has_changed:
            self.pool.has_changed = False
            self._tried = 0
        if not self.pool.may_have_room:
            return None
        while (at := bisect_right(self.queued, self._tried, key=_number_of)) < len(self.queued):
            turn = self.queued.pop(at)
            if turn.state == "connecting" and turn.waits_for is None:
                self._tried = turn.number
                return turn
        return None

    def next_turn(self) -> int:
        """Return the number for a new turn."""
        self._turn_number += 1
        return self._turn_number

    def draw(self) -> float:
        """Draw a pseudo-random number from 0 to 1, determined by the seed."""
        self._draws += 1
        digest = blake2b(f"{self.options.seed}:{self._draws}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) / 2**32

    def stop_using_lanes(self) -> None:
        """Stop using lanes."""
        self.pool.stop_using_lanes()
        self.knowledge.stop_using_lanes()

    def stop_chaining(self, reason: str) -> None:
        """Continue no responses any more.

        Args:
            reason: How the host shows that it forgets them, for a warning.
        """
        self.planner.stop_chaining()
        self.knowledge.stop_chaining(reason)

    def queue(self, turn: ActiveTurn) -> None:
        """Queue a turn until a connection is free, within its time limit."""
        if not self._has_warned_full:
            self._has_warned_full = True
            logger.warning(
                "all %d connections are busy, so requests wait for a free one; raise "
                "max_connections if the host allows more",
                self.options.max_connections,
            )
        at = bisect_right(self.queued, turn.number, key=_number_of)
        if self.queued[at - 1 : at] != [turn]:
            self.queued.insert(at, turn)


def _number_of(turn: ActiveTurn) -> int:
    return turn.number
