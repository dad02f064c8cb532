"""What the engine wants done: the actions that a runtime carries out, in order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtllm.content.events import Event
from rtllm.content.request import Network
from rtllm.content.usage import Usage, UsageCategory
from rtllm.engine.report import TurnReport
from rtllm.errors import TurnError


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a WebSocket; answered by `Engine.connected` or `Engine.connect_failed`.

    It has no limit of its own: `Close` ends an attempt to connect, too.

    Attributes:
        connection: The number of the connection.
        model: The model that will be asked; some hosts want it in the address.
        network: What to connect with.
    """

    connection: int
    model: str
    network: Network


@dataclass(frozen=True, slots=True)
class Send:
    """Write a frame; answered by `Engine.sent` once it is written.

    Attributes:
        connection: The number of the connection.
        attempt: The number of the attempt that the frame begins.
        data: The frame's text.
    """

    connection: int
    attempt: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a ping; whatever comes back is told by `Engine.heard` or `Engine.received`.

    Attributes:
        connection: The number of the connection.
    """

    connection: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection, stop opening it, or stop an HTTP exchange. Not answered.

    Attributes:
        connection: The number of the connection.
    """

    connection: int


@dataclass(frozen=True, slots=True)
class StartHttp:
    """Send a request over HTTP: a connection for one exchange.

    Answered by `Engine.sent` when the request goes out, `Engine.connected` when the service
    answers with a stream, `Engine.received` for each piece of it, and `Engine.lost` at its end,
    with a fault unless the stream ended by itself.

    Attributes:
        connection: The number of the exchange; negative.
        attempt: The number of the attempt.
        body: The request's body.
        network: What to connect with.
        headers: More headers.
        query: More query parameters.
        connect_timeout: Seconds for the connection, which only the HTTP client can tell apart.
        total_timeout: Seconds after which the HTTP client may give up by itself.
    """

    connection: int
    attempt: int
    body: Mapping[str, Any] = field(repr=False)
    network: Network
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    connect_timeout: float
    total_timeout: float


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand events of a turn to its consumer: from here on they are emitted.

    Attributes:
        turn: The number of the turn.
        events: At least one event.
        response_id: The service's id of the response that they belong to, if it is known.
        mark: The mark of that response; None if nothing can be continued.
    """

    turn: int
    events: tuple[Event, ...]
    response_id: str | None
    mark: str | None


@dataclass(frozen=True, slots=True)
class Finish:
    """End a turn: nothing more comes of it.

    Attributes:
        turn: The number of the turn.
        report: What happened.
        error: Why there is no answer; None if the turn ended with one or was cancelled.
    """

    turn: int
    report: TurnReport
    error: TurnError | None


@dataclass(frozen=True, slots=True)
class Booked:
    """Count one attempt: it has ended, or its end will never be known.

    Attributes:
        turn: The number of the turn, which may have ended before.
        attempt: The number of the attempt.
        category: What its tokens were spent on.
        usage: Its tokens; None if unknown.
        tell: Who is told of them, where the turn ended before.
    """

    turn: int
    attempt: int
    category: UsageCategory
    usage: Usage | None
    tell: Callable[[Usage], None] | None = None


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Call `Engine.tick` at a moment; replaces the one that was asked for before.

    Attributes:
        at: Seconds on the clock that the facts are timed with.
    """

    at: float


Action = Connect | Send | Ping | Close | StartHttp | Deliver | Finish | Booked | WakeAt
