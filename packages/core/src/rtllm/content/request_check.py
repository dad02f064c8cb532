"""Checks of a request's types, for adapters that no type checker reads."""

from collections.abc import Iterable, Mapping
from typing import Any

from rtllm.content.call_identity import CallIdentity
from rtllm.content.items import Image, Message, Opaque, Reasoning, Text, ToolCall, ToolOutput
from rtllm.content.request import Network, Request
from rtllm.content.retries import RetryPolicy
from rtllm.content.timeouts import Timeouts
from rtllm.errors import ConfigError

Types = type | tuple[type, ...]

_NONE = type(None)
_USUAL = frozenset({str, _NONE})
_TEXT = str, "a text"
_TEXT_OR_NONE = (str, _NONE), "a text or None"
_FLAG = bool, "True or False"
_TEXTS = (dict, Mapping), "a mapping of texts"

_OF_REQUEST: dict[str, tuple[Types, str]] = {
    "items": ((tuple, list), "a tuple of Items"),
    "model": _TEXT,
    "settings": ((dict, Mapping), "a mapping"),
    "tools": ((tuple, list), "a tuple of encoded tools (FunctionTool.encoded)"),
    "guide": _TEXT,
    "limits": (Timeouts, "Timeouts"),
    "retry": (RetryPolicy, "a RetryPolicy"),
    "hold_calls": _FLAG,
    "untouched": ((frozenset, set), "a set of names"),
    "strict_parameters": _FLAG,
    "headers": _TEXTS,
    "query": _TEXTS,
    "network": (Network, "a Network"),
    "unsent": ((tuple, list), "a tuple of ids"),
    "conversation": _TEXT_OR_NONE,
    "warm_up": _FLAG,
    "call": (CallIdentity, "a CallIdentity"),
}

_OF_ITEMS: dict[type, dict[str, tuple[Types, str]]] = {
    Message: {
        "role": _TEXT,
        "parts": (tuple, "a tuple of Text and Image"),
        "phase": _TEXT_OR_NONE,
        "key": _TEXT_OR_NONE,
        "mark": _TEXT_OR_NONE,
    },
    ToolCall: {
        "call_id": _TEXT,
        "name": _TEXT,
        "arguments": _TEXT,
        "key": _TEXT_OR_NONE,
        "mark": _TEXT_OR_NONE,
        "carried": ((bytes, _NONE), "bytes or None"),
    },
    ToolOutput: {"call_id": _TEXT, "output": _TEXT, "key": _TEXT_OR_NONE},
    Reasoning: {"json": (bytes, "bytes")},
    Opaque: {"type": _TEXT, "json": (bytes, "bytes")},
    Text: {"text": _TEXT},
    Image: {"url": _TEXT, "detail": _TEXT},
}


def check_request(request: Any) -> None:
    """Check the types of a request, which would later cause errors that are hard to understand.

    Raises:
        ConfigError: If one is wrong.
    """
    _check("the request", request, Request, "a Request")
    for name, (types, expected) in _OF_REQUEST.items():
        _check(name, getattr(request, name), types, expected)
    if not callable(request.record):
        raise _wrong_type("record", request.record, "a function")
    if request.on_late_usage is not None and not callable(request.on_late_usage):
        raise _wrong_type("on_late_usage", request.on_late_usage, "a function or None")
    for tool in request.tools:
        _check("a tool", tool, bytes, "its encoded form (FunctionTool.encoded)")
    for key in request.unsent:
        _check("an id in unsent", key, str, "a text")
    _check_items(request.items)


def _check_items(items: Iterable[Any]) -> None:
    """Check all items; the usual ones fast, since they all come with every turn."""
    for place, item in enumerate(items):
        kind = type(item)
        if kind is Message:
            parts = item.parts
            is_usual = (
                type(parts) is tuple
                and len(parts) == 1
                and type(parts[0]) is Text
                and type(parts[0].text) is str
                and isinstance(item.role, str)
                and type(item.phase) in _USUAL
                and type(item.key) in _USUAL
                and type(item.mark) in _USUAL
            )
        elif kind is ToolCall:
            is_usual = (
                isinstance(item.call_id, str)
                and isinstance(item.name, str)
                and isinstance(item.arguments, str)
                and type(item.key) in _USUAL
                and type(item.mark) in _USUAL
                and item.carried is None
            )
        else:
            is_usual = (
                kind is ToolOutput
                and isinstance(item.call_id, str)
                and isinstance(item.output, str)
                and type(item.key) in _USUAL
            )
        if not is_usual:
            _check_item(f"items[{place}]", item)


def _check_item(name: str, item: Any) -> None:
    kinds = (Message, ToolCall, ToolOutput, Reasoning, Opaque)
    _check(name, item, kinds, "an Item")
    _check_attributes(name, item, kinds)
    if isinstance(item, Message):
        for part in item.parts:
            _check(f"a part of {name}", part, (Text, Image), "a Text or an Image")
            _check_attributes(f"a part of {name}", part, (Text, Image))


def _check_attributes(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    kind = next(kind for kind in kinds if isinstance(value, kind))
    for attribute, (types, expected) in _OF_ITEMS[kind].items():
        _check(f"{name}.{attribute}", getattr(value, attribute), types, expected)


def _check(name: str, value: object, types: Types, expected: str) -> None:
    if not isinstance(value, types):
        raise _wrong_type(name, value, expected)


def _wrong_type(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"{name} is {type(value).__name__}; expected {expected}")
