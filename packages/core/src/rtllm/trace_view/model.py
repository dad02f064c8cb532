"""What is shown of a trace: turns with the parts of their time, and connections."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rtllm.content.usage import Usage

PartName = Literal[
    "queue",
    "connect",
    "busy",
    "limit",
    "lost",
    "pause",
    "send",
    "accept",
    "reason",
    "hosted",
    "think",
    "word",
    "rest",
]
"""A part of a turn's time, in the usual order.

``queue``: in this process; ``connect``: a connection is being opened; ``busy``: all of them are
in use; ``limit``: a rate limit; ``lost``: an attempt that failed; ``pause``: before the next
attempt; ``send``: the request leaves; ``accept``: until the service accepted it; ``reason``: the
model reasons; ``hosted``: the service runs a tool; ``think``: other time until the first output;
``word``: from a first tool call to the first word; ``rest``: the rest of the response.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a turn's time.

    Attributes:
        name: Its name.
        start: Seconds since the turn began.
        seconds: How long it lasted.
        attempt: The number of the attempt that it belongs to; None if it belongs to none.
    """

    name: PartName
    start: float
    seconds: float
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One request of a turn. Times are seconds since the turn began.

    Attributes:
        number: Its number within the client.
        sent: When it was sent.
        created: When the service accepted it; None if it did not.
        first_output: When its first output came; None if none did.
        ended: When it was over, perhaps after its turn; None if the file does not tell.
        protocol: ``websocket`` or ``http``.
        connection: The number of its connection; negative for an HTTP exchange.
        lane: Its lane; None for the default lane.
        bytes: The size of the request.
        items: The number of items in it.
        items_known: The number of items of the context that the service already had.
        previous_response_id: The response that it continued; None if it had the full context.
        full_context_reason: Why it continued none.
        reused: Whether its connection was open before the turn began.
        response_id: The service's id of the response.
        model: The model that responded, or else the requested one.
        category: What its tokens were spent on; None if the file does not tell.
        drained: Whether its turn no longer waited for its end.
        fault: The kind of fault that ended it; None if it ended normally.
        usage: Its tokens; None if unknown.
        is_estimate: Whether the tokens are an estimate.
        counted: Whether it is in the usage ledger.
        cost: What it cost; None if unknown.
        currency: The currency of the cost.
    """

    number: int
    sent: float
    created: float | None = None
    first_output: float | None = None
    ended: float | None = None
    protocol: str = ""
    connection: int | None = None
    lane: str | None = None
    bytes: int = 0
    items: int = 0
    items_known: int = 0
    previous_response_id: str | None = None
    full_context_reason: str | None = None
    reused: bool = False
    response_id: str | None = None
    model: str = ""
    category: str | None = None
    drained: bool = False
    fault: str | None = None
    usage: Usage | None = None
    is_estimate: bool = False
    counted: bool = True
    cost: float | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class ToolView:
    """A tool call.

    Attributes:
        name: The tool's name.
        at: When the call was complete, in seconds since the turn began.
        answered: When the framework asked again with its output, or with what came instead; None
            if it did not.
        characters: The length of its arguments.
    """

    name: str
    at: float
    answered: float | None = None
    characters: int = 0


@dataclass(frozen=True, slots=True)
class HiddenItemView:
    """Reasoning, or a hosted tool.

    Attributes:
        item: The item's type.
        at: When it was over, in seconds since the turn began.
        seconds: How long it took.
    """

    item: str
    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class FaultView:
    """A fault, and how it was handled.

    Attributes:
        at: Seconds since the turn began.
        attempt: The number of the attempt; None if none was under way.
        fault: The kind of fault.
        action: How it was handled.
        resends: Whether the request was sent again.
        wait: Seconds until then.
        code: The service's error code.
        status: The HTTP status.
        param: The request field that the service named.
    """

    at: float
    attempt: int | None
    fault: str
    action: str
    resends: bool
    wait: float = 0.0
    code: str | None = None
    status: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class StepView:
    """An event as it is listed.

    Attributes:
        at: Seconds since the turn began.
        kind: The kind of event.
        text: What it tells.
    """

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnView:
    """One turn.

    Attributes:
        id: Its number in this view, from 1, in order of time.
        call: The names of its call; empty if it has none.
        label: The label of its LLM or client; empty if it has none.
        group: The number of its conversation in this view.
        client: The id of its client.
        process: The id of the process that wrote it.
        number: Its number within the client.
        began: When it began, in seconds since 1970 (UTC).
        model: The model that responded, or else the requested one.
        purpose: Why the turn exists.
        api: ``responses`` or ``chat``.
        outcome: How it ended; ``open`` if the file does not tell.
        error: The name of the error that it ended with.
        duration: Seconds until its end, or until the last of its events.
        wait: Seconds that the caller waited: until the first output, else until the end.
        first_word: Seconds until the first text; None if there was none.
        cut: Characters that were emitted before it was interrupted; None if it was not.
        parts: The parts of its time, in order; together they are its duration.
        attempts: Its requests, in order.
        tools: Its tool calls.
        hidden_items: Its reasoning and hosted tools.
        faults: Its faults.
        steps: All its events.
        cache_missed: Tokens that could have been read from the prompt cache and were not.
        cache_breaks: Why.
        why: Why the wait was as long as it was, as a sentence.
        notes: What else is worth knowing, as sentences.
    """

    id: int
    call: str
    group: int
    client: str
    process: int
    number: int
    began: float
    model: str = ""
    purpose: str = "response"
    api: str = ""
    outcome: str = "open"
    label: str = ""
    error: str | None = None
    duration: float = 0.0
    wait: float = 0.0
    first_word: float | None = None
    cut: int | None = None
    parts: tuple[Part, ...] = ()
    attempts: tuple[AttemptView, ...] = ()
    tools: tuple[ToolView, ...] = ()
    hidden_items: tuple[HiddenItemView, ...] = ()
    faults: tuple[FaultView, ...] = ()
    steps: tuple[StepView, ...] = ()
    cache_missed: int | None = None
    cache_breaks: tuple[str, ...] = ()
    why: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_response(self) -> bool:
        """Whether a framework asked for it."""
        return self.purpose == "response"

    @property
    def is_cut(self) -> bool:
        """Whether the caller interrupted it."""
        return self.outcome == "cancelled"

    @property
    def has_failed(self) -> bool:
        """Whether the framework got no complete response, for another reason."""
        return self.outcome in ("failed", "empty", "incomplete", "unfinished")


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A WebSocket.

    Attributes:
        number: Its number within the client.
        client: The id of the client.
        process: The id of the process that wrote it.
        began: When it was being opened, in seconds since 1970 (UTC).
        opened: When it was open; None if it never was, or the file does not tell.
        closed: When it was closed; None if the file does not tell.
        reason: Why it was opened.
        end: How it ended; empty if the file does not tell.
        fault: The kind of fault that ended it.
        handshake: Seconds until it was open.
    """

    number: int
    client: str
    process: int
    began: float
    opened: float | None = None
    closed: float | None = None
    reason: str = ""
    end: str = ""
    fault: str | None = None
    handshake: float | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """What a trace file tells.

    Attributes:
        turns: The turns, in order of time.
        connections: The connections, in order of time.
        remarks: What could not be read, as sentences.
        versions: The versions of rtllm that wrote it.
    """

    turns: Sequence[TurnView] = ()
    connections: Sequence[ConnectionView] = ()
    remarks: Sequence[str] = ()
    versions: Sequence[str] = field(default_factory=tuple)
