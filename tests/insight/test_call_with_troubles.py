"""A phone call with troubles in each framework's session, and what is known of it afterwards.

The call is that of `examples/*/record_trace.py`: a slow handshake, a tool, a barge-in, a dropped
connection, a rejected parameter, changed instructions, reasoning, and a rejected request.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from opentelemetry.trace import StatusCode
from troubles import simulate

from rtllm import TraceFile, UsageSnapshot, read_trace
from rtllm.content.usage import Totals
from rtllm.simulator import Entry
from rtllm.trace_view import read_calls, summarize
from rtllm.trace_view.model import Calls
from support.examples import loaded
from support.otel import Telemetry, attributes_of, events_of

TURNS = ["completed"] * 3 + ["cancelled"] + ["completed"] * 3 + ["failed", "completed"]


@dataclass
class Known:
    """What is known of the call.

    Attributes:
        calls: The turns of its trace file.
        usage: The usage of its LLM.
        entries: The requests that the simulator received.
        telemetry: OpenTelemetry's spans and metrics.
    """

    calls: Calls
    usage: UsageSnapshot
    entries: list[Entry]
    telemetry: Telemetry

    def used(self, name: str, detail: str | None = None) -> int:
        """The tokens of a kind that the simulator has counted."""
        usages: list[Any] = [e.usage for e in self.entries if e.usage is not None]
        return sum(
            one[name] if detail is None else one[f"{name}_details"][detail] for one in usages
        )


@pytest.fixture(params=["livekit", "videosdk"])
async def known(request: pytest.FixtureRequest, tmp_path: Path) -> Known:
    play = loaded(f"{request.param}/record_trace.py").play
    path, telemetry = tmp_path / "calls.jsonl", Telemetry()
    trace = TraceFile(path)
    async with simulate() as service:
        usage = await play(service.base_url, [trace, telemetry.listener])
        entries = list(service.journal.entries)
    await asyncio.to_thread(trace.close)
    return Known(read_calls(read_trace(path)), usage, entries, telemetry)


async def test_the_slowest_turn_and_its_reason_come_first(known: Known) -> None:
    summary = summarize(known.calls)
    assert known.calls.remarks == ()
    assert [turn.outcome for turn in known.calls.turns] == TURNS
    (slowest,) = (turn for turn in known.calls.turns if turn.id == summary.slowest)
    assert [fault.fault for fault in slowest.faults] == ["dropped"]
    assert " were lost by a failed attempt (dropped" in slowest.why
    assert slowest.why in summary.headline[1]
    assert summary.headline[2] == "1 turn failed: refused (invalid_prompt): turn 8."


async def test_each_trouble_is_explained_at_its_turn(known: Known) -> None:
    turns = known.calls.turns
    assert " for opening a connection: it was the first one" in turns[0].why
    assert [tool.name for tool in turns[1].tools] == ["find_table"]
    assert turns[1].tools[0].answered is not None
    assert turns[3].is_cut
    assert any("the service went on with the response" in note for note in turns[3].notes)
    assert any("parameter service_tier: sent again" in note for note in turns[5].notes)
    assert " of reasoning (180 tokens; " in turns[6].why
    assert "instructions changed at character" in turns[6].why
    assert "invalid_prompt" in turns[7].why
    assert {turn.call for turn in turns} == {"front desk"}
    assert {turn.group for turn in turns} == {1}


async def test_the_tokens_and_costs_are_those_of_the_simulator(known: Known) -> None:
    sums = known.usage.all
    assert sums.attempts == len(known.entries) == 11
    assert sums.input == known.used("input_tokens") > 0
    assert sums.output == known.used("output_tokens") > 0
    assert sums.cached == known.used("input_tokens", "cached_tokens") > 0
    assert sums.reasoning == known.used("output_tokens", "reasoning_tokens") == 180
    assert known.usage.cost.amount == price_of(sums)
    (cancelled,) = (e for e in known.entries if "menu" in e.texts()[-1][1])
    assert cancelled.usage is not None
    assert known.usage.cancelled.input == cancelled.usage["input_tokens"]
    assert known.usage.cancelled.output == cancelled.usage["output_tokens"]
    assert known.usage.costs["cancelled"].amount == price_of(known.usage.cancelled)
    outcomes = Counter(entry.outcome for entry in known.entries if entry.usage is None)
    assert outcomes == {"dropped": 1, "refused": 2}
    assert sums.unknown == 3


def price_of(totals: Totals) -> Decimal:
    """What tokens cost, at the prices of the example."""
    fresh = totals.input - totals.cached
    return (fresh * 2 + totals.cached * Decimal("0.5") + totals.output * 8) / Decimal(10**6)


async def test_the_trace_has_the_same_tokens_and_costs(known: Known) -> None:
    summary, sums = summarize(known.calls), known.usage.all
    total = summary.total
    assert (total.attempts, total.input, total.output) == (sums.attempts, sums.input, sums.output)
    assert total.cached == sums.cached
    assert (total.estimated_input, total.estimated_output) == (
        sums.estimated_input,
        sums.estimated_output,
    )
    assert total.costs == {"USD": pytest.approx(float(known.usage.cost.amount or 0))}
    names: tuple[Literal["answered", "cancelled", "failed"], ...] = (
        "answered",
        "cancelled",
        "failed",
    )
    for name in names:
        of_ledger = getattr(known.usage, name)
        of_trace = summary.spent[name]
        assert (of_trace.attempts, of_trace.input, of_trace.output) == (
            of_ledger.attempts,
            of_ledger.input,
            of_ledger.output,
        )


async def test_spans_and_metrics_have_them_too(known: Known) -> None:
    telemetry, sums = known.telemetry, known.usage.all
    turns = telemetry.turns
    assert [attributes_of(turn)["rtllm.outcome"] for turn in turns] == TURNS
    assert [len(telemetry.attempts_of(turn)) for turn in turns] == [1, 1, 1, 1, 2, 2, 1, 1, 1]
    assert [turn.status.status_code is StatusCode.ERROR for turn in turns] == [
        outcome == "failed" for outcome in TURNS
    ]
    assert "rtllm.tool_call" in events_of(turns[1])
    (reasoned,) = telemetry.attempts_of(turns[6])
    assert "rtllm.hidden_item" in events_of(reasoned)
    usage = "gen_ai.client.inference.usage."
    assert telemetry.sum_of(f"{usage}input_tokens") == sums.input
    assert telemetry.sum_of(f"{usage}output_tokens") == sums.output
    assert telemetry.sum_of(f"{usage}cache_read.input_tokens") == sums.cached
    tokens = telemetry.sum_of("rtllm.client.tokens", rtllm__category="cancelled")
    assert tokens == known.usage.cancelled.input + known.usage.cancelled.output
    cost = telemetry.sum_of("rtllm.client.cost")
    assert cost == pytest.approx(float(known.usage.cost.amount or 0))
    assert telemetry.sum_of("rtllm.client.retries", rtllm__fault="dropped") == 1
    assert telemetry.sum_of("rtllm.client.retries", rtllm__fault="parameter refused") == 1
    assert telemetry.sum_of("rtllm.client.connections.closed", rtllm__reason="lost") == 1
    assert telemetry.sum_of("rtllm.client.connections") == 0
