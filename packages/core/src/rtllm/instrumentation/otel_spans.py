"""OpenTelemetry's spans: one for each turn, and a child for each of its attempts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from rtllm.instrumentation.otel_attributes import (
    OPERATIONS,
    Conventions,
    ended_attributes,
    event_attributes,
    response_attributes,
    sent_attributes,
    turn_attributes,
    usage_attributes,
)
from rtllm.instrumentation.otel_turns import OpenTurn
from rtllm.trace.events import (
    AttemptEnded,
    ConnectionClosed,
    ConnectionOpened,
    FaultHandled,
    FirstOutput,
    FirstWord,
    HiddenItemReceived,
    RequestSent,
    RequestWritten,
    ResponseCreated,
    ToolCalled,
    TraceEvent,
    TurnCancelled,
    TurnQueued,
    TurnWaiting,
)

ParentContext = Callable[[], Context | None]
"""Returns the context whose span is the parent of a turn's span; None for the current one."""


@dataclass(slots=True)
class _TurnSpans:
    """The spans of a turn.

    Attributes:
        span: Its own.
        context: The context of its children.
        offset: What turns seconds on the event loop's clock into nanoseconds since 1970.
        attempts: The spans of its attempts that are not over.
        waits_for: The client and the number of the connection that it waits for.
    """

    span: Span
    context: Context
    offset: int
    attempts: dict[int, Span] = field(default_factory=dict)
    waits_for: tuple[str, int] | None = None

    def at(self, seconds: float) -> int:
        """Return a time of the event loop's clock in nanoseconds since 1970."""
        return self.offset + int(seconds * 1e9)

    def add(self, span: Span, event: TraceEvent) -> None:
        """Add a trace event to a span."""
        span.add_event(f"rtllm.{event.kind}", event_attributes(event), self.at(event.at))


class Spans:
    """Makes spans of trace events.

    A turn's span ends with the turn, but is passed on only when all its attempts are over, so that
    it has the tokens of a response that the service completes after a barge-in.

    Args:
        tracer: Creates the spans.
        conventions: Which names are used.
        parent: Returns the context of the parent.
    """

    def __init__(
        self, tracer: Tracer, conventions: Conventions, parent: ParentContext | None
    ) -> None:
        self._tracer = tracer
        self._conventions = conventions
        self._parent = parent
        self._turns: WeakKeyDictionary[OpenTurn, _TurnSpans] = WeakKeyDictionary()
        self._waiting: list[_TurnSpans] = []

    def note(self, event: TraceEvent, turn: OpenTurn | None) -> None:
        """Take an event, with its turn if it has one that is known."""
        if turn is None:
            if isinstance(event, ConnectionOpened | ConnectionClosed):
                self._connection(event)
            return
        if isinstance(event, TurnQueued):
            self._begin(event, turn)
        spans = self._turns.get(turn)
        if spans is None:
            return
        self._note_step(event, spans)
        if turn.is_over:
            self.end(turn)

    def end(self, turn: OpenTurn) -> None:
        """End the spans of a turn."""
        spans = self._turns.pop(turn, None)
        if spans is None:
            return
        self._waiting = [waiting for waiting in self._waiting if waiting is not spans]
        for attempt in spans.attempts.values():
            attempt.end()
        self._describe(turn, spans.span)
        finished = turn.finished
        spans.span.end(spans.at(finished.at) if finished is not None else None)

    def _begin(self, event: TurnQueued, turn: OpenTurn) -> None:
        parent = self._parent() if self._parent is not None else None
        if event.purpose == "rebuild":  # no caller asked for it
            parent = Context()
        elif parent is None:
            parent = get_current()
        began = time.time_ns()
        span = self._tracer.start_span(
            f"{OPERATIONS[event.purpose]} {event.model}",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes=turn_attributes(event),
            start_time=began,
        )
        offset = began - int(event.at * 1e9)
        self._turns[turn] = _TurnSpans(span, set_span_in_context(span, parent), offset)

    def _note_step(self, event: TraceEvent, spans: _TurnSpans) -> None:
        match event:
            case RequestSent(attempt=int(number)):
                spans.attempts[number] = self._tracer.start_span(
                    "attempt",
                    context=spans.context,
                    kind=SpanKind.CLIENT,
                    attributes=sent_attributes(event),
                    start_time=spans.at(event.at),
                )
            case AttemptEnded(attempt=int(number)):
                attempt = spans.attempts.pop(number, None)
                if attempt is not None:
                    _end_attempt(attempt, event, spans.at(event.at))
            case RequestWritten() | ResponseCreated() | HiddenItemReceived() | FirstOutput():
                attempt = spans.attempts.get(event.attempt or 0)
                if attempt is not None:
                    spans.add(attempt, event)
            case TurnWaiting() | FirstWord() | ToolCalled() | FaultHandled() | TurnCancelled():
                spans.add(spans.span, event)
                if isinstance(event, TurnWaiting) and event.connection is not None:
                    if spans.waits_for is None:
                        self._waiting.append(spans)
                    spans.waits_for = event.client, event.connection
            case _:
                pass

    def _connection(self, event: ConnectionOpened | ConnectionClosed) -> None:
        """Add the end of a handshake to the turns that waited for it."""
        number = event.client, event.connection
        ready = [spans for spans in self._waiting if spans.waits_for == number]
        self._waiting = [spans for spans in self._waiting if spans.waits_for != number]
        for spans in ready:
            spans.waits_for = None
            spans.add(spans.span, event)

    def _describe(self, turn: OpenTurn, span: Span) -> None:
        """Add what is known of a turn when it is over."""
        finished = turn.finished
        if turn.usage is not None:
            if self._conventions != "1.41.0":
                span.set_attributes(usage_attributes(turn.usage))
            if self._conventions != "0.1.0":
                span.set_attributes(usage_attributes(turn.usage, cache_write="cache_creation"))
            if turn.usage.tier is not None:
                span.set_attribute("openai.response.service_tier", turn.usage.tier)
        if turn.cost is not None and turn.currency is not None:
            span.set_attributes({"rtllm.cost": turn.cost, "rtllm.currency": turn.currency})
        if finished is None:
            return
        span.set_attributes(response_attributes(finished.response_id, turn.model))
        span.set_attributes(
            {
                "rtllm.outcome": finished.outcome,
                "rtllm.attempts": finished.attempts,
                "rtllm.bytes": finished.bytes_sent,
            }
        )
        if finished.time_to_first is not None:
            span.set_attribute("gen_ai.response.time_to_first_chunk", finished.time_to_first)
        if finished.outcome in ("cancelled", "failed"):
            span.set_attribute("gen_ai.response.finish_reasons", ["error"])
        if turn.error is not None:
            span.set_attribute("error.type", turn.error)
            span.set_status(Status(StatusCode.ERROR, turn.error))


def _end_attempt(span: Span, event: AttemptEnded, at: int) -> None:
    span.set_attributes(ended_attributes(event))
    if event.fault is not None:
        has_name = event.code is not None and not event.code.isdigit()  # not a close code
        span.set_attribute("error.type", event.code if event.code and has_name else event.fault)
        span.set_status(Status(StatusCode.ERROR, event.fault))
    span.end(at)
