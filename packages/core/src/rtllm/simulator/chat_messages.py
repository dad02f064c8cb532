"""Checks of the messages of a chat completion, and their conversion to items. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rtllm.simulator import refusal, shapes
from rtllm.simulator.memory import Item
from rtllm.simulator.refusal import RequestError

Message = dict[str, Any]

_BREAKPOINT = shapes.struct(
    {"mode": shapes.one_of("explicit")}, {"ttl": shapes.one_of("30m", "12h")}
)
_TEXT = shapes.struct(
    {"type": shapes.anything, "text": shapes.string()}, {"prompt_cache_breakpoint": _BREAKPOINT}
)


def _url(value: Any, param: str) -> None:
    shapes.string()(value, param)
    if not value.startswith(("https://", "data:image/")):
        raise RequestError(
            f"Invalid '{param}'. Expected a valid URL, but got a value with an invalid format.",
            code="invalid_value",
            param=param,
        )


_IMAGE_URL = shapes.struct(
    {"url": _url}, {"detail": shapes.one_of("auto", "low", "high", "original")}
)
_IMAGE = shapes.struct(
    {"type": shapes.anything, "image_url": _IMAGE_URL}, {"prompt_cache_breakpoint": _BREAKPOINT}
)
_AUDIO = shapes.struct({"type": shapes.anything, "input_audio": shapes.mapping}, {})
_FILE = shapes.struct({"type": shapes.anything, "file": shapes.mapping}, {})
_REFUSAL = shapes.struct({"type": shapes.anything, "refusal": shapes.string()}, {})


def _content(parts: dict[str, shapes.Check]) -> shapes.Check:
    as_list = shapes.list_of(shapes.tagged(parts, at_type=False))

    def check(value: Any, param: str) -> None:
        if isinstance(value, str):
            return
        if not isinstance(value, list):
            raise RequestError(
                f"Invalid value for 'content': expected a string, got {_name(value)}.",
                param=param.replace("[", ".["),
            )
        if not value:
            raise refusal_of_empty(param)
        as_list(value, param)

    return check


def _name(value: object) -> str:
    return refusal.kind_of(value).removeprefix("an ").removeprefix("a ")


def refusal_of_empty(param: str) -> RequestError:
    """Create the error of an empty list."""
    return RequestError(
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an "
        "empty array instead.",
        code="empty_array",
        param=param,
    )


_TEXT_CONTENT = _content({"text": _TEXT})
_USER_CONTENT = _content({"text": _TEXT, "image_url": _IMAGE, "input_audio": _AUDIO, "file": _FILE})
_ASSISTANT_CONTENT = _content({"text": _TEXT, "refusal": _REFUSAL})
# Seen: the limit is 40 here; the Responses API accepts 64.
_CALL_ID = shapes.string(longest=40)
_FUNCTION = shapes.struct(
    {
        "name": shapes.string(longest=64, pattern=r"[a-zA-Z0-9_-]+"),
        "arguments": shapes.string(),
    },
    {},
)
_CALL = shapes.tagged(
    {
        "function": shapes.struct(
            {"id": _CALL_ID, "type": shapes.anything, "function": _FUNCTION}, {}
        ),
        "custom": shapes.struct(
            {"id": _CALL_ID, "type": shapes.anything, "custom": shapes.mapping}, {}
        ),
    }
)


def _calls(value: Any, param: str) -> None:
    if value == []:
        raise refusal_of_empty(param)
    shapes.list_of(_CALL)(value, param)


_ROLE: dict[str, shapes.Check] = {"role": shapes.anything}
_NAMED: dict[str, shapes.Check] = {"name": shapes.string()}
_SYSTEM = shapes.struct({**_ROLE, "content": _TEXT_CONTENT}, _NAMED)
_ROLES: dict[str, shapes.Check] = {
    "system": _SYSTEM,
    "developer": _SYSTEM,
    "user": shapes.struct({**_ROLE, "content": _USER_CONTENT}, _NAMED),
    "assistant": shapes.struct(
        _ROLE,
        {
            **_NAMED,
            "content": shapes.nullable(_ASSISTANT_CONTENT),
            "refusal": shapes.nullable(shapes.string()),
            "audio": shapes.nullable(shapes.mapping),
            "tool_calls": _calls,
        },
    ),
    "tool": shapes.struct({**_ROLE, "content": _TEXT_CONTENT, "tool_call_id": shapes.string()}, {}),
}


def check_messages(value: Any, param: str = "messages") -> None:
    """Check every message, then that each call is followed by its output."""
    if not isinstance(value, list):
        raise refusal.invalid_type(param, "an array of objects", value)
    if not value:
        raise refusal_of_empty(param)
    for index, message in enumerate(value):
        _check_message(message, f"{param}[{index}]")
    check_pairs(value)


def _check_message(message: Any, param: str) -> None:
    shapes.mapping(message, param)
    if "role" not in message:
        raise refusal.missing_parameter(f"{param}.role")
    shapes.one_of(*_ROLES)(message["role"], f"{param}.role")
    _ROLES[message["role"]](message, param)
    says = message.get("content") is not None or message.get("refusal") is not None
    if message["role"] == "assistant" and not says and "tool_calls" not in message:
        raise RequestError(
            "Invalid value for 'content': expected a string, got null.",
            param=f"{param.replace('[', '.[')}.content",
        )


def check_pairs(messages: Sequence[Message]) -> None:
    """Check that the calls of a message are directly followed by one output each."""
    waiting: list[str] = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise RequestError(
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceeding message with 'tool_calls'.",
                    param=f"messages.[{index}].role",
                )
            waiting.remove(message["tool_call_id"])
            continue
        _refuse_unanswered(waiting)
        waiting = [call["id"] for call in message.get("tool_calls", ())]
    _refuse_unanswered(waiting)


def _refuse_unanswered(waiting: Sequence[str]) -> None:
    if waiting:
        raise RequestError(
            "An assistant message with 'tool_calls' must be followed by tool messages "
            "responding to each 'tool_call_id'. The following tool_call_ids did not have "
            f"response messages: {', '.join(waiting)}",
            param="messages",
        )


def has_breakpoint(messages: Sequence[Message]) -> str | None:
    """Return the path of the first cache breakpoint, which models before gpt-5.6 reject."""
    for index, message in enumerate(messages):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if "prompt_cache_breakpoint" in part:
                return f"messages[{index}].content[{place}].prompt_cache_breakpoint"
    return None


def as_items(messages: Any) -> list[Item]:
    """Convert messages to items of the Responses API, so that scripts and tests read both alike."""
    found: list[Item] = []
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            found += _items(message)
    return found


def _items(message: Message) -> Iterator[Item]:
    content = message.get("content")
    if message.get("role") == "tool":
        call_id = message.get("tool_call_id")
        yield {"type": "function_call_output", "call_id": call_id, "output": _parts(content)}
        return
    if content is None and message.get("refusal") is not None:
        content = [{"type": "refusal", "refusal": message["refusal"]}]
    if content or (content is not None and not message.get("tool_calls")):
        yield {"type": "message", "role": message.get("role"), "content": _parts(content)}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        yield {
            "type": "function_call",
            "call_id": call.get("id"),
            "name": function.get("name", ""),
            "arguments": function.get("arguments", ""),
        }


def _parts(content: Any) -> Any:
    if not isinstance(content, list):
        return content or ""
    return [_as_part(part) for part in content if isinstance(part, dict)]


def _as_part(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("type") == "text":
        return {**part, "type": "input_text"}
    if part.get("type") == "image_url":
        url = part.get("image_url") or {}
        detail = url.get("detail", "auto")
        return {"type": "input_image", "image_url": url.get("url"), "detail": detail}
    return part
