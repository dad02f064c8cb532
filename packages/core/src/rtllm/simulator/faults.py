"""Faults, as values.

A *handshake fault* affects the connection, a *fault* one request. Most faults occur in a phase of
the response:

* ``sent``: the request is accepted, and nothing was sent yet,
* ``headers``: over HTTP the headers of a stream were sent; otherwise as ``sent``,
* ``created``: ``response.created`` and ``in_progress`` were sent,
* ``opened``: this many (``after``) items have begun, the last one without a delta yet,
* ``output``: this many (``after``) deltas of text or arguments were sent,
* ``item``: this many (``after``) items are complete,
* ``whole``: every item is complete, and only the terminal event is missing.

Both APIs over HTTP have the same faults, as far as they apply there. An ``ErrorFrame`` is an HTTP
status before the response began, and a data line with the error later. ``Close`` ends the body
normally, ``HangUp`` in the middle. The noise of ``Silence`` are comments, or events (chunks)
without new content. Chat completions have no items, so the phases ``opened`` and ``item`` never
occur there. ``MangleChat`` applies only to them, ``Mangle`` and ``MangleAll`` only to responses.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rtllm.simulator.error_frame import At, ErrorFrame
from rtllm.simulator.mangling import HABITS, Flaw, Habit
from rtllm.simulator.script import Call, Part, Pause, Reply, Request, Text


def refusing(*names: str) -> FaultPlan:
    """Reject requests that set one of these parameters, as a host or a project may.

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


def refusing_tool(name: str, *, by: Literal["name", "index"] = "name") -> FaultPlan:
    """Reject requests that offer a tool, as a host does that can't read its schema.

    Args:
        name: The tool.
        by: Whether the error tells its name, as OpenAI's does, or only its index.
    """

    def plan(request: Request) -> Faults:
        names = [tool.get("name") for tool in request.tools]
        if name not in names:
            return None
        index = names.index(name)
        return ErrorFrame(
            code="invalid_function_parameters" if by == "name" else None,
            status=400,
            kind="invalid_request_error",
            message=f"Invalid schema for function '{name}': the root is too deep."
            if by == "name"
            else f"tools[{index}]: this schema is not supported.",
            param=f"tools[{index}].parameters" if by == "name" else None,
        )

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
    """The connection ends by FIN alone: no closing handshake, and the body is not ended."""


@dataclass(frozen=True, slots=True)
class Silence(At):
    """Nothing useful is sent any more: on this lane, or on the entire connection.

    On a lane, ``noise`` may go on meanwhile, every ``every`` seconds: repeats of ``in_progress``,
    or an unknown keep-alive event. A connection without ``pongs`` is as dead as one with a cut
    cable.
    """

    scope: Literal["lane", "connection"] = "lane"
    noise: Literal["in_progress", "keepalive"] | None = None
    every: float = 0.05
    pongs: bool = True


@dataclass(frozen=True, slots=True)
class Garbage(At):
    """An invalid frame comes in between, and the response goes on.

    Bytes are sent as a binary frame, over HTTP as the data of an event.
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
"""Frames that no host should send, by name."""


@dataclass(frozen=True, slots=True)
class Empty:
    """The response completes with no output."""


@dataclass(frozen=True, slots=True)
class Dribble:
    """Text comes in small pieces with long waits between them.

    Attributes:
        every: Seconds between pieces, or an event that each piece waits for.
        size: Characters in a piece.
        after: Characters that come at the normal speed first.
    """

    every: float | asyncio.Event = 1.0
    size: int = 1
    after: int = 0


@dataclass(frozen=True, slots=True)
class BrokenArguments:
    """The arguments of every call are cut short, so that they are not JSON."""

    drop: int = 1


@dataclass(frozen=True, slots=True)
class Mangle:
    """Every event of the response has a flaw, if the flaw applies to it."""

    flaw: Flaw


@dataclass(frozen=True, slots=True)
class MangleAll:
    """The response comes as from a host with many habits at once; see `Habit`.

    Attributes:
        seed: Determines which of them it has, and how.
        habits: The habits that it may have.
    """

    seed: int
    habits: tuple[Habit, ...] = HABITS


@dataclass(frozen=True, slots=True)
class RefuseRequest:
    """A POST gets this response, unchanged: proxies answer with HTML or text.

    On a WebSocket it is sent as an error frame with the same status, body and headers.
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
    """The chunks of a chat completion have a form that some host uses."""

    flaw: ChatFlaw


Timed: TypeAlias = (
    ErrorFrame | FailedResponse | CutResponse | Close | Abort | HangUp | Silence | Garbage
)
Fault: TypeAlias = (
    Timed | Empty | Dribble | BrokenArguments | Mangle | MangleAll | RefuseRequest | MangleChat
)
"""A fault of one request."""
Faults: TypeAlias = Fault | Sequence[Fault] | None
FaultPlan: TypeAlias = Callable[[Request], Faults]
"""A function that chooses the faults of each request."""
FaultOption: TypeAlias = FaultPlan | Fault | Sequence[Faults] | None


def in_turn(*faults: Faults) -> FaultPlan:
    """Give the first request the first fault, and so on; later ones have none.

    Only requests that pass the checks count.
    """
    left = list(faults)
    return lambda _: left.pop(0) if left else None


def only(index: int, fault: Faults) -> FaultPlan:
    """Apply a fault to the request with this index in the journal."""
    return lambda request: fault if request.index == index else None


def as_plan(fault: FaultOption) -> FaultPlan:
    """Convert an option to a plan: a single fault occurs each time, a list in turn."""
    if callable(fault):
        return fault
    if isinstance(fault, Sequence):
        return in_turn(*fault)
    return lambda _: fault


def as_list(faults: Faults) -> Sequence[Fault]:
    """Return the faults of one request as a list."""
    if faults is None:
        return ()
    return faults if isinstance(faults, Sequence) else (faults,)


def spoil_reply(reply: Reply, faults: Iterable[Fault]) -> Reply:
    """Apply the faults that change the content."""
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
    """Return the same texts with pauses in them."""
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
    """The upgrade gets a plain HTTP response."""

    status: int = 503
    body: str | Mapping[str, Any] = ""
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class AcceptThen:
    """The upgrade succeeds, followed by an error frame, the end of the connection, or both."""

    error: ErrorFrame | None = None
    close: int | None = None
    reason: str = ""
    abort: bool = False


@dataclass(frozen=True, slots=True)
class DelayHandshake:
    """The upgrade is delayed by some seconds, or until an event."""

    until: asyncio.Event | float
    then: RefuseHandshake | AcceptThen | None = None


HandshakeFault: TypeAlias = RefuseHandshake | AcceptThen | DelayHandshake
"""A fault of a WebSocket's handshake."""
ConnectPlan: TypeAlias = Callable[[int], HandshakeFault | None]
