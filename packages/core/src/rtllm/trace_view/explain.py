"""Why a turn took as long as it did, and what else is worth knowing about it."""

from collections.abc import Sequence

from rtllm.trace_view.model import (
    AttemptView,
    ConnectionView,
    FaultView,
    PartName,
    TurnView,
)
from rtllm.trace_view.words import REASONS, counted, item_words, seconds, size

LARGE_PART = 0.15
"""The share of the wait from which on a second cause is named."""


def explain(turn: TurnView, connections: Sequence[ConnectionView] = ()) -> str:
    """Say why the caller waited as long as they did.

    Args:
        turn: The turn.
        connections: The connections of the trace.

    Returns:
        A sentence without a final period; empty if the turn has no time.
    """
    if turn.has_failed and turn.first_word is None and not turn.tools:
        return _failure(turn)
    times = _times(turn)
    if not times:
        return ""
    total = sum(times.values())
    largest = sorted(times, key=lambda name: -times[name])
    clauses = [_cause(largest[0], times[largest[0]], turn, connections)]
    clauses += [
        _cause(name, times[name], turn, connections)
        for name in largest[1:2]
        if times[name] > LARGE_PART * total
    ]
    return "; ".join(clauses)


def notes_of(turn: TurnView, connections: Sequence[ConnectionView] = ()) -> tuple[str, ...]:
    """Say what else is worth knowing: faults, the context, the prompt cache, tools, interruptions.

    Args:
        turn: The turn.
        connections: The connections of the trace.

    Returns:
        Sentences without a final period.
    """
    notes = [_of_fault(fault) for fault in turn.faults]
    last = turn.attempts[-1] if turn.attempts else None
    if last is not None:
        notes += [_of_context(last, turn), *_of_cache(last, turn)]
    if turn.is_cut:
        notes.append(_of_interruption(turn))
    for tool in turn.tools:
        ran = "" if tool.answered is None else f"; asked again {seconds(tool.answered - tool.at)}"
        later = " later" if ran else ""
        notes.append(f"Tool {tool.name} called after {seconds(tool.at)}{ran}{later}")
    for one in turn.hidden_items:
        notes.append(f"{item_words(one.item).capitalize()}: {seconds(one.seconds)}")
    notes += _of_connection(turn, connections)
    return tuple(note for note in notes if note)


def _times(turn: TurnView) -> dict[PartName, float]:
    """Return the seconds of each part before the first output."""
    times: dict[PartName, float] = {}
    for part in turn.parts:
        spent = min(part.start + part.seconds, turn.wait) - part.start
        if spent > 0:
            name: PartName = "lost" if part.name == "pause" else part.name
            times[name] = times.get(name, 0.0) + spent
    return times


def _failure(turn: TurnView) -> str:
    """Say why a turn failed."""
    last = turn.faults[-1] if turn.faults else None
    if turn.outcome == "empty":
        return "the service sent no text and no call"
    if last is None:
        return f"it ended with {turn.error}" if turn.error else "the file does not tell why"
    error = f", which ended it with {turn.error}" if turn.error else ""
    return f"{_fault_words(last)}{error}"


def _cause(
    name: PartName, spent: float, turn: TurnView, connections: Sequence[ConnectionView]
) -> str:
    """Say what a part of the wait was spent on."""
    last = turn.attempts[-1] if turn.attempts else None
    took = seconds(spent)
    match name:
        case "lost" | "pause":
            return f"{took} were lost by {_lost_by(turn)}"
        case "connect":
            return f"{took} for opening a connection{_why_connected(turn, connections)}"
        case "busy":
            return f"{took} until one of the connections was free"
        case "limit":
            return f"{took} because of the service's rate limit"
        case "send":
            return f"{took} for sending {size(last.bytes) if last else 'the request'}"
        case "accept":
            return f"{took} until the service accepted the request{_with_context(last)}"
        case "reason":
            return f"{took} of reasoning{_reasoning_tokens(last)}"
        case "hosted":
            return f"{took} for {_hosted_tools(turn)}, which the service ran"
        case "think":
            return f"{took} until the model's first output{_why_thinking(last, turn)}"
        case "queue":
            return f"{took} in this process, before the request was sent"
        case _:
            return f"{took} for the response itself"


def _lost_by(turn: TurnView) -> str:
    resent = [fault for fault in turn.faults if fault.resends]
    if not resent:
        return "an attempt that failed"
    text = f"{counted(len(resent), 'failed attempt')} ({'; '.join(map(_fault_words, resent))})"
    if len(resent) == 1:
        text = f"a failed attempt ({_fault_words(resent[0])}), which was {resent[0].action}"
    waited = sum(fault.wait for fault in resent)
    return f"{text}, {seconds(waited)} of it a pause" if waited > 0 else text


def _why_connected(turn: TurnView, connections: Sequence[ConnectionView]) -> str:
    """Say why a connection had to be opened."""
    mine = [c for c in connections if (c.process, c.client) == (turn.process, turn.client)]
    before = [c for c in mine if c.began < turn.began - 0.001]
    if not before:
        return ": it was the first one; prewarm() opens it ahead"
    lost = [c for c in before if c.end == "lost" and c.closed and c.closed <= turn.began + 0.001]
    if lost and not any(c.closed is None for c in before):
        return f": connection {lost[-1].number} had been lost ({lost[-1].fault or 'closed'})"
    return ""


def _with_context(attempt: AttemptView | None) -> str:
    if attempt is None or attempt.previous_response_id is not None:
        return ""
    return f", which had the full context of {counted(attempt.items, 'item')}"


def _reasoning_tokens(attempt: AttemptView | None) -> str:
    usage = attempt.usage if attempt is not None else None
    tokens = usage.reasoning if usage is not None else None
    return f" ({counted(tokens, 'token')}; a lower reasoning effort shortens it)" if tokens else ""


def _hosted_tools(turn: TurnView) -> str:
    """Name the hosted tools that ran before the first output."""
    items = [one.item for one in turn.hidden_items if one.at <= turn.wait]
    return " and ".join(dict.fromkeys(item_words(i) for i in items if i != "reasoning"))


def _why_thinking(attempt: AttemptView | None, turn: TurnView) -> str:
    """Say what made the model slow, as far as the trace tells."""
    clauses = []
    usage = attempt.usage if attempt is not None else None
    if turn.cache_missed and turn.cache_breaks:
        missed = counted(turn.cache_missed, "token")
        clauses.append(f"{missed} were not read from the prompt cache ({turn.cache_breaks[0]})")
    if usage is not None and usage.reasoning and not turn.hidden_items:
        clauses.append(f"it spent {counted(usage.reasoning, 'token')} on reasoning")
    if usage is not None and not clauses:
        return f" (its prompt has {counted(usage.input, 'token')})"
    return f": {' and '.join(clauses)}" if clauses else ""


# -- notes -----------------------------------------------------------------------------------------


def _fault_words(fault: FaultView) -> str:
    details = [str(one) for one in (fault.code, fault.status) if one is not None]
    if fault.param:
        details.append(f"parameter {fault.param}")
    return f"{fault.fault}, {' '.join(details)}" if details else fault.fault


def _of_fault(fault: FaultView) -> str:
    waited = f", after {seconds(fault.wait)}" if fault.wait > 0 else ""
    return f"Fault after {seconds(fault.at)}: {_fault_words(fault)}: {fault.action}{waited}"


def _of_context(attempt: AttemptView, turn: TurnView) -> str:
    if attempt.previous_response_id is not None:
        known = counted(attempt.items_known, "item")
        return (
            f"Chained: {counted(attempt.items, 'new item')} sent, {known} known to the service "
            f"({size(attempt.bytes)})"
        )
    if turn.api == "chat":
        return f"Chat Completions: the full context each time ({size(attempt.bytes)})"
    reason = attempt.full_context_reason
    if reason is None:
        return ""
    return (
        f"Full context, {counted(attempt.items, 'item')} ({size(attempt.bytes)}), because "
        f"{REASONS.get(reason, reason)}"
    )


def _of_cache(attempt: AttemptView, turn: TurnView) -> list[str]:
    notes = []
    usage = attempt.usage
    if usage is not None and usage.cached is not None and usage.input and not attempt.is_estimate:
        share = usage.cached / usage.input
        notes.append(
            f"Prompt cache: {usage.cached:,} of {usage.input:,} input tokens read ({share:.0%})"
        )
    if turn.cache_missed:  # without usage it is not known whether anything was missed
        missed = counted(turn.cache_missed, "token")
        notes += [f"Prompt cache broken: {missed} not read, since {b}" for b in turn.cache_breaks]
    return notes


def _of_interruption(turn: TurnView) -> str:
    emitted = f"after {counted(turn.cut or 0, 'character')}" if turn.cut else "before any text"
    text = f"Interrupted {emitted}, {seconds(turn.duration)} after it began"
    drained = [a for a in turn.attempts if a.drained and a.ended is not None]
    if not drained:
        return text
    rest = (drained[-1].ended or 0.0) - turn.duration
    return f"{text}; the service went on with the response for {seconds(max(0.0, rest))}"


def _of_connection(turn: TurnView, connections: Sequence[ConnectionView]) -> list[str]:
    """Tell that a connection of the turn was lost while it ran."""
    numbers = {attempt.connection for attempt in turn.attempts}
    return [
        f"Connection {c.number} was lost after {seconds(c.closed - turn.began)}"
        + (f" ({c.fault})" if c.fault else "")
        for c in connections
        if (c.process, c.client) == (turn.process, turn.client)
        and c.number in numbers
        and c.end == "lost"
        and c.closed is not None
        and turn.began <= c.closed <= turn.began + turn.duration
    ]
