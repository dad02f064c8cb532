"""From the events of a trace file to its turns and connections."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from rtllm.trace.events import (
    AttemptDiscarded,
    AttemptEnded,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionOpening,
    FaultHandled,
    FirstOutput,
    FirstWord,
    HiddenItemReceived,
    RequestSent,
    ResponseCreated,
    ToolCalled,
    TraceEvent,
    TurnCancelled,
    TurnFinished,
    TurnQueued,
)
from rtllm.trace.records import TraceReading, TraceRecord
from rtllm.trace_view.explain import explain, notes_of
from rtllm.trace_view.model import (
    AttemptView,
    Calls,
    ConnectionView,
    FaultView,
    HiddenItemView,
    ToolView,
    TurnView,
)
from rtllm.trace_view.parts import parts_of
from rtllm.trace_view.steps import steps_of

_Client = tuple[int, str]
"""A process and a client of it: numbers are unique within this."""


def read_calls(reading: TraceReading) -> Calls:
    """Arrange the events of a trace file as turns and connections.

    Args:
        reading: What was read of the file; events may be missing, and in any order.

    Returns:
        The turns and connections, in order of time.
    """
    clocks = _clocks_of(reading.records)
    connections = tuple(_connections_of(reading.records, clocks))
    groups: dict[tuple[object, ...], int] = {}
    turns = []
    for client, events in _by_turn(reading.records):
        conversation = (client, events[0].conversation)
        group = groups.setdefault(conversation, len(groups) + 1)
        turns.append(_turn_of(client, events, group, clocks[client]))
    turns.sort(key=lambda turn: turn.began)
    turns = [replace(turn, id=number) for number, turn in enumerate(turns, 1)]
    explained = [
        replace(turn, why=explain(turn, connections), notes=notes_of(turn, connections))
        for turn in _with_tool_times(turns)
    ]
    versions = sorted(set(reading.versions.values()))
    return Calls(explained, connections, _remarks_of(reading, turns), versions)


def _clocks_of(records: Iterable[TraceRecord]) -> Mapping[_Client, float]:
    """Return for each client what must be added to its clock to get the seconds since 1970.

    An event may be stamped late, but never early, so the smallest difference is nearest.
    """
    clocks: dict[_Client, float] = {}
    for record in records:
        client = (record.process, record.event.client)
        offset = record.time - record.event.at
        clocks[client] = min(offset, clocks.get(client, offset))
    return clocks


def _by_turn(records: Iterable[TraceRecord]) -> Iterator[tuple[_Client, list[TraceEvent]]]:
    """Yield the events of each turn, in order of time."""
    turns: dict[tuple[_Client, int], list[TraceEvent]] = defaultdict(list)
    for record in records:
        event = record.event
        if event.turn is not None:
            turns[(record.process, event.client), event.turn].append(event)
    for (client, _), events in turns.items():
        yield client, sorted(events, key=lambda event: event.at)


# -- turns -----------------------------------------------------------------------------------------


def _turn_of(client: _Client, events: list[TraceEvent], group: int, clock: float) -> TurnView:
    start = events[0].at
    parts = parts_of(events)
    duration = sum(part.seconds for part in parts)
    first = next((e.at - start for e in events if isinstance(e, FirstOutput)), None)
    view = TurnView(
        id=0,
        call=next((str(e.call) for e in events if str(e.call)), ""),
        label=next((e.call.label for e in events if e.call.label), ""),
        group=group,
        client=client[1],
        process=client[0],
        number=events[0].turn or 0,
        began=start + clock,
        duration=duration,
        wait=duration if first is None else first,
        first_word=next((e.at - start for e in events if isinstance(e, FirstWord)), None),
        parts=parts,
        attempts=tuple(_attempts_of(events, start)),
        tools=tuple(
            ToolView(e.name, e.at - start, None, e.characters)
            for e in events
            if isinstance(e, ToolCalled)
        ),
        hidden_items=tuple(
            HiddenItemView(e.item, e.at - start, e.seconds)
            for e in events
            if isinstance(e, HiddenItemReceived)
        ),
        faults=tuple(_fault_of(e, start) for e in events if isinstance(e, FaultHandled)),
        steps=steps_of(events),
    )
    for event in events:
        match event:
            case TurnQueued():
                view = replace(view, model=event.model, purpose=event.purpose, api=event.api)
            case TurnCancelled():
                view = replace(view, cut=event.characters)
            case TurnFinished():
                view = replace(
                    view,
                    outcome=event.outcome,
                    error=event.error,
                    cache_missed=event.cache_missed,
                    cache_breaks=event.cache_breaks,
                )
            case _:
                pass
    served = [attempt.model for attempt in view.attempts if attempt.model]
    return replace(view, model=served[-1]) if served else view


def _attempts_of(events: Sequence[TraceEvent], start: float) -> Iterator[AttemptView]:
    numbers = [e.attempt for e in events if isinstance(e, RequestSent | AttemptEnded)]
    for number in dict.fromkeys(number for number in numbers if number is not None):
        of_attempt = [event for event in events if event.attempt == number]
        view = AttemptView(number, of_attempt[0].at - start)
        for event in of_attempt:
            view = _with_event(view, event, event.at - start)
        yield view


def _with_event(view: AttemptView, event: TraceEvent, at: float) -> AttemptView:
    """Return an attempt with what an event tells of it."""
    match event:
        case RequestSent():
            return replace(
                view,
                sent=at,
                protocol=event.protocol,
                connection=event.connection,
                lane=event.lane,
                bytes=event.bytes,
                items=event.items,
                items_known=event.items_known,
                previous_response_id=event.previous_response_id,
                full_context_reason=event.full_context_reason,
                reused=event.reused,
                model=event.model,
            )
        case ResponseCreated():
            return replace(view, created=at, response_id=event.response_id)
        case FirstOutput():
            return replace(view, first_output=at)
        case AttemptEnded():
            return replace(
                view,
                ended=at,
                category=event.category,
                drained=event.drained,
                fault=event.fault,
                usage=event.usage or event.estimate,
                is_estimate=event.usage is None and event.estimate is not None,
                counted=event.counted,
                cost=event.cost,
                currency=event.currency,
                model=event.model or view.model,
                response_id=event.response_id or view.response_id,
            )
        case AttemptDiscarded():
            return replace(view, category="draft")
        case _:
            return view


def _fault_of(event: FaultHandled, start: float) -> FaultView:
    return FaultView(
        event.at - start,
        event.attempt,
        event.fault,
        event.action,
        event.resends,
        event.wait,
        event.code,
        event.status,
        event.param,
    )


def _with_tool_times(turns: Sequence[TurnView]) -> list[TurnView]:
    """Add when the framework asked again after tool calls: the next turn of the conversation."""
    following: dict[int, TurnView] = {}
    done = []
    for turn in reversed(turns):
        after = following.get(turn.group)
        if turn.tools and after is not None and not turn.is_cut:
            answered = after.began - turn.began
            tools = tuple(replace(tool, answered=max(answered, tool.at)) for tool in turn.tools)
            turn = replace(turn, tools=tools)  # noqa: PLW2901
        following[turn.group] = turn
        done.append(turn)
    return done[::-1]


# -- connections -----------------------------------------------------------------------------------


def _connections_of(
    records: Iterable[TraceRecord], clocks: Mapping[_Client, float]
) -> list[ConnectionView]:
    found: dict[tuple[_Client, int], ConnectionView] = {}
    for record in records:
        event = record.event
        client = (record.process, event.client)
        if event.connection is None or event.connection < 0:
            continue
        if not isinstance(event, ConnectionOpening | ConnectionOpened | ConnectionClosed):
            continue
        at = event.at + clocks[client]
        key = (client, event.connection)
        view = found.get(key) or ConnectionView(event.connection, client[1], client[0], at)
        match event:
            case ConnectionOpening(reason=reason):
                view = replace(view, began=at, reason=reason)
            case ConnectionOpened(seconds=seconds):
                began = min(view.began, at - seconds)
                view = replace(view, opened=at, handshake=seconds, began=began)
            case ConnectionClosed(reason=reason, fault=fault, seconds=seconds):
                opened = at - seconds if view.opened is None and seconds else view.opened
                began = view.began if opened is None else min(view.began, opened)
                view = replace(view, closed=at, end=reason, fault=fault, opened=opened, began=began)
        found[key] = view
    return sorted(found.values(), key=lambda connection: connection.began)


# -- what is missing -------------------------------------------------------------------------------


def _remarks_of(reading: TraceReading, turns: Sequence[TurnView]) -> tuple[str, ...]:
    """Say what could not be read, and what is missing."""
    remarks = list(reading.remarks)
    headless = sum(not any(step.kind == "queued" for step in turn.steps) for turn in turns)
    if headless:
        remarks.append(f"the beginning of {_turns(headless)} is missing")
    unended = sum(turn.outcome == "open" for turn in turns)
    if unended:
        remarks.append(f"the end of {_turns(unended)} is missing, or they were still running")
    versions = sorted(set(reading.versions.values()))
    if len(versions) > 1:
        remarks.append(f"written by several versions of rtllm: {', '.join(versions)}")
    return tuple(remarks)


def _turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count} turns"
