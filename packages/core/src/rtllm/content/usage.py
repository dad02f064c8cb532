"""Token usage of one attempt, and the ledger of all attempts.

Unknown is None, never 0: a response is billed even if its connection was lost.
"""

from dataclasses import dataclass
from typing import Literal

UsageCategory = Literal["answered", "cancelled", "failed", "superseded", "warm-up"]
"""What an attempt's tokens were spent on. *Superseded*: another attempt completed the turn."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one attempt, as the service reports them.

    Attributes:
        input: All input tokens, including those of the continued responses.
        output: All output tokens, including reasoning.
        cached: The input tokens read from the prompt cache; None if not reported.
        cache_write: The input tokens written to the prompt cache; None if not reported.
        reasoning: The output tokens spent on reasoning; None if not reported.
        tier: The service tier; None if not reported.
    """

    input: int
    output: int
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    tier: str | None = None

    @property
    def total(self) -> int:
        """Input and output tokens together."""
        return self.input + self.output


@dataclass(frozen=True, slots=True)
class Totals:
    """Tokens of many attempts.

    Attributes:
        attempts: The number of attempts.
        unknown: How many of them have no reported usage.
        input: Input tokens of the other ones; the same holds for the other counts.
        output: Output tokens.
        cached: Input tokens read from the prompt cache.
        cache_write: Input tokens written to the prompt cache.
        reasoning: Output tokens spent on reasoning.
    """

    attempts: int = 0
    unknown: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.attempts + other.attempts,
            self.unknown + other.unknown,
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.cache_write + other.cache_write,
            self.reasoning + other.reasoning,
        )

    @classmethod
    def of(cls, usage: Usage | None) -> "Totals":
        """Create the totals of one attempt."""
        if usage is None:
            return cls(attempts=1, unknown=1)
        return cls(
            1,
            0,
            usage.input,
            usage.output,
            usage.cached or 0,
            usage.cache_write or 0,
            usage.reasoning or 0,
        )


@dataclass(frozen=True, slots=True)
class UsageSnapshot:
    """The usage so far, by what the tokens were spent on."""

    answered: Totals = Totals()
    cancelled: Totals = Totals()
    failed: Totals = Totals()
    superseded: Totals = Totals()
    warm_up: Totals = Totals()

    @property
    def all(self) -> Totals:
        """The sum of all categories, as the bill should show it."""
        return self.answered + self.cancelled + self.failed + self.superseded + self.warm_up


class UsageLedger:
    """Counts every attempt once, including failed, cancelled, drained and warm-up ones."""

    def __init__(self) -> None:
        self._totals: dict[UsageCategory, Totals] = {}

    def record(self, category: UsageCategory, usage: Usage | None) -> None:
        """Record one attempt that has ended, or whose end will never be known."""
        self._totals[category] = self._totals.get(category, Totals()) + Totals.of(usage)

    def snapshot(self) -> UsageSnapshot:
        """Return the usage so far."""
        total = self._totals.get
        none = Totals()
        return UsageSnapshot(
            answered=total("answered", none),
            cancelled=total("cancelled", none),
            failed=total("failed", none),
            superseded=total("superseded", none),
            warm_up=total("warm-up", none),
        )
