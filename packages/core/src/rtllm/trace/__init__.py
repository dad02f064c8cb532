"""Trace events: what happens in each turn, attempt and connection, as typed values.

Pass ``on_trace`` to an LLM or a client to receive them; ``docs/tracing.md`` describes them. They
hold no text of a conversation, only names of tools and models, ids, counts and times.
"""

from rtllm.content.call_identity import CallIdentity
from rtllm.trace.events import (
    EVENTS,
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
from rtllm.trace.listeners import TraceListener, TraceListeners

__all__ = [
    "EVENTS",
    "AttemptDiscarded",
    "AttemptEnded",
    "CallIdentity",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionOpening",
    "ConnectionRotated",
    "FaultHandled",
    "FirstOutput",
    "FirstWord",
    "HiddenItemReceived",
    "RequestSent",
    "RequestWritten",
    "ResponseCreated",
    "ToolCalled",
    "TraceEvent",
    "TraceListener",
    "TraceListeners",
    "TurnCancelled",
    "TurnFinished",
    "TurnQueued",
    "TurnWaiting",
]
