"""Actions that the engine decides on and a runtime carries out, in order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtllm.content.events import Event
from rtllm.content.request import Network
from rtllm.content.usage import UNDESCRIBED, AttemptDetails, Usage, UsageCategory
from rtllm.engine.report import TurnReport
from rtllm.errors import TurnError
from rtllm.trace.events import TraceEvent


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a WebSocket; the runtime answers with `Engine.connected` or `Engine.connect_failed`.

    The action has no time limit: the engine sends `Close` to end an attempt to connect.

    Attributes:
        connection: The number of the connection.
        model: The model that will be used; some hosts want it in the address.
        network: The network settings.
    """

    connection: int
    model: str
    network: Network


@dataclass(frozen=True, slots=True)
class Send:
    """Write a frame; the runtime answers with `Engine.sent` once it is written.

    Attributes:
        connection: The number of the connection.
        attempt: The number of the attempt that the frame starts.
        data: The frame's text.
    """

    connection: int
    attempt: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a ping; the runtime reports the pong with `Engine.heard`.

    Attributes:
        connection: The number of the connection.
    """

    connection: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection, stop opening it, or cancel an HTTP exchange. There is no answer.

    Attributes:
        connection: The number of the connection.
    """

    connection: int

    @property
    def is_exchange(self) -> bool:
        """Whether it is an HTTP exchange; their numbers are negative."""
        return self.connection < 0


@dataclass(frozen=True, slots=True)
class StartHttp:
    """Send a request over HTTP: a connection for one exchange.

    The runtime answers with `Engine.sent` when the request goes out, `Engine.connected` when the
    service answers with a stream, `Engine.received` for each piece of it, and `Engine.lost` at its
    end, with a fault unless the stream ended normally.

    Attributes:
        connection: The number of the exchange; negative.
        attempt: The number of the attempt.
        body: The request's body.
        network: The network settings.
        headers: Additional headers.
        query: Additional query parameters.
        connect_timeout: Seconds for connecting, which only the HTTP client can tell from waiting
            for the answer.
        total_timeout: Seconds after which the HTTP client may end the exchange by itself.
    """

    connection: int
    attempt: int
    body: Mapping[str, Any] = field(repr=False)
    network: Network
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    connect_timeout: float
    total_timeout: float


@dataclass(slots=True)  # not frozen: one is created for each delta, and frozen ones cost more
class Deliver:
    """Hand events of a turn to its consumer; from then on they count as emitted.

    Attributes:
        turn: The number of the turn.
        events: The events, at least one.
        response_id: The service's id of their response, if known.
        mark: The mark of that response; None if it can't be continued.
    """

    turn: int
    events: tuple[Event, ...]
    response_id: str | None
    mark: str | None


@dataclass(frozen=True, slots=True)
class Finish:
    """End a turn; no further events follow.

    Attributes:
        turn: The number of the turn.
        report: The report of the turn.
        error: Why the turn failed; None if it ended with a response or was cancelled.
    """

    turn: int
    report: TurnReport
    error: TurnError | None


@dataclass(frozen=True, slots=True)
class RecordUsage:
    """Record one attempt in the usage ledger: it has ended, or its end will never be known.

    Attributes:
        turn: The number of the turn, which may already have ended.
        attempt: The number of the attempt.
        category: What its tokens were spent on.
        usage: Its tokens; None if unknown.
        on_late_usage: Called with the tokens if the turn ended before them.
        details: What else is known about the attempt.
    """

    turn: int
    attempt: int
    category: UsageCategory
    usage: Usage | None
    on_late_usage: Callable[[Usage], None] | None = None
    details: AttemptDetails = UNDESCRIBED


@dataclass(frozen=True, slots=True)
class MoveUsage:
    """Move an attempt in the usage ledger: what it was spent on was known only later.

    Attributes:
        attempt: The number of the attempt.
        was: The category that it was recorded in.
        category: The category that it belongs to.
        usage: Its tokens, as recorded.
        details: What else was recorded.
    """

    attempt: int
    was: UsageCategory
    category: UsageCategory
    usage: Usage | None
    details: AttemptDetails = UNDESCRIBED


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Call `Engine.tick` at a moment; replaces the moment that was requested before.

    Attributes:
        at: Seconds on the clock that the facts are timed with.
    """

    at: float


@dataclass(slots=True)
class Trace:
    """Pass an event to the trace's listeners.

    Attributes:
        event: The event.
    """

    event: TraceEvent


Action = (
    Connect
    | Send
    | Ping
    | Close
    | StartHttp
    | Deliver
    | Finish
    | RecordUsage
    | MoveUsage
    | WakeAt
    | Trace
)
