"""The events of a turn, each in a few words."""

from collections.abc import Sequence

from rtllm.trace.events import (
    AttemptDiscarded,
    AttemptEnded,
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
    TurnFinished,
    TurnQueued,
    TurnWaiting,
)
from rtllm.trace_view.model import StepView
from rtllm.trace_view.words import OUTCOMES, counted, item_words, money, seconds, size


def steps_of(events: Sequence[TraceEvent]) -> tuple[StepView, ...]:
    """Describe the events of a turn, with their times since it began."""
    if not events:
        return ()
    start = events[0].at
    return tuple(StepView(e.at - start, e.kind, _words_of(e)) for e in events)


def _words_of(event: TraceEvent) -> str:
    match event:
        case TurnQueued():
            tools = f", {counted(event.tools, 'tool')}" if event.tools else ""
            return f"Asked for a {event.purpose}: {counted(event.items, 'item')}{tools}"
        case TurnWaiting():
            limit = f" ({seconds(event.seconds)})" if event.seconds is not None else ""
            return f"Waits for: {event.reason}{limit}"
        case RequestSent():
            where = "HTTP" if event.protocol == "http" else f"connection {event.connection}"
            lane = f", {event.lane}" if event.lane else ""
            context = "chained" if event.chained else f"full context: {event.full_context_reason}"
            sent = f"{counted(event.items, 'item')}, {size(event.bytes)}"
            return f"Attempt {event.attempt} sent on {where}{lane}: {sent}, {context}"
        case RequestWritten():
            return "Request has left"
        case ResponseCreated():
            return f"Accepted: {event.response_id or 'without an id'}"
        case HiddenItemReceived():
            return f"{item_words(event.item).capitalize()}: {seconds(event.seconds)}"
        case FirstOutput():
            return f"First output: {event.output}"
        case FirstWord():
            return "First word: the agent may speak"
        case ToolCalled():
            return f"Tool call: {event.name} ({counted(event.characters, 'character')})"
        case _:
            return _words_of_end(event)


def _words_of_end(event: TraceEvent) -> str:
    match event:
        case FaultHandled():
            code = f" ({event.code})" if event.code else ""
            return f"Fault: {event.fault}{code}: {event.action}"
        case TurnCancelled():
            return f"Interrupted after {counted(event.characters, 'character')}"
        case AttemptEnded():
            return _words_of_attempt_end(event)
        case AttemptDiscarded():
            return f"It was for a draft that was thrown away (was: {event.was})"
        case TurnFinished():
            error = f": {event.error}" if event.error else ""
            return f"Turn over: {OUTCOMES.get(event.outcome, event.outcome)}{error}"
        case _:
            return event.kind


def _words_of_attempt_end(event: AttemptEnded) -> str:
    usage = event.usage or event.estimate
    about = "about " if event.usage is None else ""
    tokens = f", {about}{usage.input:,} + {usage.output:,} tokens" if usage is not None else ""
    cost = ""
    if event.cost is not None and event.currency is not None:
        cost = f", {money(event.cost, event.currency)}"
    fault = f" ({event.fault})" if event.fault else ""
    later = ", after its turn" if event.drained else ""
    return f"Attempt {event.attempt} over{later}: {event.category}{fault}{tokens}{cost}"
