"""The adapter's two conversions: LiveKit's context to items, and an output to what LiveKit records.

Everything is copied, because LiveKit changes messages that were already sent (an adopted draft gets
the final transcript, markup is removed from old responses).
"""

import logging
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from livekit.agents import llm

from rtllm import Image, Item, Message, Text, ToolCall, ToolOutput
from rtllm.adapters import carried_in, legal_tool_name, mark_in, message_then_calls

logger = logging.getLogger(__name__)

# LiveKit's constant ids (voice/generation.py 1.8.9: "value must not change").
EXPRESSIVE_GUIDE = "lk.expressive.instructions"
DYNAMIC_INSTRUCTIONS = "lk.agent_task.instructions.dynamic"

_CONSTANT = "lk."

_NEVER_SENT = ("agent_handoff", "agent_config_update")


@dataclass(frozen=True, slots=True)
class Converted:
    """A copy of a context.

    Attributes:
        items: The items in the order in which the stock plugin sends them.
        guide: The text of LiveKit's expressive guide, which is added at the end of each request.
        frames: The pictures without a URL, in order; the framework's own objects, not copied yet.
        unsent: The ids of items that are never sent.
    """

    items: tuple[Item, ...]
    guide: str
    frames: tuple[llm.ImageContent, ...]
    unsent: tuple[str, ...] = ()


@dataclass(slots=True)
class _Group:
    """The records of one response: a message, calls and their outputs."""

    message: llm.ChatMessage | None = None
    calls: list[llm.FunctionCall] = field(default_factory=list)
    outputs: list[llm.FunctionCallOutput] = field(default_factory=list)


def to_items(chat_ctx: llm.ChatContext, *, breakpoints: bool) -> Converted:
    """Convert a context and copy it.

    Args:
        chat_ctx: The context as the framework has it, which is not changed.
        breakpoints: Whether cache breakpoints are sent.

    Returns:
        The items. The records of one response are adjacent, and dynamic instructions are part of
        the instructions before them, as in the stock plugin's requests. Pictures are not encoded
        here, because that is slow.
    """
    frames: list[llm.ImageContent] = []
    guide: list[str] = []
    items: list[Item] = []
    for entry in _grouped(chat_ctx.items):
        if isinstance(entry, _Group):
            if entry.message is not None:
                items.append(_message(entry.message, frames, breakpoints=breakpoints))
            items += [
                ToolCall(
                    c.call_id,
                    legal_tool_name(c.name),
                    c.arguments,
                    _key(c.id),
                    mark_in(c.extra),
                    carried_in(c.extra),
                )
                for c in entry.calls
            ]
            items += [ToolOutput(o.call_id, o.output, _key(o.id)) for o in entry.outputs]
        elif entry.id == EXPRESSIVE_GUIDE:
            guide.append(_message(entry, frames, breakpoints=False).text)
        elif entry.id == DYNAMIC_INSTRUCTIONS and not breakpoints and _only_instructions(items):
            items[-1] = Message(entry.role, (Text(_joined(items[-1], entry)),), key=items[-1].key)
        else:
            items.append(_message(entry, frames, breakpoints=breakpoints))
    unsent = (_key(item.id) for item in chat_ctx.items if item.type in _NEVER_SENT)
    keys = tuple(key for key in unsent if key is not None)
    return Converted(tuple(items), "\n".join(guide), tuple(frames), keys)


def _key(item_id: object) -> str | None:
    """Return an item's id; None if every call has the same one, as LiveKit's own texts do."""
    if not isinstance(item_id, str) or not item_id or item_id.startswith(_CONSTANT):
        return None
    return item_id


def _grouped(items: Sequence[llm.ChatItem]) -> list[_Group | llm.ChatMessage]:
    """Group responses with their calls and outputs, and other messages, in order of appearance."""
    groups: dict[str, _Group] = {}
    answered: defaultdict[str, deque[_Group]] = defaultdict(deque)
    outputs: list[llm.FunctionCallOutput] = []
    entries: list[_Group | llm.ChatMessage] = []
    for item in items:
        if isinstance(item, llm.FunctionCallOutput):
            outputs.append(item)
            continue
        if isinstance(item, llm.FunctionCall):
            key = item.group_id or item.id.split("/")[0]
        elif isinstance(item, llm.ChatMessage) and item.role == "assistant":
            key = item.id.split("/")[0]
        elif isinstance(item, llm.ChatMessage):
            entries.append(item)
            continue
        else:
            if item.type not in _NEVER_SENT:
                _log_unknown(item.type)
            continue
        group = groups.get(key)
        if group is None or (item.type == "message" and group.message is not None):
            group = groups[key] = _Group()
            entries.append(group)
        if isinstance(item, llm.FunctionCall):
            group.calls.append(item)
            answered[item.call_id].append(group)
        else:
            group.message = item
    for output in outputs:
        waiting = answered[output.call_id]
        group = waiting.popleft() if waiting else _stray(entries)
        group.outputs.append(output)
    return entries


def _stray(entries: list[_Group | llm.ChatMessage]) -> _Group:
    """Add a group for an output without a call; the core drops it and reports that."""
    group = _Group()
    entries.append(group)
    return group


@cache
def _log_unknown(kind: str) -> None:
    """Log once that items of a type are not sent."""
    logger.warning("items of the unknown type %r are not sent", kind)


def _only_instructions(items: Sequence[Item]) -> bool:
    return len(items) == 1 and isinstance(items[0], Message) and items[0].role != "user"


def _joined(before: Item, dynamic: llm.ChatMessage) -> str:
    texts = [before.text if isinstance(before, Message) else "", *_texts(dynamic)]
    return "\n".join(text for text in texts if text)


def _texts(message: llm.ChatMessage) -> list[str]:
    return [content for content in message.content if isinstance(content, str)]


def _message(
    message: llm.ChatMessage, frames: list[llm.ImageContent], *, breakpoints: bool
) -> Message:
    key = _key(message.id)
    phase = mark = None
    if message.role == "assistant":
        phase, mark = _phase_in(message.extra), mark_in(message.extra)
    if len(message.content) == 1 and isinstance(message.content[0], str):
        # Nearly all messages.
        return Message(message.role, (Text(message.content[0]),), phase, key, mark)
    parts: list[Text | Image] = []
    messages = False
    for content in message.content:
        if isinstance(content, llm.ImageContent):
            if isinstance(content.image, str):
                parts.append(Image(content.image, content.inference_detail))
            else:
                frames.append(content)
                parts.append(Image("", content.inference_detail))
        elif isinstance(content, llm.CacheBreakpoint):
            if parts:
                parts[-1] = replace(parts[-1], cache_breakpoint=True)
        elif not isinstance(content, llm.AudioContent):
            text = str(content)
            _say(parts, f"\n{text}" if messages else text)
            messages = messages or bool(text)
    marked = any(part.cache_breakpoint for part in parts)
    if not marked or not breakpoints or message.role == "assistant":
        parts = _plain(parts)
    return Message(message.role, tuple(parts), phase, key, mark)


def _phase_in(extra: object) -> str | None:
    """Return the phase that the service assigned to a message."""
    ours = extra.get("openai") if isinstance(extra, dict) else None
    phase = ours.get("phase") if isinstance(ours, dict) else None
    return phase if phase in ("commentary", "final_answer") else None


def _say(parts: list[Text | Image], text: str) -> None:
    """Add a text to the one before it, unless a breakpoint is between them."""
    last = parts[-1] if parts else None
    if isinstance(last, Text) and not last.cache_breakpoint:
        parts[-1] = Text(last.text + text)
    elif text:
        parts.append(Text(text))


def _plain(parts: Sequence[Text | Image]) -> list[Text | Image]:
    """Put pictures first, then all texts as one: the order of the stock plugin."""
    pictures: list[Text | Image] = [
        replace(part, cache_breakpoint=False) for part in parts if isinstance(part, Image)
    ]
    text = "".join(part.text for part in parts if isinstance(part, Text))
    return [*pictures, Text(text)] if text else pictures


def as_recorded(output: tuple[Item, ...]) -> tuple[Item, ...] | None:
    """Return the items that LiveKit records for a response that was heard to its end.

    These are one message with all text, then the calls. If a response has text after a call,
    LiveKit records it in another order than the model wrote it, so it can't be continued.
    """
    return message_then_calls(output, keeps_phase=True)
