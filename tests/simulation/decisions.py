"""All choices of a run: drawn from one seed, or replayed from a list that may be shortened."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

STEPS = 16
"""How many values a drawn duration has."""


class Decisions:
    """A source of choices; in each of them, 0 is the most ordinary one.

    Args:
        seed: What to draw from.
        replayed: Choices made before, to be repeated; after their end each choice is 0.
        recording: Whether to keep what is drawn in `made`.
    """

    def __init__(
        self, seed: int, replayed: Sequence[int] | None = None, *, recording: bool = False
    ) -> None:
        self._random = Random(seed).random  # noqa: S311
        self._replayed = replayed
        self._recording = recording or replayed is not None
        self.made: list[int] = []

    def below(self, limit: int) -> int:
        """Choose a number from 0 to below a limit."""
        if not self._recording:
            return int(self._random() * limit)
        if self._replayed is None:
            value = int(self._random() * limit)
        else:
            at = len(self.made)
            value = self._replayed[at] % limit if at < len(self._replayed) else 0
        self.made.append(value)
        return value

    def chance(self, probability: float) -> bool:
        """Choose whether something happens that usually does not."""
        if probability <= 0.0:
            return False
        if not self._recording:
            return self._random() < probability
        if self._replayed is None:
            value = int(self._random() < probability)
        else:
            at = len(self.made)
            value = self._replayed[at] % 2 if at < len(self._replayed) else 0
        self.made.append(value)
        return bool(value)

    def pick(self, options: Sequence[T]) -> T:
        """Choose one of several."""
        return options[self.below(len(options))]

    def between(self, low: float, high: float) -> float:
        """Choose a duration."""
        return low + (high - low) * self.below(STEPS) / STEPS
