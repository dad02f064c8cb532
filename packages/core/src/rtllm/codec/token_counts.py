"""Token counts, as hosts write them."""

import math

from rtllm.content.usage import Usage

MOST_TOKENS = 10**12
"""More than any response can use; a higher count is an error of the host."""


def count(value: object) -> int | None:
    """Read a token count: fractions are rounded; None if it is not a valid count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or not 0 <= value <= MOST_TOKENS:
        return None
    return round(value)


def usage_from(
    usage: object, *, sent: str, received: str, into: str, out: str, tier: str | None
) -> Usage | None:
    """Read a usage object; None if it has no usable counts.

    If a service counts only one side, the other is zero. If one side is invalid, for example
    negative, the entire object is ignored.

    Args:
        usage: The object; any value is accepted.
        sent: The name of the input tokens' field.
        received: The name of the output tokens' field.
        into: The name of the field with details of the input.
        out: The name of the field with details of the output.
        tier: The service tier.
    """
    sides = (read_field(usage, sent), read_field(usage, received))
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
    """Read a field of a decoded JSON object or of an SDK's object; None if it has none."""
    if isinstance(value, dict):
        return value.get(name)
    return getattr(value, name, None)
