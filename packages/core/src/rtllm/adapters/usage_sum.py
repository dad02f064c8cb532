"""The tokens of a turn that needs several responses."""

from dataclasses import fields, replace
from typing import Any

from rtllm.content.usage import Usage


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Add the tokens of two responses; what only one reports is that one's.

    Args:
        one: The tokens of the earlier response; None if not known.
        other: Those of the later one, whose service tier is kept.
    """
    if one is None or other is None:
        return one or other
    sums: dict[str, Any] = {}
    for name in (field.name for field in fields(Usage)):
        before, after = getattr(one, name), getattr(other, name)
        if isinstance(before, int):
            sums[name] = before + (after or 0)
    return replace(other, **sums)
