"""From events to turns: the parts of their time, their attempts, tools, faults and reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtllm.content.usage import Usage
from rtllm.trace import (
    AttemptEnded,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionOpening,
    FaultHandled,
    FirstOutput,
    FirstWord,
    HiddenItemReceived,
    RequestSent,
    RequestWritten,
    ResponseCreated,
    ToolCalled,
    TraceEvent,
    TurnCancelled,
    TurnFinished,
    TurnQueued,
    TurnWaiting,
)
from rtllm.trace.records import TraceReading
from rtllm.trace_view import read_calls
from trace_view.events import BEGAN, calls_of, only_turn_of, records_of, seconds_of, turn


def sent(at: float, attempt: int, connection: int = 1) -> RequestSent:
    return RequestSent(
        at=at,
        client="c",
        conversation=1,
        turn=1,
        attempt=attempt,
        connection=connection,
        model="m",
        protocol="websocket",
        bytes=2000,
        items=5,
        full_context_reason="first request",
    )


QUEUED = TurnQueued(at=0.0, client="c", conversation=1, turn=1, model="m")


def finished(at: float, outcome: str = "completed", error: str | None = None) -> TurnFinished:
    return TurnFinished(at=at, client="c", turn=1, outcome=outcome, duration=at, error=error)


def first_output(at: float, attempt: int = 1) -> tuple[FirstOutput, FirstWord]:
    return (
        FirstOutput(at=at, client="c", turn=1, attempt=attempt, output="text"),
        FirstWord(at=at, client="c", turn=1, attempt=attempt),
    )


def test_the_time_of_a_turn_is_divided_into_parts() -> None:
    view = only_turn_of(*turn(think=0.5))
    assert seconds_of(view) == {
        "queue": 0.01,
        "send": 0.01,
        "accept": 0.02,
        "think": 0.5,
        "rest": 1.0,
    }
    assert view.wait == view.first_word == pytest.approx(0.54)
    assert view.duration == pytest.approx(1.54)
    assert view.began == BEGAN
    assert view.call == "desk"


def test_an_attempt_that_failed_is_lost_time() -> None:
    fault = FaultHandled(
        at=1.0,
        client="c",
        turn=1,
        attempt=1,
        fault="dropped",
        action="sent again over another connection",
        resends=True,
        wait=0.25,
        code="1006",
    )
    view = only_turn_of(
        QUEUED,
        sent(0.0, 1),
        ResponseCreated(at=0.1, client="c", turn=1, attempt=1),
        fault,
        TurnWaiting(at=1.25, client="c", turn=1, reason="connection"),
        sent(1.5, 2, connection=2),
        *first_output(2.0, 2),
        finished(3.0),
    )
    assert seconds_of(view) == {
        "lost": 1.0,
        "pause": 0.25,
        "connect": 0.25,
        "send": 0.5,
        "rest": 1.0,
    }
    assert "1.25 s were lost by a failed attempt (dropped, 1006)" in view.why
    assert "sent again over another connection" in view.why
    assert [attempt.number for attempt in view.attempts] == [1, 2]
    assert any("Fault after 1.00 s: dropped, 1006" in note for note in view.notes)


@pytest.mark.parametrize(
    ("reason", "part", "why"),
    [
        ("connection", "connect", "2.00 s for opening a connection"),
        ("free connection", "busy", "2.00 s until one of the connections was free"),
        ("rate limit", "limit", "2.00 s because of the service's rate limit"),
    ],
)
def test_a_wait_has_its_own_part(reason: str, part: str, why: str) -> None:
    waiting = TurnWaiting(at=0.0, client="c", turn=1, reason=reason)  # type: ignore[arg-type]
    view = only_turn_of(QUEUED, waiting, sent(2.0, 1), *first_output(2.1), finished(3.0))
    assert seconds_of(view) == {part: 2.0, "send": 0.1, "rest": 0.9}
    assert view.why.startswith(why)


def test_a_first_connection_and_a_lost_one_have_other_reasons() -> None:
    waiting = TurnWaiting(at=10.0, client="c", turn=1, reason="connection")
    slow = [
        TurnQueued(at=10.0, client="c", turn=1, model="m"),
        waiting,
        sent(12.0, 1, 2),
        *first_output(12.1),
        finished(13.0),
    ]
    opening = ConnectionOpening(at=10.0, client="c", connection=2, reason="request")
    opened = ConnectionOpened(at=12.0, client="c", connection=2, seconds=2.0)
    calls = calls_of(opening, *slow, opened)
    assert "it was the first one" in calls.turns[0].why
    assert [(c.number, c.handshake, c.opened) for c in calls.connections] == [(2, 2.0, BEGAN + 12)]
    lost = [
        ConnectionOpened(at=1.0, client="c", connection=1, seconds=0.2),
        ConnectionClosed(
            at=9.0, client="c", connection=1, reason="lost", seconds=8.0, fault="dropped"
        ),
    ]
    calls = calls_of(*lost, opening, *slow, opened)
    assert "connection 1 had been lost (dropped)" in calls.turns[0].why


def test_a_tool_runs_until_the_framework_asks_again() -> None:
    call = [
        QUEUED,
        sent(0.0, 1),
        FirstOutput(at=0.5, client="c", turn=1, attempt=1, output="tool call"),
        ToolCalled(at=0.5, client="c", turn=1, attempt=1, name="find_table", call_id="x"),
        finished(0.6),
    ]
    after = turn(2, at=1.7)
    calls = calls_of(*call, *after)
    (tool,) = calls.turns[0].tools
    assert (tool.name, tool.at) == ("find_table", 0.5)
    assert tool.answered == pytest.approx(1.7)
    assert "Tool find_table called after 500 ms; asked again 1.20 s later" in calls.turns[0].notes
    assert seconds_of(calls.turns[0]) == {"send": 0.5, "rest": 0.1}


def test_text_after_a_tool_call_has_its_own_part() -> None:
    call = FirstOutput(at=0.5, client="c", turn=1, attempt=1, output="tool call")
    word = FirstWord(at=0.8, client="c", turn=1, attempt=1)
    view = only_turn_of(QUEUED, sent(0.0, 1), call, word, finished(1.0))
    assert seconds_of(view) == {"send": 0.5, "word": 0.3, "rest": 0.2}


def test_reasoning_and_hosted_tools_before_the_first_output_have_their_own_parts() -> None:
    of = {"client": "c", "turn": 1, "attempt": 1}
    ended = AttemptEnded(at=6.0, category="answered", usage=Usage(100, 450, reasoning=412), **of)  # type: ignore[arg-type]
    view = only_turn_of(
        QUEUED,
        sent(0.0, 1),
        ResponseCreated(at=0.1, **of),  # type: ignore[arg-type]
        HiddenItemReceived(at=3.5, item="reasoning", seconds=3.2, **of),  # type: ignore[arg-type]
        HiddenItemReceived(at=4.6, item="web_search_call", seconds=1.0, **of),  # type: ignore[arg-type]
        *first_output(4.9),
        HiddenItemReceived(at=5.5, item="reasoning", seconds=0.4, **of),  # type: ignore[arg-type]
        ended,
        finished(6.0),
    )
    assert seconds_of(view) == {
        "send": 0.1,
        "think": 0.6,
        "reason": 3.2,
        "hosted": 1.0,
        "rest": 1.1,
    }
    assert view.why == (
        "3.20 s of reasoning (412 tokens; a lower reasoning effort shortens it); "
        "1.00 s for web search, which the service ran"
    )
    assert [note for note in view.notes if note.startswith(("Reasoning", "Web"))] == [
        "Reasoning: 3.20 s",
        "Web search: 1.00 s",
        "Reasoning: 400 ms",
    ]
    assert "Web search: 1.00 s" in [step.text for step in view.steps]


def test_reasoning_of_an_attempt_that_failed_is_lost_time() -> None:
    of = {"client": "c", "turn": 1, "attempt": 1}
    view = only_turn_of(
        QUEUED,
        sent(0.0, 1),
        ResponseCreated(at=0.1, **of),  # type: ignore[arg-type]
        HiddenItemReceived(at=2.0, item="reasoning", seconds=1.5, **of),  # type: ignore[arg-type]
        sent(2.0, 2),
        *first_output(2.5, 2),
        finished(3.0),
    )
    assert seconds_of(view) == {"lost": 2.0, "send": 0.5, "rest": 0.5}


def test_an_interruption_tells_how_long_the_service_went_on() -> None:
    ended = AttemptEnded(
        at=3.5, client="c", turn=1, attempt=1, category="cancelled", drained=True, usage=None
    )
    cancelled = TurnCancelled(at=1.0, client="c", turn=1, attempt=1, characters=40)
    view = only_turn_of(
        QUEUED, sent(0.0, 1), *first_output(0.5), cancelled, finished(1.0, "cancelled"), ended
    )
    assert view.is_cut
    assert view.cut == 40
    assert view.duration == 1.0
    (note,) = (note for note in view.notes if note.startswith("Interrupted"))
    assert "after 40 characters" in note
    assert "went on with the response for 2.50 s" in note


def test_a_failed_turn_says_why() -> None:
    fault = FaultHandled(
        at=0.2,
        client="c",
        turn=1,
        attempt=1,
        fault="refused",
        action="failed: RequestRejected",
        resends=False,
        code="invalid_prompt",
        status=400,
    )
    view = only_turn_of(QUEUED, sent(0.0, 1), fault, finished(0.2, "failed", "RequestRejected"))
    assert view.has_failed
    assert view.why == "refused, invalid_prompt 400, which ended it with RequestRejected"


def test_chains_and_broken_caches_are_explained() -> None:
    events = turn(reason="instructions changed", usage=Usage(2000, 10, cached=0))
    end = events[-1]
    assert isinstance(end, TurnFinished)
    broken = TurnFinished(
        at=end.at,
        client="c",
        turn=1,
        outcome="completed",
        duration=end.duration,
        cache_missed=1900,
        cache_breaks=("instructions changed at character 12 of 9,480",),
    )
    view = only_turn_of(*events[:-1], broken)
    assert "1,900 tokens were not read from the prompt cache (instructions changed at" in view.why
    assert any("because the instructions were changed" in note for note in view.notes)
    assert any("0 of 2,000 input tokens read (0%)" in note for note in view.notes)
    chained = only_turn_of(*turn())
    assert "Chained: 1 new item sent, 2 items known to the service (1.5 KB)" in chained.notes


def test_numbers_of_other_processes_and_clients_are_other_turns() -> None:
    records = records_of(turn(1)) + records_of(turn(1, at=5.0), process=2)
    calls = read_calls(TraceReading(records))
    assert [(view.id, view.process) for view in calls.turns] == [(1, 1), (2, 2)]
    assert len({view.group for view in calls.turns}) == 2


def test_what_is_missing_is_counted() -> None:
    first, second = turn(1), turn(2, at=5.0)
    calls = calls_of(*first[2:], *second[:-1])
    assert "the beginning of 1 turn is missing" in calls.remarks
    assert any(remark.startswith("the end of 1 turn is missing") for remark in calls.remarks)
    assert [view.outcome for view in calls.turns] == ["completed", "open"]


def test_versions_that_differ_are_named() -> None:
    reading = TraceReading(records_of(turn()), {"newer": 3}, 5, {1: "0.1.0", 2: "0.9.0"})
    remarks = read_calls(reading).remarks
    assert "3 lines are of a kind that this version of rtllm does not know" in remarks
    assert "5 events were dropped when they were written" in remarks
    assert "written by several versions of rtllm: 0.1.0, 0.9.0" in remarks


EVENTS = [
    QUEUED,
    TurnWaiting(at=0.0, client="c", turn=1, reason="connection"),
    sent(0.0, 1),
    sent(0.0, 2),
    RequestWritten(at=0.0, client="c", turn=1, attempt=1),
    ResponseCreated(at=0.0, client="c", turn=1, attempt=2),
    *first_output(0.0, 2),
    FaultHandled(at=0.0, client="c", turn=1, attempt=1, fault="f", action="a", resends=True),
    AttemptEnded(at=0.0, client="c", turn=1, attempt=2, category="answered"),
    finished(0.0),
]


@given(
    st.lists(st.tuples(st.sampled_from(EVENTS), st.floats(0, 100)), min_size=1, max_size=12),
)
def test_the_parts_are_the_duration_for_any_events(
    drawn: Sequence[tuple[TraceEvent, float]],
) -> None:
    events = [replace(event, at=at) for event, at in drawn]
    view = only_turn_of(*events)
    assert sum(part.seconds for part in view.parts) == pytest.approx(view.duration)
    assert view.wait <= 100
    end = 0.0
    for part in view.parts:
        assert part.seconds > 0
        assert part.start == pytest.approx(end)
        end = part.start + part.seconds
