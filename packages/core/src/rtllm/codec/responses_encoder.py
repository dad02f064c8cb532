"""Encoder of the Responses API: from items and settings to JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import msgspec

from rtllm.content.items import (
    Image,
    Item,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolOutput,
)

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


def item_json(item: Item, *, types_all: bool = False) -> msgspec.Raw:
    """Encode an item as an entry of ``input``, without ids: ids of unstored items are rejected.

    Args:
        item: The item.
        types_all: Whether each message gets its ``type``.
    """
    match item:
        case Message():
            return _encoded(_message(item, types_all=types_all))
        case ToolCall(call_id, name, arguments):
            value = {
                "type": "function_call",
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
            }
            return _encoded(value)
        case ToolOutput(call_id, output):
            value = {"type": "function_call_output", "call_id": call_id, "output": output}
            return _encoded(value)
        case Reasoning(json):
            return _put_back(json)
        case Opaque(_, json):
            return msgspec.Raw(json)
        case _:
            assert_never(item)


def _encoded(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _put_back(json: bytes) -> msgspec.Raw:
    """Convert reasoning to the form that services accept back: without nulls and the status.

    Seen: Azure rejects nulls, and others the status (docs/protocol.md).
    """
    if b"null" not in json and b'"status"' not in json:
        return msgspec.Raw(json)
    try:
        value = msgspec.json.decode(json)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return msgspec.Raw(json)
    return _encoded({k: v for k, v in value.items() if v is not None and k != "status"})


def _message(message: Message, *, types_all: bool) -> dict[str, Any]:
    value: dict[str, Any] = {}
    if types_all or message.role == "assistant":
        # Optional as documented; seen: llama.cpp requires it on assistant messages, others on all.
        value["type"] = "message"
    value["role"] = message.role
    plain = all(isinstance(p, Text) and not p.cache_breakpoint for p in message.parts)
    if plain or message.role == "assistant":
        # The short form; the parts of an assistant message would have to be output_text.
        value["content"] = message.text
    else:
        value["content"] = [_part(part) for part in message.parts]
    if message.phase is not None:
        value["phase"] = message.phase
    return value


def _part(part: Text | Image) -> dict[str, Any]:
    value: dict[str, Any]
    if isinstance(part, Image):
        value = {"type": "input_image", "image_url": part.url, "detail": part.detail}
    else:
        value = {"type": "input_text", "text": part.text}
    if part.cache_breakpoint:
        value["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return value


def request_frame(
    settings: Mapping[str, object],
    tools: Sequence[bytes],
    items: Sequence[Item],
    *,
    instructions: str | None = None,
    previous_response_id: str | None = None,
    lane: str | None = None,
    types_all: bool = False,
) -> bytes:
    """Encode a ``response.create``, which is flat: its fields are not nested in an envelope.

    Args:
        settings: The body's other fields, already encodable. Their ``tools`` follow the other
            tools.
        tools: Encoded tools; if there are none, no tool fields are sent.
        items: The items to send as ``input``.
        instructions: The ``instructions`` field.
        previous_response_id: The response to continue.
        lane: The lane's name, None for the default lane.
        types_all: Whether each message gets its ``type``.
    """
    body: dict[str, object] = {"type": "response.create", **settings}
    more = body.pop("tools", None)  # the user's own tools, such as hosted ones
    offered: list[object] = [msgspec.Raw(tool) for tool in tools]
    if isinstance(more, Sequence):
        offered += more
    if offered:
        body["tools"] = offered
    else:
        body.pop("tool_choice", None)
        body.pop("parallel_tool_calls", None)
    if instructions:
        body["instructions"] = instructions
    if previous_response_id is not None:
        body["previous_response_id"] = previous_response_id
    if lane is not None:
        body["stream_id"] = lane
    body["input"] = [item_json(item, types_all=types_all) for item in items]
    return msgspec.json.encode(body)


_SOCKET_ONLY = ("type", "stream_id", "generate")


def http_body(frame: bytes) -> dict[str, Any]:
    """Turn an encoded ``response.create`` into the body of an HTTP request."""
    body: dict[str, Any] = msgspec.json.decode(frame)
    for name in _SOCKET_ONLY:
        body.pop(name, None)
    return body


def returnable(item: Item) -> Item | None:
    """Convert an item to the form in which it may be sent back; None if it may not.

    Reasoning is only useful if it is encrypted. A hosted tool's item loses its id: the id of a
    response that wasn't stored is rejected (seen), and it serves no other purpose.
    """
    if isinstance(item, Reasoning):
        sealed = msgspec.json.decode(item.json).get("encrypted_content")
        return item if sealed else None
    if isinstance(item, Opaque):
        value = {k: v for k, v in msgspec.json.decode(item.json).items() if k != "id"}
        return Opaque(item.type, msgspec.json.encode(value))
    return None


def check_encodable(settings: Mapping[str, object]) -> None:
    """Check that settings can be encoded as JSON.

    Raises:
        TypeError: If a value has no JSON form.
        ValueError: If a value can't be encoded, such as half a surrogate pair.
    """
    msgspec.json.encode(settings)
