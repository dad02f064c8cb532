"""Sending of turns: which protocol, which connection, and which part of the context."""

import logging
from collections import deque
from collections.abc import Callable, Collection
from typing import Literal

from rtllm.codec.carried_fields import unpack
from rtllm.codec.chat_encoder import Carried, size_of
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.codec.responses_encoder import http_body
from rtllm.codec.sse import SseChatDecoder, SseResponsesDecoder
from rtllm.codec.thoughts import thoughts_of
from rtllm.content.items import ToolCall
from rtllm.content.request import Network
from rtllm.content.retries import RetryPolicy
from rtllm.content.timeouts import Timeouts
from rtllm.context.conversations import Membership
from rtllm.context.outline import Plan
from rtllm.engine.actions import Send, StartHttp
from rtllm.engine.attempt import Decoder
from rtllm.engine.attempts import Attempts
from rtllm.engine.cancellation import DRAIN_LIMIT
from rtllm.engine.connection import Opening
from rtllm.engine.connections import LARGE_FRAME
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.progress import TurnProgress
from rtllm.engine.request_planner import Placement
from rtllm.engine.state import EngineState
from rtllm.engine.turn import ActiveTurn, Rebuild
from rtllm.engine.turns import Turns
from rtllm.retry.faults import DRAIN_TIMED_OUT, WARM_UP_NEEDS_SOCKET, too_large, unsendable
from rtllm.retry.http_fallback import ProtocolChoice
from rtllm.scheduling.lanes import OVER_HTTP, LaneChoice

logger = logging.getLogger(__name__)

REPLACED_LIMIT = 180.0
"""Seconds that responses may take to end on a connection that was replaced."""
LATEST_REQUESTS = 512
"""How many conversations' latest requests are kept for rebuilding connections."""


class Sender:
    """Sends the requests of an engine's turns.

    Args:
        state: The engine's shared state.
        attempts: Begins attempts.
        turns: Recovers turns that can't be sent.
    """

    def __init__(self, state: EngineState, attempts: Attempts, turns: Turns) -> None:
        self._state = state
        self._attempts = attempts
        self._turns = turns
        self._served: ActiveTurn | None = None

    def send_or_wait(self, turn: ActiveTurn, now: float) -> None:
        """Send a turn or let it wait; an error ends this turn and no other."""
        until = self._state.rate_limits.until(turn.model, now)
        if (
            until is not None
            and not turn.constraints.has_waited
            and turn.progress.may_wait(until, now)
        ):
            turn.constraints.has_waited = True
            self._state.trace.waiting(turn, "rate limit", now, until)
            self._turns.pause(turn, until)
            return
        try:
            if self._choose_protocol(turn, now) == "http":
                self._start_http(turn, now)
            else:
                self._start_websocket(turn, now)
        except Exception as error:
            logger.exception("turn %d could not be sent", turn.number)
            if turn.number in self._state.turns:
                self._turns.recover(turn, unsendable(error), now)

    def serve_queued(self, turn: ActiveTurn, now: float) -> None:
        """Try a turn that waits for a free connection.

        A turn that can't use what is free is queued again.
        """
        turn.become("due")
        self._served = turn
        self.send_or_wait(turn, now)
        self._served = None

    def _choose_protocol(self, turn: ActiveTurn, now: float) -> Literal["websocket", "http"]:
        """Choose the protocol of a turn's request, and open a trial WebSocket if one is due."""
        options, request = self._state.options, turn.prepared.request
        if options.api == "chat" or not options.websocket or turn.constraints.over_http:
            return "http"
        if (
            not (self._state.fallback.avoids_websocket and self._state.can_fall_back(now))
            or request.warm_up
        ):
            return "websocket"
        _, lane_choice = self._choose(turn, now)
        protocol = self._state.fallback.choose_protocol(
            now, has_open=lane_choice is not None and lane_choice.is_open
        )
        if protocol is ProtocolChoice.HTTP_WITH_TRIAL:
            self._state.fallback.begin_trial()
            self._state.connections.open(_opening_of(turn), now, is_trial=True)
        return "websocket" if protocol is ProtocolChoice.SOCKET else "http"

    def _start_websocket(self, turn: ActiveTurn, now: float) -> None:
        """Send a turn's request over a WebSocket, or wait for one."""
        plan, lane_choice = self._choose(turn, now)
        lane = lane_choice.lane if lane_choice is not None else None
        data = self._encode(turn.prepared, plan, lane)
        is_large = len(data) > LARGE_FRAME and self._may_move(plan)
        if is_large and lane_choice is not None:
            shared = lane_choice
            plan, lane_choice = self._choose_alone(turn, plan, shared, now)
            if lane_choice not in (None, shared):
                data = self._encode(turn.prepared, plan, lane_choice.lane)
        if lane_choice is None or not lane_choice.is_open:
            self._wait(turn, lane_choice, now, alone=is_large)
            return
        if len(data) > self._state.max_frame:
            self._turns.recover(turn, too_large(len(data), self._state.max_frame), now)
            return
        self._send(turn, plan, lane_choice, data, now)

    def _choose(
        self, turn: ActiveTurn, now: float, avoid: Collection[int] = ()
    ) -> tuple[Plan, LaneChoice | None]:
        """Choose what to send over a WebSocket and where; changes nothing."""
        constraints = turn.constraints
        return self._state.planner.choose(
            turn.member,
            turn.model,
            now,
            full_context=constraints.full_context,
            omit_hidden=constraints.omit_hidden,
            avoid=constraints.avoid.union(self._state.connections.list_unsuitable(), avoid),
        )

    def _may_move(self, plan: Plan) -> bool:
        """Whether a large frame may be written on another connection.

        A response that only its own connection remembers is continued there. Without lanes, a
        connection is never shared.
        """
        return self._state.pool.lanes_on and (plan.anchor is None or plan.anchor.stored)

    def _choose_alone(
        self, turn: ActiveTurn, plan: Plan, lane_choice: LaneChoice, now: float
    ) -> tuple[Plan, LaneChoice | None]:
        """Choose a connection that no other conversation uses, if there may be one.

        Frames are written one after the other. On a slow link, requests of other conversations
        would wait until a large one is written; and a host that rejects its size closes the
        connection.
        """
        pool = self._state.pool
        others = pool.list_used_by_others(turn.member.conversation.number)
        if lane_choice.connection in others:
            own_plan, own_choice = self._choose(turn, now, avoid=others)
            if own_choice is not None or not pool.is_full:
                return own_plan, own_choice
        return plan, lane_choice

    def _wait(
        self, turn: ActiveTurn, lane_choice: LaneChoice | None, now: float, *, alone: bool = False
    ) -> None:
        """Wait for a connection: the chosen one that is being opened, a new one, or a free one.

        Args:
            turn: The turn.
            lane_choice: The choice; None for a new connection.
            now: Seconds on the clock of the facts.
            alone: Whether no other conversation may wait for the same connection.
        """
        turn.become("connecting")
        if lane_choice is None and self._state.pool.is_full:
            self._close_unusable(turn, now)
        if lane_choice is None and self._state.pool.is_full:
            self._turns.set_deadline(turn)
            if turn is not self._served:
                self._state.trace.waiting(turn, "free connection", now)
            self._state.queue(turn)
            return
        number = lane_choice.connection if lane_choice is not None else None
        if number is None:
            number = self._state.connections.open(_opening_of(turn), now)
        turn.waits_for = number
        self._restart_limit(turn, now)
        self._state.trace.waiting(turn, "connection", now)
        self._state.pool.wait_for(number, +1)
        if alone:
            self._state.pool.reserve(number, turn.member.conversation.number)

    def _restart_limit(self, turn: ActiveTurn, now: float) -> None:
        """Give what a turn now waits for the whole limit for connecting.

        What it waited for before, a free connection or another one, shows nothing about this one.
        """
        turn.progress.record_connecting(now)
        self._turns.set_deadline(turn)

    def _close_unusable(self, turn: ActiveTurn, now: float) -> None:
        """Close a connection that a turn can't use, so that it can open another one.

        It is an idle one, or one on which only cancelled responses run that have been silent for
        half of the turn's limit: they may never end.
        """
        pool, connections = self._state.pool, self._state.connections
        number = pool.find_unusable(turn.model, turn.constraints.avoid)
        silent_since = now - turn.progress.limits.base / 2
        if number is None:
            number = connections.find_silent(pool.list_drains(), silent_since)
        connection = connections.find(number) if number is not None else None
        if connection is None:
            return
        # What ends is reported before what is sent, also if other turns were sent already.
        actions = self._state.actions
        launches = (at for at, action in enumerate(actions) if isinstance(action, Send | StartHttp))
        at = next(launches, len(actions))
        launched = actions[at:]
        del actions[at:]
        for attempt in connections.remove(connection, now):
            self._turns.fail(attempt, DRAIN_TIMED_OUT, now)
        actions.extend(launched)

    def _send(
        self, turn: ActiveTurn, plan: Plan, lane_choice: LaneChoice, data: bytes, now: float
    ) -> None:
        """Send a turn's encoded request as chosen."""
        prepared = turn.prepared
        member = turn.member
        placement = Placement(
            member.conversation,
            member.context,
            turn.model,
            prepared.is_stored,
            plan,
            lane_choice,
            generates=not prepared.request.warm_up,
        )
        self._remember_latest(turn)
        self._send_attempt(turn, placement, data, now)
        self._state.connections.keep_warm(_opening_of(turn), now)

    def _send_attempt(
        self, turn: ActiveTurn, placement: Placement, data: bytes, now: float
    ) -> None:
        connection = self._state.connections.find(placement.lane_choice.connection)
        if connection is None:
            raise RuntimeError(f"connection {placement.lane_choice.connection} is not open")
        decoder = ResponsesDecoder(**self._decoder_options(placement.model))
        attempt = self._attempts.begin(turn, connection, placement, len(data), decoder, now)
        attempt.begun = True
        turn.bytes_sent += len(data)
        turn.progress.record_sent(now)
        connection.unsent[attempt.number] = len(data)
        self._state.actions.append(Send(connection.number, attempt.number, data))
        for number in self._state.pool.surplus():
            self._state.connections.retire(number, now, DRAIN_LIMIT)
        self._turns.set_deadline(turn)

    def _remember_latest(self, turn: ActiveTurn) -> None:
        """Keep a conversation's latest request, to send its prefix again to a new connection."""
        if not self._state.options.rebuild or turn.prepared.request.warm_up:
            return
        number = turn.member.conversation.number
        self._state.latest.pop(number, None)
        self._state.latest[number] = turn.prepared
        if len(self._state.latest) > LATEST_REQUESTS:
            del self._state.latest[next(iter(self._state.latest))]

    def _start_http(self, turn: ActiveTurn, now: float) -> None:
        """Send a turn's request over HTTP."""
        prepared, member, constraints = turn.prepared, turn.member, turn.constraints
        request, rejected = prepared.request, self._state.knowledge.rejected
        if request.warm_up:
            self._turns.recover(turn, WARM_UP_NEEDS_SOCKET, now)
            return
        decoder: Decoder
        dialect = self._state.knowledge.dialects.of(turn.model)
        network = request.network
        if self._state.options.api == "chat":
            # An aiohttp connector is for WebSockets; the openai client sends these requests.
            network = Network(proxy=network.proxy)
            items = prepared.context.items
            plan = Plan(None, items, lead_in_field=False, full_context_reason="no chaining here")
            body = prepared.encode_chat(rejected, dialect, self._carried_with(member))
            decoder = SseChatDecoder(thoughts_of(dialect))
            decoder.host = self._state.knowledge.name
            size, headers, query = size_of(body), {}, {}
        else:
            plan = self._state.planner.plan_over_http(
                member,
                turn.model,
                full_context=constraints.full_context,
                omit_hidden=constraints.omit_hidden,
            )
            data = self._encode(prepared, plan, None)
            decoder = SseResponsesDecoder(**self._decoder_options(turn.model))
            body, size = http_body(data), len(data)
            headers, query = dict(request.headers), dict(request.query)
        placement = Placement(
            member.conversation,
            prepared.context,
            turn.model,
            prepared.is_stored,
            plan,
            OVER_HTTP,
        )
        connection = self._state.connections.open_exchange(_opening_of(turn))
        attempt = self._attempts.begin(turn, connection, placement, size, decoder, now)
        turn.progress.record_http()
        self._restart_limit(turn, now)
        limits = request.limits
        self._state.actions.append(
            StartHttp(
                connection.number,
                attempt.number,
                body,
                network,
                headers,
                query,
                limits.connect,
                limits.total,
            )
        )

    def _encode(
        self, prepared: PreparedRequest, plan: Plan, lane: str | None, *, generate: bool = True
    ) -> bytes:
        """Encode a request in the dialect of its model, as far as that is known."""
        knowledge, model = self._state.knowledge, prepared.request.model
        return prepared.encode(
            plan, lane, knowledge.rejected, generate=generate, dialect=knowledge.dialects.of(model)
        )

    def _decoder_options(self, model: str) -> dict[str, bool]:
        """Return the decoder options for a model's responses."""
        thoughts = self._state.knowledge.dialects.of(model).thoughts
        return {"drops_thoughts": thoughts != "spoken", "prefilled": thoughts == "prefilled"}

    def _carried_with(self, member: Membership) -> Callable[[ToolCall], Carried]:
        """Return the function that looks up the fields to send back with a conversation's calls."""
        number, host = member.conversation.number, self._state.knowledge.name
        return lambda call: unpack(self._state.carried.of(number, call), host)

    def replace(self, old: int, new: int, now: float) -> None:
        """Replace an old connection by a new one."""
        logger.debug("connection %d replaces connection %d", new, old)
        self._state.trace.rotated(old, new, now)
        queue = (
            deque(self._state.planner.list_rebuildable(old, now))
            if self._state.options.rebuild
            else deque()
        )
        self.continue_rebuild(Rebuild(old, new, queue), now)

    def continue_rebuild(self, rebuild: Rebuild, now: float) -> None:
        """Send the next known prefix to the new connection; after the last, retire the old one."""
        while rebuild.queue:
            conversation = rebuild.queue.popleft()
            prepared = self._state.latest.get(conversation.number)
            placement = self._state.planner.place_rebuild(conversation, rebuild.new, now)
            if prepared is None or placement is None:
                continue
            data = self._encode(
                prepared, placement.plan, placement.lane_choice.lane, generate=False
            )
            if len(data) > self._state.max_frame:
                continue
            progress = TurnProgress(Timeouts(), RetryPolicy(budget=0), now)
            turn = ActiveTurn(
                self._state.next_turn(),
                prepared,
                Membership(conversation, placement.context),
                progress,
                now,
                rebuild.new,
                rebuild=rebuild,
            )
            self._state.turns[turn.number] = turn
            self._state.trace.queued(turn, self._state.options, now)
            progress.record_connecting(now)
            self._send_attempt(turn, placement, data, now)
            return
        self._state.planner.replace_connection(rebuild.old, rebuild.new)
        self._state.connections.retire(rebuild.old, now, REPLACED_LIMIT)


def _opening_of(turn: ActiveTurn) -> Opening:
    request = turn.prepared.request
    return Opening(request.model, request.network, request.limits.connect)
