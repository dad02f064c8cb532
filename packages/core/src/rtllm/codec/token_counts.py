"""Token counts as hosts write them."""

import math
from collections.abc import Mapping

from rtllm.content.usage import Usage

MOST_TOKENS = 10**12
"""More than any response or bill can hold; beyond it a count is an error of the host."""


def count(value: object) -> int | None:
    """Read a count of tokens: fractions are rounded; None for what can't be a count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or not 0 <= value <= MOST_TOKENS:
        return None
    return round(value)


def usage_from(
    usage: object, *, sent: str, made: str, into: str, out: str, tier: str | None
) -> Usage | None:
    """Read a usage object; None where it isn't known.

    A service that counts only one side leaves the other at zero. If one side is a count that
    can't be, such as a negative one, nothing of it is believed.

    Args:
        usage: The object, which may be anything.
        sent: The field of the input tokens.
        made: The field of the output tokens.
        into: The field with details of the input.
        out: The field with details of the output.
        tier: The service tier.
    """
    sides = (read_field(usage, sent), read_field(usage, made))
    counts = [count(side) for side in sides]
    if counts == [None, None] or any(
        side is not None and known is None for side, known in zip(sides, counts, strict=True)
    ):
        return None
    details, more = read_field(usage, into), read_field(usage, out)
    return Usage(
        counts[0] or 0,
        counts[1] or 0,
        count(read_field(details, "cached_tokens")),
        count(read_field(details, "cache_write_tokens")),
        count(read_field(more, "reasoning_tokens")),
        tier,
    )


def read_field(value: object, name: str) -> object:
    """Read a field of a mapping or an object; None if it has none."""
    if isinstance(value, Mapping):
        return value.get(name)
    return getattr(value, name, None)
