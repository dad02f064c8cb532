"""OpenTelemetry in VideoSDK's pipelines: spans under what is current, and VideoSDK's own names."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import StatusCode
from videosdk.agents.metrics import metrics_collector
from videosdk.agents.metrics.traces_flow import TracesFlowManager

from rtllm.simulator import Call, Dribble, ErrorFrame, Reply, Simulator, echo, fixed, only
from rtllm_videosdk import OpenAILLM
from support.otel import Telemetry, attributes_of, events_of, everything, is_child
from support.waiting import until
from videosdk_adapter.jobs import MEETING, job_of
from videosdk_adapter.talks import Plain, talk, tool


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def model_of(service: Simulator, telemetry: Telemetry, **options: Any) -> OpenAILLM:
    return OpenAILLM(
        api_key="key", base_url=service.base_url, on_trace=telemetry.listener, **options
    )


@tool
async def weather(city: str) -> dict[str, str]:
    """Tell the weather of a city.

    Args:
        city: Its name.
    """
    return {"weather": f"rain in {city}"}


@pytest.mark.parametrize("streaming", [True, False])
async def test_turns_are_under_the_span_that_is_current(
    streaming: bool, telemetry: Telemetry
) -> None:
    tracer = telemetry.tracers.get_tracer("agent")
    async with Simulator(echo()) as service:
        model = model_of(service, telemetry, streaming=streaming, label="front desk")
        async with talk(model) as call:
            with job_of(MEETING), tracer.start_as_current_span("one"):
                await call.say("hello")
            with tracer.start_as_current_span("two"):
                await call.say("again")
        await model.aclose()
    one, two = telemetry.turns
    assert is_child(one, telemetry.named("one")[0])
    assert is_child(two, telemetry.named("two")[0])
    known = attributes_of(one)
    assert known["rtllm.call.label"] == "front desk"
    assert known["rtllm.call.room"] == "abcd-efgh"
    assert known["rtllm.call.session"] == known["gen_ai.conversation.id"] == "6650f"


async def test_turns_on_the_voice_path_are_under_the_span_of_their_task(
    telemetry: Telemetry,
) -> None:
    tracer = telemetry.tracers.get_tracer("agent")
    replies = fixed(Reply((Call("weather", {"city": "Rome"}),)), "Rain.")
    async with Simulator(replies) as service:
        model = model_of(service, telemetry, streaming=True)
        async with talk(model, Plain(tools=[weather])) as call:
            with tracer.start_as_current_span("heard"):
                await call.turn("Which weather?")
        await model.aclose()
    first, second = telemetry.turns
    heard = telemetry.named("heard")[0]
    assert is_child(first, heard)
    assert is_child(second, heard)
    assert "rtllm.tool_call" in events_of(first)
    assert "Rome" not in everything(telemetry)


async def test_turns_can_be_under_videosdks_own_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """VideoSDK makes none current, and keeps the one of the call's turns in its metrics."""

    def of_call() -> Context | None:
        flow = metrics_collector.traces_flow_manager
        span = flow.main_turn_span if flow is not None else None
        return trace.set_span_in_context(span) if span is not None else None

    telemetry = Telemetry({"parent": of_call})
    flow = TracesFlowManager("abcd-efgh")
    flow.main_turn_span = telemetry.tracers.get_tracer("videosdk").start_span("User & Agent Turns")
    async with Simulator(echo()) as service:
        model = model_of(service, telemetry, streaming=True)
        async with talk(model) as call:
            await call.say("before the meeting is joined")
            monkeypatch.setattr(metrics_collector, "traces_flow_manager", flow)
            await call.say("hello")
            monkeypatch.undo()
        await model.aclose()
    flow.main_turn_span.end()
    before, after = telemetry.turns
    assert before.parent is None
    assert is_child(after, telemetry.named("User & Agent Turns")[0])


async def test_a_barge_in_is_a_cancelled_turn(telemetry: Telemetry) -> None:
    async with Simulator(echo(), fault=only(0, Dribble(0.1, 5))) as service:
        model = model_of(service, telemetry, streaming=True)
        async with talk(model) as call:
            await call.hear("A long story, please, and do not stop before it is over")
            await until(lambda: call.pipeline.orchestrator._partial_response)
            await call.barge_in()
            await call.turn("Stop")
            await until(lambda: len(telemetry.turns) == 2)
            usage = model.usage
        await model.aclose()
    cancelled, completed = telemetry.turns
    assert attributes_of(cancelled)["rtllm.outcome"] == "cancelled"
    assert attributes_of(cancelled)["gen_ai.usage.input_tokens"] == usage.cancelled.input
    assert attributes_of(completed)["rtllm.outcome"] == "completed"


async def test_a_failed_turn_has_the_type_of_its_error(telemetry: Telemetry) -> None:
    down = only(0, ErrorFrame(code="insufficient_quota", status=429))
    async with Simulator(echo(), fault=down) as service:
        model = model_of(service, telemetry, streaming=True)
        async with talk(model) as call:
            await asyncio.gather(await call.hear("hello"), return_exceptions=True)
        await model.aclose()
    (turn,) = telemetry.turns
    assert turn.status.status_code is StatusCode.ERROR
    (attempt,) = telemetry.attempts_of(turn)
    assert attributes_of(attempt)["error.type"] == "insufficient_quota"
