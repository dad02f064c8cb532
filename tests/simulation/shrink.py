"""Make a round short that breaks a law: fewer callers, other seeds, fewer choices."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from simulation.play import Outcome, play
from simulation.records import Violation
from simulation.worlds import world_of

SMALL = 30
"""How many turns a small round has."""


def shape_of(violation: Violation | None) -> str:
    """Describe a violation so that equal ones compare equal: without numbers, names and words."""
    return "" if violation is None else re.sub(r"[0-9'\"(\[].*", "", str(violation)[7:])


def shortened(
    choices: Sequence[int], breaks: Callable[[Sequence[int]], bool], tries: int
) -> list[int]:
    """Make a list of choices short that breaks a law, so that it still breaks it.

    Chunks are left out, then chunks are made ordinary (0), from large ones to small ones.

    Args:
        choices: The choices of a run.
        breaks: Tells whether a run with these choices breaks the same law.
        tries: How many runs may be tried.
    """
    best = list(choices)
    size = max(1, len(best) // 2)
    left = tries
    while left > 0 and size:
        at = 0
        while at < len(best) and left > 0:
            chunk = best[at : at + size]
            without = best[:at] + best[at + size :]
            zeroed = best[:at] + [0] * len(chunk) + best[at + size :]
            left -= 1
            if breaks(without):
                best = without
                continue
            if any(chunk):
                left -= 1
                if breaks(zeroed):
                    best = zeroed
            at += size
        size //= 2
    while best and best[-1] == 0:
        best.pop()
    return best


def smallest_like(outcome: Outcome, tries: int) -> Outcome:
    """Find the shortest round that breaks the same law in the same world with fewer callers."""
    best = outcome
    callers = sorted({1, 2, 3, outcome.world.callers})
    for number in range(tries):
        world = replace(outcome.world, callers=callers[number % len(callers)])
        seed = outcome.seed + number // len(callers)
        found = play(seed, world=world, turns=SMALL, recording=True)
        is_same = shape_of(found.violation) == shape_of(outcome.violation)
        if is_same and found.facts < best.facts:
            best = found
    return best


def shortest_story(seed: int, tries: int = 200, callers: int | None = None) -> str:
    """Tell the shortest story that was found of a round that breaks a law.

    Args:
        seed: The seed of the round.
        tries: How many runs may be tried.
        callers: How many callers talk at a time; None for as many as the seed says.
    """
    world, length = world_of(seed, callers)
    outcome = play(seed, world=world, turns=length, recording=True)
    broken = outcome.violation
    if broken is None:
        return f"round {seed} breaks no law"
    best = smallest_like(outcome, tries // 2)

    def breaks(choices: Sequence[int]) -> bool:
        again = play(best.seed, world=best.world, turns=SMALL, replayed=choices)
        return shape_of(again.violation) == shape_of(broken) and again.facts <= best.facts

    choices = best.made
    if best is not outcome:
        choices = shortened(best.made, breaks, tries // 2)
    turns = outcome.turns if best is outcome else SMALL
    told = play(best.seed, world=best.world, turns=turns, replayed=choices, telling=True)
    lines = [
        f"round {seed} ({outcome.world.kind}) breaks {broken}"[:400],
        f"shortest from seed {best.seed}: {told.world}",
        f"{len(choices)} of {len(outcome.made)} choices: {choices[:200]}",
        *(line[:240] for line in told.story),
    ]
    return "\n".join(lines)
