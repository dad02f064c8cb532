"""The story of a run: one line for each fact and each action, and how to make it short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rtllm.engine.actions import (
    Action,
    Booked,
    Close,
    Connect,
    Deliver,
    Finish,
    Ping,
    Send,
    StartHttp,
    WakeAt,
)
from rtllm.engine.prepared import PreparedRequest
from rtllm.faults import Fault

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
    match action:
        case Connect(connection, model):
            told = f"connect {connection} for {model}"
        case Send(connection, attempt, data):
            told = f"send attempt {attempt} on {connection}: {data.decode()}"
        case StartHttp(connection, attempt, body):
            told = f"start exchange {connection}, attempt {attempt}: {dict(body)}"
        case Deliver(turn, events):
            told = f"deliver to turn {turn}: {list(events)}"
        case Finish(turn, report, error):
            told = f"finish turn {turn}: {report.outcome}" + (f", {error!r}" if error else "")
        case Booked(turn, attempt, category, usage):
            told = f"book attempt {attempt} of turn {turn}: {category}, {usage}"
        case Ping(connection):
            told = f"ping {connection}"
        case Close(connection):
            told = f"close {connection}"
        case WakeAt(at):
            told = f"wake at {at - 1000.0:.3f}"
    return f"          -> {told}"[:LONGEST]


def shortened(
    choices: Sequence[int], breaks: Callable[[Sequence[int]], bool], tries: int = 200
) -> list[int]:
    """Make a list of choices short that breaks a law, so that it still breaks it.

    Chunks are left out, then chunks are made ordinary (0), from large ones to small ones.

    Args:
        choices: The choices of a run.
        breaks: Tells whether a run with these choices breaks the same law.
        tries: How many runs may be tried.
    """
    best = list(choices)
    size = max(1, len(best) // 2)
    left = tries
    while left > 0 and size:
        at = 0
        while at < len(best) and left > 0:
            chunk = best[at : at + size]
            without = best[:at] + best[at + size :]
            zeroed = best[:at] + [0] * len(chunk) + best[at + size :]
            left -= 1
            if breaks(without):
                best = without
                continue
            if any(chunk):
                left -= 1
                if breaks(zeroed):
                    best = zeroed
            at += size
        size //= 2
    while best and best[-1] == 0:
        best.pop()
    return best
