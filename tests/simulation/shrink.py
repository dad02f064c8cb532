"""Make a round short that breaks a law: fewer callers, fewer choices, more ordinary ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from simulation.play import play


def shortened(
    choices: Sequence[int], breaks: Callable[[Sequence[int]], bool], tries: int = 200
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


def shortest_story(seed: int, tries: int = 120) -> str:
    """Tell the shortest story that was found of a round that breaks a law.

    Args:
        seed: The seed of the round.
        tries: How many runs may be tried.
    """
    outcome = play(seed, recording=True)
    broken = outcome.violation
    if broken is None:
        return f"round {seed} breaks no law"
    world, turns = outcome.world, outcome.turns

    def breaks(choices: Sequence[int], callers: int) -> bool:
        again = play(seed, world=replace(world, callers=callers), turns=turns, replayed=choices)
        return again.violation is not None and again.violation.law == broken.law

    callers = world.callers
    while callers > 1 and breaks(outcome.made, callers // 2):
        callers //= 2
    choices = shortened(outcome.made, lambda made: breaks(made, callers), tries)
    told = play(
        seed,
        world=replace(world, callers=callers),
        turns=turns,
        replayed=choices,
        telling=True,
    )
    lines = [
        f"round {seed} ({world.kind}) breaks {broken}",
        f"{told.world}",
        f"{len(choices)} of {len(outcome.made)} choices: {choices}",
        *(line[:240] for line in told.story),
    ]
    return "\n".join(lines)
