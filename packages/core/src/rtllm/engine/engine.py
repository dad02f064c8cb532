"""The engine: facts in, actions out.

It holds one client's conversations, connections, turns and attempts on one event loop, and
decides all that is to be decided. Facts tell what happened: a request, a frame, a lost
connection, the time. Each returns the actions that a runtime carries out, in order. A fact
about something unknown, such as a connection that is closed already, does nothing.
"""

import logging
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

from rtllm.carried import CarriedFields, unpack
from rtllm.chain import Plan
from rtllm.conversations import Membership
from rtllm.dispatch import Dispatch, Placement
from rtllm.engine.actions import (
    Action,
    Booked,
    Close,
    Deliver,
    Finish,
    Send,
    StartHttp,
    WakeAt,
)
from rtllm.engine.attempt import Attempt, Decoder, ExchangeDecoder, is_forgotten
from rtllm.engine.connection import Connection, Opening, Routed
from rtllm.engine.connections import Connections, TimerKey
from rtllm.engine.options import EngineOptions, HostKnowledge
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.reports import report_of
from rtllm.engine.second_wording import guessed_points, reconsider
from rtllm.engine.snapshot import ConnectionSnapshot, EngineSnapshot, TurnSnapshot
from rtllm.engine.timers import Timers
from rtllm.engine.turn import ActiveTurn, Rebuild
from rtllm.errors import TurnError
from rtllm.events import Called, Delta, Ended, Event
from rtllm.fallback import COOLDOWN, Fallback, HttpTrust, Way
from rtllm.faults import (
    ANSWER_GIVEN_UP,
    CANCELLED,
    CLIENT_CLOSED,
    EMPTY_RESPONSE,
    NO_SIGN_OF_LIFE,
    PARENT_IGNORED,
    STREAM_BROKEN_OFF,
    WARM_UP_NEEDS_SOCKET,
    Fault,
    not_taken,
    silent,
    too_large,
    unreadable,
    unsendable,
)
from rtllm.items import Item, ToolCall
from rtllm.lanes import OVER_HTTP, Seat
from rtllm.recovery import Conditions, Resend, lesson_of, qualify
from rtllm.recovery import Finish as Complete
from rtllm.report import Outcome
from rtllm.request import Network
from rtllm.turn import Limits, Retry
from rtllm.turn import Turn as Progress
from rtllm.usage import Account
from rtllm.wire.chat import Carried, size_of
from rtllm.wire.frames import read
from rtllm.wire.response_events import Assembler
from rtllm.wire.responses import http_body
from rtllm.wire.sse import SseAssembler, SseChatAssembler
from rtllm.wire.thoughts import thoughts_of

logger = logging.getLogger(__name__)

DRAIN_LIMIT = 60.0
"""Seconds that a cancelled answer may take to end before its connection is given up."""
REPLACED_LIMIT = 180.0
"""Seconds that answers may take to end on a connection that has a replacement."""
END_SILENCE = 0.5
"""Seconds of silence that end a chat completion after its ``finish_reason``."""
LOOK_AGAIN = 60.0
"""Seconds until conversations are looked at again that were running when last looked at."""
PREPARED_REQUESTS = 512
"""How many conversations' latest requests are kept, where connections are rebuilt."""


class Engine:
    """One client's mind on one event loop, without I/O.

    Facts take ``now`` last, in seconds on any clock that only goes forward.

    Args:
        options: What it is made with.
        knowledge: What the host has shown; None for an engine that shares it with no other.
    """

    def __init__(self, options: EngineOptions, knowledge: HostKnowledge | None = None) -> None:
        profile = options.profile
        self._options = options
        self._knowledge = knowledge or HostKnowledge(profile.name, lanes=profile.lanes)
        self._dispatch = Dispatch(
            lanes=self._knowledge.lanes,
            memory=profile.memory if options.chaining is not False else "none",
            lifetime=profile.lifetime,
            one_model=profile.one_model,
            rebuilds=options.rebuild,
            marks=options.marks,
            max_connections=options.max_connections,
        )
        self._fleet = self._dispatch.fleet
        self._max_frame = profile.max_frame
        self._actions: list[Action] = []
        self._timers: Timers[TimerKey] = Timers()
        self._wakes_at: float | None = None
        self._connections = Connections(
            self._actions.append, self._timers, self._fleet, options.warm_connections
        )
        self._turns: dict[int, ActiveTurn] = {}
        self._due: deque[ActiveTurn] = deque()
        self._queued: list[ActiveTurn] = []
        self._has_told_full = False
        self._attempts: dict[int, Attempt] = {}
        self._turn_number = 0
        self._fallback = Fallback()
        self._http_trust = HttpTrust()
        self._no_http_until = 0.0
        self._latest: dict[int, PreparedRequest] = {}
        self._draws = 0
        self._carried = CarriedFields()

    def __repr__(self) -> str:
        turns = list(self._turns.values())
        return f"<Engine: {turns}, {self._connections}, {list(self._attempts.values())}>"

    @property
    def connections(self) -> tuple[ConnectionSnapshot, ...]:
        """The connections and HTTP exchanges that are not closed, the oldest first."""
        return tuple(connection.snapshot() for connection in self._connections)

    def snapshot(self) -> EngineSnapshot:
        """Tell what the engine holds just now; changes nothing."""
        return EngineSnapshot(
            turns={
                number: TurnSnapshot(
                    turn.state,
                    turn.waits_for,
                    turn.attempt.number if turn.attempt is not None else None,
                    turn.rebuild is not None,
                )
                for number, turn in self._turns.items()
            },
            attempts=tuple(self._attempts),
            connections={connection.number: connection for connection in self.connections},
            waiting=self._fleet.waiting(),
            running=self._fleet.running(),
            guests=self._fleet.guests(),
            placed=self._dispatch.placed,
            wanted=self._dispatch.wanted,
            draining=sum(
                attempt.abandoned is not None or attempt.placement.conversation.number < 0
                for attempt in self._attempts.values()
            ),
            timers=tuple(self._timers),
            timer_entries=self._timers.entries,
            wakes_at=self._wakes_at,
            due=len(self._due),
            actions=len(self._actions),
            prepared=len(self._latest),
        )

    # -- facts from the consumer ---------------------------------------------------------------

    def ask(self, prepared: PreparedRequest, now: float) -> tuple[int, list[Action]]:
        """Begin a turn.

        Returns:
            Its number, and what to do.
        """
        request = prepared.request
        if request.warm_up:
            member = self._dispatch.warming(prepared.context)
        else:
            member = self._dispatch.join(prepared.context, now, request.conversation)
            self._release_idle(now)
        can_fall_back = self._can_fall_back(now) and not request.warm_up
        turn = ActiveTurn(
            self._next_turn(),
            prepared,
            member,
            Progress(request.limits, request.retry, now, can_fall_back=can_fall_back),
            now,
            self._connections.newest,
        )
        self._turns[turn.number] = turn
        self._make_due(turn, now)
        return turn.number, self._settle(now)

    def cancel(self, turn: int, now: float) -> list[Action]:
        """End a turn whose consumer wants no more: its answer runs out unheard."""
        if (active := self._turns.get(turn)) is not None:
            self._finish(active, "cut", None, now)
        return self._settle(now)

    def warm(self, opening: Opening, now: float) -> list[Action]:
        """Begin to open a connection if none is warm."""
        if self._options.websocket and self._options.api == "responses":
            self._connections.keep_warm(opening, now, at_least=1)
        return self._settle(now)

    def close(self, now: float) -> list[Action]:
        """End all turns with an error, close all connections and forget all conversations.

        What is known of the host stays, and the engine can be used again.
        """
        self._due.clear()
        self._queued.clear()
        for turn in list(self._turns.values()):
            if turn.attempt is not None and not turn.attempt.finished:
                self._fail(turn.attempt, CLIENT_CLOSED, now)
            else:
                self._recover(turn, CLIENT_CLOSED, now)
        for connection in self._connections:
            for attempt in self._connections.remove(connection):
                self._fail(attempt, CLIENT_CLOSED, now)
        self._dispatch.forget_conversations()
        self._latest.clear()
        self._carried.clear()
        self._timers.clear(("release", 0))
        self._timers.clear(("upkeep", 0))
        actions = self._settle(now)
        self._wakes_at = None  # who asks next may have another timer
        return actions

    def tick(self, now: float) -> list[Action]:
        """Do what is due by now."""
        self._wakes_at = None
        for kind, number in self._timers.pop_due(now):
            match kind:
                case "turn":
                    self._turn_due(number, now)
                case "connect":
                    self._connect_timed_out(number, now)
                case "ping":
                    self._watch(number, now)
                case "drain":
                    self._give_up_drain(number, now)
                case "silence":
                    self._end_after_silence(number, now)
                case "leave":
                    self._close_connection(number, ANSWER_GIVEN_UP, now)
                case "upkeep":
                    self._look_after_connections(now)
                case _:
                    self._release_idle(now)
        return self._settle(now)

    # -- facts from the network ----------------------------------------------------------------

    def connected(self, number: int, now: float) -> list[Action]:
        """Note that a connection is open, or that an HTTP exchange is answered with a stream."""
        connection = self._connections.find(number)
        if connection is None or connection.state != "connecting":
            return self._settle(now)
        self._connections.opened(connection, now)
        if number < 0:
            for attempt in connection.attempts():
                if isinstance(attempt.decoder, ExchangeDecoder):
                    attempt.decoder.accepted()
            return self._settle(now)
        if connection.is_trial:
            self._fallback.opened()
        self._look_after_connections(now)
        for turn in self._waiting_for(number):
            self._stop_waiting(turn)
            turn.become("due")
            self._due.append(turn)
        if connection.replaces is not None:
            self._replace(connection.replaces, number, now)
        return self._settle(now)

    def connect_failed(self, number: int, fault: Fault, now: float) -> list[Action]:
        """Note that a connection could not be opened."""
        if (connection := self._connections.find(number)) is not None:
            if number < 0:
                self._exchange_ended(connection, fault, now)
            else:
                self._connect_failed(connection, fault, now)
        return self._settle(now)

    def lost(self, number: int, fault: Fault | None, now: float) -> list[Action]:
        """Note that a connection or an HTTP exchange is over.

        Args:
            number: Its number.
            fault: Why; None if an HTTP exchange was read to its end.
            now: When.
        """
        if (connection := self._connections.find(number)) is not None:
            if number < 0:
                self._exchange_ended(connection, fault, now)
            else:
                self._connection_lost(connection, fault or NO_SIGN_OF_LIFE, now)
        return self._settle(now)

    def received(self, number: int, data: Any, now: float) -> list[Action]:
        """Note what came: a frame, or a piece of an HTTP answer. Never raises.

        Args:
            number: The connection.
            data: The frame's text; of an HTTP answer, bytes of the body or a decoded event.
            now: When.
        """
        connection = self._connections.find(number)
        if connection is None or connection.state == "connecting":
            return self._settle(now)
        connection.heard(now)
        if number < 0:
            for attempt in connection.attempts():
                self._feed(attempt, data, now)
        elif (frame := read(data)) is not None:
            routed = connection.route(frame)
            if routed.attempt is not None:
                if routed.ignores_lanes:
                    self._without_lanes()
                connection.unsent.pop(routed.attempt.number, None)
                routed.attempt.written = True
                self._feed(routed.attempt, frame, now)
            elif routed.fault is not None:
                self._route_fault(connection, routed, routed.fault, now)
        return self._settle(now)

    def sent(self, attempt: int, now: float) -> list[Action]:
        """Note that a request was written; over HTTP, that it is going out."""
        written = self._attempts.get(attempt)
        if written is not None and not written.written:
            written.written = True
            connection = self._connections.find(written.connection)
            if connection is not None:
                connection.unsent.pop(attempt, None)
            if not written.begun:
                written.begun = True
                turn = self._turns.get(written.turn)
                if turn is not None and turn.attempt is written:
                    turn.bytes_sent += written.size
                    turn.progress.sent(now)
                    self._watch_turn(turn)
        return self._settle(now)

    def heard(self, number: int, now: float) -> list[Action]:
        """Note a sign of life without data: a ping or a pong."""
        if (connection := self._connections.find(number)) is not None:
            connection.heard(now)
        return self._settle(now)

    # -- settling ------------------------------------------------------------------------------

    def _settle(self, now: float) -> list[Action]:
        """Place the turns that are due, and hand out the actions."""
        while self._due:
            turn = self._due.popleft()
            if turn.state == "due":
                self._place(turn, now)
        earliest = self._timers.earliest()
        if earliest is not None and (self._wakes_at is None or earliest < self._wakes_at):
            self._wakes_at = earliest
            self._actions.append(WakeAt(earliest))
        if not self._actions:
            return []
        actions = list(self._actions)
        self._actions.clear()
        return actions

    def _place(self, turn: ActiveTurn, now: float) -> None:
        """Place a turn; what can't be sent ends this turn and no other."""
        try:
            if self._takes_http(turn, now):
                self._start_http(turn, now)
            else:
                self._start(turn, now)
        except Exception as error:
            logger.exception("turn %d can't be sent", turn.number)
            if turn.number in self._turns:
                self._recover(turn, unsendable(error), now)

    def _next_turn(self) -> int:
        self._turn_number += 1
        return self._turn_number

    def _draw(self) -> float:
        """A number from 0 to 1 that the seed decides."""
        self._draws += 1
        digest = blake2b(f"{self._options.seed}:{self._draws}".encode(), digest_size=4).digest()
        return int.from_bytes(digest) / 2**32

    # -- placing turns -------------------------------------------------------------------------

    def _make_due(self, turn: ActiveTurn, now: float) -> None:
        """Place a turn as soon as the present fact has settled."""
        turn.progress.connecting(now)
        self._due.append(turn)

    def _can_fall_back(self, now: float) -> bool:
        """Whether a request that the WebSocket can't carry may take HTTP."""
        options = self._options
        return options.websocket and options.http_fallback and now >= self._no_http_until

    def _takes_http(self, turn: ActiveTurn, now: float) -> bool:
        """Whether a turn's request goes over HTTP; it may begin a trial of the WebSocket."""
        options, request = self._options, turn.prepared.request
        if options.api == "chat" or not options.websocket or turn.constraints.over_http:
            return True
        if not (self._fallback.rests and self._can_fall_back(now)) or request.warm_up:
            return False
        _, seat = self._dispatch.place(turn.member, turn.model, now)
        way = self._fallback.way(now, has_open=seat is not None and seat.is_open)
        if way is Way.HTTP_WITH_TRIAL:
            self._fallback.begin_trial()
            self._connections.open(_opening_of(turn), now, is_trial=True)
        return way is not Way.SOCKET

    def _start(self, turn: ActiveTurn, now: float) -> None:
        """Send a turn's request over a WebSocket, or wait for one."""
        constraints = turn.constraints
        plan, seat = self._dispatch.place(
            turn.member,
            turn.model,
            now,
            whole=constraints.full_context,
            bare=constraints.bare,
            avoid=constraints.avoid | self._connections.unfit(),
        )
        if seat is not None and seat.is_open:
            self._send(turn, plan, seat, now)
            return
        turn.become("connecting")
        self._watch_turn(turn)
        if seat is None and self._fleet.is_full:
            self._queue(turn)
            return
        number = seat.connection if seat is not None else None
        if number is None:
            number = self._connections.open(_opening_of(turn), now)
        turn.waits_for = number
        self._fleet.wait_for(number, +1)

    def _queue(self, turn: ActiveTurn) -> None:
        """Let a turn wait until a connection has room, within its limit."""
        if not self._has_told_full:
            self._has_told_full = True
            logger.warning(
                "all %d connections are busy, so requests wait; raise max_connections if the "
                "host allows more",
                self._options.max_connections,
            )
        insort(self._queued, turn, key=_number_of)

    def _place_queued(self) -> None:
        """Place the turn again that waited longest for room on a connection."""
        while self._queued:
            turn = self._queued.pop(0)
            if turn.state == "connecting" and turn.waits_for is None:
                turn.become("due")
                self._due.append(turn)
                return

    def _send(self, turn: ActiveTurn, plan: Plan, seat: Seat, now: float) -> None:
        prepared = turn.prepared
        data = prepared.encode(
            plan,
            seat.lane,
            self._knowledge.rejected,
            generate=turn.rebuild is None,
            dialect=self._knowledge.dialects.of(turn.model),
        )
        if len(data) > self._max_frame:
            self._recover(turn, too_large(len(data), self._max_frame), now)
            return
        member = turn.member
        placement = Placement(
            member.conversation,
            member.context,
            turn.model,
            prepared.is_stored,
            plan,
            seat,
            generates=not prepared.request.warm_up,
        )
        self._remember_latest(turn)
        self._send_attempt(turn, placement, data, now)
        self._connections.keep_warm(_opening_of(turn), now)

    def _send_attempt(
        self, turn: ActiveTurn, placement: Placement, data: bytes, now: float
    ) -> None:
        connection = self._connections.find(placement.seat.connection)
        if connection is None:
            raise RuntimeError(f"connection {placement.seat.connection} is not open")
        decoder = Assembler(**self._reading(placement.model))
        attempt = self._begin(turn, connection, placement, len(data), decoder, now)
        attempt.begun = True
        turn.bytes_sent += len(data)
        turn.progress.sent(now)
        connection.unsent[attempt.number] = len(data)
        self._actions.append(Send(connection.number, attempt.number, data))
        for number in self._fleet.surplus():
            self._leave(number, now, DRAIN_LIMIT)
        self._watch_turn(turn)

    def _begin(
        self,
        turn: ActiveTurn,
        connection: Connection,
        placement: Placement,
        size: int,
        decoder: Decoder,
        now: float,
    ) -> Attempt:
        """Begin an attempt of a turn on a connection."""
        number = self._dispatch.next_attempt()
        chains = self._options.api == "responses"
        attempt = Attempt(
            number,
            turn.number,
            connection.number,
            placement,
            size,
            decoder,
            turn.prepared.request.record if turn.rebuild is None else _record_nothing,
            self._dispatch.mark_of(number) if chains else None,
            on_late_usage=turn.prepared.request.on_late_usage,
        )
        self._dispatch.take(number, placement, now)
        self._attempts[number] = attempt
        connection.add(attempt)
        turn.become("running")
        turn.attempt = turn.last = attempt
        return attempt

    def _remember_latest(self, turn: ActiveTurn) -> None:
        """Keep a conversation's latest request, with which its prefix can be sent again."""
        if not self._options.rebuild or turn.prepared.request.warm_up:
            return
        number = turn.member.conversation.number
        self._latest.pop(number, None)
        self._latest[number] = turn.prepared
        if len(self._latest) > PREPARED_REQUESTS:
            del self._latest[next(iter(self._latest))]

    def _start_http(self, turn: ActiveTurn, now: float) -> None:
        """Send a turn's request over HTTP."""
        prepared, member, constraints = turn.prepared, turn.member, turn.constraints
        request, rejected = prepared.request, self._knowledge.rejected
        if request.warm_up:
            self._recover(turn, WARM_UP_NEEDS_SOCKET, now)
            return
        decoder: Decoder
        dialect = self._knowledge.dialects.of(turn.model)
        network = request.network
        if self._options.api == "chat":
            network = Network()  # its clients bring their own
            items = prepared.context.items
            plan = Plan(None, items, lead_in_field=False, why_whole="no chaining here")
            body = prepared.encode_chat(rejected, dialect, self._carried_beside(member))
            decoder = SseChatAssembler(thoughts_of(dialect))
            decoder.host = self._knowledge.name
            size, headers, query = size_of(body), {}, {}
        else:
            plan = self._dispatch.plan_over_http(
                member, turn.model, whole=constraints.full_context, bare=constraints.bare
            )
            data = prepared.encode(plan, None, rejected, dialect=dialect)
            decoder = SseAssembler(**self._reading(turn.model))
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
        connection = self._connections.open_exchange(_opening_of(turn))
        attempt = self._begin(turn, connection, placement, size, decoder, now)
        turn.progress.over_http()
        self._watch_turn(turn)
        limits = request.limits
        self._actions.append(
            StartHttp(
                connection.number,
                attempt.number,
                body,
                network,
                headers,
                query,
                limits.connect,
                limits.whole,
            )
        )

    def _reading(self, model: str) -> dict[str, bool]:
        """How the answers of a model are read."""
        thoughts = self._knowledge.dialects.of(model).thoughts
        return {"drops_thoughts": thoughts != "spoken", "prefilled": thoughts == "prefilled"}

    def _carried_beside(self, member: Membership) -> Callable[[ToolCall], Carried]:
        """What goes back beside the calls of a conversation."""
        number, host = member.conversation.number, self._knowledge.name
        return lambda call: unpack(self._carried.of(number, call), host)

    # -- what comes of attempts ----------------------------------------------------------------

    def _feed(self, attempt: Attempt, piece: Any, now: float) -> None:
        """Give an attempt a piece of its answer."""
        was_in_progress = attempt.decoder.in_progress
        try:
            events, fault = attempt.decoder.feed(piece)
        except Exception as error:
            logger.exception("attempt %d: a piece of the answer is unreadable", attempt.number)
            if not getattr(piece, "is_terminal", True):
                return  # one frame is lost, and no more
            events, fault = (), unreadable(error)
        self._take(attempt, events, fault, now, was_in_progress=was_in_progress)

    def _take(
        self,
        attempt: Attempt,
        events: Sequence[Event],
        fault: Fault | None,
        now: float,
        *,
        was_in_progress: bool,
    ) -> None:
        """Take what a piece of an answer, or its end, brought."""
        decoder = attempt.decoder
        if decoder.in_progress and not was_in_progress:
            self._fleet.in_progress(attempt.number)
        turn = self._turns.get(attempt.turn) if attempt.abandoned is None else None
        if getattr(decoder, "may_end_after_silence", False):
            self._expect_end(attempt, now)
        if turn is not None and turn.attempt is attempt and self._is_ignored(attempt):
            self._knowledge.without_state()
            self._recover(turn, PARENT_IGNORED, now)
            turn = None
        if turn is not None:
            _note_progress(turn.progress, decoder, events, now)
            self._watch_turn(turn)
        if fault is None and decoder.ended is not None:
            self._end(attempt, now)
        if turn is not None:
            self._deliver(turn, attempt, events, now)
        if fault is not None:
            self._fail(attempt, fault, now)

    def _is_ignored(self, attempt: Attempt) -> bool:
        """Whether the service just said that it does not know what an attempt continues."""
        decoder = attempt.decoder
        if attempt.parent_judged or not decoder.created or attempt.placement.plan.anchor is None:
            return False
        attempt.parent_judged = True
        if self._options.chaining is True or self._options.profile.keeps_parents:
            return False
        return is_forgotten(decoder, asked_to_store=attempt.placement.stored)

    def _deliver(
        self, turn: ActiveTurn, attempt: Attempt, events: Iterable[Event], now: float
    ) -> None:
        """Emit the events of a turn's present attempt."""
        request = turn.prepared.request
        ready: list[Event] = []
        for event in events:
            match event:
                case Ended(outcome="empty") if not request.warm_up and turn.rebuild is None:
                    self._emit(turn, attempt, ready, now)
                    self._recover(turn, EMPTY_RESPONSE, now)
                    return
                case Ended():
                    self._complete(turn, attempt, [*ready, *turn.held, event], event, now)
                    return
                case Called() if request.hold_calls:
                    turn.held.append(event)
                case _:
                    ready.append(event)
        self._emit(turn, attempt, ready, now)

    def _complete(
        self, turn: ActiveTurn, attempt: Attempt, events: list[Event], ended: Ended, now: float
    ) -> None:
        self._emit(turn, attempt, events, now)
        self._finish(turn, ended.outcome, None, now)

    def _emit(
        self, turn: ActiveTurn, attempt: Attempt, events: Sequence[Event], now: float
    ) -> None:
        if not events or turn.rebuild is not None:
            return
        for event in events:
            if isinstance(event, Delta):
                turn.progress.gave_out(text=len(event.text))
            elif isinstance(event, Called):
                turn.progress.gave_out(calls=1)
        if turn.first_output is None and turn.progress.has_given_out:
            turn.first_output = now - turn.began
        self._actions.append(
            Deliver(turn.number, tuple(events), attempt.decoder.response_id, attempt.mark)
        )

    def _fail(
        self, attempt: Attempt, fault: Fault, now: float, *, with_connection: bool = False
    ) -> None:
        """End an attempt of which nothing more comes.

        Args:
            attempt: The attempt.
            fault: Why.
            now: When.
            with_connection: Whether its connection was lost.
        """
        if attempt.finished:
            return
        attempt.fault = fault
        self._end(attempt, now)
        turn = self._turns.get(attempt.turn)
        if turn is not None and turn.attempt is attempt:
            self._recover(turn, fault, now, pauses=with_connection)

    def _end(self, attempt: Attempt, now: float) -> None:
        """Book an attempt that has ended, once, and remember what it came to."""
        attempt.finished = True
        self._attempts.pop(attempt.number, None)
        self._place_queued()
        self._timers.clear(("drain", attempt.number))
        self._timers.clear(("silence", attempt.number))
        connection = self._connections.find(attempt.connection)
        if connection is not None:
            connection.remove(attempt)
        decoder = attempt.decoder
        output = decoder.output()
        response_id, recorded = None, None
        if attempt.is_complete:
            response_id = decoder.response_id
            if self._options.api == "chat":
                response_id = response_id or ""  # nothing continues it; it tells conversations
            recorded = self._recorded(attempt, output)
            self._note_calls(attempt, output)
        self._dispatch.ended(attempt.number, response_id, recorded, now, output)
        if attempt.begun:
            tell = attempt.on_late_usage if attempt.category == "cut" else None
            self._actions.append(
                Booked(attempt.turn, attempt.number, attempt.category, attempt.usage, tell)
            )
        if connection is not None and attempt.connection < 0:
            if decoder.created:
                self._http_trust.answered()
            if attempt.fault is None:
                self._connections.read_out(connection, now)
            else:
                self._connections.remove(connection)
        elif connection is not None:
            if attempt.fault is None:
                self._fallback.answered()
            if connection.state == "leaving" and connection.is_idle:
                self._connections.remove(connection)

    def _note_calls(self, attempt: Attempt, output: tuple[Item, ...]) -> None:
        """Note what of a complete answer its host wants back."""
        self._knowledge.dialects.took(attempt.placement.model)
        for item in output:
            if isinstance(item, ToolCall):
                self._knowledge.issued(item.call_id)
                self._carried.note(attempt.placement.conversation.number, item)

    def _recorded(self, attempt: Attempt, output: tuple[Item, ...]) -> tuple[Item, ...] | None:
        try:
            return attempt.record(output)
        except Exception:
            logger.exception("attempt %d: the record of its output failed", attempt.number)
            return None

    def _abandon(self, attempt: Attempt, category: Account, now: float) -> None:
        """Let an attempt run out without its turn; over HTTP it is cut off."""
        if attempt.finished or attempt.abandoned is not None:
            return
        attempt.abandoned = category
        if attempt.connection < 0:
            attempt.fault = CANCELLED
            self._end(attempt, now)
            return
        self._dispatch.abandon(attempt.number)
        self._timers.set(("drain", attempt.number), now + DRAIN_LIMIT)

    # -- recovery ------------------------------------------------------------------------------

    def _recover(
        self,
        turn: ActiveTurn,
        fault: Fault,
        now: float,
        connection: int | None = None,
        *,
        pauses: bool = False,
    ) -> None:
        """Do what the recovery table says about a fault that a turn met.

        Args:
            turn: The turn.
            fault: What happened.
            now: When.
            connection: The number of the connection that it waited for, if it did.
            pauses: Whether a resend waits for the next tick at least: what broke one connection
                mostly broke others, which is told within the same moment.
        """
        self._stop_waiting(turn)
        attempt = turn.attempt
        if attempt is not None:
            fault = reconsider(
                fault,
                turn.prepared,
                attempt.placement.plan,
                self._options.api,
                self._knowledge,
                is_last=turn.progress.has_one_form_left,
            )
        fault = qualify(fault, self._conditions(turn))
        if turn.rebuild is not None:
            logger.info("connection %d isn't prepared: %s", turn.rebuild.new, fault.message)
            turn.rebuild.queue.clear()
            self._finish(turn, "failed", None, now)
            return
        complete = attempt is not None and attempt.decoder.whole
        action = turn.progress.decide(fault, now, self._draw(), whole=complete)
        logger.debug("turn %d: %s: %s", turn.number, fault.kind.name, action)
        if lesson_of(fault) == "no http":
            self._no_http_until = now + COOLDOWN
            self._fallback.opened()
        if isinstance(action, Resend):
            if connection is not None:
                turn.constraints.avoid.add(connection)
            self._before_resend(turn, fault, action, now)
            if action.wait > 0 or pauses:
                turn.become("pausing")
                self._timers.set(("turn", turn.number), now + action.wait)
            else:
                if turn.state != "due":
                    turn.become("due")
                self._make_due(turn, now)
        elif isinstance(action, Complete):
            self._complete_without_end(turn, fault, action, now)
        else:
            error = turn.progress.error(action.error, fault, whole=complete)
            self._finish(turn, "failed", error, now)

    def _conditions(self, turn: ActiveTurn) -> Conditions:
        request, attempt = turn.prepared.request, turn.attempt
        unresponsive = attempt is not None and self._connections.is_unresponsive(attempt.connection)
        constraints = turn.constraints
        # One connection that never spoke says little about the host if others do speak.
        counts = unresponsive and (
            constraints.met_unresponsive
            or attempt is None
            or not self._connections.others_work(attempt.connection)
        )
        constraints.met_unresponsive = constraints.met_unresponsive or unresponsive
        return Conditions(
            refreshable=self._options.refreshable,
            unresponsive=counts,
            untouched=request.untouched,
            strict=request.strict_parameters,
        )

    def _before_resend(self, turn: ActiveTurn, fault: Fault, resend: Resend, now: float) -> None:
        """Leave the present attempt, and note what the next one must do."""
        attempt, constraints, lesson = turn.attempt, turn.constraints, lesson_of(fault)
        turn.attempt = None
        if attempt is not None:
            self._abandon(attempt, "superseded", now)
            if resend.elsewhere and attempt.connection > 0:
                constraints.avoid.add(attempt.connection)
            if lesson in ("parent lost", "items refused"):
                self._forget_parent(attempt.placement)
        if resend.over_http:
            constraints.over_http = True
            if lesson != "too large":
                number = attempt.connection if attempt is not None else 0
                others_work = self._connections.others_work(number)
                self._fallback.learn(now, fault, others_work=others_work)
            elif attempt is not None:
                self._max_frame = min(self._max_frame, attempt.size - 1)
        if lesson == "parent ignored":
            self._dispatch.forgets()
        if lesson == "lanes refused":
            self._without_lanes()
        if lesson == "form refused":
            model, dialects = turn.model, self._knowledge.dialects
            guessed = guessed_points(fault, dialects.of(model))
            dialects.learn(model, fault.points, fault.message, guessed=guessed)
        if lesson == "parameter refused" and fault.param is not None:
            self._knowledge.rejected.note(turn.prepared.request, fault.param, fault.message)
        constraints.full_context = constraints.full_context or resend.whole
        constraints.bare = constraints.bare or lesson == "items refused"
        turn.held.clear()

    def _forget_parent(self, placement: Placement) -> None:
        """Note that the service no longer knows what an attempt continued."""
        memory = self._dispatch.missed(placement)
        if memory is not None:
            kept = "no answers" if memory == "none" else "stored answers only"
            logger.warning("the host remembers %s; contexts go whole from now on", kept)

    def _complete_without_end(
        self, turn: ActiveTurn, fault: Fault, action: Complete, now: float
    ) -> None:
        """End a turn whose answer lacks nothing but its last event, or holds nothing."""
        attempt = turn.attempt
        if attempt is None:
            raise RuntimeError(f"turn {turn.number} has no attempt to complete")
        response_id = attempt.decoder.response_id
        if action.outcome == "unfinished":
            logger.warning(
                "response %s lacks its last event (%s); all that came before counts",
                response_id,
                fault.message,
            )
        ended = Ended(action.outcome, fault.message, response_id, attempt.usage)
        self._complete(turn, attempt, [*turn.held, ended], ended, now)

    def _finish(
        self, turn: ActiveTurn, outcome: Outcome, error: TurnError | None, now: float
    ) -> None:
        """End a turn, and leave its attempt to itself."""
        self._stop_waiting(turn)
        if turn.state == "over":
            return
        turn.become("over")
        self._timers.clear(("turn", turn.number))
        del self._turns[turn.number]
        if turn.attempt is not None:
            self._abandon(turn.attempt, "failed" if error is not None else "cut", now)
        if turn.rebuild is not None:
            self._continue_rebuild(turn.rebuild, now)
        else:
            report = report_of(turn, outcome, error, now)
            self._actions.append(Finish(turn.number, report, error))

    # -- limits --------------------------------------------------------------------------------

    def _watch_turn(self, turn: ActiveTurn) -> None:
        """Look after a turn when its present wait runs out."""
        self._timers.set(("turn", turn.number), turn.progress.deadline()[0])

    def _turn_due(self, number: int, now: float) -> None:
        """A turn has paused long enough, or waited too long."""
        turn = self._turns.get(number)
        if turn is None:
            return
        if turn.state == "pausing":
            turn.become("due")
            self._make_due(turn, now)
            return
        deadline, _, seconds = turn.progress.deadline()
        if now < deadline:
            self._watch_turn(turn)
            return
        attempt, waited_for, fault = turn.attempt, turn.waits_for, turn.progress.ran_out()
        if attempt is not None:
            attempt.timed_out = True
            if attempt.connection > 0 and not attempt.written:
                fault = not_taken(seconds)
                self._leave(attempt.connection, now, DRAIN_LIMIT)
            elif attempt.connection > 0:
                # A connection may be dead without a word: no turn waits for it once more.
                self._connections.doubt(now - turn.progress.limits.base / 2, now)
        self._recover(turn, fault, now, waited_for)

    def _expect_end(self, attempt: Attempt, now: float) -> None:
        """Wait a little for what may follow the reason why an answer finished."""
        decoder, model = attempt.decoder, attempt.placement.model
        if getattr(decoder, "continued_after_finish", False):
            self._knowledge.finishes_early.add(model)
        if model not in self._knowledge.finishes_early:
            self._timers.set(("silence", attempt.number), now + END_SILENCE)

    def _end_after_silence(self, number: int, now: float) -> None:
        """Nothing followed the reason why an answer finished: it is over."""
        attempt = self._attempts.get(number)
        if attempt is not None and isinstance(attempt.decoder, ExchangeDecoder):
            if not getattr(attempt.decoder, "may_end_after_silence", False):
                return
            events, fault = attempt.decoder.finish()
            self._take(attempt, events, fault, now, was_in_progress=True)

    def _give_up_drain(self, number: int, now: float) -> None:
        """A cancelled answer doesn't end: its connection goes, once no turn needs it."""
        attempt = self._attempts.get(number)
        if attempt is None:
            return
        connection = self._connections.find(attempt.connection)
        if connection is None or all(a.abandoned for a in connection.attempts()):
            logger.info(
                "connection %d is given up: a cancelled answer doesn't end", attempt.connection
            )
            self._close_connection(attempt.connection, ANSWER_GIVEN_UP, now)
        else:
            self._timers.set(("drain", number), now + DRAIN_LIMIT)

    def _release_idle(self, now: float) -> None:
        """Release what is kept for conversations without requests, and look again when due."""
        due = self._dispatch.release_idle(now)
        if due is not None:
            self._timers.set(("release", 0), max(due, now + LOOK_AGAIN))

    # -- connections ---------------------------------------------------------------------------

    def _waiting_for(self, number: int) -> list[ActiveTurn]:
        return [turn for turn in self._turns.values() if turn.waits_for == number]

    def _stop_waiting(self, turn: ActiveTurn) -> None:
        if turn.waits_for is not None:
            self._fleet.wait_for(turn.waits_for, -1)
            turn.waits_for = None

    def _connect_timed_out(self, number: int, now: float) -> None:
        connection = self._connections.find(number)
        if connection is not None:
            self._actions.append(Close(number))
            self._connect_failed(connection, silent("a connection", connection.opening.limit), now)

    def _connect_failed(self, connection: Connection, fault: Fault, now: float) -> None:
        logger.debug("connection %d couldn't be opened: %s", connection.number, fault.kind.name)
        waiting = self._waiting_for(connection.number)
        for turn in waiting:
            self._stop_waiting(turn)
        self._connections.remove(connection, close=False)
        self._place_queued()
        if connection.is_trial:
            self._fallback.learn(now, fault)
        for turn in waiting:
            self._recover(turn, fault, now, connection.number)

    def _watch(self, number: int, now: float) -> None:
        """Look after a connection that was silent for a while."""
        connection = self._connections.find(number)
        if connection is not None and self._connections.watch(connection, now):
            self._actions.append(Close(number))
            self._connection_lost(connection, NO_SIGN_OF_LIFE, now)

    def _connection_lost(self, connection: Connection, fault: Fault, now: float) -> None:
        if connection.state == "connecting":
            self._connect_failed(connection, fault, now)
            return
        number, was_open = connection.number, connection.state == "open"
        was_used = was_open and self._fleet.was_used(number)
        reason = connection.close_reason(fault)
        for attempt in self._connections.remove(connection, close=False):
            self._fail(attempt, reason, now, with_connection=True)
        self._place_queued()
        if was_used:
            # The caller's next turn finds one open. One that carried nothing has no successor,
            # or a host that closes each connection at once would be dialled without end.
            self._connections.keep_warm(connection.opening, now)

    def _leave(self, number: int, now: float, limit: float) -> None:
        """Send nothing new on a connection; close it once nothing runs on it."""
        connection = self._connections.find(number)
        if connection is None:
            return
        self._connections.leave(connection, now, limit)
        self._connections.remove_idle([number])

    def _close_connection(self, number: int, fault: Fault, now: float) -> None:
        connection = self._connections.find(number)
        if connection is not None:
            for attempt in self._connections.remove(connection):
                self._fail(attempt, fault, now)

    def _route_fault(
        self, connection: Connection, routed: Routed, fault: Fault, now: float
    ) -> None:
        """Deal with an error that names no lane."""
        if routed.is_over:
            self._connections.leave(connection, now, DRAIN_LIMIT)
        for attempt in routed.failed:
            self._fail(attempt, fault, now)
        for attempt in routed.displaced:
            turn = self._turns.get(attempt.turn)
            if turn is not None and turn.attempt is attempt:
                self._recover(turn, fault, now)
        if not routed.failed and not routed.displaced:
            logger.warning(
                "connection %d: an error that names no lane: %s", connection.number, fault.code
            )
        if routed.is_over:
            self._connections.remove_idle([connection.number])

    def _without_lanes(self) -> None:
        """Use no lanes from now on."""
        self._fleet.without_lanes()
        self._knowledge.without_lanes()

    def _look_after_connections(self, now: float) -> None:
        """Replace old connections and close unused ones."""
        for number in self._connections.replace_old(now):
            logger.debug("connection %d is closed: it is unused", number)
            self._leave(number, now, DRAIN_LIMIT)

    def _exchange_ended(self, connection: Connection, fault: Fault | None, now: float) -> None:
        """An HTTP exchange is over; its answer may not be."""
        for attempt in connection.attempts():
            decoder = attempt.decoder
            if isinstance(decoder, ExchangeDecoder) and (fault is None or decoder.finished):
                events, at_end = decoder.finish()
                self._take(attempt, events, at_end, now, was_in_progress=True)
            if not attempt.finished:
                self._fail(attempt, self._judged(fault or STREAM_BROKEN_OFF, attempt, now), now)
        self._connections.remove(connection, close=False)

    def _judged(self, fault: Fault, attempt: Attempt, now: float) -> Fault:
        """Tell whether a fault over HTTP means that the host doesn't speak the API there."""
        may_leave = self._options.websocket and not self._fallback.has_none
        if attempt.decoder.created or not may_leave or self._options.api == "chat":
            return fault
        return self._http_trust.judge(fault)

    # -- replaced connections ------------------------------------------------------------------

    def _replace(self, old: int, new: int, now: float) -> None:
        """Let a new connection take an old one's place."""
        logger.debug("connection %d takes the place of %d", new, old)
        queue = deque(self._dispatch.rebuildable(old, now)) if self._options.rebuild else deque()
        self._continue_rebuild(Rebuild(old, new, queue), now)

    def _continue_rebuild(self, rebuild: Rebuild, now: float) -> None:
        """Send the next known prefix to a new connection; after the last, leave the old one."""
        while rebuild.queue:
            conversation = rebuild.queue.popleft()
            prepared = self._latest.get(conversation.number)
            placement = self._dispatch.rebuilding(conversation, rebuild.new, now)
            if prepared is None or placement is None:
                continue
            data = prepared.encode(
                placement.plan,
                placement.seat.lane,
                self._knowledge.rejected,
                generate=False,
                dialect=self._knowledge.dialects.of(placement.model),
            )
            if len(data) > self._max_frame:
                continue
            progress = Progress(Limits(), Retry(budget=0), now)
            turn = ActiveTurn(
                self._next_turn(),
                prepared,
                Membership(conversation, placement.context),
                progress,
                now,
                rebuild.new,
                rebuild=rebuild,
            )
            self._turns[turn.number] = turn
            progress.connecting(now)
            self._send_attempt(turn, placement, data, now)
            return
        self._dispatch.exchanged(rebuild.old, rebuild.new)
        self._leave(rebuild.old, now, REPLACED_LIMIT)


def _number_of(turn: ActiveTurn) -> int:
    return turn.number


def _opening_of(turn: ActiveTurn) -> Opening:
    request = turn.prepared.request
    return Opening(request.model, request.network, request.limits.connect)


def _record_nothing(_: tuple[Item, ...]) -> tuple[Item, ...]:
    return ()


def _note_progress(
    progress: Progress, decoder: Decoder, events: Sequence[Event], now: float
) -> None:
    """Tell a turn what a piece of its answer means for its limits."""
    if decoder.created:
        progress.created()
    if decoder.touched_slow_item:
        progress.slow_item(now, is_open=decoder.slow_item_open)
    if any(isinstance(event, Delta | Called) for event in events):
        progress.output(now)
    if progress.limits.speech_floor:
        text = sum(len(event.text) for event in events if isinstance(event, Delta))
        progress.speech(now, text, is_open=decoder.message_open)
