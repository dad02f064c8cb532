"""The adapter's two conversions: VideoSDK's context to items, and an output to what is recorded.

Everything is copied, because the framework changes messages that were already sent (a knowledge
base's text, a corrected transcript, an interrupted response). Each item has the framework's id as
its key; the ids of items that are not sent are kept too.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from videosdk.agents import (
    AgentConfigUpdate,
    AgentHandoff,
    ChatContext,
    ChatMessage,
    ChatRole,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)

from rtllm import Image, Item, Message, Role, Text, ToolCall, ToolOutput
from rtllm.adapters import legal_tool_name, message_then_calls, with_signature

logger = logging.getLogger(__name__)

_ROLES: Mapping[ChatRole, Role] = {
    ChatRole.SYSTEM: "system",
    ChatRole.DEVELOPER: "system",  # documented: both mean the same; some hosts know only this one
    ChatRole.USER: "user",
    ChatRole.ASSISTANT: "assistant",
}
_INSTRUCTIONS = (ChatRole.SYSTEM, ChatRole.DEVELOPER)


@dataclass(frozen=True, slots=True)
class ContextCopy:
    """A copy of a context.

    Attributes:
        items: The items to send, with the framework's ids as keys.
        frames: The pictures without a URL, in order; the framework's own objects, not copied yet.
        unsent: The framework's ids of the other items.
    """

    items: tuple[Item, ...]
    frames: tuple[ImageContent, ...] = ()
    unsent: tuple[str, ...] = ()


def copy_context(context: ChatContext) -> ContextCopy:
    """Copy a context, except pictures, which take long to encode.

    All system messages are sent. If the context has an `AgentConfigUpdate` with instructions, the
    framework's own rule applies: one system text, with the newest instructions, at the position of
    the first.
    """
    entries = [entry for entry in context.items if entry is not None]
    in_force = _instructions_in_force(context, entries)
    items: list[Item] = []
    frames: list[ImageContent] = []
    unsent: list[str | None] = []
    if in_force is not None and not any(map(_instructs, entries)):
        items.append(Message.of("system", in_force))
    for entry in entries:
        item: Item | None
        if in_force is not None and _instructs(entry):
            item = Message("system", (Text(in_force),), key=_key(entry)) if in_force else None
            in_force = ""
        else:
            item = _item(entry, frames)
        if item is not None:
            items.append(item)
        else:
            unsent.append(_key(entry))
    keys = tuple(key for key in unsent if key is not None)
    return ContextCopy(tuple(items), tuple(frames), keys)


def calls_in(context: ChatContext) -> tuple[ToolCall, ...]:
    """Copy only the calls of a context."""
    return tuple(_call(entry) for entry in context.items if isinstance(entry, FunctionCall))


def _item(entry: object, frames: list[ImageContent]) -> Item | None:
    """Return what is sent of an entry, None for nothing."""
    if isinstance(entry, ChatMessage):
        return _message(entry, frames)
    if isinstance(entry, FunctionCall):
        return _call(entry)
    if isinstance(entry, FunctionCallOutput):
        return ToolOutput(entry.call_id, entry.output, key=_key(entry))
    if not isinstance(entry, AgentHandoff | AgentConfigUpdate):
        logger.debug("an item of the type %s is not sent", type(entry).__name__)
    return None


def _key(entry: object) -> str | None:
    """Return the framework's id of an entry, None if it has no usable one."""
    key = getattr(entry, "id", None)
    return key if isinstance(key, str) and key else None


def _call(entry: FunctionCall) -> ToolCall:
    arguments = _said_arguments(entry.arguments)
    kept = getattr(entry, "metadata", None)
    signature = kept.get("thought_signature") if isinstance(kept, Mapping) else None
    carried = with_signature(signature)
    name = legal_tool_name(entry.name)
    return ToolCall(entry.call_id, name, arguments, key=_key(entry), carried=carried)


def _instructs(entry: object) -> bool:
    return isinstance(entry, ChatMessage) and entry.role in _INSTRUCTIONS


def _instructions_in_force(context: ChatContext, entries: Sequence[object]) -> str | None:
    """Return the newest instructions, if the framework's rule about updates applies."""
    updates = (e for e in entries if isinstance(e, AgentConfigUpdate))
    if not any(update.instructions is not None for update in updates):
        return None
    instructions, _ = context.active_config_at()
    return instructions or ""


def _said_arguments(arguments: object) -> str:
    return arguments if isinstance(arguments, str) and arguments.strip() else "{}"


def _message(message: ChatMessage, frames: list[ImageContent]) -> Message | None:
    content = message.content
    parts: list[Text | Image] = []
    for part in [content] if isinstance(content, str) else content or ():
        if isinstance(part, str):
            parts.append(Text(part))
        elif isinstance(part, ImageContent) and part.image is not None:
            url = part.image if isinstance(part.image, str) else ""
            parts.append(Image(url, part.inference_detail))
            if not url:
                frames.append(part)
    if not any(isinstance(part, Image) or part.text for part in parts):
        return None
    return Message(_ROLES[ChatRole(message.role)], tuple(parts), key=_key(message))


# -- what is recorded -----------------------------------------------------------------------------


def as_recorded(
    output: tuple[Item, ...],
    *,
    as_run: Callable[[ToolCall], ToolCall],
    nested: bool = False,
    graph: bool = False,
) -> tuple[Item, ...] | None:
    """Return the items that VideoSDK records for a response that was heard to its end.

    These are one message with all text, then the calls.

    Args:
        output: The output of the service.
        as_run: Returns a call as the framework runs it.
        nested: Whether the response belongs to a tool round. The framework drops its text if there
            are calls too, so it can't be continued then.
        graph: Whether the text is a graph's JSON, of which the framework records something else.

    Returns:
        The items, None if the framework records none that equal the output.
    """
    has_text = any(isinstance(item, Message) and item.text for item in output)
    has_calls = any(isinstance(item, ToolCall) for item in output)
    if has_text and (graph or (has_calls and nested)):
        return None
    return message_then_calls(output, as_run=as_run)
