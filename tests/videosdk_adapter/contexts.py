"""What a VideoSDK context shows the model, by value: read from the framework's own objects."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
from videosdk.agents import (
    AgentConfigUpdate,
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)

from support.contexts import (
    NO_RESULT,
    Items,
    Unit,
    by_value,
    is_empty,
    is_said,
    merged,
    message,
    split_lead,
    text_of,
    visible,
)


def _without_nulls(value: Any) -> Any:
    """A value of a call: on the wire of a strict tool, what is left out is null."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def arguments_of(arguments: str) -> str:
    """The arguments of a call by value."""
    try:
        return by_value(json.dumps(_without_nulls(json.loads(arguments or "{}"))))
    except ValueError:
        return arguments


def as_recorded(unit: Unit) -> Unit:
    """A unit as the framework has it: it knows no phase, no developer and no null."""
    match unit:
        case ("message", role, _, parts):
            return ("message", "system" if role == "developer" else role, None, parts)
        case ("call", call_id, name, arguments):
            return ("call", call_id, name, arguments_of(arguments))
        case _:
            return unit


def flat(items: Items) -> list[Unit]:
    """Items of the journal, as the framework has them."""
    return [as_recorded(unit) for unit in visible(items)]


def objects_of(context: ChatContext) -> list[Unit]:
    """The framework's own context, unchanged."""
    units: list[Unit] = []
    for item in context.items:
        if isinstance(item, ChatMessage):
            units.append(("message", str(item.role.value), None, _parts(item)))
        elif isinstance(item, FunctionCall):
            units.append(("call", item.call_id, item.name, arguments_of(item.arguments)))
        elif isinstance(item, FunctionCallOutput):
            units.append(("output", item.call_id, item.output))
    return units


def _parts(item: ChatMessage) -> tuple[tuple[str, ...], ...]:
    content = [item.content] if isinstance(item.content, str) else item.content
    return merged(
        ("image", part.to_data_url(), part.inference_detail)
        if isinstance(part, ImageContent)
        else ("text", part)
        for part in content
    )


def wanted(context: ChatContext) -> list[Unit]:
    """What the model must see of a context: one system text, and calls with their outputs."""
    is_updated = any(isinstance(i, AgentConfigUpdate) and i.instructions for i in context.items)
    objects = objects_of(context)
    answered = {unit[1]: unit[2] for unit in objects if unit[0] == "output"}
    units: list[Unit] = []
    is_instructed = False
    for unit in map(as_recorded, objects):
        if unit[:2] == ("message", "system") and is_updated:
            if is_instructed:
                continue
            is_instructed = True
            unit = message("system", context.active_config_at()[0] or "")  # noqa: PLW2901
        if unit[0] == "output" or is_empty(unit):
            continue
        units.append(unit)
        if unit[0] == "call":
            units.append(("output", unit[1], answered.get(unit[1], NO_RESULT)))
    return units


@dataclass(frozen=True)
class Segment:
    """What lies between two things that the caller (or the system) said.

    The framework records the words of a turn as one message after its tool rounds, while the
    model said them between these: as a segment, both are the same.
    """

    opened_by: Unit | None
    words: str
    tools: Counter[Unit]


@dataclass(frozen=True)
class Seen:
    """A context as the model sees it, or must see it."""

    lead: tuple[str, ...]
    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, units: Sequence[Unit]) -> Seen:
        lead, rest = split_lead(units)
        opened: list[tuple[Unit | None, list[str], list[Unit]]] = [(None, [], [])]
        for unit in rest:
            if unit[0] != "message":
                opened[-1][2].append(unit)
            elif is_said(unit):
                opened[-1][1].append(text_of(unit))
            else:
                opened.append((unit, [], []))
        segments = tuple(Segment(u, "".join(w), Counter(t)) for u, w, t in opened)
        return cls(tuple(lead), segments)


def black_frame() -> av.VideoFrame:
    """Make a small frame of one colour; a new one holds noise that no JPEG buffer may hold."""
    frame = av.VideoFrame(64, 48, "rgb24")
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    return frame
