"""Chat Completions in a host's dialect: the same messages and tools in another form.

Each function takes the output of `rtllm.codec.chat_encoder` and returns it in the form that a host
accepts. Nothing that the model would see is lost.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from rtllm.providers.dialects import Dialect
from rtllm.tools.plain_schema import plain_schema

Json = dict[str, Any]

GREETING, GO_ON = "Hello.", "Go on."
"""The user messages before a greeting of the assistant, and after its last message."""
BRIDGE = "OK."
"""The assistant message between a tool output and a user message, for hosts that need one."""

UNSIGNED = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""The placeholder signature of a call that has none; seen: vercel/ai (@ai-sdk/google 3.0.80)."""

_NINE = re.compile(r"[A-Za-z0-9]{9}")
_SYSTEM = ("system", "developer")


def convert_messages(messages: Sequence[Json], dialect: Dialect) -> list[Json]:
    """Convert messages to the form that a host accepts."""
    converted = [dict(message) for message in messages]
    if dialect.developer_role == "system":
        for message in converted:
            if message["role"] == "developer":
                message["role"] = "system"
    if dialect.system_messages == "leading":
        converted = _leading(converted)
    elif dialect.system_messages == "user":
        converted = [{**m, "role": "user"} if m["role"] in _SYSTEM else m for m in converted]
    if dialect.same_role_in_a_row == "merged":
        converted = _merged(converted)
    if dialect.user_behind_tool == "bridged":
        converted = _bridged(converted)
    if dialect.missing_user == "added":
        converted = _with_user(converted)
    return _convert_calls(converted, dialect)


def _convert_calls(messages: Sequence[Json], dialect: Dialect) -> list[Json]:
    """Convert the calls of messages, and their outputs, to the form that a host accepts."""
    converted = list(messages)
    if dialect.tool_names == "sent":
        converted = _with_tool_names(converted)
    if dialect.call_ids == "nine":
        converted = [_with_nine(message) for message in converted]
    for message in converted:
        if "tool_calls" in message:
            _complete_calls(message, dialect)
    return converted


def convert_tools(tools: Sequence[Json], dialect: Dialect) -> list[Json]:
    """Convert tools to the form that a host accepts."""
    if dialect.strict_tools == "kept" and dialect.tool_schemas == "kept":
        return list(tools)
    return [_converted_tool(tool, dialect) for tool in tools]


def _converted_tool(tool: Json, dialect: Dialect) -> Json:
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return tool
    return {**tool, "function": convert_function(function, dialect)}


def convert_function(function: Mapping[str, Any], dialect: Dialect) -> Json:
    """Convert a function's definition to the form that a host accepts."""
    converted = {name: value for name, value in function.items() if name != "strict"}
    if dialect.tool_schemas == "plain" and isinstance(converted.get("parameters"), Mapping):
        converted["parameters"] = plain_schema(converted["parameters"])
    return converted


def rename_output_limit(body: Json, dialect: Dialect) -> None:
    """Rename the output token limit to the name that a host knows."""
    wanted = dialect.output_limit
    if wanted == "as named":
        return
    for name in ("max_tokens", "max_completion_tokens"):
        if name != wanted and name in body:
            body.setdefault(wanted, body.pop(name))


def _leading(messages: Sequence[Json]) -> list[Json]:
    """Join system messages at the start; those at the very end become user messages."""
    end = len(messages)
    while end and messages[end - 1]["role"] in _SYSTEM:
        end -= 1
    system = [m for m in messages[:end] if m["role"] in _SYSTEM]
    others = [m for m in messages[:end] if m["role"] not in _SYSTEM]
    if not others:  # only system messages: they are the beginning
        system, later = list(messages), []
    else:
        later = [{**message, "role": "user"} for message in messages[end:]]
    lead = [_joined(system)] if system else []
    if later:
        others = [*others[:-1], *_merged([others[-1], *later])]
    return [*lead, *others]


def _merged(messages: Sequence[Json]) -> list[Json]:
    """Merge consecutive messages of one role; tool outputs stay separate."""
    merged: list[Json] = []
    for message in messages:
        last = merged[-1] if merged else None
        same = last is not None and last["role"] == message["role"]
        if last is None or not same or message["role"] == "tool" or last.get("tool_calls"):
            merged.append(message)
        else:
            merged[-1] = {**_joined([last, message]), **_calls_of(message)}
    return merged


def _calls_of(message: Mapping[str, Any]) -> Json:
    kept = {"role", "content"}
    return {name: value for name, value in message.items() if name not in kept}


def _joined(messages: Sequence[Json]) -> Json:
    """Join messages into one, with an empty line between their texts."""
    contents = [m.get("content") for m in messages if m.get("content")]
    joined = dict(messages[0])
    if all(isinstance(content, str) for content in contents):
        joined["content"] = "\n\n".join(str(content) for content in contents)
        return joined
    parts: list[Any] = []
    for content in contents:
        parts += content if isinstance(content, list) else [{"type": "text", "text": content}]
    joined["content"] = parts
    return joined


def _bridged(messages: Sequence[Json]) -> list[Json]:
    """Insert an assistant message between a tool output and a user message."""
    bridged: list[Json] = []
    for message in messages:
        after_tool = bool(bridged) and bridged[-1]["role"] == "tool"
        if after_tool and message["role"] in ("user", *_SYSTEM):
            bridged.append({"role": "assistant", "content": BRIDGE})
        bridged.append(message)
    return bridged


def _with_user(messages: Sequence[Json]) -> list[Json]:
    """Add a user message where a context begins or ends with the assistant, or has none."""
    lead = next((i for i, m in enumerate(messages) if m["role"] not in _SYSTEM), len(messages))
    added = list(messages)
    if lead == len(messages) or messages[lead]["role"] != "user":
        added.insert(lead, {"role": "user", "content": GREETING})
    if added[-1]["role"] == "assistant":
        added.append({"role": "user", "content": GO_ON})
    return added


def _with_tool_names(messages: Sequence[Json]) -> list[Json]:
    """Add the name of the tool to each output."""
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    names = {call["id"]: call["function"]["name"] for call in calls}
    return [
        {**m, "name": names[m["tool_call_id"]]} if m.get("tool_call_id") in names else m
        for m in messages
    ]


def _with_nine(message: Json) -> Json:
    """Replace the call ids of a message with nine letters and digits derived from them."""
    if "tool_call_id" in message:
        return {**message, "tool_call_id": _nine(message["tool_call_id"])}
    if "tool_calls" not in message:
        return message
    calls = [{**call, "id": _nine(call["id"])} for call in message["tool_calls"]]
    return {**message, "tool_calls": calls}


def _nine(call_id: str) -> str:
    if _NINE.fullmatch(call_id):
        return call_id
    return blake2b(call_id.encode(), digest_size=5).hexdigest()[:9]


def _complete_calls(message: Json, dialect: Dialect) -> None:
    """Set the fields that a host requires on a message with calls."""
    if not message.get("content"):
        if dialect.content_beside_calls == "absent":
            message.pop("content", None)
        else:
            message["content"] = "" if dialect.content_beside_calls == "empty" else None
    if dialect.reasoning_content == "always":
        message.setdefault("reasoning_content", "")
    elif dialect.reasoning_content == "never":
        message.pop("reasoning_content", None)
        message.pop("reasoning_details", None)
    calls = [dict(call) for call in message["tool_calls"]]
    if dialect.extra_content == "never":
        for call in calls:
            call.pop("extra_content", None)
    elif dialect.extra_content == "always" and not any("extra_content" in c for c in calls):
        calls[0]["extra_content"] = UNSIGNED
    message["tool_calls"] = calls
