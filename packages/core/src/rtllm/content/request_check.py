"""Checks of a request's types, for adapters that no type checker reads."""

from collections.abc import Iterator
from typing import Any

from rtllm.content.items import Image, Message, Opaque, Reasoning, Text, ToolCall, ToolOutput
from rtllm.content.retries import RetryPolicy
from rtllm.content.timeouts import Timeouts
from rtllm.errors import ConfigError

_TEXTS: dict[type[object], tuple[str, ...]] = {
    Message: ("role",),
    ToolCall: ("call_id", "name", "arguments"),
    ToolOutput: ("call_id", "output"),
}


def check_request(request: Any) -> None:
    """Check the types of what the engine uses later, when an error would be hard to understand.

    Raises:
        ConfigError: If one is wrong.
    """
    for tool in request.tools:
        _check("a tool", tool, bytes, "its encoded form (FunctionTool.encoded)")
    _check("limits", request.limits, Timeouts, "Timeouts")
    _check("retry", request.retry, RetryPolicy, "a RetryPolicy")


def check_items(items: Any) -> None:
    """Check the types of items that could not be normalized.

    Raises:
        ConfigError: If one is wrong.
    """
    for place, item in enumerate(items):
        name = f"items[{place}]"
        _check(name, item, Message | ToolCall | ToolOutput | Reasoning | Opaque, "an Item")
        for attribute, value in _texts_of(item):
            _check(f"{name}.{attribute}", value, str, "a text")
        if not isinstance(item, Message):
            continue
        _check(f"{name}.parts", item.parts, tuple, "a tuple of Text and Image")
        for part in item.parts:
            _check(f"a part of {name}", part, Text | Image, "a Text or an Image")


def _texts_of(item: Any) -> Iterator[tuple[str, object]]:
    for attribute in _TEXTS.get(type(item), ()):
        yield attribute, getattr(item, attribute)
    for attribute in ("key", "mark"):
        if (value := getattr(item, attribute, None)) is not None:
            yield attribute, value


def _check(name: str, value: object, kind: Any, expected: str) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} is {type(value).__name__}; expected {expected}")
