"""Whose call it was: LiveKit's names and the label, in reports, traces and logs."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from livekit.agents import Agent
from livekit.agents.utils import http_context

from livekit_adapter.jobs import job_of
from livekit_adapter.sessions import session_of
from rtllm import CallIdentity, TraceEvent, TurnReport
from rtllm.simulator import Simulator, echo
from rtllm_livekit import LLM, ChatLLM

NAMED = CallIdentity("front desk", "job-7", "room-7", "RM_7")


@pytest.mark.parametrize("kind", [LLM, ChatLLM])
async def test_reports_traces_and_logs_have_the_jobs_names(
    kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rtllm")
    reports: list[TurnReport] = []
    events: list[TraceEvent] = []
    async with Simulator(echo()) as service, http_context.open():
        model = kind(
            api_key="key",
            base_url=service.base_url,
            label="front desk",
            on_turn=reports.append,
            on_trace=events.append,
        )
        async with session_of(model, Agent(instructions="Be kind.")) as session, job_of(7):
            await session.run(user_input="Hello")
        await model.aclose()
    assert [report.call for report in reports] == [NAMED]
    assert {event.call for event in events if event.turn} == {NAMED}
    assert {event.turn for event in events if event.turn} == {reports[0].turn}
    (line,) = [r.getMessage() for r in caplog.records if r.name == "rtllm.client.turn_log"]
    assert line.startswith(
        "conversation 1 (front desk, room room-7, job job-7, session RM_7): completed"
    )


async def test_two_jobs_on_one_object_have_their_own_names() -> None:
    reports: list[TurnReport] = []
    async with Simulator(echo()) as service, http_context.open():
        model = LLM(api_key="key", base_url=service.base_url, on_turn=reports.append)
        for number in (1, 2):
            async with (
                session_of(model, Agent(instructions="Be kind.")) as session,
                job_of(number),
            ):
                await session.run(user_input=f"Hello {number}")
                await session.run(user_input=f"Again {number}")
        await model.aclose()
    assert [report.call.room for report in reports] == ["room-1"] * 2 + ["room-2"] * 2
    assert len({report.conversation for report in reports}) == 2


async def test_without_a_job_there_is_only_the_label() -> None:
    reports: list[TurnReport] = []
    async with Simulator(echo()) as service, http_context.open():
        model = LLM(api_key="key", base_url=service.base_url, label="desk", on_turn=reports.append)
        async with session_of(model, Agent(instructions="Be kind.")) as session:
            await session.run(user_input="Hello")
        await model.aclose()
    assert reports[0].call == CallIdentity(label="desk")
