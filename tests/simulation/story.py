"""The story of a run: one line for each fact and each action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtllm.client.trace_log import describe
from rtllm.engine.actions import (
    Action,
    Close,
    Connect,
    Deliver,
    Finish,
    MoveUsage,
    Ping,
    RecordUsage,
    Send,
    StartHttp,
    Trace,
    WakeAt,
)
from rtllm.engine.prepared import PreparedRequest
from rtllm.retry.faults import Fault

LONGEST = 1200
"""Characters of a line."""


def told_fact(now: float, engine: int, name: str, what: Sequence[Any]) -> str:
    """Tell a fact."""
    words = ", ".join(_told(value) for value in what)
    return f"{now - 1000.0:9.3f} engine {engine} {name}({words})"[:LONGEST]


def _told(value: Any) -> str:
    if isinstance(value, Fault):
        return f"{value.kind.name}: {value.message}"
    if isinstance(value, PreparedRequest):
        return f"{len(value.context.items)} items to {value.request.model}"
    if isinstance(value, str):
        return value
    return repr(value)


def told_action(action: Action) -> str:
    """Tell an action."""
    return f"          -> {_told_action(action)}"[:LONGEST]


def _told_action(action: Action) -> str:
    match action:
        case Connect(connection, model):
            return f"connect {connection} for {model}"
        case Send(connection, attempt, data):
            return f"send attempt {attempt} on {connection}: {data.decode()}"
        case StartHttp(connection, attempt, body):
            return f"start exchange {connection}, attempt {attempt}: {dict(body)}"
        case Deliver(turn, events):
            return f"deliver to turn {turn}: {list(events)}"
        case Finish(turn, report, error):
            return f"finish turn {turn}: {report.outcome}" + (f", {error!r}" if error else "")
        case RecordUsage(turn, attempt, category, usage):
            return f"book attempt {attempt} of turn {turn}: {category}, {usage}"
        case MoveUsage(attempt, was, category, usage):
            return f"move attempt {attempt} from {was} to {category}, {usage}"
        case Ping(connection):
            return f"ping {connection}"
        case Close(connection):
            return f"close {connection}"
        case WakeAt(at):
            return f"wake at {at - 1000.0:.3f}"
        case Trace(event):
            return f"trace {describe(event)}"
