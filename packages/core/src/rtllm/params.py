"""What model families take: data, and the few questions that are asked of it now."""

import re
from collections.abc import Mapping
from typing import Any, Literal

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


def has(settings: Mapping[str, Any], parameter: str) -> bool:
    """Whether a body's settings hold a parameter."""
    outer, _, inner = parameter.partition(".")
    value = settings.get(outer)
    return outer in settings and (not inner or (isinstance(value, Mapping) and inner in value))


def _bare(model: str) -> str:
    return model.lower().rpartition("/")[2]
