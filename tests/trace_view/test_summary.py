"""What a reader sees first, on the page and in the terminal."""

from __future__ import annotations

from rtllm.content.usage import Usage
from rtllm.trace import AttemptDiscarded, FaultHandled, TurnFinished, TurnQueued
from rtllm.trace_view import summarize, text_of
from rtllm.trace_view.model import Calls
from rtllm.trace_view.summary import worst_of
from trace_view.events import calls_of, turn


def test_the_headline_has_the_essentials() -> None:
    calls = calls_of(*turn(1, cost=0.002), *turn(2, at=5.0, think=2.0, cost=0.003))
    summary = summarize(calls)
    assert summary.headline[0].startswith("2 turns in 1 conversation")
    assert summary.headline[1].startswith(
        "Slowest: turn 2, 2.04 s: 2.00 s until the model's first output"
    )
    assert summary.headline[2] == "No turn failed."
    assert summary.headline[3] == "Cost: 0.005 USD."


def test_failed_turns_are_grouped_by_reason() -> None:
    events = []
    for number in (1, 2):
        ids = {"client": "c", "turn": number}
        events += [
            TurnQueued(at=number, model="m", **ids),  # type: ignore[arg-type]
            FaultHandled(
                at=number,
                fault="refused",
                action="failed",
                resends=False,
                code="quota",
                **ids,  # type: ignore[arg-type]
            ),
            TurnFinished(at=number + 0.1, outcome="failed", duration=0.1, **ids),  # type: ignore[arg-type]
        ]
    summary = summarize(calls_of(*events, *turn(3, at=9.0)))
    (failure,) = summary.failures
    assert (failure.why, failure.turns) == ("refused (quota)", (1, 2))
    assert "2 turns failed: refused (quota): turns 1, 2." in summary.headline


def test_unknown_costs_stay_unknown() -> None:
    assert summarize(calls_of(*turn(1))).headline[3] == "Cost: unknown."
    mixed = summarize(calls_of(*turn(1, cost=0.5), *turn(2, at=5.0)))
    assert mixed.headline[3] == "Cost: 0.5000 USD, and 1 request of unknown cost."


def test_tokens_are_summed_by_what_they_were_spent_on() -> None:
    discarded = AttemptDiscarded(at=9.0, client="c", turn=2, attempt=2, was="answered")
    usage = Usage(1000, 50, cached=400)
    calls = calls_of(*turn(1, usage=usage), *turn(2, at=5.0, usage=usage), discarded)
    summary = summarize(calls)
    assert {name: (s.input, s.cached) for name, s in summary.spent.items()} == {
        "answered": (1000, 400),
        "draft": (1000, 400),
    }
    assert (summary.total.attempts, summary.total.input) == (2, 2000)


def test_a_warm_up_is_not_the_slowest_turn() -> None:
    warm_up = [
        TurnQueued(at=0.0, client="c", turn=9, conversation=-1, model="m", purpose="warm-up"),
        TurnFinished(at=30.0, client="c", turn=9, outcome="completed", duration=30.0),
    ]
    calls = calls_of(*warm_up, *turn(1, at=40.0))
    summary = summarize(calls)
    assert (summary.turns, summary.others, summary.slowest) == (1, 1, 2)
    assert [view.number for view in worst_of(calls.turns, 10)] == [1]


def test_an_empty_file_has_a_summary_too() -> None:
    summary = summarize(Calls())
    assert summary.headline == ("The file has no turn that a framework asked for.",)
    assert text_of(Calls(), summary, ()) == f"{summary.headline[0]}\n"


def test_the_text_lists_turns_with_their_reasons() -> None:
    calls = calls_of(*turn(1), *turn(2, at=5.0, think=2.0))
    text = text_of(calls, summarize(calls), worst_of(calls.turns, 1))
    (line,) = (line for line in text.splitlines() if "completed" in line)
    assert line.split()[:4] == ["2", "22:13:25", "2.04", "s"]
    assert "████" in line
    assert "2.00 s until the model's first output" in text


def test_control_characters_do_not_reach_the_terminal() -> None:
    events = turn(1)
    queued = TurnQueued(at=0.0, client="c", turn=1, model="m")
    hostile = FaultHandled(
        at=0.1, client="c", turn=1, fault="\x1b[2Jgone\u202e\n", action="none", resends=False
    )
    calls = calls_of(queued, hostile, *events[1:])
    text = text_of(calls, summarize(calls), calls.turns)
    assert "gone" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
