"""Judgements about the same conversation with this library and with a stock plugin."""

from collections.abc import Mapping
from dataclasses import dataclass

from rtllm.doctor.judgements.compared import COMPARED, TURNS
from rtllm.doctor.judgements.findings import Finding, differs, fails, holds, not_checked

SLOWER = 0.3
"""Seconds that chance may make of one turn."""
MORE_TOKENS = 1.05
"""How much the model's own words may change the input of later turns."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One turn of the conversation.

    Attributes:
        seconds: Seconds to the first words; None if none came.
        input: The input tokens; None if unknown.
        cached: How many of them came from the prompt cache.
        error: Why it failed; empty if it did not.
    """

    seconds: float | None = None
    input: int | None = None
    cached: int | None = None
    error: str = ""


Talk = Mapping[str, Heard]
"""The turns of one conversation by their names in `TURNS`."""


def judge_comparison(framework: str, ours: Talk, stock: Talk) -> list[Finding]:
    """Compare two conversations."""
    found = [
        _judge_turn(f"{framework}-{turn}", text, ours.get(turn, Heard()), stock.get(turn, Heard()))
        for turn, text in TURNS.items()
    ]
    return [*found, _judge_tokens(f"{framework}-tokens", ours, stock)]


def _judge_turn(name: str, asked: str, ours: Heard, stock: Heard) -> Finding:
    if ours.seconds is None:
        why = ours.error or "no words came"
        return fails(name, asked, why, "run `rtllm doctor` to see what is wrong")
    shown = f"{ours.seconds:.2f} s with rtllm"
    if stock.seconds is None:
        why = stock.error or "no words came"
        return holds(name, asked, f"{shown}; the stock plugin failed: {why}", "nothing to compare")
    shown += f", {stock.seconds:.2f} s with the stock plugin"
    if ours.seconds > stock.seconds + SLOWER:
        return differs(name, asked, shown, "slower than the stock plugin; one run may be chance")
    return holds(name, asked, shown, "as quick, or quicker", "likely")


def _judge_tokens(name: str, ours: Talk, stock: Talk) -> Finding:
    asked = "the input tokens of all turns that report them"
    common = [
        turn
        for turn in TURNS
        if ours.get(turn, Heard()).input is not None and stock.get(turn, Heard()).input is not None
    ]
    if not common:
        return not_checked(name, asked, "none were reported by both")
    pairs = {}
    for title, talk in (("rtllm", ours), ("the stock plugin", stock)):
        total = sum(talk[turn].input or 0 for turn in common)
        cached = sum(talk[turn].cached or 0 for turn in common)
        pairs[title] = (total, cached)
    shown = ", ".join(
        f"{total} ({cached} cached) with {title}" for title, (total, cached) in pairs.items()
    )
    if pairs["rtllm"][0] > pairs["the stock plugin"][0] * MORE_TOKENS:
        return differs(name, asked, shown, "more tokens than with the stock plugin")
    return holds(name, asked, shown, "no more than with the stock plugin")


def not_compared(framework: str, why: str) -> list[Finding]:
    """Create the findings of a framework that was not compared."""
    names = [name for name in COMPARED if name.startswith(f"{framework}-")]
    return [not_checked(name, "nothing", why) for name in names]
