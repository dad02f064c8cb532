"""Token usage of attempts, and their sums.

Unknown is None, never 0: a response is billed even if its connection was lost.
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal

from rtllm.content.call_identity import UNNAMED, CallIdentity

UsageCategory = Literal["answered", "cancelled", "failed", "superseded", "warm-up", "draft"]
"""What an attempt's tokens were spent on.

*Superseded*: another attempt completed the turn. *Draft*: the framework asked before the caller had
finished, and threw the response away since the caller's words changed.
"""

LONG_INPUT = 100_000
"""Attempts with more input tokens are kept apart, since some services price long ones higher."""


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


def add_usage(earlier: Usage | None, later: Usage | None) -> Usage | None:
    """Add the tokens of attempts or responses, of which only some may be known.

    Returns:
        The sum, of each count that one of them has, with the tier that was reported last; None if
        neither is known.
    """
    if earlier is None or later is None:
        return later if earlier is None else earlier
    return Usage(
        earlier.input + later.input,
        earlier.output + later.output,
        _sum(earlier.cached, later.cached),
        _sum(earlier.cache_write, later.cache_write),
        _sum(earlier.reasoning, later.reasoning),
        later.tier or earlier.tier,
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else (one or 0) + other


@dataclass(frozen=True, slots=True)
class AttemptDetails:
    """What is known about one attempt apart from its usage.

    Attributes:
        model: The model that was requested.
        host: The name of the host's profile.
        conversation: The number of its conversation; negative for a warm-up.
        served: The model that the service reports; None if it reports none.
        estimate: An estimate of its tokens, if the service reported none; else None.
        not_sent: Input tokens that the service already had, so that they were not sent again, as it
            counted them for the continued response.
        engine: The unique name of the engine that numbers the conversations.
        call: The names of its call.
    """

    model: str = ""
    host: str = ""
    conversation: int = 0
    served: str | None = None
    estimate: Usage | None = None
    not_sent: int = 0
    engine: str = ""
    call: CallIdentity = UNNAMED


UNDESCRIBED = AttemptDetails()


@dataclass(frozen=True, slots=True)
class AttemptUsage:
    """The usage of one attempt.

    Attributes:
        category: What its tokens were spent on.
        usage: Its tokens; None if unknown.
        details: What else is known about it.
    """

    category: UsageCategory
    usage: Usage | None
    details: AttemptDetails = UNDESCRIBED

    def line(self, day: date | None = None) -> "UsageLine":
        """Return it as a line of a ledger.

        Args:
            day: The day of the attempt, in UTC; None for today.
        """
        size = self.usage.input if self.usage is not None else 0
        return UsageLine(
            self.category,
            self.details.model,
            self.details.served,
            self.details.host,
            self.usage.tier if self.usage is not None else None,
            day,
            size if size > LONG_INPUT else 0,
            Totals.of(self.usage, self.details),
        )


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
        estimated_input: An estimate of the input tokens of the attempts without reported usage.
        estimated_output: The same for output tokens.
        not_sent: Input tokens that the service already had, so that they were not sent again.
    """

    attempts: int = 0
    unknown: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated_input: int = 0
    estimated_output: int = 0
    not_sent: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.attempts + other.attempts,
            self.unknown + other.unknown,
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.cache_write + other.cache_write,
            self.reasoning + other.reasoning,
            self.estimated_input + other.estimated_input,
            self.estimated_output + other.estimated_output,
            self.not_sent + other.not_sent,
        )

    @classmethod
    def of(cls, usage: Usage | None, details: AttemptDetails = UNDESCRIBED) -> "Totals":
        """Create the totals of one attempt."""
        if usage is None:
            guess = details.estimate
            return cls(
                1,
                1,
                estimated_input=guess.input if guess is not None else 0,
                estimated_output=guess.output if guess is not None else 0,
                not_sent=details.not_sent,
            )
        return cls(
            1,
            0,
            usage.input,
            usage.output,
            usage.cached or 0,
            usage.cache_write or 0,
            usage.reasoning or 0,
            not_sent=details.not_sent,
        )


@dataclass(frozen=True, slots=True)
class UsageLine:
    """The totals of attempts that have the same price.

    Attributes:
        category: What the tokens were spent on.
        model: The model that was requested.
        served: The model that the service reports; None if it reports none.
        host: The name of the host's profile.
        tier: The service tier; None if it was not reported.
        day: The day, in UTC; None if it is not known.
        size: The input tokens of an attempt with more than `LONG_INPUT`; else 0.
        totals: The totals.
    """

    category: UsageCategory
    model: str
    served: str | None
    host: str
    tier: str | None
    day: date | None
    size: int
    totals: Totals
