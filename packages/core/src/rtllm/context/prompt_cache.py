"""Prompt cache: how much of a prompt could have been read from it, and what broke it.

A service reads the beginning of a prompt from its cache, up to the first difference from an earlier
prompt. The prompt begins with the tools, then come the instructions, then the items; the model and
some settings are part of it, too (documented by OpenAI: another tool list, effort, format or
verbosity breaks the cache).

Everything here is computed only if reports about the prompt cache are wanted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from rtllm.codec.frames import decode_object
from rtllm.content.items import Item, Message, ToolCall, ToolOutput
from rtllm.content.token_estimate import estimate_input

SMALLEST = 1024
"""The tokens from which on a prompt is cached (documented by OpenAI)."""
TOLERANCE = 256
"""Fewer tokens than this are not called missing. Cached tokens are counted in steps of 128
(documented by OpenAI), and the last step may be left out (assumed)."""
IDLE = 300.0
"""Seconds after which a cached prompt may be forgotten (documented by OpenAI: 5 to 10 minutes)."""
QUOTED = 24
"""Characters that are quoted of a changed text, on each side of the change."""

CacheReports = bool | Literal["texts"]
"""Whether reports explain the use of the prompt cache; "texts": with pieces of changed texts."""

CacheBreakKind = Literal[
    "first request",
    "too short",
    "model",
    "setting",
    "tools",
    "instructions",
    "items",
    "idle",
    "full context",
    "not found",
]
"""What kept the service from reading more of a prompt from its cache."""

# Settings that are part of the prompt, by their path, and what users call them.
_SETTINGS = {
    "reasoning.effort": "effort",
    "text.format": "the response format",
    "text.verbosity": "verbosity",
    "prompt_cache_key": "prompt_cache_key",
}


@dataclass(frozen=True, slots=True)
class CacheBreak:
    """A reason why a part of a prompt was not read from the cache.

    Attributes:
        kind: The kind of reason.
        text: The reason as a sentence, without any text of the conversation.
        quote: The changed text before and after, if texts are wanted; else None.
    """

    kind: CacheBreakKind
    text: str
    quote: tuple[str, str] | None = None

    def __str__(self) -> str:
        if self.quote is None:
            return self.text
        before, after = self.quote
        return f"{self.text} ({before!r} became {after!r})"


@dataclass(frozen=True, slots=True)
class PromptCacheReport:
    """How a turn used the service's prompt cache.

    Attributes:
        prompt: The input tokens of the turn; None if they were not reported.
        readable: The tokens that the service could have read from its cache, if nothing had changed
            since the prompt before: that prompt's input tokens. 0 for the first prompt of a client.
        read: The tokens that it read; None if they were not reported.
        breaks: What kept it from reading more, the earliest part of the prompt first; empty if it
            read as much as it could.
        compared_with: The prompt before: of the same conversation, or for its first request of
            another conversation of the client.
        is_estimated: Whether `readable` is an estimate, since the tokens were not reported.
    """

    prompt: int | None
    readable: int
    read: int | None
    breaks: tuple[CacheBreak, ...] = ()
    compared_with: Literal["conversation", "client"] | None = None
    is_estimated: bool = False

    @property
    def missed(self) -> int | None:
        """The tokens that could have been read from the cache and were not; None if unknown."""
        return None if self.read is None else max(0, self.readable - self.read)

    def __str__(self) -> str:
        about = "about " if self.is_estimated else ""
        read = "unknown" if self.read is None else f"{self.read:,}"
        summary = f"{read} of {about}{self.readable:,} cacheable tokens read from the prompt cache"
        if not self.breaks:
            return summary
        reasons = "; ".join(map(str, self.breaks))
        if not self.missed:
            return f"{summary}; {reasons}"
        return f"{reasons}: {about}{self.missed:,} tokens were not read from the cache"


@dataclass(slots=True, eq=False)
class SentPrompt:
    """What a request sent, as the prompt cache compares it.

    Attributes:
        model: The model.
        settings: The settings of the request.
        tools: The encoded tools.
        instructions: The leading system texts and the guide.
        items: The items after the leading system texts.
        at: When it was sent, in seconds on any clock.
        tokens: Its input tokens; None until the service reports them.
    """

    model: str
    settings: Mapping[str, object]
    tools: tuple[bytes, ...]
    instructions: str
    items: tuple[Item, ...]
    at: float
    tokens: int | None = None

    def estimate(self) -> int:
        """Estimate its input tokens."""
        return estimate_input(self.items, self.tools, self.instructions)


def explain_cache(
    sent: SentPrompt,
    before: SentPrompt | None,
    *,
    prompt: int | None,
    read: int | None,
    full_context_reason: str | None,
    is_same_conversation: bool,
    shows_texts: bool,
) -> PromptCacheReport:
    """Explain how much of a prompt was read from the cache.

    Args:
        sent: What was sent.
        before: What was sent before it; None for the first prompt.
        prompt: The input tokens that the service reports.
        read: The input tokens that were read from the cache, as the service reports them.
        full_context_reason: Why no response was continued; None if one was.
        is_same_conversation: Whether `before` is of the same conversation.
        shows_texts: Whether changed texts may be quoted.
    """
    if before is None:
        first = CacheBreak("first request", "it was the client's first request")
        return PromptCacheReport(prompt, 0, read, (first,))
    breaks = list(_changes(sent, before, shows_texts=shows_texts))
    if is_same_conversation:
        is_estimated = before.tokens is None
        readable = before.tokens if before.tokens is not None else before.estimate()
        if full_context_reason is not None or before.items != sent.items[: len(before.items)]:
            breaks += _changed_items(sent, before, shows_texts=shows_texts)
    else:
        # Of another conversation only what both have in common could have been read.
        is_estimated = True
        same = _count_equal(sent.items, before.items)
        head = sent.instructions if sent.instructions == before.instructions else ""
        readable = estimate_input(before.items[:same] if head else (), before.tools, head)
        if breaks:  # as it would have been without the changes
            readable = estimate_input((), before.tools, before.instructions)
    is_missing = read is None or readable - read >= TOLERANCE
    if is_missing and not breaks and readable >= SMALLEST:
        breaks += _other_reasons(sent, before, full_context_reason)
    if readable < SMALLEST and not read:
        least = f"a prompt of fewer than {SMALLEST:,} tokens is not cached"
        breaks = [CacheBreak("too short", least)]
    elif not is_missing:
        breaks = []
    return PromptCacheReport(
        prompt,
        readable,
        read,
        tuple(breaks),
        "conversation" if is_same_conversation else "client",
        is_estimated,
    )


def _changes(sent: SentPrompt, before: SentPrompt, *, shows_texts: bool) -> Iterator[CacheBreak]:
    """List the changes of everything that is before the items."""
    if sent.model != before.model:
        yield CacheBreak("model", f"the model changed from {before.model} to {sent.model}")
    for path, name in _SETTINGS.items():
        old, new = _setting(before.settings, path), _setting(sent.settings, path)
        if old != new:
            is_short = path not in ("text.format", "prompt_cache_key")
            change = f" from {_named(old)} to {_named(new)}" if is_short else ""
            yield CacheBreak("setting", f"{name} changed{change}")
    if sent.tools != before.tools:
        yield CacheBreak("tools", _tools_change(sent.tools, before.tools))
    if sent.instructions != before.instructions:
        yield _text_change("instructions", "instructions", sent, before, shows_texts=shows_texts)


def _setting(settings: Mapping[str, object], path: str) -> object:
    value: object = settings
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _named(value: object) -> str:
    return "the default" if value is None else str(value)


def _tools_change(new: tuple[bytes, ...], old: tuple[bytes, ...]) -> str:
    if sorted(new) == sorted(old):
        return "the tool list is in another order"
    names, old_names = [_tool_name(tool) for tool in new], [_tool_name(tool) for tool in old]
    added = [name for name in names if name not in old_names]
    removed = [name for name in old_names if name not in names]
    changed = [
        name for name, tool in zip(names, new, strict=True) if name in old_names and tool not in old
    ]
    parts = [
        f"{what} {', '.join(some)}"
        for what, some in (("added", added), ("removed", removed), ("changed", changed))
        if some
    ]
    return f"the tool list changed: {'; '.join(parts) or 'a tool is repeated'}"


def _tool_name(tool: bytes) -> str:
    fields = decode_object(tool)
    return str(fields.get("name") or fields.get("type"))


def _text_change(
    kind: CacheBreakKind, what: str, sent: SentPrompt, before: SentPrompt, *, shows_texts: bool
) -> CacheBreak:
    old, new = before.instructions, sent.instructions
    place = _first_difference(old, new)
    if not old or not new:
        change = "were added" if new else "were removed"
        return CacheBreak(kind, f"{what} {change}", _quote(old, new, place, shows_texts))
    text = f"{what} changed {_place_of(place, old, new)}"
    return CacheBreak(kind, text, _quote(old, new, place, shows_texts))


def _place_of(place: int, old: str, new: str) -> str:
    """Describe where a text changed."""
    if place == len(old):
        return f"at the end, after {len(old):,} characters"
    if place == len(new):
        return f"at the end: the last {len(old) - place:,} of {len(old):,} characters were removed"
    return f"at character {place + 1:,} of {len(old):,}"


def _first_difference(one: str, other: str) -> int:
    """Return the index of the first character that differs; by halves, since texts may be long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _quote(old: str, new: str, place: int, shows_texts: bool) -> tuple[str, str] | None:
    if not shows_texts:
        return None
    return _around(old, place), _around(new, place)


def _around(text: str, place: int) -> str:
    start, end = max(0, place - QUOTED), place + QUOTED
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def _count_equal(one: tuple[Item, ...], other: tuple[Item, ...]) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _changed_items(
    sent: SentPrompt, before: SentPrompt, *, shows_texts: bool
) -> Iterator[CacheBreak]:
    """Find the first item of the prompt before that is not the same any more."""
    place = _count_equal(sent.items, before.items)
    count = len(before.items)
    if place == count:
        return
    old = before.items[place]
    what = f"item {place + 1:,} of {count:,} ({_kind_of(old)})"
    if place == len(sent.items):
        more = f" and the {count - place - 1:,} after it" if count > place + 1 else ""
        yield CacheBreak("items", f"{what}{more} was removed from the end of the context")
        return
    new = sent.items[place]
    dropped = next((i for i in range(place + 1, count) if before.items[i] == new), None)
    if dropped is not None:
        number = dropped - place
        yield CacheBreak("items", f"{number:,} items from {what} on were removed")
    elif isinstance(old, Message) and isinstance(new, Message) and old.role == new.role:
        at = _first_difference(old.text, new.text)
        text = f"{what} changed {_place_of(at, old.text, new.text)}"
        yield CacheBreak("items", text, _quote(old.text, new.text, at, shows_texts))
    else:
        yield CacheBreak("items", f"{what} was replaced by {_kind_of(new)}")


def _kind_of(item: Item) -> str:
    match item:
        case Message(role="user" | "system" | "developer" as role):
            return f"a {role} message"
        case Message():
            return "an assistant message"
        case ToolCall(_, name):
            return f"a call of {name}"
        case ToolOutput():
            return "a tool's output"
        case _:
            return "a hidden item"


def _other_reasons(
    sent: SentPrompt, before: SentPrompt, full_context_reason: str | None
) -> Iterator[CacheBreak]:
    """Find a reason for a prompt that has not changed."""
    idle = sent.at - before.at
    if idle >= IDLE:
        yield CacheBreak("idle", f"idle for {_minutes(idle)}")
    elif full_context_reason is not None:
        text = f"the context was sent in full ({full_context_reason})"
        yield CacheBreak("full context", text)
    else:
        yield CacheBreak("not found", "nothing changed; the service no longer had it in its cache")


def _minutes(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes:,} minutes" if minutes < 120 else f"{minutes // 60:,} hours"
