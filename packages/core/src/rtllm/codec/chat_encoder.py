"""Encoder of Chat Completions: from items and Responses-style settings to JSON.

The rest of the library uses the terms of the Responses API; only this module and
`rtllm.codec.chat_decoder` know those of Chat Completions.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from rtllm.content.call_ids import carries_data
from rtllm.content.items import Image, Item, Message, Text, ToolCall, ToolOutput, is_system
from rtllm.errors import ConfigError

Json = dict[str, Any]

MAX_CALL_ID = 40  # seen: longer ids are rejected here, though the Responses API accepts 64

Carried = tuple[Mapping[str, Any], Mapping[str, Any]]
"""Fields of a call, and of the message around it."""


def nothing_carried(_: ToolCall) -> Carried:
    """Send no extra fields with a call."""
    return {}, {}


# -- out: messages -----------------------------------------------------------------------


def messages(
    items: Sequence[Item],
    guide: str = "",
    *,
    keeps_id: Callable[[str], bool] = carries_data,
    carried: Callable[[ToolCall], Carried] = nothing_carried,
) -> list[Json]:
    """Encode normalized items as messages.

    Consecutive calls are added to the assistant message before them, and their outputs follow: the
    service requires that a message with calls is directly followed by their outputs. Hidden items
    are left out, because this API can't continue the responses that they belong to.

    Args:
        items: Normalized items, oldest first.
        guide: Text that isn't part of the conversation; it follows the leading system texts.
        keeps_id: Tells which call ids must stay unchanged, however long.
        carried: Returns the extra fields to send with a call: its own, and those of its message.
    """
    encoded: list[Json] = []
    for item in items:
        match item:
            case Message():
                encoded.append(_message(item))
            case ToolCall():
                if not encoded or encoded[-1]["role"] != "assistant":
                    encoded.append({"role": "assistant"})
                of_call, of_message = carried(item)
                for name, value in of_message.items():
                    encoded[-1].setdefault(name, value)
                call = {**_call(item, keeps_id), **of_call}
                encoded[-1].setdefault("tool_calls", []).append(call)
            case ToolOutput(call_id, output):
                answer_id = _short(call_id, keeps_id)
                answer = {"role": "tool", "tool_call_id": answer_id, "content": output}
                encoded.append(answer)
            case _:
                pass
    if guide:
        lead = next((i for i, item in enumerate(items) if not is_system(item)), len(items))
        encoded.insert(lead, {"role": "system", "content": guide})
    return encoded


def _message(message: Message) -> Json:
    plain = all(isinstance(p, Text) and not p.cache_breakpoint for p in message.parts)
    if plain or message.role == "assistant":
        return {"role": message.role, "content": message.text}
    return {"role": message.role, "content": [_part(part) for part in message.parts]}


def _part(part: Text | Image) -> Json:
    value: Json
    if isinstance(part, Image):
        detail = {} if part.detail == "auto" else {"detail": part.detail}
        value = {"type": "image_url", "image_url": {"url": part.url, **detail}}
    else:
        value = {"type": "text", "text": part.text}
    if part.cache_breakpoint:
        value["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return value


def _call(call: ToolCall, keeps_id: Callable[[str], bool]) -> Json:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": _short(call.call_id, keeps_id), "type": "function", "function": function}


def _short(call_id: str, keeps_id: Callable[[str], bool]) -> str:
    """Return the id; if it is too long, a shorter one derived from it."""
    if len(call_id) <= MAX_CALL_ID or keeps_id(call_id):
        return call_id
    return f"call_{blake2b(call_id.encode(), digest_size=16).hexdigest()}"


# -- out: tools and settings -------------------------------------------------------------

_FUNCTION_FIELDS = ("name", "description", "parameters", "strict")


def nested_tool(tool: Mapping[str, Any]) -> Json:
    """Convert a function tool of the Responses API (flat) to Chat Completions (nested).

    Raises:
        ConfigError: If it is not a function tool, or has fields that only the Responses API knows.
    """
    if tool.get("type") != "function":
        raise ConfigError(
            f"a tool has the type {tool.get('type')!r}; Chat Completions accepts only "
            "function tools. Remove it or use the Responses API"
        )
    if isinstance(tool.get("function"), Mapping):
        return dict(tool)
    given = {k: v for k, v in tool.items() if k != "type" and v is not None}
    if unknown := sorted(given.keys() - set(_FUNCTION_FIELDS)):
        raise ConfigError(
            f"the tool {tool.get('name')!r} has the field {unknown[0]!r}, which Chat "
            "Completions doesn't accept; remove the field or use the Responses API"
        )
    return {"type": "function", "function": {k: given[k] for k in _FUNCTION_FIELDS if k in given}}


@lru_cache(maxsize=512)
def _nested(encoded: bytes) -> Json:
    return nested_tool(msgspec.json.decode(encoded))


def nested_choice(choice: object) -> object:
    """Convert a ``tool_choice`` of the Responses API to Chat Completions."""
    if not isinstance(choice, Mapping):
        return choice
    match choice.get("type"):
        case "function" if "name" in choice:
            return {"type": "function", "function": {"name": choice["name"]}}
        case "allowed_tools" if "tools" in choice:
            tools = [nested_choice(tool) for tool in choice["tools"]]
            allowed = {"mode": choice.get("mode", "auto"), "tools": tools}
            return {"type": "allowed_tools", "allowed_tools": allowed}
        case "function" | "allowed_tools":
            return dict(choice)
        case kind:
            raise ConfigError(
                f"tool_choice has the type {kind!r}; Chat Completions accepts 'function' and "
                "'allowed_tools'"
            )


def nested_format(given: Mapping[str, Any]) -> Json:
    """Convert a ``text.format`` of the Responses API to a ``response_format``."""
    if given.get("type") != "json_schema" or "json_schema" in given:
        return dict(given)
    schema = {k: v for k, v in given.items() if k != "type"}
    return {"type": "json_schema", "json_schema": schema}


_SAME = frozenset(
    {
        "temperature",
        "top_p",
        "parallel_tool_calls",
        "store",
        "metadata",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "service_tier",
        "user",
        "moderation",
        # fields of Chat Completions, without an equivalent in the Responses API
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "stop",
        "logit_bias",
        "logprobs",
        "prediction",
        "web_search_options",
        "max_tokens",
        "max_completion_tokens",
        "reasoning_effort",
        "verbosity",
        "response_format",
        "stream_options",
        # options of the openai client, which removes them from the body
        "extra_headers",
        "extra_query",
        "extra_body",
    }
)
_LEFT_OUT = frozenset({"truncation", "include", "stream", "type"})


def parameters(settings: Mapping[str, Any], tools: Sequence[bytes] = ()) -> Json:
    """Map a Responses-style body, without its input, to Chat Completions.

    The settings may also have Chat's own fields (``seed``, the penalties, ``stop`` …), and
    ``extra_body``, ``extra_headers`` and ``extra_query`` for anything else that a host accepts.
    ``include`` does not exist here and is left out, except that logprobs are still requested.
    ``truncation: "disabled"`` is left out, because Chat Completions never truncates. Null values
    are left out.

    Args:
        settings: The body's fields, by their names in the Responses API.
        tools: Encoded flat tools; if empty, no tool fields are sent.

    Raises:
        ConfigError: If a field has no equivalent in Chat Completions.
    """
    body: Json = {}
    for name, value in settings.items():
        if value is not None:
            body.update(_parameter(name, value))
    if "top_logprobs" in body:
        body.setdefault("logprobs", True)
    if tools:
        body["tools"] = [_nested(tool) for tool in tools]
    else:
        body.pop("tool_choice", None)
        body.pop("parallel_tool_calls", None)
    return body


def _parameter(name: str, value: Any) -> Json:
    match name:
        case "max_output_tokens":
            return {"max_completion_tokens": value}
        case "top_logprobs":
            return {"top_logprobs": value}
        case "tool_choice":
            return {"tool_choice": nested_choice(value)}
        case "reasoning":
            return _inner(name, value, {"effort": "reasoning_effort"})
        case "text":
            return _inner(name, value, {"verbosity": "verbosity", "format": "response_format"})
        case "include":
            return {"logprobs": True} if "message.output_text.logprobs" in value else {}
        case "truncation" if value != "disabled":
            raise _unknown(name)
        case _ if name in _LEFT_OUT:
            return {}
        case _ if name in _SAME:
            return {name: value}
        case _:
            raise _unknown(name)


def _inner(outer: str, value: Mapping[str, Any], names: Mapping[str, str]) -> Json:
    mapped: Json = {}
    for inner, given in value.items():
        if given is None:
            continue
        if inner not in names:
            raise _unknown(f"{outer}.{inner}")
        mapped[names[inner]] = nested_format(given) if inner == "format" else given
    return mapped


def _unknown(name: str) -> ConfigError:
    return ConfigError(
        f"Chat Completions has no parameter {name!r}; remove it, use the Responses API, or pass it "
        "in extra_body if this host accepts it"
    )


_NOT_THE_BODY = ("extra_headers", "extra_query", "extra_body")


def size_of(arguments: Mapping[str, Any]) -> int:
    """Count the bytes of a request's body, without the user's extra fields."""
    body = {name: value for name, value in arguments.items() if name not in _NOT_THE_BODY}
    return len(msgspec.json.encode(body, enc_hook=str))
