"""What goes wrong, as values.

A *handshake fault* spoils the connection, a *fault* one request. Most faults strike at a
phase of the response:

* ``sent``: the request is accepted, nothing was answered yet,
* ``created``: ``response.created`` and ``in_progress`` are out,
* ``opened``: so many (``after``) items have begun, the last one without a delta yet,
* ``output``: so many (``after``) deltas of text or arguments are out,
* ``item``: so many (``after``) items are done,
* ``whole``: every item is done, only the terminal event is missing.

Both APIs over HTTP know the same faults, as far as they can strike there: an ``ErrorFrame``
is a status while nothing was answered yet, a data line with the error later; ``Close`` ends
the body as if all were well, ``HangUp`` in the middle of it; the noise of ``Silence`` are
comments, or events (chunks) with nothing new in them. Chat completions have no items, so
nothing happens there in the phases ``opened`` and ``item``. ``MangleChat`` is for them alone,
``Mangle`` for responses.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rtllm.simulator.mangling import Flaw
from rtllm.simulator.script import Call, Part, Pause, Reply, Request, Text

Stage: TypeAlias = Literal["sent", "created", "opened", "output", "item", "whole"]
Shape: TypeAlias = Literal["a", "b", "c", "d", "e", "f"]
Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """When a fault strikes; ``after`` counts deltas or items where the phase does."""

    phase: Stage = "sent"
    after: int = 1

    def is_due(self, phase: Stage, count: int = 0) -> bool:
        """Whether this is the moment."""
        counts = phase in {"opened", "output", "item"}
        return phase == self.phase and (not counts or count == self.after)


@dataclass(frozen=True, slots=True)
class ErrorFrame(At):
    """An error frame ends the request.

    Attributes:
        shape: ``a`` the live form; ``b`` flat; ``c`` with ``detail`` only; ``d`` without
            status, the number as code; ``e`` with nothing but a type; ``f`` without ``type``.
            By default what the service itself sends: ``a`` on a socket, ``b`` in a stream
            over HTTP.
        status: None leaves it out, as some hosts do; over HTTP that is a 500.
        headers: Sent at top level, or inside ``error`` with ``headers_inside``.
        status_name: ``status`` or ``status_code``.
        tagged: Whether a named lane's frame carries its ``stream_id``.
        extra: More fields for the ``error`` object, like ``resets_at``.
        then_close: Close the socket with this code afterwards, as gateways do.
    """

    code: str | None = "server_error"
    status: int | None = 500
    message: str = "The server had an error while processing your request. Sorry about that!"
    kind: str = "server_error"
    param: str | None = None
    shape: Shape | None = None
    headers: Mapping[str, str] | None = None
    headers_inside: bool = False
    status_name: Literal["status", "status_code"] = "status"
    tagged: bool = True
    extra: Mapping[str, Any] | None = None
    then_close: int | None = None

    def frame(self, lane: str | None, sequence_number: int = 0, live: Shape = "a") -> Event:
        """The frame as it goes over the wire; ``live`` is the shape that the service uses."""
        frame = self._shaped(self.shape or live, sequence_number)
        if self.extra and "error" in frame:
            frame["error"].update(self.extra)
        if self.headers is not None:
            inside = self.headers_inside and "error" in frame
            (frame["error"] if inside else frame)["headers"] = dict(self.headers)
        if lane is not None and self.tagged:
            frame["stream_id"] = lane
        return frame

    def _shaped(self, shape: Shape, sequence_number: int) -> Event:
        error = {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
        }
        status: Event = {} if self.status is None else {self.status_name: self.status}
        flat = {key: value for key, value in error.items() if key != "type"}
        shaped: dict[Shape, Event] = {
            "a": {"type": "error", **status, "error": error},
            "b": {"type": "error", **flat, "sequence_number": sequence_number},
            "c": {"error": {"detail": self.message}, **status, "type": "error"},
            "d": {"type": "error", "error": {**error, "code": str(self.status)}},
            "e": {"type": "error", "error": {"type": self.kind, "message": self.message}},
            "f": {**status, "error": error},
        }
        return shaped[shape]


def rate_limited(
    retry_after: str | None = None, message: str | None = None, **changes: Any
) -> ErrorFrame:
    """A 429 with its usual words; ``retry_after`` (seconds) travels as a header."""
    return ErrorFrame(
        code="rate_limit_exceeded",
        status=429,
        kind="rate_limit_error",
        message=message or "Rate limit reached for requests. Please try again in 20ms.",
        headers=None if retry_after is None else {"retry-after": retry_after},
        **changes,
    )


def overloaded(**changes: Any) -> ErrorFrame:
    """A 503: the service has too much to do."""
    return ErrorFrame(
        code="server_is_overloaded",
        status=503,
        kind="service_unavailable_error",
        message="Our servers are currently overloaded. Please try again later.",
        **changes,
    )


def connection_limit(**changes: Any) -> ErrorFrame:
    """The connection has reached its age in the middle of a request; it closes."""
    return ErrorFrame(
        code="websocket_connection_limit_reached",
        status=400,
        kind="invalid_request_error",
        message="Responses websocket connection limit reached (60 minutes). "
        "Create a new websocket connection to continue.",
        tagged=False,
        then_close=1000,
        **changes,
    )


def refusing(*names: str) -> FaultPlan:
    """Refuse requests that set one of these parameters, as a host or a project may.

    Args:
        names: Paths like ``service_tier`` or ``text.verbosity``; null counts as not set.
    """

    def plan(request: Request) -> Faults:
        for name in names:
            value: Any = request.body
            for step in name.split("."):
                value = value.get(step) if isinstance(value, dict) else None
            if value is not None:
                return ErrorFrame(
                    code="unsupported_parameter",
                    status=400,
                    kind="invalid_request_error",
                    message=f"Unsupported parameter: '{name}' is not supported with this model.",
                    param=name,
                )
        return None

    return plan


@dataclass(frozen=True, slots=True)
class FailedResponse(At):
    """The response ends with ``response.failed``."""

    code: str = "server_error"
    message: str = "The server had an error processing your request. Sorry about that!"


@dataclass(frozen=True, slots=True)
class CutResponse(At):
    """The response ends with ``response.incomplete``."""

    reason: str = "max_output_tokens"


@dataclass(frozen=True, slots=True)
class Close(At):
    """The server closes the socket."""

    code: int = 1011
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Abort(At):
    """The connection is reset, without a closing handshake."""


@dataclass(frozen=True, slots=True)
class HangUp(At):
    """The connection ends by FIN alone: no closing handshake, no end of the body."""


@dataclass(frozen=True, slots=True)
class Silence(At):
    """Nothing useful is ever sent again: on this lane, or on the whole connection.

    On a lane, ``noise`` may go on meanwhile, each ``every`` seconds: repeats of
    ``in_progress``, or an unknown keep-alive event. A connection without ``pongs`` is as
    dead as one behind a cut cable.
    """

    scope: Literal["lane", "connection"] = "lane"
    noise: Literal["in_progress", "keepalive"] | None = None
    every: float = 0.05
    pongs: bool = True


@dataclass(frozen=True, slots=True)
class Garbage(At):
    """A frame that nobody should send comes in between; then all goes on.

    Bytes come as a binary frame, over HTTP as the data of an event.
    """

    frame: str | bytes = "this is not JSON"


GARBAGE: Mapping[str, str] = {
    "not_json": "this is not JSON",
    "cut_json": '{"type":"response.output_text.delta","delta":"abc',
    "array": "[1, 2, 3]",
    "null": "null",
    "unknown_event": '{"type":"response.brand_new.thing","value":{"a":1}}',
    "unknown_codex_event": '{"type":"codex.rate_limits","plan_type":"pro"}',
    "no_type": '{"delta":"x"}',
    "empty": "",
    "string": '"text"',
    "number": "17",
    "not_a_number": '{"type":NaN}',
    "half_a_character": r'{"type":"response.brand_new.thing","delta":"\ud83d"}',
    "deep": "[" * 20_000,
    "type_null": '{"type":null}',
    "type_number": '{"type":5}',
    "type_object": '{"type":{"a":1}}',
    "delta_of_nothing": '{"type":"response.output_text.delta"}',
    "item_of_nothing": '{"type":"response.output_item.done"}',
    "item_null": '{"type":"response.output_item.added","output_index":null,"item":null}',
    "stray_arguments": '{"type":"response.function_call_arguments.delta","item_id":"fc_nobody",'
    '"output_index":99,"delta":"{}"}',
}


@dataclass(frozen=True, slots=True)
class Empty:
    """The response completes with no output."""


@dataclass(frozen=True, slots=True)
class Dribble:
    """What is said comes in small pieces with long waits between them.

    Attributes:
        every: Seconds between pieces, or an event that each waits for.
        size: Characters a piece.
        after: Characters that come at the ordinary pace first.
    """

    every: float | asyncio.Event = 1.0
    size: int = 1
    after: int = 0


@dataclass(frozen=True, slots=True)
class BrokenArguments:
    """The arguments of every call are cut: no JSON any more."""

    drop: int = 1


@dataclass(frozen=True, slots=True)
class Mangle:
    """Every event of the response has a flaw, where the flaw applies."""

    flaw: Flaw


@dataclass(frozen=True, slots=True)
class RefuseRequest:
    """A POST is answered with this, as it is: proxies answer with HTML or text.

    On a socket it becomes an error frame with the same status, body and headers.
    """

    status: int = 502
    body: str | Mapping[str, Any] = ""
    headers: Mapping[str, str] | None = None


ChatFlaw: TypeAlias = Literal[
    "call_whole",
    "call_id_repeated",
    "call_name_repeated",
    "call_id_missing",
    "call_place_missing",
    "call_place_zero",
    "call_places_with_gaps",
    "calls_interleaved",
    "prompt_filter",
    "content_with_finish",
    "delta_null_tail",
    "usage_with_finish",
    "usage_everywhere",
    "usage_missing",
    "usage_null",
    "finish_missing",
    "done_missing",
]


@dataclass(frozen=True, slots=True)
class MangleChat:
    """The chunks of a chat completion have a shape that some host gives them."""

    flaw: ChatFlaw


Timed: TypeAlias = (
    ErrorFrame | FailedResponse | CutResponse | Close | Abort | HangUp | Silence | Garbage
)
Fault: TypeAlias = Timed | Empty | Dribble | BrokenArguments | Mangle | RefuseRequest | MangleChat
Faults: TypeAlias = Fault | Sequence[Fault] | None
FaultPlan: TypeAlias = Callable[[Request], Faults]
FaultOption: TypeAlias = FaultPlan | Fault | Sequence[Faults] | None


def in_turn(*faults: Faults) -> FaultPlan:
    """Let the first request have the first fault, and so on; later ones have none.

    Only requests that pass the checks count.
    """
    left = list(faults)
    return lambda _: left.pop(0) if left else None


def only(index: int, fault: Faults) -> FaultPlan:
    """Spoil the request with this index of the journal."""
    return lambda request: fault if request.index == index else None


def as_plan(fault: FaultOption) -> FaultPlan:
    """A plan from whatever was given: a lone fault strikes each time, a list in turn."""
    if callable(fault):
        return fault
    if isinstance(fault, Sequence):
        return in_turn(*fault)
    return lambda _: fault


def as_list(faults: Faults) -> Sequence[Fault]:
    """The faults of one request."""
    if faults is None:
        return ()
    return faults if isinstance(faults, Sequence) else (faults,)


def spoil_reply(reply: Reply, faults: Iterable[Fault]) -> Reply:
    """Apply the faults that change what is said."""
    for fault in faults:
        if isinstance(fault, Empty):
            reply = dataclasses.replace(reply, parts=())
        elif isinstance(fault, BrokenArguments):
            parts = tuple(
                _cut(part, fault.drop) if isinstance(part, Call) else part for part in reply.parts
            )
            reply = dataclasses.replace(reply, parts=parts)
        elif isinstance(fault, Dribble):
            reply = dataclasses.replace(reply, parts=tuple(_dribbled(reply.parts, fault)))
    return reply


def _dribbled(parts: Iterable[Part], fault: Dribble) -> Iterator[Part]:
    """The same texts, with pauses in them."""
    at_ease = fault.after
    for part in parts:
        if not isinstance(part, Text):
            yield part
            continue
        pieces: list[str | Pause] = []
        for step in part.steps():
            if isinstance(step, Pause):
                pieces.append(step)
                continue
            pieces.append(step[:at_ease])
            rest = step[at_ease:]
            at_ease -= len(step) - len(rest)
            for start in range(0, len(rest), fault.size):
                pieces += [Pause(fault.every), rest[start : start + fault.size]]
        yield dataclasses.replace(part, pieces=tuple(piece for piece in pieces if piece != ""))


def _cut(call: Call, drop: int) -> Call:
    return dataclasses.replace(call, arguments=call.arguments_json[:-drop])


@dataclass(frozen=True, slots=True)
class RefuseHandshake:
    """The upgrade is answered with plain HTTP."""

    status: int = 503
    body: str | Mapping[str, Any] = ""
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class AcceptThen:
    """The upgrade succeeds, then an error frame comes, or the end, or both."""

    error: ErrorFrame | None = None
    close: int | None = None
    reason: str = ""
    abort: bool = False


@dataclass(frozen=True, slots=True)
class DelayHandshake:
    """The answer to the upgrade takes so many seconds, or until an event."""

    until: asyncio.Event | float
    then: RefuseHandshake | AcceptThen | None = None


HandshakeFault: TypeAlias = RefuseHandshake | AcceptThen | DelayHandshake
ConnectPlan: TypeAlias = Callable[[int], HandshakeFault | None]
