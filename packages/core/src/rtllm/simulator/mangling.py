"""Flaws that some host gives the events of a response. No I/O."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

Event: TypeAlias = dict[str, Any]
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
