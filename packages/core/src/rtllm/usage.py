"""Usage and costs as pydantic models and JSON lines, for files, databases and dashboards.

Amounts are decimal numbers, which JSON has as texts. Estimated tokens are apart from reported ones.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from rtllm.content.call_identity import CallIdentity
from rtllm.content.prices import Cost, Pricing, cost_of
from rtllm.content.usage import AttemptUsage, Totals, UsageCategory, UsageLine
from rtllm.content.usage_ledger import ConversationUsage, UsageSnapshot
from rtllm.context.prompt_cache import PromptCacheReport
from rtllm.engine.report import TurnReport

__all__ = [
    "AttemptRecord",
    "CacheRecord",
    "CallRecord",
    "CostRecord",
    "LineRecord",
    "TokenRecord",
    "TurnRecord",
    "UsageRecord",
    "export_turn",
    "export_usage",
    "usage_json_lines",
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class TokenRecord(_Record):
    """Tokens of some attempts; see `rtllm.Totals`."""

    attempts: int
    unknown: int
    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int
    estimated_input: int
    estimated_output: int
    not_sent: int


class CostRecord(_Record):
    """What some attempts cost; see `rtllm.Cost`. Amounts are None or zero if nothing is priced."""

    currency: str
    amount: Decimal | None
    input: Decimal
    cached: Decimal
    cache_write: Decimal
    output: Decimal
    saved: Decimal
    estimated: Decimal
    attempts: int
    unknown: int
    unpriced: int
    sources: tuple[str, ...]


class CallRecord(_Record):
    """The names of a call; see `rtllm.CallIdentity`."""

    label: str | None = None
    job: str | None = None
    room: str | None = None
    session: str | None = None


class AttemptRecord(_Record):
    """One attempt of a turn."""

    category: UsageCategory
    model: str
    served: str | None
    host: str
    tier: str | None
    tokens: TokenRecord
    cost: CostRecord


class CacheRecord(_Record):
    """How a turn used the prompt cache; see `rtllm.PromptCacheReport`."""

    readable: int
    read: int | None
    missed: int | None
    is_estimated: bool
    compared_with: str | None
    breaks: tuple[str, ...]


class TurnRecord(_Record):
    """One turn, with the attempts that had ended by its end."""

    kind: Literal["turn"] = "turn"
    conversation: int
    turn: int
    call: CallRecord
    outcome: str
    model: str
    response_id: str | None
    attempts: tuple[AttemptRecord, ...]
    cost: CostRecord
    cache: CacheRecord | None


class LineRecord(_Record):
    """The attempts of one day that have the same price; `conversation` is None in the sums."""

    kind: Literal["usage"] = "usage"
    conversation: int | None = None
    call: CallRecord | None = None
    category: UsageCategory
    model: str
    served: str | None
    host: str
    tier: str | None
    day: date | None
    tokens: TokenRecord
    cost: CostRecord


class UsageRecord(_Record):
    """The usage of a client, by category and by conversation."""

    all: TokenRecord
    cost: CostRecord
    categories: dict[UsageCategory, TokenRecord]
    costs: dict[UsageCategory, CostRecord]
    lines: tuple[LineRecord, ...]
    conversations: dict[int, tuple[LineRecord, ...]]


def export_usage(usage: UsageSnapshot) -> UsageRecord:
    """Convert the usage of a client or an LLM to a pydantic model.

    Args:
        usage: The usage, such as ``llm.usage``.
    """
    conversations: dict[int, tuple[LineRecord, ...]] = {}
    for one in usage.conversations:
        lines = _lines(one.usage, one)
        conversations[one.conversation] = (*conversations.get(one.conversation, ()), *lines)
    return UsageRecord(
        all=_tokens(usage.all),
        cost=_cost(usage.cost),
        categories={name: _tokens(totals) for name, totals in usage.by_category.items()},
        costs={name: _cost(cost) for name, cost in usage.costs.items()},
        lines=_lines(usage, None),
        conversations=conversations,
    )


def export_turn(report: TurnReport) -> TurnRecord:
    """Convert the usage of a turn to a pydantic model; for use in ``on_turn``.

    Args:
        report: The report of the turn.
    """
    return TurnRecord(
        conversation=report.conversation,
        turn=report.turn,
        call=_call(report.call),
        outcome=report.outcome,
        model=report.model,
        response_id=report.response_id,
        attempts=tuple(_attempt(spent, report.pricing) for spent in report.spent),
        cost=_cost(report.cost),
        cache=_cache(report.cache) if report.cache is not None else None,
    )


def usage_json_lines(usage: UsageSnapshot) -> Iterator[str]:
    """Write usage as JSON lines: one for each `LineRecord`, of the sums and of conversations.

    Args:
        usage: The usage, such as ``llm.usage``.

    Returns:
        The lines, each without its line break.
    """
    records = [*_lines(usage, None)]
    for one in usage.conversations:
        records += _lines(one.usage, one)
    return (record.model_dump_json() for record in records)


def _lines(usage: UsageSnapshot, one: ConversationUsage | None) -> tuple[LineRecord, ...]:
    return tuple(
        LineRecord(
            conversation=one.conversation if one is not None else None,
            call=_call(one.call) if one is not None else None,
            category=line.category,
            model=line.model,
            served=line.served,
            host=line.host,
            tier=line.tier,
            day=line.day,
            tokens=_tokens(line.totals),
            cost=_cost(cost_of([line], usage.pricing)),
        )
        for line in usage.lines
    )


def _attempt(spent: AttemptUsage, pricing: Pricing) -> AttemptRecord:
    line: UsageLine = spent.line()
    return AttemptRecord(
        category=line.category,
        model=line.model,
        served=line.served,
        host=line.host,
        tier=line.tier,
        tokens=_tokens(line.totals),
        cost=_cost(cost_of([line], pricing)),
    )


def _call(call: CallIdentity) -> CallRecord:
    return CallRecord.model_validate(call, from_attributes=True)


def _cache(report: PromptCacheReport) -> CacheRecord:
    return CacheRecord(
        readable=report.readable,
        read=report.read,
        missed=report.missed,
        is_estimated=report.is_estimated,
        compared_with=report.compared_with,
        breaks=tuple(map(str, report.breaks)),
    )


def _tokens(totals: Totals) -> TokenRecord:
    return TokenRecord.model_validate(totals, from_attributes=True)


def _cost(cost: Cost) -> CostRecord:
    return CostRecord.model_validate(cost, from_attributes=True)
