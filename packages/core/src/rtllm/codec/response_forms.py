"""The Responses API in a host's dialect: the same items and tools in another form."""

from collections.abc import Sequence

import msgspec

from rtllm.codec.chat_forms import BRIDGE, GO_ON, GREETING, convert_function
from rtllm.content.items import Image, Item, Message, Text, ToolOutput, is_system
from rtllm.providers.dialects import Dialect


def convert_tool(tool: bytes, dialect: Dialect) -> bytes:
    """Convert an encoded tool to the form that a host accepts."""
    if dialect.strict_tools == "kept" and dialect.tool_schemas == "kept":
        return tool
    return msgspec.json.encode(convert_function(msgspec.json.decode(tool), dialect))


def in_order(items: Sequence[Item], dialect: Dialect) -> tuple[Item, ...]:
    """Convert a full context to the order and the roles that a host accepts."""
    converted = tuple(items)
    if dialect.developer_role == "system":
        converted = tuple(_with_role(i, "system") if _is_developer(i) else i for i in converted)
    if dialect.system_messages == "leading":
        converted = _leading(converted)
    elif dialect.system_messages == "user":
        converted = tuple(_as_user(item) if is_system(item) else item for item in converted)
    if dialect.user_behind_tool == "bridged":
        converted = _bridged(converted)
    if dialect.same_role_in_a_row == "merged":
        converted = _merged(converted)
    if dialect.missing_user == "added":
        converted = _with_user(converted)
    return converted


def _is_developer(item: Item) -> bool:
    return isinstance(item, Message) and item.role == "developer"


def _with_role(item: Item, role: str) -> Item:
    if not isinstance(item, Message):
        return item
    message: Message = Message("system" if role == "system" else "user", item.parts)
    return message


def _as_user(item: Item) -> Item:
    return _with_role(item, "user")


def _leading(items: Sequence[Item]) -> tuple[Item, ...]:
    """Join system messages at the start; those at the very end become user messages."""
    end = len(items)
    while end and is_system(items[end - 1]):
        end -= 1
    others = [item for item in items[:end] if not is_system(item)]
    if not others:
        end = len(items)
    system = [item for item in items[:end] if isinstance(item, Message) and is_system(item)]
    lead = [_joined(system)] if len(system) > 1 else list(system)
    return (*lead, *others, *map(_as_user, items[end:]))


def _with_user(items: Sequence[Item]) -> tuple[Item, ...]:
    """Add a user message where a context begins or ends with the assistant, or has none."""
    lead = next((i for i, item in enumerate(items) if not is_system(item)), len(items))
    added = list(items)
    if lead == len(items) or not _is_of(items[lead], "user"):
        added.insert(lead, Message.of("user", GREETING))
    if _is_of(added[-1], "assistant"):
        added.append(Message.of("user", GO_ON))
    return tuple(added)


def _is_of(item: Item, role: str) -> bool:
    return isinstance(item, Message) and item.role == role


def _merged(items: Sequence[Item]) -> tuple[Item, ...]:
    merged: list[Item] = []
    for item in items:
        last = merged[-1] if merged else None
        if isinstance(item, Message) and isinstance(last, Message) and last.role == item.role:
            merged[-1] = _joined([last, item])
        else:
            merged.append(item)
    return tuple(merged)


def _joined(messages: Sequence[Message]) -> Message:
    parts: list[Text | Image] = []
    for message in messages:
        if parts and message.parts:
            parts.append(Text("\n\n"))
        parts += message.parts
    if all(isinstance(part, Text) for part in parts):
        parts = [Text("".join(part.text for part in parts if isinstance(part, Text)))]
    return Message(messages[0].role, tuple(parts))


def _bridged(items: Sequence[Item]) -> tuple[Item, ...]:
    bridged: list[Item] = []
    for item in items:
        after_output = bool(bridged) and isinstance(bridged[-1], ToolOutput)
        if after_output and isinstance(item, Message) and item.role != "assistant":
            bridged.append(Message.of("assistant", BRIDGE))
        bridged.append(item)
    return tuple(bridged)
