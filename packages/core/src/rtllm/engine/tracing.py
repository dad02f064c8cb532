"""Tracing: the engine's trace events, emitted as actions if there is a listener."""

from collections.abc import Callable, Sequence
from typing import Any

from rtllm.content.events import Event, TextDelta, ToolCallReady
from rtllm.content.prices import Pricing, cost_of
from rtllm.content.usage import AttemptUsage
from rtllm.context.conversations import Conversation
from rtllm.engine.actions import Trace
from rtllm.engine.attempt import Attempt
from rtllm.engine.connection import Connection
from rtllm.engine.options import EngineOptions
from rtllm.engine.report import TurnReport
from rtllm.engine.reporting import kind_of, recovery_of
from rtllm.engine.turn import ActiveTurn
from rtllm.errors import TurnError
from rtllm.retry.faults import Fault
from rtllm.retry.policy import Action as RecoveryAction
from rtllm.retry.policy import Resend
from rtllm.trace.events import (
    AttemptDiscarded,
    AttemptEnded,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionOpening,
    ConnectionRotated,
    FaultHandled,
    FirstOutput,
    FirstWord,
    HiddenItemReceived,
    OpeningReason,
    Purpose,
    RequestSent,
    RequestWritten,
    ResponseCreated,
    ToolCalled,
    TraceEvent,
    TurnCancelled,
    TurnFinished,
    TurnQueued,
    TurnWaiting,
    WaitReason,
)


class Tracer:
    """Emits the trace events of an engine; does nothing if there is no listener.

    Args:
        emit: Adds an action.
        client: The id of the client on its event loop.
        pricing: The prices for the costs of attempts.
        is_on: Whether there is a listener.

    Attributes:
        is_on: Whether there is a listener.
    """

    def __init__(
        self, emit: Callable[[Trace], None], client: str, pricing: Pricing, *, is_on: bool
    ) -> None:
        self.is_on = is_on
        self._pricing = pricing
        self._emit = emit
        self._client = client

    # -- turns ---------------------------------------------------------------------------------

    def queued(self, turn: ActiveTurn, options: EngineOptions, now: float) -> None:
        """Trace the beginning of a turn."""
        if self.is_on:
            request = turn.prepared.request
            self._add(
                TurnQueued,
                self._of_turn(turn, now),
                model=request.model,
                purpose=_purpose_of(turn),
                api=options.api,
                items=len(turn.prepared.context.items),
                tools=len(request.tools),
                host=options.profile.name,
                server=options.server,
            )

    def waiting(
        self, turn: ActiveTurn, reason: WaitReason, now: float, until: float | None = None
    ) -> None:
        """Trace that a turn can't be sent yet."""
        if self.is_on:
            seconds = None if until is None else until - now
            of_turn = self._of_turn(turn, now) | {"connection": turn.waits_for}
            self._add(TurnWaiting, of_turn, reason=reason, seconds=seconds)

    def fault(
        self,
        turn: ActiveTurn,
        connection: int | None,
        fault: Fault,
        action: RecoveryAction,
        now: float,
    ) -> None:
        """Trace a fault of a turn, and how it is handled."""
        if not self.is_on:
            return
        attempt = turn.attempt
        where = self._of_turn(turn, now) | {"connection": connection}
        if attempt is not None:
            self._end_hidden_item(attempt, now)
            where = self._of_attempt(attempt, now)
        recovery = recovery_of(fault, action)
        self._add(
            FaultHandled,
            where,
            fault=recovery.fault,
            action=recovery.action,
            resends=isinstance(action, Resend),
            wait=recovery.wait,
            code=fault.code,
            status=fault.status,
            param=fault.param,
        )

    def finished(
        self, turn: ActiveTurn, report: TurnReport, error: TurnError | None, now: float
    ) -> None:
        """Trace the end of a turn, and before it that it was cancelled."""
        if not self.is_on:
            return
        where = self._of_turn(turn, now)
        if turn.last is not None:
            last = turn.last
            self._end_hidden_item(last, now)
            where |= {"attempt": last.number, "connection": last.connection, "lane": last.lane}
        if report.outcome == "cancelled":
            characters, calls = turn.progress.text_emitted, turn.progress.calls_emitted
            self._add(TurnCancelled, where, characters=characters, calls=calls)
        self._add(
            TurnFinished,
            where,
            outcome=report.outcome,
            duration=report.duration,
            time_to_first=report.time_to_first,
            attempts=report.attempts,
            bytes_sent=report.bytes_sent,
            response_id=report.response_id,
            usage=report.usage,
            error=type(error).__name__ if error is not None else None,
            cache_missed=report.cache.missed if report.cache is not None else None,
            cache_breaks=tuple(one.text for one in report.cache.breaks) if report.cache else (),
        )

    # -- attempts ------------------------------------------------------------------------------

    def sent(self, turn: ActiveTurn, attempt: Attempt, now: float) -> None:
        """Trace the beginning of an attempt."""
        if not self.is_on:
            return
        placement = attempt.placement
        plan, anchor = placement.plan, placement.plan.anchor
        known = len(placement.context.items) - len(plan.items) if anchor is not None else 0
        self._add(
            RequestSent,
            self._of_attempt(attempt, now),
            model=placement.model,
            protocol="http" if attempt.over_http else "websocket",
            bytes=attempt.size,
            items=len(plan.items),
            items_known=known,
            previous_response_id=anchor.response_id if anchor is not None else None,
            full_context_reason=plan.full_context_reason,
            reused=0 < attempt.connection <= turn.newest_connection,
            generates=placement.generates,
        )

    def written(self, attempt: Attempt, now: float) -> None:
        """Trace that a request was written."""
        if self.is_on:
            self._add(RequestWritten, self._of_attempt(attempt, now))

    def created(self, attempt: Attempt, now: float) -> None:
        """Trace that the service accepted an attempt's request, once it has."""
        decoder = attempt.decoder
        if decoder.created and not attempt.is_created:
            attempt.is_created = True
            self._add(
                ResponseCreated,
                self._of_attempt(attempt, now),
                response_id=decoder.response_id,
                model=decoder.model,
            )

    def hidden_item(self, attempt: Attempt, now: float) -> None:
        """Trace the end of reasoning or of a hosted tool, and note when the next one begins."""
        kind, is_open = attempt.decoder.hidden_item, attempt.hidden_item
        if is_open is not None and is_open[0] == kind:
            return
        self._end_hidden_item(attempt, now)
        if kind is not None:
            attempt.hidden_item = kind, now

    def _end_hidden_item(self, attempt: Attempt, now: float) -> None:
        if attempt.hidden_item is not None:
            kind, since = attempt.hidden_item
            attempt.hidden_item = None
            where = self._of_attempt(attempt, now)
            self._add(HiddenItemReceived, where, item=kind, seconds=now - since)

    def output(
        self, turn: ActiveTurn, attempt: Attempt, events: Sequence[Event], now: float
    ) -> None:
        """Trace the first output of an attempt, the first text of its turn, and tool calls."""
        if turn.rebuild is not None:
            return
        has_text = turn.progress.text_emitted > 0
        for event in events:
            if not isinstance(event, TextDelta | ToolCallReady):
                continue
            is_text = isinstance(event, TextDelta)
            if not attempt.has_output:
                attempt.has_output = True
                output = "text" if is_text else "tool call"
                self._add(FirstOutput, self._of_attempt(attempt, now), output=output)
            if isinstance(event, ToolCallReady):
                call = event.call
                self._add(
                    ToolCalled,
                    self._of_attempt(attempt, now),
                    name=call.name,
                    call_id=call.call_id,
                    characters=len(call.arguments),
                )
            elif not has_text:
                has_text = True
                self._add(FirstWord, self._of_attempt(attempt, now))

    def ended(self, attempt: Attempt, spent: AttemptUsage | None, now: float) -> None:
        """Trace the end of an attempt.

        Args:
            attempt: The attempt.
            spent: Its usage as it is recorded; None if it is not.
            now: When.
        """
        if not self.is_on:
            return
        if attempt.abandoned is None:
            self._end_hidden_item(attempt, now)
        decoder, fault = attempt.decoder, attempt.fault
        cost = cost_of((spent.line(),), self._pricing.at_once) if spent is not None else None
        amount = cost.amount if cost is not None else None
        self._add(
            AttemptEnded,
            self._of_attempt(attempt, now),
            category=attempt.category,
            usage=attempt.usage,
            counted=spent is not None,
            estimate=spent.details.estimate if spent is not None else None,
            host=spent.details.host if spent is not None else None,
            cost=float(amount) if amount is not None else None,
            currency=cost.currency if cost is not None and amount is not None else None,
            drained=attempt.abandoned is not None,
            response_id=decoder.response_id,
            model=decoder.model,
            fault=kind_of(fault) if fault is not None else None,
            code=fault.code if fault is not None else None,
        )

    def discarded(self, draft: Conversation, attempt: int, spent: AttemptUsage, now: float) -> None:
        """Trace that an attempt's response turned out to be a draft that was thrown away.

        Args:
            draft: The conversation of the draft, whose latest turn it is.
            attempt: The number of the attempt.
            spent: Its usage as it is recorded.
            now: When.
        """
        if self.is_on:
            where = {
                "at": now,
                "client": self._client,
                "call": spent.details.call,
                "conversation": draft.number,
                "turn": draft.latest_turn,
                "attempt": attempt,
            }
            self._add(AttemptDiscarded, where, was=spent.category)

    # -- connections ---------------------------------------------------------------------------

    def opening(self, connection: Connection, now: float, *, is_spare: bool) -> None:
        """Trace that a WebSocket is being opened."""
        if not self.is_on:
            return
        reason: OpeningReason = "spare" if is_spare else "request"
        if connection.is_trial:
            reason = "trial"
        elif connection.replaces is not None:
            reason = "replacement"
        where = self._of_connection(connection, now)
        self._add(ConnectionOpening, where, reason=reason, replaces=connection.replaces)

    def opened(self, connection: Connection, now: float) -> None:
        """Trace that a WebSocket is open."""
        if self.is_on and not connection.is_exchange:
            seconds = now - connection.began
            self._add(ConnectionOpened, self._of_connection(connection, now), seconds=seconds)

    def rotated(self, old: int, new: int, now: float) -> None:
        """Trace that a WebSocket replaced another one."""
        if self.is_on:
            where = {"at": now, "client": self._client, "connection": new}
            self._add(ConnectionRotated, where, replaced=old)

    def closed(
        self, connection: Connection, fault: Fault | None, now: float, *, by_host: bool
    ) -> None:
        """Trace the end of a WebSocket.

        Args:
            connection: The connection, still in the state that it had.
            fault: Why it ended; None if it was closed because it is not needed.
            now: When.
            by_host: Whether it was not closed on this side.
        """
        if not self.is_on or connection.is_exchange:
            return
        was_open = connection.state != "connecting"
        self._add(
            ConnectionClosed,
            self._of_connection(connection, now),
            reason="closed" if not by_host else "lost" if was_open else "not opened",
            seconds=now - connection.opened_at if was_open else 0.0,
            fault=kind_of(fault) if fault is not None else None,
            code=fault.code if fault is not None else None,
        )

    # -- what all events have ------------------------------------------------------------------

    def _add(self, event: type[TraceEvent], where: dict[str, Any], **fields: Any) -> None:
        self._emit(Trace(event(**(where | fields))))

    def _of_turn(self, turn: ActiveTurn, now: float) -> dict[str, Any]:
        return {
            "at": now,
            "client": self._client,
            "call": turn.prepared.request.call,
            "conversation": turn.member.conversation.number,
            "turn": turn.number,
        }

    def _of_attempt(self, attempt: Attempt, now: float) -> dict[str, Any]:
        return {
            "at": now,
            "client": self._client,
            "call": attempt.call,
            "conversation": attempt.placement.conversation.number,
            "turn": attempt.turn,
            "attempt": attempt.number,
            "connection": attempt.connection,
            "lane": attempt.lane,
        }

    def _of_connection(self, connection: Connection, now: float) -> dict[str, Any]:
        return {"at": now, "client": self._client, "connection": connection.number}


def _purpose_of(turn: ActiveTurn) -> Purpose:
    if turn.rebuild is not None:
        return "rebuild"
    return "warm-up" if turn.prepared.request.warm_up else "response"
