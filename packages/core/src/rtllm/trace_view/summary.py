"""What matters first: how many turns, the slowest and why, the failed ones, and the cost."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from rtllm.trace_view.model import AttemptView, Calls, TurnView
from rtllm.trace_view.words import counted, money, seconds


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens and money of one category.

    Attributes:
        attempts: The number of attempts.
        input: Their input tokens, as far as the service reported them.
        output: Their output tokens.
        cached: The input tokens that were read from the prompt cache.
        estimated: How many of the attempts have estimated tokens only.
        estimated_input: Their input tokens, which are not part of the other sums.
        estimated_output: Their output tokens.
        unknown: How many have none at all.
        unpriced: How many have an unknown cost.
        costs: The cost in each currency.
    """

    attempts: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    estimated: int = 0
    estimated_input: int = 0
    estimated_output: int = 0
    unknown: int = 0
    unpriced: int = 0
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Turns that failed for the same reason.

    Attributes:
        why: The reason.
        turns: Their ids.
    """

    why: str
    turns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """What matters of some of the turns: those of a conversation, or those with a label.

    Attributes:
        name: What they have in common.
        group: The number of the conversation; None if they are of several.
        turns: How many turns a framework asked for.
        interrupted: How many of them were interrupted.
        failed: How many of them failed.
        median_wait: The median of the seconds until their first output; None if there is none.
        slowest: The id of the slowest turn; None if there is none.
        slowest_wait: The seconds until its first output.
        spent: Their tokens and money.
    """

    name: str
    group: int | None
    turns: int
    interrupted: int
    failed: int
    median_wait: float | None
    slowest: int | None
    slowest_wait: float | None
    spent: Spent


@dataclass(frozen=True, slots=True)
class Summary:
    """What matters first.

    Attributes:
        turns: How many turns a framework asked for.
        others: How many were for other purposes, such as a warm-up.
        groups: How many conversations there are.
        interrupted: How many turns were interrupted.
        retried: How many needed more than one attempt.
        began: When the first turn began, in seconds since 1970; None if there is none.
        ended: When the last turn ended.
        median_wait: The median of the seconds until the first output; None if there is none.
        slow_wait: One of twenty turns waited longer than this many seconds.
        slowest: The id of the slowest turn; None if there is none.
        failures: The failed turns, by reason, the most frequent first.
        full_contexts: How many requests had the full context, by reason.
        spent: Tokens and money by category.
        total: Tokens and money of all attempts.
        conversations: The figures of each conversation, if there are several.
        labels: The figures of each label, if there are several.
        headline: The essentials as sentences.
    """

    turns: int = 0
    others: int = 0
    groups: int = 0
    interrupted: int = 0
    retried: int = 0
    began: float | None = None
    ended: float | None = None
    median_wait: float | None = None
    slow_wait: float | None = None
    slowest: int | None = None
    failures: tuple[Failure, ...] = ()
    full_contexts: Mapping[str, int] = field(default_factory=dict)
    spent: Mapping[str, Spent] = field(default_factory=dict)
    total: Spent = field(default_factory=Spent)
    conversations: tuple[Figures, ...] = ()
    labels: tuple[Figures, ...] = ()
    headline: tuple[str, ...] = ()


def summarize(calls: Calls) -> Summary:
    """Find what matters first in a trace.

    Args:
        calls: The turns and connections.

    Returns:
        The summary.
    """
    turns = [turn for turn in calls.turns if turn.is_response]
    waits = sorted(turn.wait for turn in turns if turn.outcome != "open")
    slowest = worst_of(calls.turns, 1)
    attempts = [attempt for turn in calls.turns for attempt in turn.attempts]
    by_category: dict[str, list[AttemptView]] = defaultdict(list)
    for attempt in attempts:
        if attempt.counted:
            by_category[attempt.category or "unknown"].append(attempt)
    summary = Summary(
        turns=len(turns),
        others=len(calls.turns) - len(turns),
        groups=len({turn.group for turn in turns}),
        interrupted=sum(turn.is_cut for turn in turns),
        retried=sum(len(turn.attempts) > 1 for turn in turns),
        began=min((turn.began for turn in calls.turns), default=None),
        ended=max((turn.began + turn.duration for turn in calls.turns), default=None),
        median_wait=median(waits) if waits else None,
        slow_wait=waits[min(len(waits) - 1, int(len(waits) * 0.95))] if waits else None,
        slowest=slowest[0].id if slowest else None,
        failures=_failures_of(turns),
        full_contexts=Counter(a.full_context_reason for a in attempts if a.full_context_reason),
        spent={name: _spent(of) for name, of in sorted(by_category.items())},
        total=_spent(a for of in by_category.values() for a in of),
        conversations=_figures_by(turns, lambda turn: turn.group),
        labels=_figures_by(turns, lambda turn: turn.label),
    )
    return _with_headline(summary, calls)


def worst_of(turns: Iterable[TurnView], count: int) -> list[TurnView]:
    """Return the turns with the longest waits, the longest first.

    Args:
        turns: The turns; those that no framework asked for are left out.
        count: How many at most.
    """
    asked = [turn for turn in turns if turn.is_response]
    return sorted(asked, key=lambda turn: -turn.wait)[:count]


def _figures_by(
    turns: Sequence[TurnView], key: Callable[[TurnView], int | str]
) -> tuple[Figures, ...]:
    """Return the figures of the turns with the same key; none if all have the same one."""
    parts: dict[int | str, list[TurnView]] = defaultdict(list)
    for turn in turns:
        parts[key(turn)].append(turn)
    if len(parts) < 2:
        return ()
    return tuple(_figures_of(key, of) for key, of in parts.items())


def _figures_of(key: int | str, turns: Sequence[TurnView]) -> Figures:
    group = key if isinstance(key, int) else None
    named = next((turn.call for turn in turns if turn.call), "")
    waits = [turn.wait for turn in turns if turn.outcome != "open"]
    slowest = worst_of(turns, 1)[0]
    return Figures(
        name=str(key) if group is None else f"{group}{f': {named}' if named else ''}",
        group=group,
        turns=len(turns),
        interrupted=sum(turn.is_cut for turn in turns),
        failed=sum(turn.has_failed for turn in turns),
        median_wait=median(waits) if waits else None,
        slowest=slowest.id,
        slowest_wait=slowest.wait,
        spent=_spent(a for turn in turns for a in turn.attempts if a.counted),
    )


def _failures_of(turns: Sequence[TurnView]) -> tuple[Failure, ...]:
    reasons: dict[str, list[int]] = defaultdict(list)
    for turn in turns:
        if turn.has_failed:
            last = turn.faults[-1] if turn.faults else None
            code = f" ({last.code})" if last is not None and last.code else ""
            why = f"{last.fault}{code}" if last is not None else turn.error or turn.outcome
            reasons[why].append(turn.id)
    failures = [Failure(why, tuple(ids)) for why, ids in reasons.items()]
    return tuple(sorted(failures, key=lambda failure: -len(failure.turns)))


def _spent(attempts: Iterable[AttemptView]) -> Spent:
    attempts = list(attempts)
    known = [a.usage for a in attempts if a.usage is not None and not a.is_estimate]
    estimates = [a.usage for a in attempts if a.usage is not None and a.is_estimate]
    costs: dict[str, float] = {}
    for attempt in attempts:
        if attempt.cost is not None and attempt.currency is not None:
            costs[attempt.currency] = costs.get(attempt.currency, 0.0) + attempt.cost
    return Spent(
        attempts=len(attempts),
        input=sum(usage.input for usage in known),
        output=sum(usage.output for usage in known),
        cached=sum(usage.cached or 0 for usage in known),
        estimated=len(estimates),
        estimated_input=sum(usage.input for usage in estimates),
        estimated_output=sum(usage.output for usage in estimates),
        unknown=sum(a.usage is None for a in attempts),
        unpriced=sum(a.cost is None for a in attempts),
        costs=costs,
    )


# -- the headline ----------------------------------------------------------------------------------


def cost_words(spent: Spent) -> str:
    """Say what attempts cost, and how many have an unknown cost."""
    known = " + ".join(money(amount, currency) for currency, amount in spent.costs.items())
    if not known:
        return "unknown" if spent.attempts else "nothing"
    if not spent.unpriced:
        return known
    return f"{known}, and {counted(spent.unpriced, 'request')} of unknown cost"


def _with_headline(summary: Summary, calls: Calls) -> Summary:
    if not summary.turns:
        return replace(summary, headline=("The file has no turn that a framework asked for.",))
    count = f"{counted(summary.turns, 'turn')} in {counted(summary.groups, 'conversation')}"
    said = [f"{count}; half of them waited {seconds(summary.median_wait or 0.0)} or less."]
    slowest = next(turn for turn in calls.turns if turn.id == summary.slowest)
    why = f": {slowest.why}" if slowest.why else ""
    said.append(f"Slowest: turn {slowest.id}, {seconds(slowest.wait)}{why}.")
    failed = sum(len(failure.turns) for failure in summary.failures)
    if failed:
        reasons = "; ".join(
            f"{failure.why}: {_ids(failure.turns)}" for failure in summary.failures[:3]
        )
        said.append(f"{counted(failed, 'turn')} failed: {reasons}.")
    else:
        said.append("No turn failed.")
    said.append(f"Cost: {cost_words(summary.total)}.")
    return replace(summary, headline=tuple(said))


def _ids(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:5]))
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return f"turn {shown}" if len(ids) == 1 else f"turns {shown}{more}"
