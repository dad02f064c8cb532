"""An estimate of tokens without a tokenizer, for usage that a service never reported."""

import re
from collections.abc import Iterable

from rtllm.content.items import Image, Item, Message, ToolCall, ToolOutput

PER_ITEM = 4
"""Tokens for an item's role and boundaries (documented in OpenAI's cookbook, for messages)."""
PER_IMAGE = 765
"""Tokens of a picture in high detail, of usual size; its actual size is not known here."""

# Tokens of each match, fitted to OpenAI's o200k vocabulary on 30 languages, JSON and code;
# benchmarks/token_estimate.py measures the error.
_ASCII = (
    (re.compile(r"[A-Za-z]"), 0.331),
    (re.compile(r"[A-Za-z]+"), -0.388),
    (re.compile(r"[0-9]{1,3}"), 1.694),
    (re.compile(r"[^\w\s]+"), 0.731),
    (re.compile(r"\n+\s*"), 0.685),
)
_OTHER = (
    (re.compile("[\u00c0-\u024f\u1e00-\u1eff]"), 1.227),  # Latin letters with marks
    (re.compile("[\u0370-\u052f]"), 0.355),  # Greek, Cyrillic
    (re.compile("[\u0590-\u06ff]"), 0.39),  # Hebrew, Arabic
    (re.compile("[\u0900-\u0e7f]"), 0.194),  # India's scripts, Thai
    (re.compile("[\u3000-\u9fff\uff00-\uffef]"), 0.722),  # Chinese, Japanese
    (re.compile("[\uac00-\ud7af]"), 0.732),  # Korean
    (re.compile("[\U00010000-\U0010ffff]"), 1.0),  # emoji and rare scripts
)


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text.

    Returns:
        The tokens, 0 for an empty text. Over some hundred characters the error is at most 15 % in
        the languages that were measured (``docs/usage.md``).
    """
    if not text:
        return 0
    classes = _ASCII if text.isascii() else _ASCII + _OTHER
    return max(1, round(sum(len(one.findall(text)) * tokens for one, tokens in classes)))


def estimate_input(items: Iterable[Item], tools: Iterable[bytes] = (), guide: str = "") -> int:
    """Estimate the input tokens of a request with its full context.

    Args:
        items: The context.
        tools: The encoded tools.
        guide: Instructions that are not part of the context.
    """
    total = estimate_tokens(guide) + (PER_ITEM if guide else 0)
    for tool in tools:
        total += estimate_tokens(tool.decode(errors="replace"))
    for item in items:
        total += PER_ITEM + estimate_tokens(_text_of(item))
        if isinstance(item, Message):
            total += sum(PER_IMAGE for part in item.parts if isinstance(part, Image))
    return total


def _text_of(item: Item) -> str:
    match item:
        case Message():
            return item.text
        case ToolCall():
            return item.name + item.arguments
        case ToolOutput():
            return item.output
        case _:
            return item.json.decode(errors="replace")
