"""The engine: facts in, actions out.

It holds one client's conversations, connections, turns and attempts on one event loop, and makes
every decision. A fact is a call that reports what happened: a request, a frame, a lost connection,
the time. Each fact returns the actions that a runtime carries out, in order. A fact about something
unknown, such as a connection that is already closed, has no effect.

The parts call downwards only: `Sender` schedules turns, `Turns` recovers and ends them,
`Cancellation` drains their attempts, `Attempts` records what was sent. A part that needs something
of a part above it adds it to a queue in the state, and the engine processes the queue at the end of
the fact.
"""

import logging
from dataclasses import replace
from typing import Any

from rtllm.codec.frames import read
from rtllm.engine.actions import Action, Close, WakeAt
from rtllm.engine.attempt import Attempt
from rtllm.engine.attempts import Attempts
from rtllm.engine.cancellation import DRAIN_LIMIT, Cancellation
from rtllm.engine.connection import Connection, LanelessError, Opening
from rtllm.engine.options import EngineOptions, HostKnowledge
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.progress import TurnProgress
from rtllm.engine.sender import Sender
from rtllm.engine.snapshot import ConnectionSnapshot, EngineSnapshot, TurnSnapshot
from rtllm.engine.state import EngineState
from rtllm.engine.turn import ActiveTurn
from rtllm.engine.turns import Turns
from rtllm.engine.usage_records import discard_draft, note_turn
from rtllm.retry.faults import (
    CLIENT_CLOSED,
    DRAIN_TIMED_OUT,
    NO_SIGN_OF_LIFE,
    STREAM_BROKEN_OFF,
    Fault,
    timed_out,
)
from rtllm.retry.redaction import Secrets

logger = logging.getLogger(__name__)

LOOK_AGAIN = 60.0
"""Seconds until idle conversations are checked again, if some were running."""

LONG_WAIT = 5.0
"""Seconds without output after which a warning is logged: callers notice the silence by then."""


class Engine:
    """All decisions of one client on one event loop, without I/O.

    Facts take ``now`` as their last argument, in seconds on any clock that only moves forward.

    Args:
        options: The engine's settings.
        knowledge: What was learned about the host; None for an engine of its own.
    """

    def __init__(self, options: EngineOptions, knowledge: HostKnowledge | None = None) -> None:
        self._state = EngineState(options, knowledge)
        self._attempts = Attempts(self._state)
        self._cancellation = Cancellation(self._state, self._attempts)
        self._turns = Turns(self._state, self._attempts, self._cancellation)
        self._sender = Sender(self._state, self._attempts, self._turns)
        self._wakes_at: float | None = None

    def __repr__(self) -> str:
        state = self._state
        turns, attempts = list(state.turns.values()), list(state.attempts.values())
        return f"<Engine: {turns}, {state.connections}, {attempts}>"

    @property
    def connections(self) -> tuple[ConnectionSnapshot, ...]:
        """The connections and HTTP exchanges that are not closed, the oldest first."""
        return tuple(connection.snapshot() for connection in self._state.connections)

    def snapshot(self) -> EngineSnapshot:
        """Return the engine's bookkeeping at this moment."""
        return EngineSnapshot(
            turns={
                number: TurnSnapshot(
                    turn.state,
                    turn.waits_for,
                    turn.attempt.number if turn.attempt is not None else None,
                    turn.rebuild is not None,
                )
                for number, turn in self._state.turns.items()
            },
            attempts=tuple(self._state.attempts),
            connections={connection.number: connection for connection in self.connections},
            waiting=self._state.pool.waiting(),
            running=self._state.pool.running(),
            tenants=self._state.pool.tenants(),
            placed=self._state.planner.placed,
            wanted=self._state.planner.wanted,
            draining=sum(
                attempt.abandoned is not None or attempt.placement.conversation.is_warm_up
                for attempt in self._state.attempts.values()
            ),
            timers=tuple(self._state.timers),
            timer_entries=self._state.timers.entries,
            wakes_at=self._wakes_at,
            due=len(self._state.due),
            actions=len(self._state.actions),
            latest_requests=len(self._state.latest),
        )

    def ask(self, prepared: PreparedRequest, now: float) -> tuple[int, list[Action]]:
        """Start a turn.

        Returns:
            Its number, and the actions.
        """
        request = prepared.request
        if request.warm_up:
            member = self._state.planner.join_warm_up(prepared.context)
        else:
            call = request.call if request.call.is_of_framework else None
            member = self._state.planner.join(prepared.context, now, request.conversation, call)
            self._release_idle(now)
        can_fall_back = self._state.can_fall_back(now) and not request.warm_up
        limits = request.limits
        if request.warm_up:
            limits = replace(limits, silence=None)  # no word is expected
        turn = ActiveTurn(
            self._state.next_turn(),
            prepared,
            member,
            TurnProgress(limits, request.retry, now, can_fall_back=can_fall_back),
            now,
            self._state.connections.newest,
        )
        self._state.turns[turn.number] = turn
        self._state.trace.queued(turn, self._state.options, now)
        if not request.warm_up:
            note_turn(self._state, turn, now)
        self._turns.make_due(turn, now)
        if not request.warm_up:
            self._state.timers.set(("long wait", turn.number), now + LONG_WAIT)
        return turn.number, self._settle(now)

    def cancel(self, turn: int, now: float) -> list[Action]:
        """End a turn that its consumer stopped reading; its response drains."""
        if (active := self._state.turns.get(turn)) is not None:
            self._turns.finish(active, "cancelled", None, now)
        return self._settle(now)

    def discard(self, conversation: int, turn: int, now: float) -> list[Action]:
        """Count a turn as a draft whose response was thrown away.

        It does nothing if a later turn of the conversation has begun, which decides that itself.
        """
        found = self._state.planner.find_conversation(conversation)
        if found is not None and found.latest_turn == turn:
            discard_draft(self._state, found, now)
        return self._settle(now)

    def warm(self, opening: Opening, now: float) -> list[Action]:
        """Begin to open a connection if none is warm."""
        if self._state.options.websocket and self._state.options.api == "responses":
            self._state.connections.keep_warm(opening, now, at_least=1)
        return self._settle(now)

    def close(self, now: float) -> list[Action]:
        """End all turns with an error, close all connections and forget all conversations.

        What was learned about the host stays, and the engine can be used again.
        """
        self._state.due.clear()
        self._state.queued.clear()
        for turn in list(self._state.turns.values()):
            if turn.attempt is not None and not turn.attempt.finished:
                self._turns.fail(turn.attempt, CLIENT_CLOSED, now)
            else:
                self._turns.recover(turn, CLIENT_CLOSED, now)
        for connection in self._state.connections:
            for attempt in self._state.connections.remove(connection, now, CLIENT_CLOSED):
                self._turns.fail(attempt, CLIENT_CLOSED, now)
        self._state.planner.forget_conversations()
        self._state.latest.clear()
        self._state.carried.clear()
        self._state.timers.clear(("release", 0))
        self._state.timers.clear(("upkeep", 0))
        actions = self._settle(now)
        self._wakes_at = None  # the next caller may have another timer
        return actions

    def tick(self, now: float) -> list[Action]:
        """Process the deadlines that are due."""
        self._wakes_at = None
        for kind, number in self._state.timers.pop_due(now):
            match kind:
                case "turn":
                    self._turns.handle_deadline(number, now)
                case "long wait":
                    self._turns.warn_of_long_wait(number, now)
                case "connect":
                    self._connect_timed_out(number, now)
                case "ping":
                    self._check_liveness(number, now)
                case "drain":
                    self._end_drain(number, now)
                case "end silence":
                    self._turns.end_after_silence(number, now)
                case "close":
                    self._close_connection(number, DRAIN_TIMED_OUT, now)
                case "upkeep":
                    self._maintain_connections(now)
                case _:
                    self._release_idle(now)
        return self._settle(now)

    def asked(self, number: int, address: str, now: float) -> list[Action]:
        """Record the address that a connection or an HTTP exchange asks, for its errors."""
        if (connection := self._state.connections.find(number)) is not None:
            connection.address = address
        return self._settle(now)

    def connected(self, number: int, now: float) -> list[Action]:
        """Record that a connection is open, or that an HTTP exchange was answered with a stream."""
        connection = self._state.connections.find(number)
        if connection is None or connection.state != "connecting":
            return self._settle(now)
        self._state.connections.opened(connection, now)
        if connection.is_exchange:
            for attempt in connection.attempts():
                if attempt.exchange is not None:
                    attempt.exchange.accepted()
            return self._settle(now)
        if connection.is_trial:
            self._state.fallback.record_open()
        self._maintain_connections(now)
        for turn in self._turns.waiting_for(number):
            self._turns.stop_waiting(turn)
            turn.become("due")
            self._state.due.append(turn)
        if connection.replaces is not None:
            self._sender.replace(connection.replaces, number, now)
        return self._settle(now)

    def authenticated(self, number: int, secrets: Secrets, now: float) -> list[Action]:
        """Record the credentials that a host was sent, to keep them out of its errors."""
        if (connection := self._state.connections.find(number)) is not None:
            connection.secrets = secrets
        return self._settle(now)

    def connect_failed(self, number: int, fault: Fault, now: float) -> list[Action]:
        """Record that a connection could not be opened."""
        return self.lost(number, fault, now)

    def lost(self, number: int, fault: Fault | None, now: float) -> list[Action]:
        """Record that a connection or an HTTP exchange is over.

        Args:
            number: Its number.
            fault: Why; None if an HTTP exchange was read to its end.
            now: When.
        """
        if (connection := self._state.connections.find(number)) is not None:
            if connection.is_exchange:
                self._exchange_ended(connection, fault, now)
            else:
                self._connection_lost(connection, fault or NO_SIGN_OF_LIFE, now)
        return self._settle(now)

    def received(self, number: int, data: Any, now: float) -> list[Action]:
        """Process a frame, or a piece of an HTTP response. Never raises.

        Args:
            number: The number of the connection.
            data: The frame's text; over HTTP, bytes of the body or a decoded event.
            now: When.
        """
        connection = self._state.connections.find(number)
        if connection is None or connection.state == "connecting":
            return self._settle(now)
        self._hear(connection, now)
        if connection.is_exchange:
            for attempt in connection.attempts():
                self._turns.feed(attempt, data, now)
        elif (frame := read(data)) is not None:
            match connection.route(frame):
                case Attempt() as attempt:
                    if connection.held is not None:
                        self._begin_without_lanes(connection, attempt, now)
                    if not attempt.written:  # it is answered before its whole text was written
                        self._note_written(attempt, now)
                    self._turns.feed(attempt, frame, now)
                case LanelessError() as error:
                    self._end_in_error(connection, error, now)
        return self._settle(now)

    def _begin_without_lanes(self, connection: Connection, attempt: Attempt, now: float) -> None:
        """Stop using lanes: a second frame without a lane followed the ``created`` without one."""
        created, connection.held = connection.held, None
        if self._state.pool.lanes_on:
            self._state.stop_using_lanes()
        self._turns.feed(attempt, created, now)

    def sent(self, attempt: int, now: float) -> list[Action]:
        """Record that a request was written; over HTTP, that it is going out."""
        written = self._state.attempts.get(attempt)
        if written is not None and not written.written:
            self._note_written(written, now)
            turn = self._state.turns.get(written.turn)
            if turn is not None and turn.attempt is not written:
                turn = None
            if not written.begun:
                written.begun = True
                if turn is not None:
                    turn.bytes_sent += written.size
                    turn.progress.record_sent(now)
                    self._turns.set_deadline(turn)
            elif turn is not None:
                turn.progress.record_written(now)
        return self._settle(now)

    def heard(self, number: int, now: float) -> list[Action]:
        """Record that a ping or a pong arrived."""
        if (connection := self._state.connections.find(number)) is not None:
            self._hear(connection, now)
        return self._settle(now)

    def _hear(self, connection: Connection, now: float) -> None:
        """Record a sign of life of a connection, which can be used again if it was doubted."""
        if connection.is_doubted:
            self._state.pool.has_changed = True
        connection.heard(now)

    def _note_written(self, attempt: Attempt, now: float) -> None:
        """Record that a request was written, so that others can be written next."""
        attempt.written = True
        self._state.trace.written(attempt, now)
        connection = self._state.connections.find(attempt.connection)
        if connection is not None and connection.unsent.pop(attempt.number, 0):
            self._state.pool.has_changed = True

    def _settle(self, now: float) -> list[Action]:
        """Schedule the turns that are due, and return the actions."""
        state = self._state
        while True:
            while state.rebuilds:
                self._sender.continue_rebuild(state.rebuilds.popleft(), now)
            if state.due:
                turn = state.due.popleft()
                if turn.state == "due":
                    self._sender.send_or_wait(turn, now)
            elif state.queued and (queued := state.next_queued()) is not None:
                self._sender.serve_queued(queued, now)
            else:
                break
        earliest = self._state.timers.earliest()
        if earliest is not None and (self._wakes_at is None or earliest < self._wakes_at):
            self._wakes_at = earliest
            self._state.actions.append(WakeAt(earliest))
        if not self._state.actions:
            return []
        actions = list(self._state.actions)
        self._state.actions.clear()
        return actions

    def _end_drain(self, number: int, now: float) -> None:
        """Close the connection of a cancelled response that does not end, once no turn uses it."""
        connection = self._cancellation.find_connection_to_close(number, now)
        if connection is not None:
            logger.info(
                "closing connection %d: a cancelled response did not end in time", connection
            )
            self._close_connection(connection, DRAIN_TIMED_OUT, now)

    def _release_idle(self, now: float) -> None:
        """Release what is kept for idle conversations, and schedule the next check."""
        due = self._state.planner.release_idle(now)
        if due is not None:
            self._state.timers.set(("release", 0), max(due, now + LOOK_AGAIN))

    def _connect_timed_out(self, number: int, now: float) -> None:
        connection = self._state.connections.find(number)
        if connection is not None:
            self._state.actions.append(Close(number))
            self._connect_failed(
                connection, timed_out("a connection", connection.opening.limit), now
            )

    def _connect_failed(self, connection: Connection, fault: Fault, now: float) -> None:
        logger.debug("connection %d could not be opened: %s", connection.number, fault.kind.name)
        fault = fault.at(connection.address)
        waiting = self._turns.waiting_for(connection.number)
        for turn in waiting:
            self._turns.stop_waiting(turn)
        self._state.connections.remove(connection, now, fault, close=False)
        if connection.is_trial:
            self._state.fallback.record_fault(now, fault)
        for turn in waiting:
            self._turns.recover(turn, fault, now, connection.number)

    def _check_liveness(self, number: int, now: float) -> None:
        """Ping a connection that has been silent, or drop it if its pong is overdue."""
        connection = self._state.connections.find(number)
        if connection is not None and self._state.connections.check_liveness(connection, now):
            self._state.actions.append(Close(number))
            self._connection_lost(connection, NO_SIGN_OF_LIFE, now)

    def _connection_lost(self, connection: Connection, fault: Fault, now: float) -> None:
        if connection.state == "connecting":
            self._connect_failed(connection, fault, now)
            return
        number, was_open = connection.number, connection.state == "open"
        was_used = was_open and self._state.pool.was_used(number)
        reason = connection.close_reason(fault).at(connection.address)
        for attempt in self._state.connections.remove(connection, now, reason, close=False):
            self._turns.fail(attempt, reason, now, with_connection=True)
        if was_used:
            # The caller's next turn finds an open connection. One that carried nothing is not
            # replaced, or a connection that its host closes at once would be opened endlessly.
            self._state.connections.keep_warm(connection.opening, now)

    def _close_connection(self, number: int, fault: Fault, now: float) -> None:
        connection = self._state.connections.find(number)
        if connection is not None:
            for attempt in self._state.connections.remove(connection, now, fault):
                self._turns.fail(attempt, fault, now)

    def _end_in_error(self, connection: Connection, error: LanelessError, now: float) -> None:
        """End or resend the attempts that an error without a lane concerns."""
        if error.is_over:
            self._state.connections.close_when_idle(connection, now, DRAIN_LIMIT)
        for attempt in error.failed:
            self._turns.fail(attempt, error.fault, now)
        for attempt in error.displaced:
            turn = self._state.turns.get(attempt.turn)
            if turn is not None and turn.attempt is attempt:
                self._turns.recover(turn, error.fault, now)
        if not error.failed and not error.displaced:
            logger.warning(
                "connection %d: received an error without a lane: %s",
                connection.number,
                error.fault.code,
            )
        if error.is_over:
            self._state.connections.remove_idle([connection.number], now)

    def _maintain_connections(self, now: float) -> None:
        """Replace old connections and close unused ones."""
        for number in self._state.connections.replace_old(now):
            logger.debug("closing connection %d: unused", number)
            self._state.connections.retire(number, now, DRAIN_LIMIT)

    def _exchange_ended(self, connection: Connection, fault: Fault | None, now: float) -> None:
        """Finish the attempts of an HTTP exchange that is over."""
        for attempt in connection.attempts():
            decoder = attempt.exchange
            if decoder is not None and (fault is None or decoder.finished):
                events, at_end = decoder.finish()
                self._turns.process(attempt, events, at_end, now, was_in_progress=True)
            if not attempt.finished:
                reclassified = self._turns.reclassify_over_http(fault or STREAM_BROKEN_OFF, attempt)
                self._turns.fail(attempt, reclassified, now)
        self._state.connections.remove(connection, now, close=False)
