"""The ledger of all attempts: what their tokens were spent on, and what they cost."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import reduce
from typing import get_args

from rtllm.content.prices import UNPRICED, Cost, Pricing, cost_of
from rtllm.content.usage import (
    UNDESCRIBED,
    AttemptDetails,
    AttemptUsage,
    Totals,
    Usage,
    UsageCategory,
    UsageLine,
)

CONVERSATIONS = 512
"""The usage of so many conversations is kept apart; that of older ones is in the sums only."""
NOTHING = Totals()
CATEGORIES: tuple[UsageCategory, ...] = get_args(UsageCategory)


@dataclass(frozen=True, slots=True)
class UsageSnapshot:
    """The usage so far, by what the tokens were spent on.

    Attributes:
        answered: Responses that completed their turns.
        cancelled: Responses whose reader left, for example at a barge-in.
        failed: Attempts that failed, with their turns or before another attempt.
        superseded: Responses that another attempt of their turn replaced.
        warm_up: Prompts that were processed ahead.
        draft: Responses to words that the caller then changed; the framework threw them away.
        lines: The same, by everything that prices depend on.
        conversations: The usage of each conversation, if it is kept apart; without warm-ups.
        pricing: The prices for `cost`.
    """

    answered: Totals = NOTHING
    cancelled: Totals = NOTHING
    failed: Totals = NOTHING
    superseded: Totals = NOTHING
    warm_up: Totals = NOTHING
    draft: Totals = NOTHING
    lines: tuple[UsageLine, ...] = field(default=(), repr=False)
    conversations: "tuple[ConversationUsage, ...]" = field(default=(), repr=False)
    pricing: Pricing = field(default=UNPRICED, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        lines: tuple[UsageLine, ...],
        pricing: Pricing = UNPRICED,
        conversations: "tuple[ConversationUsage, ...]" = (),
    ) -> "UsageSnapshot":
        """Sum up the lines of a ledger."""
        sums = dict.fromkeys(CATEGORIES, NOTHING)
        for line in lines:
            sums[line.category] += line.totals
        return cls(
            answered=sums["answered"],
            cancelled=sums["cancelled"],
            failed=sums["failed"],
            superseded=sums["superseded"],
            warm_up=sums["warm-up"],
            draft=sums["draft"],
            lines=lines,
            conversations=conversations,
            pricing=pricing,
        )

    @property
    def by_category(self) -> Mapping[UsageCategory, Totals]:
        """The totals by category."""
        return {name: getattr(self, name.replace("-", "_")) for name in CATEGORIES}

    @property
    def all(self) -> Totals:
        """The sum of all categories, as the bill should show it."""
        return reduce(Totals.__add__, self.by_category.values())

    @property
    def cost(self) -> Cost:
        """What everything cost, as far as the prices are known."""
        return cost_of(self.lines, self.pricing)

    @property
    def costs(self) -> Mapping[UsageCategory, Cost]:
        """What each category cost."""
        return {
            name: cost_of((line for line in self.lines if line.category == name), self.pricing)
            for name in CATEGORIES
        }


@dataclass(frozen=True, slots=True)
class ConversationUsage:
    """The usage of one conversation.

    Attributes:
        conversation: Its number, as in the reports of its turns.
        usage: Its usage.
    """

    conversation: int
    usage: UsageSnapshot


_Key = tuple[UsageCategory, str, str | None, str, str | None, date | None, int]


class UsageLedger:
    """Counts every attempt once, including failed, cancelled, drained and warm-up ones."""

    def __init__(self) -> None:
        self._all: dict[_Key, Totals] = {}
        self._conversations: OrderedDict[tuple[str, int], dict[_Key, Totals]] = OrderedDict()

    def record(
        self,
        category: UsageCategory,
        usage: Usage | None,
        details: AttemptDetails = UNDESCRIBED,
        day: date | None = None,
    ) -> None:
        """Record one attempt that has ended, or whose end will never be known.

        Args:
            category: What its tokens were spent on.
            usage: Its tokens; None if unknown.
            details: What else is known about it.
            day: The day, in UTC; None if it is not known.
        """
        line = AttemptUsage(category, usage, details).line(day)
        _add(self._all, line)
        if details.conversation > 0:
            _add(self._of_conversation(details), line)

    def move(
        self,
        was: UsageCategory,
        category: UsageCategory,
        usage: Usage | None,
        details: AttemptDetails = UNDESCRIBED,
    ) -> None:
        """Move an attempt from the category that it was recorded in to another one.

        Args:
            was: The category that it was recorded in.
            category: The category that it belongs to.
            usage: Its tokens, as recorded.
            details: What else was recorded.
        """
        line = AttemptUsage(was, usage, details).line()
        _move(self._all, line, category)
        book = self._conversations.get((details.engine, details.conversation))
        if book is not None:
            _move(book, line, category)

    def _of_conversation(self, details: AttemptDetails) -> dict[_Key, Totals]:
        key = (details.engine, details.conversation)
        book = self._conversations.setdefault(key, {})
        self._conversations.move_to_end(key)
        if len(self._conversations) > CONVERSATIONS:
            self._conversations.popitem(last=False)
        return book

    def snapshot(self, pricing: Pricing = UNPRICED) -> UsageSnapshot:
        """Return the usage so far.

        Args:
            pricing: The prices for its costs.
        """
        conversations = tuple(
            ConversationUsage(number, UsageSnapshot.of(_lines_of(book), pricing))
            for (_, number), book in self._conversations.items()
        )
        return UsageSnapshot.of(_lines_of(self._all), pricing, conversations)


def _key_of(line: UsageLine) -> _Key:
    return (line.category, line.model, line.served, line.host, line.tier, line.day, line.size)


def _add(book: dict[_Key, Totals], line: UsageLine) -> None:
    key = _key_of(line)
    summed = book.get(key, NOTHING) + line.totals
    if summed == NOTHING:
        book.pop(key, None)
    else:
        book[key] = summed


def _move(book: dict[_Key, Totals], line: UsageLine, category: UsageCategory) -> None:
    """Move an attempt to another category, on the latest day that it may have been recorded on."""
    for key in reversed(book):
        recorded = UsageLine(*key, line.totals)
        if key == _key_of(replace(line, day=recorded.day)):
            _add(book, replace(recorded, totals=-line.totals))
            _add(book, replace(recorded, category=category))
            return


def _lines_of(book: Mapping[_Key, Totals]) -> tuple[UsageLine, ...]:
    return tuple(UsageLine(*key, totals) for key, totals in book.items())
