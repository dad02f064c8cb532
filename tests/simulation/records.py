"""What the simulation knows of turns, attempts and responses, independently of the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rtllm.content.items import ToolCall
from rtllm.content.request import Request
from support.contexts import Unit

if TYPE_CHECKING:
    from simulation.callers import Call


class Violation(AssertionError):
    """A law is broken.

    Attributes:
        law: The number of the law in the design, or ``order`` for the engine's own bookkeeping.
    """

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"law {law}: {what}")
        self.law = law
        self.what = what


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the model must see for a request: the caller's context, normalized.

    Attributes:
        lead: The leading system texts.
        guide: Text that always goes into ``instructions``.
        body: The items after the leading system texts, runs of calls and outputs sorted.
        keys: The framework's ids of its items.
    """

    lead: tuple[str, ...]
    guide: str
    body: tuple[Unit, ...]
    keys: tuple[str | None, ...]


@dataclass(slots=True, eq=False)
class Response:
    """A completed response as the service remembers it.

    Attributes:
        id: Its id.
        call: The call it belongs to; None for a preparation.
        model: The model that made it.
        raw: All that the model saw and said, system texts that were chained included.
        recorded: The same in the form in which the framework records it; None if it records
            something else.
        output: The visible items of its output as the framework records them.
        texts: Each text that it said.
        phase: The phase of its message.
        tokens: The tokens of its hidden items.
        pipe: The engine and the connection that it was made on.
        lane: Its lane.
        is_stored: Whether the service keeps it.
        is_in_field: Whether its system texts went into ``instructions``.
        wanted: The context that it answers.
        is_known: Whether the engine got its last event.
        is_forgotten: Whether the service evicted it.
    """

    id: str
    call: Call | None
    model: str
    raw: tuple[Unit, ...]
    recorded: tuple[Unit, ...] | None
    output: tuple[Unit, ...]
    texts: tuple[str, ...]
    phase: str | None
    tokens: tuple[str, ...]
    pipe: tuple[int, int]
    lane: str | None
    is_stored: bool
    is_in_field: bool
    wanted: Wanted | None
    is_known: bool = False
    is_forgotten: bool = False


@dataclass(slots=True, eq=False)
class AttemptRecord:
    """One request that the engine sent.

    Attributes:
        number: The engine's number of it.
        turn: Its turn; None for one that only prepares a connection.
        call: Whose words it holds.
        engine: The number of its engine.
        connection: The number of its connection.
        lane: Its lane.
        body: What was sent.
        size: Bytes of it.
        parent: What it continues.
        view: All that the model sees.
        generates: Whether an answer is wanted.
        is_written: Whether the network took it.
        is_uploaded: Whether its writing took some seconds, since it is large.
        excuse: Why it may be lost; None if nothing happened to it.
        fed: The text that the engine was given of its answer.
        fed_calls: The calls that it was given.
        response_id: The service's id of the answer.
        made: The response that the service remembers, once it is complete.
        ended: The last event that the engine was given: completed, incomplete, failed, empty,
            error, or what happened to the connection.
        usage: What the service counted, if the engine received it.
        counted: What it counted so far, over Chat Completions.
        is_ending: Whether only optional parts of its end are missing, over Chat Completions.
        is_booked: Whether the engine counted its usage.
        category: The category it was counted in.
        is_doomed: Whether the engine learned, rightly or from an ambiguous frame, that it ended.
        is_unsure: Whether an error came that may have been its own or another's.
        is_slow: Whether an item is open that may take long.
        open_items: How many such items were announced and have not ended.
        sent_at: When it was sent.
    """

    number: int
    turn: TurnRecord | None
    call: Call | None
    engine: int
    connection: int
    lane: str | None
    body: dict[str, Any]
    size: int
    parent: Response | None
    view: tuple[Unit, ...]
    generates: bool
    is_written: bool = False
    is_uploaded: bool = False
    excuse: str | None = None
    fed: str = ""
    fed_calls: list[str] = field(default_factory=list)
    response_id: str | None = None
    made: Response | None = None
    ended: str | None = None
    usage: tuple[int, int] | None = None
    counted: tuple[int, int] | None = None
    is_ending: bool = False
    is_booked: bool = False
    category: str | None = None
    is_doomed: bool = False
    is_unsure: bool = False
    is_slow: bool = False
    open_items: int = 0
    lead_in_field: bool = False
    abandoned: str | None = None
    sent_at: float = 0.0

    @property
    def is_stored(self) -> bool:
        """Whether the service is asked to keep the answer."""
        return self.body.get("store") is not False

    def shut(self) -> None:
        """Note that an item ended which may take long."""
        self.open_items = max(0, self.open_items - 1)
        self.is_slow = self.open_items > 0

    @property
    def is_bound(self) -> bool:
        """Whether only its connection remembers what it continues."""
        return self.parent is not None and not self.parent.is_stored


@dataclass(slots=True, eq=False)
class TurnRecord:
    """One turn that a caller asked for.

    Attributes:
        serial: Its number within the simulation, which its requests carry.
        number: The engine's number of it.
        engine: The number of its engine.
        call: Whose it is.
        wanted: What the model must see.
        request: What was asked.
        began: When.
        current: Its present attempt; None between attempts.
        sends: How many attempts it had.
        causes: Why it was sent again, in order.
        wait_excuse: Why its wait for a connection may fail.
        text: What was emitted.
        calls: The ids of the calls that were emitted.
        emitted_from: The attempt whose words were emitted.
        mark: The mark of what was emitted.
        is_over: Whether it finished.
        is_cancelled: Whether its caller cancelled it.
        must_fail: The words of a refusal that ends it.
        not_before: When it may be sent again at the earliest.
        useful_at: When it last made progress.
        was_slow: Whether an item was open that may take long, or output is held.
        was_queued: Whether it waited since all connections were busy.
        waits_since: When it began to wait for a connection that was being opened.
    """

    serial: int
    number: int
    engine: int
    call: Call | None
    wanted: Wanted
    request: Request
    began: float
    current: AttemptRecord | None = None
    sends: int = 0
    causes: list[str] = field(default_factory=list)
    wait_excuse: str | None = None
    text: str = ""
    calls: list[str] = field(default_factory=list)
    emitted_from: AttemptRecord | None = None
    mark: str | None = None
    is_over: bool = False
    is_cancelled: bool = False
    must_fail: str | None = None
    not_before: float = 0.0
    useful_at: float = 0.0
    was_slow: bool = False
    was_queued: bool = False
    has_ended: bool = False
    waits_for: int | None = None
    waits_since: float = 0.0
    called: list[ToolCall] = field(default_factory=list)
