"""The trace events: one frozen value for each thing that happens.

The events of a turn come in this order; those in brackets may be missing::

    TurnQueued
      [TurnWaiting]                       for a connection, or for a rate limit; also several times
      RequestSent                         begins an attempt
        [RequestWritten] [ResponseCreated] [HiddenItemReceived]
        [FirstOutput, with FirstWord or ToolCalled]
      [FaultHandled]                      then perhaps another attempt
    [TurnCancelled] TurnFinished
      AttemptEnded                        once for each attempt; after its turn if it drained
      [AttemptDiscarded]                  if it turns out to be for a draft

A connection has events of its own, without a turn: `ConnectionOpening`, `ConnectionOpened`,
perhaps `ConnectionRotated`, `ConnectionClosed`. An HTTP request has none of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from rtllm.content.call_identity import UNNAMED, CallIdentity
from rtllm.content.usage import Usage, UsageCategory

Purpose = Literal["response", "warm-up", "rebuild"]
"""Why a turn exists: a framework asked for a response, a prompt is warmed up, or a known context
is sent again to a new connection."""
WaitReason = Literal["connection", "free connection", "rate limit"]
"""What a turn waits for: a connection that is being opened, one of those that are all busy, or the
end of a rate limit."""
OpeningReason = Literal["request", "spare", "replacement", "trial"]
"""Why a connection is opened: a request needs it; to have one ready; an old one is replaced; or to
check whether the host's WebSocket works again."""
CloseReason = Literal["not opened", "lost", "closed"]
"""How a connection ended: it could not be opened, it was lost, or it was closed on this side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceEvent:
    """Something that happened in a turn, or to a connection: the base class of all trace events.

    Attributes:
        kind: The name of the event's class in files and logs.
        at: Seconds on the event loop's clock, which only moves forward.
        client: The id of the client on one event loop. The numbers below are unique within it.
        call: The names of the call.
        conversation: The number of the conversation; negative for a warm-up. None for a connection.
        turn: The number of the turn; None for a connection.
        attempt: The number of the attempt; None if the event concerns no attempt.
        connection: The number of the connection; negative for an HTTP exchange. None if there is
            none yet.
        lane: The lane of the attempt; None for the default lane.
    """

    kind: ClassVar[str]

    at: float
    client: str = ""
    call: CallIdentity = UNNAMED
    conversation: int | None = None
    turn: int | None = None
    attempt: int | None = None
    connection: int | None = None
    lane: str | None = None


# -- turns -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnQueued(TraceEvent):
    """A turn begins.

    Attributes:
        model: The requested model.
        purpose: Why the turn exists.
        api: ``responses`` or ``chat``.
        items: The number of items of the context.
        tools: The number of tools.
        host: The name of the host's profile; that of an unknown host is its address.
        server: The host's address with the port; None if it is not known.
    """

    kind: ClassVar[str] = "queued"

    model: str
    purpose: Purpose = "response"
    api: str = "responses"
    items: int = 0
    tools: int = 0
    host: str = ""
    server: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnWaiting(TraceEvent):
    """A turn can't be sent yet.

    Attributes:
        reason: What it waits for.
        seconds: How long it waits; None if that is not known.
    """

    kind: ClassVar[str] = "waiting"

    reason: WaitReason
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCancelled(TraceEvent):
    """The framework stopped reading the response, usually because the caller spoke.

    Attributes:
        characters: Characters of text that were emitted before.
        calls: Tool calls that were emitted before.
    """

    kind: ClassVar[str] = "cancelled"

    characters: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinished(TraceEvent):
    """A turn is over. An attempt of it may still drain.

    Attributes:
        outcome: How it ended; see `TurnReport.outcome`.
        duration: Seconds since it began.
        time_to_first: Seconds until the first text or call was emitted; None if none was.
        attempts: The number of requests sent.
        bytes_sent: The bytes of all requests.
        response_id: The service's id of the last response.
        usage: The tokens of the last attempt; None if unknown now.
        error: The name of the error that it ended with; None if there was none.
        cache_missed: Tokens that the service could have read from its prompt cache and did not;
            None if unknown, or unless ``cache_report`` is set.
        cache_breaks: What kept it from reading them, as sentences without any text of the
            conversation.
    """

    kind: ClassVar[str] = "finished"

    outcome: str
    duration: float
    time_to_first: float | None = None
    attempts: int = 0
    bytes_sent: int = 0
    response_id: str | None = None
    usage: Usage | None = None
    error: str | None = None
    cache_missed: int | None = None
    cache_breaks: tuple[str, ...] = ()


# -- attempts --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSent(TraceEvent):
    """A request is handed to the connection: an attempt begins.

    Attributes:
        model: The requested model.
        protocol: ``websocket`` or ``http``.
        bytes: The size of the request.
        items: The number of items in it.
        items_known: The number of items of the context that the service already had.
        previous_response_id: The response that it continues; None if it has the full context.
        full_context_reason: Why it continues none; None if it does.
        reused: Whether the connection was open before the turn began.
        generates: Whether a response is wanted; if not, the service only processes the context.
    """

    kind: ClassVar[str] = "sent"

    model: str
    protocol: Literal["websocket", "http"]
    bytes: int
    items: int
    items_known: int = 0
    previous_response_id: str | None = None
    full_context_reason: str | None = None
    reused: bool = False
    generates: bool = True

    @property
    def chained(self) -> bool:
        """Whether it continues an earlier response."""
        return self.previous_response_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestWritten(TraceEvent):
    """The request was written to the socket; over HTTP, it has its key and is going out."""

    kind: ClassVar[str] = "written"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseCreated(TraceEvent):
    """The service accepted the request.

    Attributes:
        response_id: The service's id of the response; None if it named none yet.
        model: The model that responds; None if the service named none yet.
    """

    kind: ClassVar[str] = "created"

    response_id: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenItemReceived(TraceEvent):
    """The service has generated reasoning, or run a hosted tool: the agent had to wait for it.

    Also emitted if the attempt, or its turn, ends before the item does.

    Attributes:
        item: The item's type, such as ``reasoning`` or ``web_search_call``.
        seconds: How long it took.
    """

    kind: ClassVar[str] = "hidden_item"

    item: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstOutput(TraceEvent):
    """The first output of an attempt arrived.

    Attributes:
        output: ``text``, or ``tool call``.
    """

    kind: ClassVar[str] = "first_output"

    output: Literal["text", "tool call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstWord(TraceEvent):
    """The first text of a turn was emitted: from now on the agent may speak."""

    kind: ClassVar[str] = "first_word"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled(TraceEvent):
    """The model called a tool, and the call is complete.

    Attributes:
        name: The tool's name.
        call_id: The id of the call.
        characters: The length of its arguments.
    """

    kind: ClassVar[str] = "tool_call"

    name: str
    call_id: str
    characters: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultHandled(TraceEvent):
    """Something went wrong, and what is done about it.

    Attributes:
        fault: The kind of fault, in words; see ``docs/recovery.md``.
        action: How it is handled, in words.
        resends: Whether the request is sent again.
        wait: Seconds until then.
        code: The service's error code.
        status: The HTTP status.
        param: The request field that the service names.
    """

    kind: ClassVar[str] = "retry"

    fault: str
    action: str
    resends: bool
    wait: float = 0.0
    code: str | None = None
    status: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(TraceEvent):
    """An attempt is over; each one ends once.

    Attributes:
        category: What its tokens were spent on.
        usage: Its tokens; None if the service did not report them.
        counted: Whether it is in the usage ledger: the service may have received it.
        drained: Whether its turn no longer waited for it.
        response_id: The service's id of the response.
        model: The model that responded; None if the service named none.
        fault: The kind of fault that ended it, in words; None if it ended normally.
        code: The service's error code.
        estimate: An estimate of its tokens, if the service reported none.
        host: The name of the host's profile; None if it is not counted.
        cost: What it cost; None if that is unknown, it is not counted, or the price library is not
            loaded yet (`load_prices` loads it).
        currency: The currency of the cost.
    """

    kind: ClassVar[str] = "ended"

    category: UsageCategory
    usage: Usage | None = None
    counted: bool = True
    drained: bool = False
    response_id: str | None = None
    model: str | None = None
    fault: str | None = None
    code: str | None = None
    estimate: Usage | None = None
    host: str | None = None
    cost: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDiscarded(TraceEvent):
    """An attempt that has ended was for a draft: the caller's words changed after the request.

    Its tokens count as ``draft`` from now on. One that has not ended yet ends as a draft.

    Attributes:
        was: What its tokens counted as before.
    """

    kind: ClassVar[str] = "discarded"

    was: UsageCategory


# -- connections -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOpening(TraceEvent):
    """A WebSocket is being opened.

    Attributes:
        reason: Why.
        replaces: The number of the connection that it replaces; None if it replaces none.
    """

    kind: ClassVar[str] = "connecting"

    reason: OpeningReason
    replaces: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOpened(TraceEvent):
    """A WebSocket is open.

    Attributes:
        seconds: The handshake: key, name resolution, TCP, TLS and upgrade.
    """

    kind: ClassVar[str] = "connected"

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRotated(TraceEvent):
    """A connection near the end of its lifetime was replaced.

    Attributes:
        replaced: The number of the old connection; `connection` is the new one.
    """

    kind: ClassVar[str] = "rotated"

    replaced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionClosed(TraceEvent):
    """A WebSocket is closed, or could not be opened.

    Attributes:
        reason: How it ended.
        seconds: How long it was open; 0 if it was not.
        fault: The kind of fault, in words; None if there was none.
        code: The service's error code, or the close code.
    """

    kind: ClassVar[str] = "disconnected"

    reason: CloseReason
    seconds: float = 0.0
    fault: str | None = None
    code: str | None = None


EVENTS: Mapping[str, type[TraceEvent]] = {
    event.kind: event
    for event in (
        TurnQueued,
        TurnWaiting,
        ConnectionOpening,
        ConnectionOpened,
        ConnectionRotated,
        ConnectionClosed,
        RequestSent,
        RequestWritten,
        ResponseCreated,
        HiddenItemReceived,
        FirstOutput,
        FirstWord,
        ToolCalled,
        FaultHandled,
        TurnCancelled,
        AttemptEnded,
        AttemptDiscarded,
        TurnFinished,
    )
}
"""All trace events by their kind."""
