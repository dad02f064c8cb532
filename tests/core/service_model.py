"""A model of the service, written from docs/protocol.md: what it remembers, sees and refuses.

It reads the frames that the client would send and shares nothing with the client's code.
Where the facts leave two readings open, it takes the one that is worse for the client.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from support.contexts import Unit, begins_with, canonical, is_visible, split_lead, unit_of

ACTIVE = 16  # documented, per connection
NAMES = 32  # documented, per connection; never freed
CALL_ID = 64  # seen


class Refusal(Exception):
    """An error frame instead of an answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(eq=False)
class Response:
    """A completed response.

    Attributes:
        id: Its id.
        model: The model that made it.
        raw: All that the model saw, and what it said, without instructions.
        recorded: The same, with outputs in the form in which the framework records them;
            None if it records something else.
        field: Whether the system texts travelled in ``instructions``.
        connection: The connection it was made on.
        lane: On which lane.
        stored: Whether it is kept beyond the connection.
    """

    id: str
    model: str
    raw: tuple[Unit, ...]
    recorded: tuple[Unit, ...] | None
    field: bool
    connection: int
    lane: str | None
    stored: bool

    @cached_property
    def lead(self) -> str:
        """The system texts at the head of the chained items."""
        return "\n".join(split_lead(self.recorded or ())[0])

    @cached_property
    def canonical(self) -> tuple[Unit, ...]:
        """What it knows, in the order that compares."""
        return canonical(self.recorded or ())


@dataclass(eq=False)
class Ticket:
    """A request that the service got.

    Attributes:
        lead: System texts that travelled in ``instructions``, which are not carried over.
    """

    connection: int
    lane: str | None
    body: dict[str, Any]
    input: tuple[Unit, ...]
    lead: str
    parent: Response | None = None
    started: bool = False
    over: bool = False

    @property
    def view(self) -> tuple[Unit, ...]:
        """What the model sees, without instructions, with outputs as the framework has them."""
        if self.parent is None:
            return self.input
        known = self.parent.raw if self.parent.recorded is None else self.parent.recorded
        return known + self.input

    @property
    def hidden(self) -> tuple[Unit, ...]:
        """What the model sees that no framework records."""
        known = self.parent.raw if self.parent is not None else ()
        return tuple(item for item in known + self.input if not is_visible(item))


@dataclass
class _Lane:
    newest: str | None = None
    queue: list[Ticket] = field(default_factory=list)


@dataclass
class _Connection:
    lanes: dict[str | None, _Lane] = field(default_factory=dict)

    def lane(self, name: str | None) -> _Lane:
        return self.lanes.setdefault(name, _Lane())

    @property
    def active(self) -> int:
        return sum(1 for lane in self.lanes.values() for ticket in lane.queue if ticket.started)


class Service:
    """The service: connections with lanes, and what each of them still remembers.

    Args:
        lanes: Whether it takes ``stream_id``.
    """

    def __init__(self, *, lanes: bool) -> None:
        self.lanes = lanes
        self.connections: dict[int, _Connection] = {}
        self.responses: dict[str, Response] = {}
        self._count = 0

    def connect(self, number: int) -> None:
        """A client connected."""
        self.connections[number] = _Connection()

    def disconnect(self, number: int) -> None:
        """A connection ended: all that its lanes remembered is lost."""
        self.connections.pop(number, None)

    def remembers(self, response: Response) -> bool:
        """Whether a response can be continued, over its own connection if it isn't stored."""
        if response.stored:
            return True
        connection = self.connections.get(response.connection)
        return connection is not None and connection.lane(response.lane).newest == response.id

    def can_be_forked(self, response: Response) -> bool:
        """Whether a fork is safe: a request waiting on the parent's lane would win the race."""
        if response.stored or not self.remembers(response):
            return response.stored
        return not self.connections[response.connection].lane(response.lane).queue

    def running(self, number: int) -> list[Ticket]:
        """The requests that are queued or active on a connection."""
        return [t for lane in self.connections[number].lanes.values() for t in lane.queue]

    def send(self, number: int, frame: bytes, guide: str = "") -> Ticket:
        """A frame arrives, and is queued on its lane.

        Args:
            number: The connection's number.
            frame: The frame.
            guide: Text that must come last in ``instructions`` and belongs to no context.
        """
        body = json.loads(frame)
        assert body["type"] == "response.create"
        assert number in self.connections, "sent over a closed connection"
        connection = self.connections[number]
        name = body.get("stream_id")
        if name is not None:
            assert self.lanes, "a host without lanes got a stream_id"
            assert re.fullmatch(r"[A-Za-z0-9_.-]{1,256}", name)
        instructions: str = body.get("instructions", "")
        assert instructions.endswith(guide), "the guide is missing"
        lead = instructions.removesuffix(guide).removesuffix("\n" if guide else "")
        ticket = Ticket(number, name, body, tuple(unit_of(item) for item in body["input"]), lead)
        connection.lane(name).queue.append(ticket)
        names = sum(1 for lane in connection.lanes if lane is not None)
        assert names <= NAMES, "websocket_stream_limit_reached"
        return ticket

    def can_start(self, ticket: Ticket) -> bool:
        """Whether a request is the next one of its lane: lanes are FIFO and never overlap."""
        connection = self.connections.get(ticket.connection)
        if connection is None or ticket.started or ticket.over:
            return False
        return connection.lane(ticket.lane).queue[0] is ticket and connection.active < ACTIVE

    def start(self, ticket: Ticket) -> None:
        """Take a request in hand: find its parent, check it, and forget the lane's newest.

        Raises:
            Refusal: If the parent is gone or the context isn't legal. Nothing was generated.
        """
        lane = self.connections[ticket.connection].lane(ticket.lane)
        try:
            ticket.parent = self._parent(ticket)
            _check((ticket.parent.raw if ticket.parent else ()) + ticket.input)
        except Refusal:
            self.fail(ticket)
            raise
        finally:
            lane.newest = None
        ticket.started = True

    def complete(
        self, ticket: Ticket, output: Sequence[Unit], recorded: Sequence[Unit] | None
    ) -> Response:
        """Complete a response: its lane remembers it, and nothing else."""
        self._count += 1
        parent = ticket.parent
        known: tuple[Unit, ...] | None = ()
        in_field = bool(ticket.lead)
        if parent is not None:
            known, in_field = parent.recorded, parent.field
        response = Response(
            id=f"resp_{self._count}",
            model=ticket.body["model"],
            raw=(parent.raw if parent else ()) + ticket.input + tuple(output),
            recorded=(
                None
                if known is None or recorded is None
                else (*known, *filter(is_visible, ticket.input), *recorded)
            ),
            field=in_field,
            connection=ticket.connection,
            lane=ticket.lane,
            stored=ticket.body.get("store") is not False,
        )
        self.responses[response.id] = response
        self._leave(ticket)
        self.connections[ticket.connection].lane(ticket.lane).newest = response.id
        return response

    def fail(self, ticket: Ticket) -> None:
        """End a request without a completed response.

        A continuation on its parent's own lane evicts the parent; on another it doesn't.
        """
        self._leave(ticket)
        connection = self.connections.get(ticket.connection)
        if connection is not None:
            connection.lane(ticket.lane).newest = None

    def _leave(self, ticket: Ticket) -> None:
        ticket.over = True
        connection = self.connections.get(ticket.connection)
        if connection is not None:
            connection.lane(ticket.lane).queue.remove(ticket)

    def _parent(self, ticket: Ticket) -> Response | None:
        wanted = ticket.body.get("previous_response_id")
        if wanted is None:
            return None
        response = self.responses.get(wanted)
        here = response is not None and response.connection == ticket.connection
        if response is None or not (response.stored or (here and self.remembers(response))):
            raise Refusal("previous_response_not_found", f"{wanted} not found")
        return response


def _check(view: Sequence[Unit]) -> None:
    """Refuse a context in which calls and outputs don't pair up, in order, and what is empty."""
    if not view:
        raise Refusal("invalid_request_error", "empty input")
    open_calls: set[str] = set()
    called: set[str] = set()
    for item in view:
        match item:
            case ("call", call_id, name, _):
                _check_call(call_id, name, called)
                called.add(call_id)
                open_calls.add(call_id)
            case ("output", call_id, _):
                if call_id not in open_calls:
                    raise Refusal("invalid_request_error", f"No tool call found for {call_id}")
                open_calls.remove(call_id)
            case ("message", role, _, parts):
                if open_calls:
                    raise Refusal("invalid_request_error", f"No tool output found for {open_calls}")
                _check_message(role, parts)
            case _:
                pass
    if open_calls:
        raise Refusal("invalid_request_error", f"No tool output found for {open_calls}")


def _check_call(call_id: str, name: str, called: set[str]) -> None:
    if call_id in called or not 0 < len(call_id) <= CALL_ID:
        raise Refusal("invalid_request_error", f"bad call id {call_id}")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise Refusal("invalid_request_error", f"bad name {name}")


def _check_message(role: str, parts: tuple[tuple[str, ...], ...]) -> None:
    if not parts or ("text", "") in parts:
        raise Refusal("invalid_request_error", "empty text")
    if role == "assistant" and any(part[0] == "image" for part in parts):
        raise Refusal("invalid_request_error", "input_image of an assistant")


@dataclass(frozen=True)
class Wanted:
    """A normalized context, split once for many comparisons."""

    lead: str
    whole: tuple[Unit, ...]
    body: tuple[Unit, ...]

    @classmethod
    def of(cls, context: Sequence[Unit]) -> "Wanted":
        lead, body = split_lead(context)
        return cls("\n".join(lead), canonical(context), canonical(body))

    def covered_by(self, response: Response) -> int | None:
        """How many items of this context a response knows, None if it isn't a prefix of it."""
        if not response.recorded:
            return None
        if not response.field and response.lead != self.lead:
            return None
        whole = self.body if response.field else self.whole
        return len(response.recorded) if begins_with(whole, response.canonical) else None
