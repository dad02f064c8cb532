"""The ledger of all attempts: what their tokens were spent on, and what they cost."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from functools import reduce
from typing import get_args

from rtllm.content.call_identity import UNNAMED, CallIdentity
from rtllm.content.prices import UNPRICED, Cost, Pricing, cost_of
from rtllm.content.usage import (
    LONG_INPUT,
    UNDESCRIBED,
    AttemptDetails,
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
        lines_of_conversations: The same for each conversation that is kept apart: its number, its
            lines, and the names of its call.
        pricing: The prices for `cost`.
    """

    answered: Totals = NOTHING
    cancelled: Totals = NOTHING
    failed: Totals = NOTHING
    superseded: Totals = NOTHING
    warm_up: Totals = NOTHING
    draft: Totals = NOTHING
    lines: tuple[UsageLine, ...] = field(default=(), repr=False)
    lines_of_conversations: tuple[tuple[int, tuple[UsageLine, ...], CallIdentity], ...] = field(
        default=(), repr=False
    )
    pricing: Pricing = field(default=UNPRICED, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        lines: tuple[UsageLine, ...],
        pricing: Pricing = UNPRICED,
        conversations: tuple[tuple[int, tuple[UsageLine, ...], CallIdentity], ...] = (),
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
            lines_of_conversations=conversations,
            pricing=pricing,
        )

    @property
    def conversations(self) -> "tuple[ConversationUsage, ...]":
        """The usage of each conversation that is kept apart, without warm-ups."""
        return tuple(
            ConversationUsage(number, UsageSnapshot.of(lines, self.pricing), call)
            for number, lines, call in self.lines_of_conversations
        )

    @property
    def calls(self) -> "Mapping[CallIdentity, UsageSnapshot]":
        """The usage of each call by its names, over its conversations that are kept apart."""
        lines_of: dict[CallIdentity, tuple[UsageLine, ...]] = {}
        for _, lines, call in self.lines_of_conversations:
            lines_of[call] = (*lines_of.get(call, ()), *lines)
        return {call: UsageSnapshot.of(lines, self.pricing) for call, lines in lines_of.items()}

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
        call: The names of its call.
    """

    conversation: int
    usage: UsageSnapshot
    call: CallIdentity = UNNAMED


_FIELDS = tuple(field.name for field in fields(Totals))
_DAY = 5
_Key = tuple[UsageCategory, str, str | None, str, str | None, date | None, int]


class _Book:
    """Lines of a ledger; their counts are lists, in the order of the fields of `Totals`."""

    def __init__(self) -> None:
        self._counts: dict[_Key, list[int]] = {}

    def add(self, key: _Key, counts: Iterable[int]) -> None:
        """Add the counts of an attempt."""
        sums = self._counts.get(key)
        if sums is None:
            self._counts[key] = list(counts)
            return
        for place, count in enumerate(counts):
            sums[place] += count

    def move(self, key: _Key, counts: list[int], category: UsageCategory) -> None:
        """Move an attempt to another category, on the latest day that it may be recorded on."""
        for recorded in reversed(self._counts):
            day = recorded[_DAY]
            if recorded == (*key[:_DAY], day, *key[_DAY + 1 :]):
                sums = [
                    total - count
                    for total, count in zip(self._counts[recorded], counts, strict=True)
                ]
                if any(sums):
                    self._counts[recorded] = sums
                else:
                    del self._counts[recorded]
                self.add((category, *recorded[1:]), counts)
                return

    def lines(self) -> tuple[UsageLine, ...]:
        """Return the lines."""
        return tuple(UsageLine(*key, Totals(*counts)) for key, counts in self._counts.items())


class UsageLedger:
    """Counts every attempt once, including failed, cancelled, drained and warm-up ones."""

    def __init__(self) -> None:
        self._all = _Book()
        self._conversations: OrderedDict[tuple[str, int], tuple[_Book, CallIdentity]] = (
            OrderedDict()
        )

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
        key, counts = _key_of(category, usage, details, day), _counts_of(usage, details)
        self._all.add(key, counts)
        if details.conversation > 0:
            self._conversation(details).add(key, counts)

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
        key, counts = _key_of(was, usage, details, None), _counts_of(usage, details)
        self._all.move(key, counts, category)
        known = self._conversations.get((details.engine, details.conversation))
        if known is not None:
            known[0].move(key, counts, category)

    def _conversation(self, details: AttemptDetails) -> _Book:
        key = (details.engine, details.conversation)
        known = self._conversations.get(key)
        book = known[0] if known is not None else _Book()
        if known is None or known[1] != details.call:
            self._conversations[key] = (book, details.call)
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
            (number, book.lines(), call)
            for (_, number), (book, call) in self._conversations.items()
        )
        return UsageSnapshot.of(self._all.lines(), pricing, conversations)


def _key_of(
    category: UsageCategory, usage: Usage | None, details: AttemptDetails, day: date | None
) -> _Key:
    size = usage.input if usage is not None and usage.input > LONG_INPUT else 0
    tier = usage.tier if usage is not None else None
    return (category, details.model, details.served, details.host, tier, day, size)


def _counts_of(usage: Usage | None, details: AttemptDetails) -> list[int]:
    totals = Totals.of(usage, details)
    return [getattr(totals, name) for name in _FIELDS]
