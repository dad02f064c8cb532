"""Events of turns as a trace file has them, in seconds since the call began."""

from __future__ import annotations

from collections.abc import Iterable

from rtllm.content.usage import Usage
from rtllm.trace import (
    AttemptEnded,
    CallIdentity,
    FirstOutput,
    FirstWord,
    RequestSent,
    RequestWritten,
    ResponseCreated,
    TraceEvent,
    TurnFinished,
    TurnQueued,
)
from rtllm.trace.records import TraceReading, TraceRecord
from rtllm.trace_view import read_calls
from rtllm.trace_view.model import Calls, TurnView

BEGAN = 1_700_000_000.0
"""Seconds since 1970 at which the clocks of the events are 0."""
DESK = CallIdentity(label="desk")


def turn(
    number: int = 1,
    at: float = 0.0,
    *,
    think: float = 0.5,
    conversation: int = 1,
    reason: str | None = None,
    cost: float | None = None,
    usage: Usage | None = None,
    outcome: str = "completed",
) -> list[TraceEvent]:
    """A turn without troubles: sent after 10 ms, and a second of text."""
    ids = {"client": "c", "turn": number, "conversation": conversation, "call": DESK}
    of = {**ids, "attempt": number, "connection": 1, "lane": "lane-1"}
    out = at + 0.04 + think
    return [
        TurnQueued(at=at, model="gpt-4.1", items=3, **ids),  # type: ignore[arg-type]
        RequestSent(
            at=at + 0.01,
            model="gpt-4.1",
            protocol="websocket",
            bytes=1500,
            items=1,
            items_known=2 if reason is None else 0,
            previous_response_id="resp_0" if reason is None else None,
            full_context_reason=reason,
            **of,  # type: ignore[arg-type]
        ),
        RequestWritten(at=at + 0.02, **of),  # type: ignore[arg-type]
        ResponseCreated(at=at + 0.04, response_id=f"resp_{number}", **of),  # type: ignore[arg-type]
        FirstOutput(at=out, output="text", **of),  # type: ignore[arg-type]
        FirstWord(at=out, **of),  # type: ignore[arg-type]
        AttemptEnded(
            at=out + 1,
            category="answered",
            usage=usage or Usage(100, 10),
            cost=cost,
            currency="USD" if cost is not None else None,
            **of,  # type: ignore[arg-type]
        ),
        TurnFinished(at=out + 1, outcome=outcome, duration=out + 1 - at, **of),  # type: ignore[arg-type]
    ]


def records_of(events: Iterable[TraceEvent], process: int = 1) -> tuple[TraceRecord, ...]:
    return tuple(TraceRecord(BEGAN + event.at, process, event) for event in events)


def calls_of(*events: TraceEvent) -> Calls:
    return read_calls(TraceReading(records_of(events)))


def only_turn_of(*events: TraceEvent) -> TurnView:
    (found,) = calls_of(*events).turns
    return found


def seconds_of(view: TurnView) -> dict[str, float]:
    """The seconds of each part of a turn, in order."""
    sums: dict[str, float] = {}
    for part in view.parts:
        sums[part.name] = round(sums.get(part.name, 0.0) + part.seconds, 3)
    return sums
