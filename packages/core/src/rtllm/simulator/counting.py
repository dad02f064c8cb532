"""Token counts and the prompt cache of the simulated service. No I/O.

A context has the same count whether it is sent in full or continues an earlier response. So an item
counts by what the model sees of it, not by its ids, states and annotations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from rtllm.simulator.memory import Item, Newest

_OVERHEAD = 4  # tokens for the role and the boundaries of an item
_PICTURES = {"low": 85}  # by detail; in any other detail:
_PICTURE = 765
_UNSEEN = frozenset({"id", "status", "type"})


def tokens(value: object) -> int:
    """Estimate tokens: a quarter of the characters, rounded up; deterministic."""
    if not value:
        return 0
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return -(-len(text) // 4)


def context_tokens(items: Iterable[Item]) -> int:
    """Count the tokens of some items."""
    return sum(map(item_tokens, items))


def item_tokens(item: Item) -> int:
    """Count the tokens of an item.

    Assumed: the reasoning of earlier responses is not counted. The real service drops it, except
    between the calls of one turn.
    """
    seen = _seen(item)
    return _OVERHEAD + tokens(seen.text) + seen.other if seen is not None else 0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the model sees of an item: its kind, its text, and the tokens of its pictures."""

    kind: str
    text: str
    other: int = 0


def _seen(item: Item) -> _Seen | None:
    kind = item.get("type", "message")
    if kind == "reasoning":
        return None
    if kind == "message":
        return _content(str(item.get("role")), item.get("content"))
    if kind in ("function_call", "custom_tool_call"):
        return _Seen(kind, f"{item.get('name')}{item.get('arguments', item.get('input'))}")
    if kind in ("function_call_output", "custom_tool_call_output"):
        return _content(kind, item.get("output"))
    fields = {name: value for name, value in item.items() if name not in _UNSEEN}
    return _Seen(kind, json.dumps(fields, ensure_ascii=False, sort_keys=True))


def _content(kind: str, content: Any) -> _Seen:
    if not isinstance(content, list):
        return _Seen(kind, str(content or ""))
    parts = [part for part in content if isinstance(part, dict)]
    text = "".join(str(part.get("text") or part.get("refusal") or "") for part in parts)
    pictures = [part for part in parts if "image" in str(part.get("type"))]
    urls = "".join(str(part.get("image_url")) for part in pictures)
    shown = f"{text}\0{urls}" if urls else text
    # The address distinguishes pictures, but only the detail of a picture counts.
    counted = sum(_PICTURES.get(str(part.get("detail")), _PICTURE) for part in pictures)
    return _Seen(kind, shown, counted - tokens(shown) + tokens(text))


@dataclass(frozen=True, slots=True)
class Prompt:
    """Everything that the model sees of a request, as the prompt cache compares it.

    Attributes:
        counts: The tokens of its parts: the settings, then each item.
        prefixes: For each number of parts from one to all, a digest of that many.
    """

    counts: tuple[int, ...]
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, body: dict[str, Any], tools: Sequence[Any], items: Iterable[Item]) -> Prompt:
        """Compose the prompt of a request.

        Args:
            body: The request, for its settings.
            tools: Its tools, in the form of the Responses API.
            items: Its full context.
        """
        instructions = body.get("instructions")
        settings = [body.get("model"), body.get("reasoning"), body.get("reasoning_effort")]
        settings += [body.get("text"), body.get("verbosity"), body.get("response_format")]
        head = tokens(list(tools)) + (
            item_tokens({"role": "system", "content": instructions}) if instructions else 0
        )
        counts, prefixes = [head], [_digest("", [settings, list(tools), instructions])]
        for item in items:
            counts.append(item_tokens(item))
            seen = _seen(item)
            shown = [seen.kind, seen.text] if seen is not None else None
            prefixes.append(_digest(prefixes[-1], shown) if shown is not None else prefixes[-1])
        return cls(tuple(counts), tuple(prefixes))

    @property
    def tokens(self) -> int:
        """All tokens together."""
        return sum(self.counts)


def _digest(before: str, value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return blake2b((before + text).encode(), digest_size=16).hexdigest()


class PromptCache:
    """The prompt cache: which beginnings of prompts the service has processed.

    It is one for all connections and APIs, and continued responses make no difference to it.

    Args:
        minimum: The tokens that a beginning must have.
        lifetime: Seconds after which an unused beginning is forgotten.
        keep: How many beginnings are kept.
    """

    def __init__(self, minimum: int = 0, lifetime: float = math.inf, keep: int = 100_000) -> None:
        self._minimum = minimum
        self._lifetime = lifetime
        self._used: Newest[float] = Newest(keep)

    def read(self, prompt: Prompt, now: float) -> int:
        """Count the tokens of a prompt that are read from the cache."""
        known = 0
        for number, prefix in enumerate(prompt.prefixes, 1):
            used = self._used.get(prefix)
            if used is None or now - used > self._lifetime:
                break
            known = number
        cached = sum(prompt.counts[:known])
        return cached if cached >= self._minimum else 0

    def write(self, prompt: Prompt, now: float) -> None:
        """Keep all beginnings of a prompt."""
        for prefix in prompt.prefixes:
            self._used.pop(prefix, None)
            self._used[prefix] = now
