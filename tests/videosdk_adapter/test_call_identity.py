"""Whose call it was: VideoSDK's meeting and session, and the label."""

from __future__ import annotations

import logging

import pytest

from rtllm import CallIdentity, TraceEvent, TurnReport
from rtllm.simulator import Simulator, echo
from rtllm_videosdk import OpenAILLM
from videosdk_adapter.jobs import MEETING, job_of
from videosdk_adapter.talks import talk

NAMED = CallIdentity("front desk", room="abcd-efgh", session="6650f")


@pytest.mark.parametrize("streaming", [True, False])
async def test_reports_traces_and_logs_have_the_meetings_names(
    streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rtllm")
    reports: list[TurnReport] = []
    events: list[TraceEvent] = []
    async with Simulator(echo()) as service:
        model = OpenAILLM(
            api_key="key",
            base_url=service.base_url,
            streaming=streaming,
            label="front desk",
            on_turn=reports.append,
            on_trace=events.append,
        )
        async with talk(model) as call:
            with job_of(MEETING):
                await call.say("hello")
        await model.aclose()
    assert [report.call for report in reports] == [NAMED]
    assert {event.call for event in events if event.turn} == {NAMED}
    (line,) = [r.getMessage() for r in caplog.records if r.name == "rtllm.client.turn_log"]
    assert "conversation 1 (front desk, room abcd-efgh, session 6650f): completed" in line


async def test_before_the_meeting_is_joined_its_id_is_that_of_the_options() -> None:
    reports: list[TurnReport] = []
    async with Simulator(echo()) as service:
        model = OpenAILLM(
            api_key="key", base_url=service.base_url, streaming=True, on_turn=reports.append
        )
        async with talk(model) as call:
            with job_of(None, "abcd-efgh"):
                await call.say("hello")
        async with talk(model) as call:
            await call.say("hello")
        await model.aclose()
    assert [report.call for report in reports] == [CallIdentity(room="abcd-efgh"), CallIdentity()]
