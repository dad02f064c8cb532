"""Thoughts that a model writes into its text, between tags; they must not be spoken.

Only a block at the start of a response, or directly after another block, is a thought. Tags
anywhere else are speech. Text is held back only while it may be a part of a tag.
"""

import re
from string import ascii_lowercase, ascii_uppercase

from rtllm.providers.dialects import Dialect

# Seen: <think> (DeepSeek, Qwen, and most others), <thinking>, <thought> (Gemini), <reasoning>,
# [THINK] (Magistral), <seed:think> (Seed-OSS), ◁think▷ (Kimi), the channels of gpt-oss and
# Gemma, <unused94> (MedGemma).
_TAGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("<think>", ("</think>",)),
    ("<thinking>", ("</thinking>",)),
    ("<thought>", ("</thought>",)),
    ("<thoughts>", ("</thoughts>",)),
    ("<reasoning>", ("</reasoning>",)),
    ("<seed:think>", ("</seed:think>",)),
    ("<|think|>", ("<|/think|>",)),
    ("<|begin_of_thought|>", ("<|end_of_thought|>",)),
    ("[think]", ("[/think]",)),
    ("◁think▷", ("◁/think▷",)),
    ("<|channel>thought", ("<channel|>",)),
    ("<unused94>thought", ("<unused95>",)),
    ("<|channel|>analysis<|message|>", ("<|end|>",)),
)
_HEADERS = ("<|start|>assistant", "<|channel|>final<|message|>")
"""Seen: what gpt-oss writes before its answer, if a server does not parse its channels."""
_OPENINGS = tuple(opening for opening, _ in _TAGS)
_CLOSINGS = tuple(dict.fromkeys(closing for _, closings in _TAGS for closing in closings))
_LONGEST = max(len(tag) for tag in (*_OPENINGS, *_CLOSINGS))
_FIRST = tuple({tag[0] for tag in (*_OPENINGS, *_CLOSINGS)})
_has_mark = re.compile(f"[{re.escape(''.join(_FIRST))}]").search
"""Finds a character that a tag may begin with; most texts have none."""
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)

THOUGHT_PARTS = (
    *("thinking", "redacted_thinking", "reasoning"),
    *("reasoning_text", "summary_text", "reasoning_summary_text", "reasoning_summary"),
)
"""Types of parts of the content that are not speech.

Seen: Mistral's Magistral and Anthropic's; *documented* by OpenAI: a reasoning item's parts, for
which ``response.content_part.done`` comes too where a host shows the model's own reasoning.
"""


class ThoughtFilter:
    """Removes the thoughts from the pieces of a response.

    Args:
        prefilled: Whether the response begins inside a thought whose opening tag is never sent.

    Attributes:
        in_thought: Whether the response is inside a thought.
        dropped: Whether text was removed.
        has_text: Whether text was passed on.
    """

    def __init__(self, *, prefilled: bool = False) -> None:
        self.in_thought = prefilled
        self.dropped = False
        self._closings: tuple[str, ...] = _CLOSINGS
        self._may_open = not prefilled
        self.has_text = False
        self._after_thought = False
        self._may_close = True
        self._emitted = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """Filter the next piece; return what of it, and of the held text, is to be spoken."""
        is_watching = self._held or self._may_open or self.in_thought or self._after_thought
        if not is_watching and not _has_mark(text):
            self._emitted = (self._emitted + text)[-2 * _LONGEST :]
            return text  # nearly all pieces
        self._held += text
        return "".join(self._take())

    def finish(self) -> str:
        """Filter the end: held text is not a tag."""
        rest, self._held = self._held, ""
        self._may_open = False
        if self.in_thought:
            self.dropped = True
            return ""
        if not self.has_text and self.dropped and not rest.strip():
            return ""
        self.has_text = self.has_text or bool(rest)
        return rest

    def _take(self) -> list[str]:
        spoken: list[str] = []
        while self._held:
            before = (len(self._held), self.in_thought, self._may_open)
            piece = self._thought() if self.in_thought else self._speech()
            if piece:
                spoken.append(piece)
                self.has_text = True
                self._emitted = (self._emitted + piece)[-2 * _LONGEST :]
            if before == (len(self._held), self.in_thought, self._may_open):
                break
        return spoken

    def _thought(self) -> str:
        """Drop a thought up to its end; a possible part of the closing tag is held."""
        lowered = _lowered(self._held)
        ends = [(at, tag) for tag in self._closings if (at := lowered.find(tag)) >= 0]
        self.dropped = True
        if not ends:
            self._held = self._held[-(_LONGEST - 1) :]
            return ""
        at, tag = min(ends)
        self._held = self._held[at + len(tag) :]
        self.in_thought = False
        self._may_open = self._after_thought = True
        return ""

    def _speech(self) -> str:
        if self._may_open:
            return self._beginning()
        if not _has_mark(self._held):
            piece, self._held = self._held, ""
            return piece
        # A closing tag without an opening one is removed; the words before it stay.
        lowered = _lowered(self._held)
        found = [(at, tag) for tag in _CLOSINGS[:6] if (at := lowered.find(tag)) >= 0]
        before = _lowered(self._emitted) + (lowered[: min(found)[0]] if found else "")
        if any(tag in before for tag in _OPENINGS):
            self._may_close = False  # the text is about tags, so a closing tag is speech too
        if found and self._may_close:
            at, tag = min(found)
            piece, self._held = self._held[:at], self._held[at + len(tag) :]
            self.dropped, self._may_close = True, False
            return piece
        kept = _prefix_at_end(lowered, _CLOSINGS) if self._may_close else 0
        piece = self._held[: len(self._held) - kept]
        self._held = self._held[len(piece) :]
        return piece

    def _beginning(self) -> str:
        """Hold text that may be the opening tag of a thought until that is certain."""
        text = self._held.lstrip()
        if not text:
            return ""
        if text.startswith(_FIRST):
            lowered = _lowered(text)
            for opening, closings in _TAGS:
                if lowered.startswith(opening):
                    self._held = text[len(opening) :]
                    self.in_thought, self._closings = True, closings
                    return ""
            for header in _HEADERS:
                if lowered.startswith(header):
                    self._held = text[len(header) :]
                    self.dropped = self._after_thought = True
                    return ""
            if any(tag.startswith(lowered) for tag in (*_OPENINGS, *_HEADERS)):
                return ""
        self._may_open = False
        if self._after_thought:
            self._held = text  # the space after a thought belongs to the thought
            self._after_thought = False
        return ""


def thoughts_of(dialect: Dialect) -> ThoughtFilter | None:
    """Create the filter that a dialect requires; None if thoughts are spoken."""
    if dialect.thoughts == "spoken":
        return None
    return ThoughtFilter(prefilled=dialect.thoughts == "prefilled")


def _lowered(text: str) -> str:
    """Return a text in lower case, with its length unchanged (``"İ".lower()`` is longer)."""
    return text.translate(_LOWER)


def _prefix_at_end(text: str, tags: tuple[str, ...]) -> int:
    """Count the characters at the end of a text that may be the start of a tag."""
    for length in range(min(_LONGEST - 1, len(text)), 0, -1):
        end = text[-length:]
        if any(tag.startswith(end) for tag in tags):
            return length
    return 0


def without_thoughts(text: str, *, prefilled: bool = False) -> str:
    """Remove the thoughts from a complete text."""
    if not prefilled and not _has_mark(text):
        return text
    thoughts = ThoughtFilter(prefilled=prefilled)
    return thoughts.feed(text) + thoughts.finish()
