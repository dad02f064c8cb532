"""The parts of a turn's time."""

from collections.abc import Sequence

from rtllm.trace.events import (
    FaultHandled,
    FirstOutput,
    FirstWord,
    HiddenItemReceived,
    RequestSent,
    RequestWritten,
    ResponseCreated,
    TraceEvent,
    TurnFinished,
    TurnWaiting,
)
from rtllm.trace_view.model import Part, PartName

_WAITING: dict[str, PartName] = {
    "connection": "connect",
    "free connection": "busy",
    "rate limit": "limit",
}


def parts_of(events: Sequence[TraceEvent]) -> tuple[Part, ...]:
    """Divide a turn's time into parts.

    Args:
        events: The events of the turn, in the order in which they happened.

    Returns:
        The parts, in order, without gaps; together they last from the first event to the end of
        the turn, or to the last event if the end is missing.
    """
    if not events:
        return ()
    start, end = events[0].at, _end_of(events)
    last = max((e.attempt or 0 for e in events if isinstance(e, RequestSent)), default=None)
    has_word = any(isinstance(event, FirstWord) for event in events)
    parts: list[Part] = []
    name: PartName = "queue"
    attempt: int | None = None
    since = start
    for event in events:
        at = min(max(event.at, since), end)
        if isinstance(event, HiddenItemReceived) and name == "think":
            began = max(at - event.seconds, since)  # it is traced at its end
            _add(parts, Part(name, since - start, began - since, attempt))
            _add(parts, Part(_hidden(event), began - start, at - began, attempt))
            since = at
        following = _following(event, last=last, has_word=has_word)
        if following is None:
            continue
        _add(parts, Part(name, since - start, at - since, attempt))
        name, since = following, at
        if isinstance(event, RequestSent):
            attempt = event.attempt
        elif isinstance(event, FaultHandled | TurnWaiting):
            attempt = None
    _add(parts, Part(name, since - start, end - since, attempt))
    return tuple(parts)


def _hidden(event: HiddenItemReceived) -> PartName:
    return "reason" if event.item == "reasoning" else "hosted"


def _following(event: TraceEvent, *, last: int | None, has_word: bool) -> PartName | None:
    """Return the part that an event begins; None if it begins none."""
    is_last = event.attempt is None or event.attempt == last
    match event:
        case TurnWaiting(reason=reason):
            return _WAITING[reason]
        case RequestSent():
            return "send" if is_last else "lost"
        case FaultHandled(resends=True):
            return "pause"
        case RequestWritten() if is_last:
            return "accept"
        case ResponseCreated() if is_last:
            return "think"
        case FirstOutput(output="tool call") if is_last and has_word:
            return "word"
        case FirstOutput() | FirstWord() if is_last:
            return "rest"
        case _:
            return None


def _add(parts: list[Part], part: Part) -> None:
    if part.seconds > 0:
        parts.append(part)


def _end_of(events: Sequence[TraceEvent]) -> float:
    for event in events:
        if isinstance(event, TurnFinished):
            return max(event.at, events[0].at)
    return max(event.at for event in events)
