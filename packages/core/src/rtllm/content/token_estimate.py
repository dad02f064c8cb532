"""An estimate of tokens without a tokenizer, for usage that a service never reported."""

from collections.abc import Iterable

from rtllm.content.items import Image, Item, Message, ToolCall, ToolOutput

PER_ITEM = 4
"""Tokens for an item's role and boundaries (documented in OpenAI's cookbook, for messages)."""
PER_IMAGE = 765
"""Tokens of a picture in high detail, of usual size; its actual size is not known here."""

# Tokens of each byte of some class in a text's UTF-8: ASCII characters, and the first bytes of
# others, which tell their script. Fitted to OpenAI's o200k vocabulary on 25 languages, JSON and
# code; outside/token_estimate.py measures the error. Bytes are counted without a loop, since this
# runs when an attempt ends without usage, perhaps before it is sent again.
_ASCII = (
    (b"abcdefghijklmnopqrstuvwxyz", 0.225),
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 0.12),
    (b" \t", 0.166),
    (b"\n", 0.152),
    (b"0123456789", 0.942),
    (bytes(code for code in range(33, 127) if not chr(code).isalnum()), 0.516),
)
_OTHER = (
    (bytes(range(0xC3, 0xCA)), 1.203),  # Latin letters with marks
    (bytes(range(0xCD, 0xD5)), 0.325),  # Greek, Cyrillic
    (bytes(range(0xD6, 0xDC)), 0.355),  # Hebrew, Arabic
    (b"\xe0", 0.394),  # India's scripts, Thai
    (b"\xe1", 0.038),  # Vietnamese letters with two marks
    (b"\xe2", 0.029),  # typographic punctuation
    (bytes((*range(0xE3, 0xEA), 0xEF)), 0.729),  # Chinese, Japanese
    (bytes(range(0xEA, 0xEE)), 0.675),  # Korean
    (bytes(range(0xF0, 0xF5)), 1.0),  # emoji and rare scripts
)


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text.

    Returns:
        The tokens, 0 for an empty text. Over some hundred characters the error is at most 15 % in
        the languages that were measured (``docs/usage.md``).
    """
    if not text:
        return 0
    data = text.encode(errors="replace")
    size, total = len(data), 0.0
    for some, tokens in _ASCII if text.isascii() else _ASCII + _OTHER:
        total += tokens * (size - len(data.translate(None, some)))
    return max(1, round(total))


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
