"""Two sessions on one LLM object: each has its own figures, in usage, reports and the trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents import Agent
from livekit.agents.utils import http_context

from livekit_adapter import jobs as livekit_jobs
from livekit_adapter.sessions import session_of
from rtllm import CallIdentity, TraceFile, TurnReport, UsageSnapshot, read_trace
from rtllm.simulator import Simulator, echo
from rtllm.trace_view import read_calls, summarize
from rtllm.trace_view.model import Calls
from rtllm_livekit import LLM
from rtllm_videosdk import OpenAILLM
from videosdk_adapter import jobs as videosdk_jobs
from videosdk_adapter.talks import talk

WORDS = {1: "Hello from one", 2: "Good morning, this is the second caller of today"}
Say = Callable[[str], Any]


@asynccontextmanager
async def on_livekit(model: Any, number: int, *, in_job: bool) -> AsyncIterator[Say]:
    async with AsyncExitStack() as stack:
        agent = Agent(instructions="Be kind.")
        session = await stack.enter_async_context(session_of(model, agent))
        if in_job:
            await stack.enter_async_context(livekit_jobs.job_of(number))

        async def say(text: str) -> None:
            await session.run(user_input=text)

        yield say


@asynccontextmanager
async def on_videosdk(model: Any, number: int, *, in_job: bool) -> AsyncIterator[Say]:
    async with AsyncExitStack() as stack:
        if in_job:
            session = SimpleNamespace(session_id=f"RM_{number}")
            meeting = SimpleNamespace(meeting_id=f"room-{number}", meeting=session)
            stack.enter_context(videosdk_jobs.job_of(meeting))
        call = await stack.enter_async_context(talk(model))
        yield call.say


@dataclass
class Framework:
    """A framework's LLM and sessions.

    Attributes:
        make: Its LLM.
        session: A session of it.
        job: Whether its calls have the name of a job.
    """

    make: Callable[..., Any]
    session: Callable[..., AbstractAsyncContextManager[Say]]
    job: bool

    def name_of(self, number: int, *, in_job: bool) -> CallIdentity:
        if not in_job:
            return CallIdentity("front desk")
        job = f"job-{number}" if self.job else None
        return CallIdentity("front desk", job, f"room-{number}", f"RM_{number}")


LIVEKIT = Framework(LLM, on_livekit, job=True)
VIDEOSDK = Framework(lambda **options: OpenAILLM(streaming=True, **options), on_videosdk, job=False)


@dataclass
class Played:
    """Two calls that were held at the same time, and what is known of them.

    Attributes:
        usage: The LLM's usage.
        reports: The reports of all turns.
        calls: The turns of the trace file.
        tokens: The input and output tokens of each call, as the simulator counted them.
    """

    usage: UsageSnapshot
    calls: Calls
    reports: list[TurnReport] = field(default_factory=list)
    tokens: dict[int, tuple[int, int]] = field(default_factory=dict)


async def played(framework: Framework, path: Path, *, in_job: bool) -> Played:
    reports: list[TurnReport] = []
    trace = TraceFile(path)
    async with Simulator(echo()) as service, http_context.open():
        model = framework.make(
            api_key="key",
            base_url=service.base_url,
            label="front desk",
            on_turn=reports.append,
            on_trace=trace,
        )

        async def call(number: int) -> None:
            async with framework.session(model, number, in_job=in_job) as say:
                for turn in range(3):
                    await say(f"{WORDS[number]}, {turn}")

        await asyncio.gather(call(1), call(2))
        usage = model.usage
        await model.aclose()
        tokens = {}
        for number, words in WORDS.items():
            used: list[Any] = [e.usage for e in service.journal.entries if words in str(e.texts())]
            tokens[number] = (
                sum(one["input_tokens"] for one in used),
                sum(one["output_tokens"] for one in used),
            )
    await asyncio.to_thread(trace.close)
    return Played(usage, read_calls(read_trace(path)), reports, tokens)


@pytest.mark.parametrize("in_job", [True, False])
@pytest.mark.parametrize("framework", [LIVEKIT, VIDEOSDK], ids=["livekit", "videosdk"])
async def test_each_session_has_its_own_figures(
    framework: Framework, in_job: bool, tmp_path: Path
) -> None:
    known = await played(framework, tmp_path / "calls.jsonl", in_job=in_job)
    names = {number: framework.name_of(number, in_job=in_job) for number in WORDS}
    assert known.tokens[1] != known.tokens[2]
    expected = sorted((str(names[number]), *known.tokens[number]) for number in WORDS)
    assert expected == sorted(
        (str(one.call), one.usage.all.input, one.usage.all.output)
        for one in known.usage.conversations
    )
    of_reports: dict[int, list[Any]] = {}
    for report in known.reports:
        assert report.usage is not None
        sums = of_reports.setdefault(report.conversation, [str(report.call), 0, 0])
        sums[1] += report.usage.input
        sums[2] += report.usage.output
    assert expected == sorted(map(tuple, of_reports.values()))
    of_trace = summarize(known.calls).conversations
    assert [figures.turns for figures in of_trace] == [3, 3]
    assert expected == sorted(
        (figures.name.partition(": ")[2], figures.spent.input, figures.spent.output)
        for figures in of_trace
    )
    by_name = {call: usage.all.input for call, usage in known.usage.calls.items()}
    if in_job:
        assert by_name == {names[number]: known.tokens[number][0] for number in WORDS}
    else:
        assert by_name == {names[1]: known.tokens[1][0] + known.tokens[2][0]}
