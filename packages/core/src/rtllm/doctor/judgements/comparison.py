"""Judgements about the same conversation with this library and with a stock plugin."""

from collections.abc import Mapping
from dataclasses import dataclass

from rtllm.content.usage import Usage
from rtllm.doctor.judgements.compared import COMPARED, TURNS
from rtllm.doctor.judgements.findings import Finding, differs, fails, holds, not_checked

SLOWER = 0.3
"""Seconds that chance may make of one turn."""
MORE_TOKENS = 1.05
"""How much the model's own words may change the input of later turns."""


@dataclass(frozen=True, slots=True)
class TimedTurn:
    """One turn of the conversation.

    Attributes:
        seconds: Seconds to the first words; None if none came.
        usage: Its tokens; None if they are not known.
        error: Why it failed; empty if it did not.
    """

    seconds: float | None = None
    usage: Usage | None = None
    error: str = ""


Turns = Mapping[str, TimedTurn]
"""The turns of one conversation, among them those of `TURNS`, by their names."""


def judge_comparison(framework: str, ours: Turns, stock: Turns) -> list[Finding]:
    """Compare two conversations."""
    found = [
        _judge_turn(f"{framework}-{turn}", text, ours[turn], stock[turn])
        for turn, text in TURNS.items()
    ]
    return [*found, _judge_tokens(f"{framework}-tokens", ours, stock)]


def _judge_turn(name: str, asked: str, ours: TimedTurn, stock: TimedTurn) -> Finding:
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


def _judge_tokens(name: str, ours: Turns, stock: Turns) -> Finding:
    asked = "the input tokens of all turns that report them"
    pairs = [(ours[turn].usage, stock[turn].usage) for turn in TURNS]
    common = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not common:
        return not_checked(name, asked, "none were reported by both")
    of_ours, of_stock = sum(one.input for one, _ in common), sum(one.input for _, one in common)
    cached = sum(one.cached or 0 for one, _ in common), sum(one.cached or 0 for _, one in common)
    shown = (
        f"{of_ours} ({cached[0]} cached) with rtllm, "
        f"{of_stock} ({cached[1]} cached) with the stock plugin"
    )
    if of_ours > of_stock * MORE_TOKENS:
        return differs(name, asked, shown, "more tokens than with the stock plugin")
    return holds(name, asked, shown, "no more than with the stock plugin")


def not_compared(framework: str, why: str) -> list[Finding]:
    """Create the findings of a framework that was not compared."""
    names = [name for name in COMPARED if name.startswith(f"{framework}-")]
    return [not_checked(name, "nothing", why) for name in names]
