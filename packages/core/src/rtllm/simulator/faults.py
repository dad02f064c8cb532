"""What goes wrong, as values.

A *handshake fault* spoils the connection, a *fault* one request. Most faults strike at a
phase of the response:

* ``sent``: the request is accepted, nothing was answered yet,
* ``created``: ``response.created`` and ``in_progress`` are out,
* ``output``: so many (``after``) deltas of text or arguments are out,
* ``whole``: every item is done, only the terminal event is missing.

Both APIs over HTTP know the same faults, as far as they can strike there: an ``ErrorFrame``
is a status while nothing was answered yet, a data line with the error later; ``Close`` ends
the body as if all were well; the noise of ``Silence`` are comments, or events (chunks) with
nothing new in them. ``MangleChat`` is for chat completions alone, ``Mangle`` for responses.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rtllm.simulator.script import Call, Reply, Request

Stage: TypeAlias = Literal["sent", "created", "output", "whole"]
Shape: TypeAlias = Literal["a", "b", "c", "d", "e", "f"]
Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """When a fault strikes; ``after`` counts deltas in the phase ``output``."""

    phase: Stage = "sent"
    after: int = 1

    def is_due(self, phase: Stage, deltas: int = 0) -> bool:
        """Whether this is the moment."""
        return phase == self.phase and (phase != "output" or deltas == self.after)


@dataclass(frozen=True, slots=True)
class ErrorFrame(At):
    """An error frame ends the request.

    Attributes:
        shape: ``a`` the live form; ``b`` flat; ``c`` with ``detail`` only; ``d`` without
            status, the number as code; ``e`` with nothing but a type; ``f`` without ``type``.
            By default what the service itself sends: ``a`` on a socket, ``b`` in a stream
            over HTTP.
        headers: Sent at top level, or inside ``error`` with ``headers_inside``.
        status_name: ``status`` or ``status_code``.
        tagged: Whether a named lane's frame carries its ``stream_id``.
        extra: More fields for the ``error`` object, like ``resets_at``.
        then_close: Close the socket with this code afterwards, as gateways do.
    """

    code: str | None = "server_error"
    status: int = 500
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
        status: Event = {self.status_name: self.status}
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
    """A frame that nobody should send comes in between; then all goes on."""

    frame: str = "this is not JSON"


GARBAGE: Mapping[str, str] = {
    "not_json": "this is not JSON",
    "cut_json": '{"type":"response.output_text.delta","delta":"abc',
    "array": "[1, 2, 3]",
    "null": "null",
    "unknown_event": '{"type":"response.brand_new.thing","value":{"a":1}}',
    "unknown_codex_event": '{"type":"codex.rate_limits","plan_type":"pro"}',
    "no_type": '{"delta":"x"}',
    "empty": "",
}


@dataclass(frozen=True, slots=True)
class Empty:
    """The response completes with no output."""


@dataclass(frozen=True, slots=True)
class BrokenArguments:
    """The arguments of every call are cut: no JSON any more."""

    drop: int = 1


Flaw: TypeAlias = Literal[
    "delta_without_logprobs",
    "delta_without_place",
    "delta_null",
    "deltas_dropped",
    "sequence_missing",
    "stream_id_missing",
    "item_done_dropped",
    "call_incomplete",
    "usage_null",
    "usage_missing",
    "output_missing",
    "output_null",
    "output_empty",
    "response_done",
    "terminal_dropped",
]


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


Timed: TypeAlias = ErrorFrame | FailedResponse | CutResponse | Close | Abort | Silence | Garbage
Fault: TypeAlias = Timed | Empty | BrokenArguments | Mangle | RefuseRequest | MangleChat
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
    return reply


def _cut(call: Call, drop: int) -> Call:
    return dataclasses.replace(call, arguments=call.arguments_json[:-drop])


_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})


def mangle(event: Event, flaw: Flaw) -> Event | None:  # noqa: C901, PLR0912
    """Give an event a flaw; None drops it."""
    kind = event["type"]
    is_delta, is_terminal = kind.endswith(".delta"), kind in _TERMINAL
    match flaw:
        case "delta_without_logprobs" if is_delta:
            return _without(event, "logprobs")
        case "delta_without_place" if is_delta:
            return _without(event, "item_id", "output_index", "content_index")
        case "delta_null" if is_delta:
            return {**event, "delta": None}
        case "deltas_dropped" if is_delta:
            return None
        case "sequence_missing":
            return _without(event, "sequence_number")
        case "stream_id_missing":
            return _without(event, "stream_id")
        case "item_done_dropped" if kind == "response.output_item.done":
            return None
        case "call_incomplete" if kind == "response.output_item.done":
            return {**event, "item": _unfinished(event["item"])}
        case "call_incomplete" if is_terminal:
            items = [_unfinished(item) for item in event["response"]["output"]]
            return _with_response(event, output=items)
        case "usage_null" if is_terminal:
            return _with_response(event, usage=None)
        case "usage_missing" if is_terminal:
            return {**event, "response": _without(event["response"], "usage")}
        case "output_missing" if is_terminal:
            return {**event, "response": _without(event["response"], "output")}
        case "output_null" if is_terminal:
            return _with_response(event, output=None)
        case "output_empty" if is_terminal:
            return _with_response(event, output=[])
        case "response_done" if kind == "response.completed":
            return {**event, "type": "response.done"}
        case "terminal_dropped" if is_terminal:
            return None
    return event


def _without(event: Event, *names: str) -> Event:
    return {key: value for key, value in event.items() if key not in names}


def _with_response(event: Event, **changes: Any) -> Event:
    return {**event, "response": {**event["response"], **changes}}


def _unfinished(item: Event) -> Event:
    return {**item, "status": "incomplete"} if item["type"] == "function_call" else item


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
