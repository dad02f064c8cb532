"""The scripts that record the calls of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from troubles import record

from rtllm import read_trace
from rtllm.trace_view import read_calls, summarize
from rtllm.trace_view.model import Calls
from support.examples import loaded

DOCS = Path(__file__).parents[2] / "docs"


def story_of(calls: Calls) -> list[Any]:
    """What happened in each turn, without its times and tokens."""
    return [
        (
            turn.outcome,
            [attempt.category for attempt in turn.attempts],
            [tool.name for tool in turn.tools],
            [item.item for item in turn.hidden_items],
            [(fault.fault, fault.action) for fault in turn.faults],
            [attempt.full_context_reason for attempt in turn.attempts],
        )
        for turn in calls.turns
    ]


@pytest.mark.parametrize("framework", ["livekit", "videosdk"])
async def test_the_script_records_the_call_of_the_documentation(
    tmp_path: Path, framework: str
) -> None:
    path, example = tmp_path / "calls.jsonl", DOCS / f"example_trace_{framework}.jsonl"
    usage = await record(loaded(f"{framework}/record_trace.py").play, path)
    calls, documented = read_calls(read_trace(path)), read_calls(read_trace(example))
    assert documented.remarks == calls.remarks == ()
    assert story_of(calls) == story_of(documented)
    assert summarize(calls).total.input == summarize(documented).total.input == usage.all.input
