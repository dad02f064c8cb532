"""Turns: events from their attempts, recovery from faults, and how they end."""

import logging
from collections.abc import Sequence
from typing import Any

from rtllm.content.events import Event, ResponseEnded, TextDelta, ToolCallReady
from rtllm.content.items import Message
from rtllm.context.outline import ResponseAnchor
from rtllm.engine.actions import Deliver, Finish
from rtllm.engine.attempt import Attempt, Decoder, is_forgotten
from rtllm.engine.attempts import Attempts
from rtllm.engine.cancellation import DRAIN_LIMIT, Cancellation
from rtllm.engine.progress import TurnProgress
from rtllm.engine.rejected_tool import tool_name
from rtllm.engine.rejection_analysis import analyze_rejection, guessed_points
from rtllm.engine.report import Outcome
from rtllm.engine.reporting import report_of
from rtllm.engine.state import EngineState
from rtllm.engine.turn import ActiveTurn
from rtllm.errors import TurnError
from rtllm.retry.faults import (
    EMPTY_RESPONSE,
    ONLY_THOUGHTS,
    PARENT_IGNORED,
    UNANSWERED,
    Fault,
    not_taken,
    refuses_parents,
    unreadable,
)
from rtllm.retry.policy import (
    Complete,
    Conditions,
    Resend,
    ends_connection,
    lesson_of,
    limits_rate,
    qualify,
)

logger = logging.getLogger(__name__)


class Turns:
    """The turns of an engine.

    Args:
        state: The engine's shared state.
        attempts: Ends their attempts.
        cancellation: Drains attempts that they no longer need.
    """

    def __init__(self, state: EngineState, attempts: Attempts, cancellation: Cancellation) -> None:
        self._state = state
        self._attempts = attempts
        self._cancellation = cancellation

    def make_due(self, turn: ActiveTurn, now: float) -> None:
        """Send a turn at the end of the current fact."""
        turn.progress.record_connecting(now)
        self._state.due.append(turn)

    def set_deadline(self, turn: ActiveTurn) -> None:
        """Set the timer to the deadline of a turn's current wait."""
        self._state.timers.set(("turn", turn.number), turn.progress.deadline()[0])

    def feed(self, attempt: Attempt, piece: Any, now: float) -> None:
        """Pass a piece of its response to an attempt."""
        was_in_progress = attempt.decoder.in_progress
        try:
            events, fault = attempt.decoder.feed(piece)
        except Exception as error:
            logger.exception("attempt %d: could not decode a piece of the response", attempt.number)
            if not getattr(piece, "is_terminal", True):
                return  # only this frame is lost
            events, fault = (), unreadable(error)
        self.process(attempt, events, fault, now, was_in_progress=was_in_progress)

    def process(
        self,
        attempt: Attempt,
        events: Sequence[Event],
        fault: Fault | None,
        now: float,
        *,
        was_in_progress: bool,
    ) -> None:
        """Process the events and the fault that a piece of a response, or its end, produced."""
        decoder, trace = attempt.decoder, self._state.trace
        if decoder.in_progress and not was_in_progress:
            self._state.pool.mark_in_progress(attempt.number)
        turn = self._state.turns.get(attempt.turn) if attempt.abandoned is None else None
        if trace.is_on:
            trace.created(attempt, now)
        if (exchange := attempt.exchange) is not None:
            self._attempts.expect_end(attempt, exchange, now)
        if (
            turn is not None
            and turn.attempt is attempt
            and not attempt.is_parent_checked
            and self._is_parent_ignored(attempt)
        ):
            self._state.stop_chaining("accepts previous_response_id but ignores it")
            self.recover(turn, PARENT_IGNORED, now)
            turn = None
            if attempt.finished:  # over HTTP it was cancelled, though its end may be here too
                return
        if turn is not None and _note_progress(turn.progress, decoder, events, now):
            self.set_deadline(turn)
        if trace.is_on and turn is not None:
            trace.hidden_item(attempt, now)
            trace.output(turn, attempt, events, now)
        # Ended first: delivering the last event ends the turn, which abandons an attempt that still
        # runs, so that a complete response would count as cancelled. And the next request, which
        # the consumer may send at once, finds the response recorded and its lane free.
        if fault is None and decoder.ended is not None:
            self._attempts.end(attempt, now)
        if turn is not None and events:
            self._deliver(turn, attempt, events, now)
        if fault is not None:
            self.fail(attempt, self._redacted(fault, attempt), now)

    def _redacted(self, fault: Fault, attempt: Attempt) -> Fault:
        """Replace the credentials of a request in the fault that was read in its response."""
        connection = self._state.connections.find(attempt.connection)
        return fault if connection is None else connection.secrets.redact(fault)

    def _is_parent_ignored(self, attempt: Attempt) -> bool:
        """Check once, when a request is accepted, whether the service ignores its parent.

        Returns:
            Whether the service reports that it does not know the continued response.
        """
        decoder = attempt.decoder
        attempt.is_parent_checked = decoder.created
        if not decoder.created or attempt.placement.plan.anchor is None:
            return False
        if self._state.options.trusts_parents:
            return False
        return is_forgotten(decoder, asked_to_store=attempt.placement.stored)

    def _deliver(
        self, turn: ActiveTurn, attempt: Attempt, events: Sequence[Event], now: float
    ) -> None:
        """Emit the events of a turn's current attempt."""
        if len(events) == 1 and isinstance(events[0], TextDelta):  # nearly always
            self._emit(turn, attempt, events, now)
            return
        request = turn.prepared.request
        ready: list[Event] = []
        for event in events:
            match event:
                case TextDelta():
                    ready.append(event)
                case ResponseEnded(outcome="empty") if not request.warm_up and turn.rebuild is None:
                    self._emit(turn, attempt, ready, now)
                    self.recover(turn, _fault_of_silence(turn, event), now)
                    return
                case ResponseEnded():
                    self._complete(turn, attempt, [*ready, *turn.held, event], event, now)
                    return
                case ToolCallReady() if request.hold_calls:
                    turn.held.append(event)
                case _:
                    ready.append(event)
        self._emit(turn, attempt, ready, now)

    def _complete(
        self,
        turn: ActiveTurn,
        attempt: Attempt,
        events: list[Event],
        ended: ResponseEnded,
        now: float,
    ) -> None:
        self._emit(turn, attempt, events, now)
        self.finish(turn, ended.outcome, None, now)

    def _emit(
        self, turn: ActiveTurn, attempt: Attempt, events: Sequence[Event], now: float
    ) -> None:
        if not events or turn.rebuild is not None:
            return
        progress = turn.progress
        for event in events:
            if isinstance(event, TextDelta):
                progress.record_emitted(text=len(event.text))
            elif isinstance(event, ToolCallReady):
                progress.record_emitted(calls=1)
        if turn.first_output is None and turn.progress.has_emitted:
            turn.first_output = now - turn.began
        self._state.actions.append(
            Deliver(turn.number, tuple(events), attempt.decoder.response_id, attempt.mark)
        )

    def fail(
        self, attempt: Attempt, fault: Fault, now: float, *, with_connection: bool = False
    ) -> None:
        """End an attempt that failed.

        Args:
            attempt: The attempt.
            fault: Why.
            now: When.
            with_connection: Whether its connection was lost.
        """
        if attempt.finished:
            return
        attempt.fault = fault = self._with_address(fault, attempt.connection)
        self._attempts.end(attempt, now)
        if ends_connection(fault) and not with_connection:
            self._state.connections.retire(attempt.connection, now, DRAIN_LIMIT)
        turn = self._state.turns.get(attempt.turn)
        if turn is not None and turn.attempt is attempt:
            self.recover(turn, fault, now, pauses=with_connection)

    def recover(
        self,
        turn: ActiveTurn,
        fault: Fault,
        now: float,
        connection: int | None = None,
        *,
        pauses: bool = False,
    ) -> None:
        """Recover from a fault by the recovery table (``docs/recovery.md``).

        Args:
            turn: The turn.
            fault: What happened.
            now: When.
            connection: The number of the connection that it waited for; None if it did not wait.
            pauses: Whether a resend waits for the next tick at least. What broke one connection
                often broke others, which is reported within the same moment.
        """
        self.stop_waiting(turn)
        attempt = turn.attempt
        fault = self._with_address(fault, attempt.connection if attempt is not None else connection)
        if attempt is not None:
            fault = analyze_rejection(
                fault,
                turn.prepared,
                attempt.placement.plan,
                self._state.options.api,
                self._state.knowledge,
                is_last=turn.progress.has_one_form_left,
            )
        fault = qualify(fault, self._conditions(turn))
        if turn.rebuild is not None:
            logger.info("connection %d could not be rebuilt: %s", turn.rebuild.new, fault.kind.name)
            turn.rebuild.queue.clear()
            self.finish(turn, "failed", None, now)
            return
        complete = attempt is not None and attempt.decoder.is_complete
        action = turn.progress.decide(fault, now, self._state.draw(), is_complete=complete)
        logger.debug("turn %d: %s: %s", turn.number, fault.kind.name, action)
        self._state.trace.fault(turn, connection, fault, action, now)
        if lesson_of(fault) == "no http":
            self._state.fallback.record_no_http(now)
        if isinstance(action, Resend):
            if connection is not None:
                turn.constraints.avoid.add(connection)
            was_queued = attempt is None and connection is None
            self._before_resend(turn, fault, action, now, was_queued=was_queued)
            if action.wait > 0 and limits_rate(fault):
                self._share_wait(turn, action.wait, now)
            if action.wait > 0 or pauses:
                self.pause(turn, now + action.wait)
            else:
                if turn.state != "due":
                    turn.become("due")
                self.make_due(turn, now)
        elif isinstance(action, Complete):
            self._complete_without_end(turn, fault, action, now)
        else:
            error = turn.progress.make_error(action.error, fault, is_complete=complete, now=now)
            self.finish(turn, "failed", error, now)

    def _with_address(self, fault: Fault, number: int | None) -> Fault:
        """Add the address of a connection or an HTTP exchange to its fault."""
        connection = self._state.connections.find(number) if number is not None else None
        return fault if connection is None else fault.at(connection.address)

    def pause(self, turn: ActiveTurn, until: float) -> None:
        """Let a turn wait before it is sent."""
        turn.become("pausing")
        self._state.timers.set(("turn", turn.number), until)

    def _share_wait(self, turn: ActiveTurn, wait: float, now: float) -> None:
        """Let all requests of a rate-limited model wait for the same moment."""
        if self._state.rate_limits.until(turn.model, now) is None:
            logger.warning(
                "the service limits the rate of %s; its requests wait %.1f s", turn.model, wait
            )
        self._state.rate_limits.note(turn.model, now + wait)
        turn.constraints.has_waited = True  # this wait, which others' do not prolong

    def _conditions(self, turn: ActiveTurn) -> Conditions:
        request, attempt = turn.prepared.request, turn.attempt
        unresponsive = attempt is not None and self._state.connections.is_unresponsive(
            attempt.connection
        )
        constraints = turn.constraints
        # One connection without a single frame says little about the host if others respond.
        counts = unresponsive and (
            constraints.met_unresponsive
            or attempt is None
            or not self._state.connections.others_respond(attempt.connection)
        )
        constraints.met_unresponsive = constraints.met_unresponsive or unresponsive
        return Conditions(
            refreshable=self._state.options.refreshable,
            unresponsive=counts,
            untouched=request.untouched,
            strict=request.strict_parameters,
        )

    def _before_resend(
        self, turn: ActiveTurn, fault: Fault, resend: Resend, now: float, *, was_queued: bool
    ) -> None:
        """Abandon the current attempt, and set the constraints of the next one.

        A turn that waited at the limit of connections shows nothing about the WebSocket.
        """
        attempt, constraints, lesson = turn.attempt, turn.constraints, lesson_of(fault)
        turn.attempt = None
        constraints.has_waited = False
        if attempt is not None:
            self._cancellation.abandon(attempt, "superseded", now)
            if resend.elsewhere and not attempt.over_http:
                constraints.avoid.add(attempt.connection)
            if lesson in ("parent lost", "items refused"):
                plan = attempt.placement.plan
                if plan.anchor is None:
                    self._state.planner.note_rejected_items(plan.items)
                else:
                    is_refused = lesson == "parent lost" and refuses_parents(fault)
                    self._forget_parent(plan.anchor, is_refused=is_refused)
        if resend.over_http:
            constraints.over_http = True
            if lesson != "too large" and not was_queued:
                number = attempt.connection if attempt is not None else 0
                others_respond = self._state.connections.others_respond(number)
                self._state.fallback.record_fault(now, fault, others_respond=others_respond)
            elif lesson == "too large" and attempt is not None:
                self._state.max_frame = min(self._state.max_frame, attempt.size - 1)
        if lesson == "form refused":
            model, dialects = turn.model, self._state.knowledge.dialects
            guessed = guessed_points(fault, dialects.of(model))
            dialects.learn(model, fault.points, fault.message, guessed=guessed)
        if lesson == "lanes refused":
            self._state.stop_using_lanes()
        if lesson == "parameter refused" and fault.tool is not None:
            name = tool_name(fault.tool)
            self._state.knowledge.rejected.note_tool(turn.model, fault.tool, name, fault.message)
        elif lesson == "parameter refused" and fault.param is not None:
            self._state.knowledge.rejected.note(turn.prepared.request, fault.param, fault.message)
        constraints.full_context = constraints.full_context or resend.full_context
        constraints.omit_hidden = constraints.omit_hidden or lesson == "items refused"
        turn.held.clear()

    def _forget_parent(self, anchor: ResponseAnchor, *, is_refused: bool) -> None:
        """Record that the service no longer knows the response that an attempt continued.

        Args:
            anchor: That response.
            is_refused: Whether the host rejected it in other words than those of a service that
                continues responses.
        """
        is_proof = is_refused and not self._state.options.trusts_parents
        memory = self._state.planner.forget_parent(anchor, is_proof=is_proof)
        if memory is not None:
            kept = "no responses" if memory == "none" else "stored responses only"
            logger.warning(
                "the host remembers %s; from now on other turns send their full context%s",
                kept,
                ". Pass chaining=False to avoid the failed attempt" if memory == "none" else "",
            )

    def _complete_without_end(
        self, turn: ActiveTurn, fault: Fault, action: Complete, now: float
    ) -> None:
        """End a turn whose response is complete except for its last event, or is empty."""
        attempt = turn.attempt
        if attempt is None:
            raise RuntimeError(f"turn {turn.number} has no attempt to complete")
        response_id = attempt.decoder.response_id
        if action.outcome == "unfinished":
            logger.warning(
                "response %s ended without its last event (%s); its content is used",
                response_id,
                fault.message,
            )
        ended = ResponseEnded(action.outcome, fault.message, response_id, attempt.usage)
        self._complete(turn, attempt, [*turn.held, ended], ended, now)

    def finish(
        self, turn: ActiveTurn, outcome: Outcome, error: TurnError | None, now: float
    ) -> None:
        """End a turn, and let its attempt drain."""
        self.stop_waiting(turn)
        if turn.state == "over":
            return
        turn.become("over")
        self._state.timers.clear(("turn", turn.number))
        self._state.timers.clear(("long wait", turn.number))
        del self._state.turns[turn.number]
        report = report_of(self._state.options, turn, outcome, error, now)
        self._state.trace.finished(turn, report, error, now)
        if turn.attempt is not None:
            self._cancellation.abandon(
                turn.attempt, "failed" if error is not None else "cancelled", now
            )
        if turn.rebuild is not None:
            self._state.rebuilds.append(turn.rebuild)
        else:
            self._state.actions.append(Finish(turn.number, report, error))

    def handle_deadline(self, number: int, now: float) -> None:
        """Handle the deadline of a turn: its pause is over, or its wait has timed out."""
        turn = self._state.turns.get(number)
        if turn is None:
            return
        if turn.state == "pausing":
            turn.become("due")
            self.make_due(turn, now)
            return
        if now < turn.progress.deadline()[0]:
            self.set_deadline(turn)
            return
        if turn.attempt is not None and self._finish_exchange(turn.attempt, now):
            return
        attempt, waited_for, fault = turn.attempt, turn.waits_for, turn.progress.make_timeout()
        if attempt is not None:
            # A turn's last moment may come right after its request: this says nothing about the
            # connection, which others use.
            waited, half = turn.progress.waited(now), turn.progress.limits.base / 2
            if not attempt.over_http and not attempt.written and waited >= half:
                fault = not_taken(waited)
                self._state.connections.retire(attempt.connection, now, DRAIN_LIMIT)
            elif not attempt.over_http:
                # The connection may be dead without a close: mark it, so that no other turn waits
                # for it.
                self._state.connections.mark_doubted(now - half, now)
        self.recover(turn, fault, now, waited_for)

    def warn_of_long_wait(self, number: int, now: float) -> None:
        """Warn of a turn that has waited for its first output for long."""
        turn = self._state.turns.get(number)
        if turn is None or turn.progress.has_emitted:
            return
        until, waits_for, _ = turn.progress.deadline()
        logger.warning(
            "turn %d of conversation %d has no output after %.1f s (attempt %d, connection %s): it "
            "waits for %s, for %.1f s more",
            number,
            turn.member.conversation.number,
            now - turn.began,
            turn.progress.attempts,
            turn.attempt.connection if turn.attempt is not None else turn.waits_for,
            "its next attempt" if turn.state == "pausing" else waits_for,
            max(0.0, until - now),
        )

    def end_after_silence(self, number: int, now: float) -> None:
        """End a response if nothing followed its ``finish_reason``."""
        attempt = self._state.attempts.get(number)
        exchange = attempt.exchange if attempt is not None else None
        if attempt is not None and exchange is not None and exchange.may_end_after_silence:
            self._finish_exchange(attempt, now)

    def _finish_exchange(self, attempt: Attempt, now: float) -> bool:
        """End a response over HTTP if its output is followed by a ``finish_reason``.

        Returns:
            Whether it has ended.
        """
        exchange = attempt.exchange
        if exchange is None or not exchange.finished:
            return False
        events, fault = exchange.finish()
        self.process(attempt, events, fault, now, was_in_progress=True)
        return True

    def waiting_for(self, number: int) -> list[ActiveTurn]:
        """List the turns that wait for a connection."""
        return [turn for turn in self._state.turns.values() if turn.waits_for == number]

    def stop_waiting(self, turn: ActiveTurn) -> None:
        """Stop a turn's wait for a connection."""
        if turn.waits_for is not None:
            self._state.pool.wait_for(turn.waits_for, -1)
            turn.waits_for = None

    def reclassify_over_http(self, fault: Fault, attempt: Attempt) -> Fault:
        """Reclassify a fault over HTTP if it means that the host doesn't offer the API there."""
        may_use_websocket = (
            self._state.options.websocket and not self._state.fallback.has_no_websocket
        )
        if attempt.decoder.created or not may_use_websocket or self._state.options.api == "chat":
            return fault
        return self._state.http_trust.reclassify(fault)


def _fault_of_silence(turn: ActiveTurn, ended: ResponseEnded) -> Fault:
    """Return the fault of a response without output.

    After a tool's output or an instruction, a model may say nothing. Seen: hosts that put all text
    next to the user's words into the reasoning.
    """
    last = turn.prepared.context.items[-1:]
    is_to_user = any(isinstance(item, Message) and item.role == "user" for item in last)
    return UNANSWERED if is_to_user and ended.reason == ONLY_THOUGHTS else EMPTY_RESPONSE


def _note_progress(
    progress: TurnProgress, decoder: Decoder, events: Sequence[Event], now: float
) -> bool:
    """Update a turn's limits with a piece of its response.

    Returns:
        Whether its deadline may be earlier now. A deadline that moved later is checked when the
        earlier one is reached.
    """
    if decoder.created:
        progress.record_created()
    may_be_earlier = decoder.touched_slow_item
    if may_be_earlier:
        progress.record_slow_item(now, is_open=decoder.slow_item_open)
    for event in events:
        if isinstance(event, TextDelta | ToolCallReady):
            progress.record_output(now)
            break
    if progress.limits.speech_floor:
        text = sum(len(event.text) for event in events if isinstance(event, TextDelta))
        progress.record_speech(now, text, is_open=decoder.message_open)
        may_be_earlier = True
    return may_be_earlier
