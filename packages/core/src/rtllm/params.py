"""What model families take, as data; and settings in the shape of the Responses API."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from rtllm.errors import ConfigError

_TOOL_CHOICES = ("auto", "required", "none")

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_GPT = re.compile(r"(?:ft:)?gpt-(\d+)(?:\.(\d+))?(?![\w.])(.*)")

# Seen: the service's own refusals list what a family accepts. For voice the lowest is wanted.
_NO_NONE = ("gpt-6-astra", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6.2")

DROPPABLE = frozenset(
    {
        "reasoning.effort",
        "text.verbosity",
        "temperature",
        "top_p",
        "logprobs",
        "top_logprobs",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "stream_options",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
    }
)
"""Parameters that may be left out after a refusal; the answer stays what was asked for."""


def version_of(model: str) -> tuple[int, int] | None:
    """The version in a GPT model's name, such as (5, 6); None for every other name."""
    found = _GPT.match(_bare(model))
    return None if found is None else (int(found[1]), int(found[2] or 0))


def takes_cache_breakpoints(model: str) -> bool:
    """Whether a model takes prompt cache breakpoints: GPT-5.6 and later (documented)."""
    return (version_of(model) or (0, 0)) >= (5, 6)


def quickest_effort(model: str) -> Effort | None:
    """The lowest reasoning effort that a model accepts; None where effort isn't a parameter.

    A voice agent can't wait for a model to think unless its user wants it to.
    """
    name, version = _bare(model), version_of(model)
    if version is None or version < (5, 0) or "-chat" in name or "-codex" in name:
        return None
    if "-pro" in name:
        return None  # 5-pro takes only high, 5.2-pro starts at medium: left to the service
    if version == (5, 0):
        return "minimal"
    return "low" if name.startswith(_NO_NONE) else "none"


def without(settings: Mapping[str, Any], parameter: str) -> dict[str, Any]:
    """A copy of a body's settings without one parameter.

    Args:
        settings: The settings.
        parameter: Its name; ``outer.inner`` for a field of an object.
    """
    outer, _, inner = parameter.partition(".")
    copy = dict(settings)
    value = copy.get(outer)
    if not inner or not isinstance(value, Mapping):
        copy.pop(outer, None)
        return copy
    rest = {k: v for k, v in value.items() if k != inner}
    if rest:
        copy[outer] = rest
    else:
        del copy[outer]
    return copy


def tool_choice_of(choice: Any) -> Any:
    """A tool choice in the shape of the Responses API.

    Raises:
        ConfigError: If it is neither one of the words nor an object that names a tool.
    """
    if isinstance(choice, str) and choice in _TOOL_CHOICES:
        return choice
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
        if isinstance(name, str) and name:
            return {"type": "function", "name": name}
    elif isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools")
        allowed = inner if isinstance(inner, Mapping) else choice
        tools = [tool_choice_of(tool) for tool in allowed.get("tools", ())]
        return {"type": "allowed_tools", "mode": allowed.get("mode", "auto"), "tools": tools}
    elif isinstance(choice, Mapping) and isinstance(choice.get("type"), str):
        return dict(choice)  # a hosted tool's, in the API's own shape
    raise ConfigError(
        f"tool_choice is {choice!r}; expected one of {', '.join(map(repr, _TOOL_CHOICES))} "
        "or {'type': 'function', 'function': {'name': …}}"
    )


def text_format_of(response_format: Any) -> Any:
    """A ``response_format`` of Chat Completions as ``text.format``."""
    value = dict(without_nulls(response_format))
    inner = value.pop("json_schema", None)
    return {**value, **inner} if isinstance(inner, Mapping) else value


def without_nulls(value: Any) -> Any:
    """A value without nulls, which the service refuses, and without pydantic objects."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return value


def _bare(model: str) -> str:
    return model.lower().rpartition("/")[2]
