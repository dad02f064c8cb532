"""Numbers and kinds in words."""

from collections.abc import Mapping

from rtllm.trace_view.model import PartName

PARTS: Mapping[PartName, str] = {
    "queue": "in this process",
    "connect": "opening a connection",
    "busy": "all connections busy",
    "limit": "rate limit",
    "lost": "failed attempts",
    "pause": "before the next attempt",
    "send": "sending",
    "accept": "until accepted",
    "reason": "reasoning",
    "hosted": "hosted tools",
    "think": "until the first output",
    "word": "tool call to first word",
    "rest": "rest of the response",
}
"""What each part of a turn's time is, in a few words."""

OUTCOMES: Mapping[str, str] = {
    "completed": "completed",
    "incomplete": "cut short by the service",
    "unfinished": "ended early",
    "empty": "empty response",
    "cancelled": "interrupted",
    "failed": "failed",
    "open": "no end in the file",
}
"""How a turn ended, for a reader."""

REASONS: Mapping[str, str] = {
    "first request": "it is the first request of its conversation",
    "no completed response": "no earlier response of the conversation was completed",
    "context changed": "the history before the latest response was changed",
    "instructions changed": "the instructions were changed",
    "belonging unproven": "it was not certain which conversation it belongs to",
    "response unavailable": "the service no longer had the earlier response",
    "connection replaced": "the connection that held the earlier response was replaced",
    "recovery": "it was sent again after a fault",
    "no chaining here": "this host, or this setting, continues no responses",
}
"""Why a request had the full context, as a clause."""


def seconds(value: float) -> str:
    """Return a duration in words, such as ``340 ms`` or ``2.41 s``."""
    if value < 0.0005:
        return "0 ms"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(value: int) -> str:
    """Return a number of bytes in words, such as ``12 KB``."""
    if value < 1000:
        return f"{value} bytes"
    return f"{value / 1000:.1f} KB" if value < 1_000_000 else f"{value / 1_000_000:.1f} MB"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun, such as ``3 turns``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def money(amount: float, currency: str) -> str:
    """Return an amount, with four significant digits if it is small."""
    digits = f"{amount:,.2f}" if amount >= 10 else f"{amount:.4f}" if amount >= 0.01 else ""
    return f"{digits or format(amount, '.4g' if amount >= 0.0001 else '.6f')} {currency}"


def item_words(item: str) -> str:
    """Return the type of a hidden item in words, such as ``web search`` for ``web_search_call``."""
    return item.removesuffix("_call").replace("_", " ")
