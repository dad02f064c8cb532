"""The trace as text, for a terminal."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rtllm.trace_view.model import Calls, TurnView
from rtllm.trace_view.summary import Summary
from rtllm.trace_view.words import OUTCOMES, PARTS, seconds

WIDTH = 24
"""Characters of the longest bar."""
_MARKS = {
    "queue": "·",
    "connect": "c",
    "busy": "b",
    "limit": "l",
    "lost": "x",
    "pause": "p",
    "send": "s",
    "accept": "a",
    "reason": "r",
    "hosted": "h",
    "think": "█",
    "word": "t",
    "rest": "░",
}
"""How each part is drawn in a bar."""


def text_of(calls: Calls, summary: Summary, turns: Sequence[TurnView]) -> str:
    """Return a trace as text: the essentials, then some of its turns.

    Args:
        calls: The turns and connections.
        summary: What matters first.
        turns: The turns to list.
    """
    lines = list(summary.headline)
    lines += [f"Note: {remark}." for remark in calls.remarks]
    longest = max((turn.wait for turn in turns), default=0.0)
    lines += ["", *(line for turn in turns for line in lines_of(turn, longest))]
    used = {part.name for turn in turns for part in turn.parts}
    legend = [f"{_MARKS[name]} {PARTS[name]}" for name in PARTS if name in used and name != "rest"]
    if legend:
        lines += ["", f"Bars: {', '.join(legend)}. Times of day are UTC."]
    return "\n".join(map(printable, lines))


def lines_of(turn: TurnView, longest: float) -> Iterator[str]:
    """Yield the lines of a turn: one for all of it, one for the reason, one for each fault.

    Args:
        turn: The turn.
        longest: The wait, in seconds, that has the longest bar.
    """
    clock = datetime.fromtimestamp(turn.began, UTC).strftime("%H:%M:%S")
    flags = [OUTCOMES.get(turn.outcome, turn.outcome)]
    if not turn.is_response:
        flags.append(turn.purpose)
    if len(turn.attempts) > 1:
        flags.append(f"{len(turn.attempts)} attempts")
    flags += [f"tool {tool.name}" for tool in turn.tools]
    whose = f"  [{turn.call}]" if turn.call else ""
    yield printable(
        f"{turn.id:>5}  {clock}  {seconds(turn.wait):>8}  {_bar(turn, longest)}  "
        f"{', '.join(flags)}{whose}"
    )
    if turn.why:
        yield printable(f"{'':17}{turn.why}")
    if turn.faults:
        yield from (printable(f"{'':17}{note}") for note in turn.notes[: len(turn.faults)])


def printable(text: str) -> str:
    """Return a text without control characters, which might steer a terminal."""
    return "".join("\ufffd" if _controls(character) else character for character in text)


def _controls(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs")


def _bar(turn: TurnView, longest: float) -> str:
    marks: Iterable[str] = (
        _MARKS[part.name] * round(WIDTH * _shown(turn, part.start, part.seconds) / longest)
        for part in turn.parts
        if longest > 0
    )
    return "".join(marks)[:WIDTH].ljust(WIDTH)


def _shown(turn: TurnView, start: float, lasts: float) -> float:
    """Return the seconds of a part before the first output."""
    return max(0.0, min(start + lasts, turn.wait) - start)
