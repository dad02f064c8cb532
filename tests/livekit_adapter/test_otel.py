"""OpenTelemetry in LiveKit's sessions: our spans are under LiveKit's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from livekit.agents import Agent, function_tool
from livekit.agents.telemetry import traces
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from livekit_adapter.jobs import job_of
from livekit_adapter.requests import ONCE, answer, chunks_of, hello, text_of
from livekit_adapter.sessions import said_in, session_of
from livekit_adapter.stage import stage
from rtllm.simulator import Call, Close, Dribble, ErrorFrame, Reply, echo, fixed, only
from support.otel import Telemetry, attributes_of, events_of, is_child

SORRY = "I am having trouble, please say that again."
DOWN = {"fault": only(0, ErrorFrame(code="insufficient_quota", status=429))}
LIVEKITS = ["llm_request_run", "llm_request"]
LONG = "A long story, please, and do not stop before it is over"


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """LiveKit's spans and ours in one place."""
    made = Telemetry()
    before = traces.tracer._tracer_provider
    traces.tracer.set_provider(made.tracers)
    yield made
    traces.tracer.set_provider(before)


def parent_of(telemetry: Telemetry, span: ReadableSpan) -> ReadableSpan:
    """The span that a span is a child of."""
    (found,) = [s for s in telemetry.exporter.get_finished_spans() if is_child(span, s)]
    return found


def above(telemetry: Telemetry, span: ReadableSpan) -> list[str]:
    """The names of the spans above a span."""
    names = []
    while span.parent is not None:
        span = parent_of(telemetry, span)
        names.append(span.name)
    return names


@function_tool
async def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


async def test_a_sessions_turns_are_under_livekits_requests(telemetry: Telemetry) -> None:
    replies = fixed(Reply((Call("weather", {"city": "Rome"}),)), "Rain.", "Bye.")
    agent = Agent(instructions="Be kind.", tools=[weather])
    async with (
        stage(replies, on_trace=telemetry.listener) as st,
        session_of(st.llm, agent) as session,
    ):
        await session.run(user_input="Which weather?")
        await session.run(user_input="Thanks")
        assert said_in(session)[-1] == ("assistant", "Bye.")
    assert len(telemetry.turns) == 3
    for turn in telemetry.turns:
        names = above(telemetry, turn)
        assert names[:3] == [*LIVEKITS, "llm_node"]
        assert "agent_session" in names
    assert "rtllm.tool_call" in events_of(telemetry.turns[0])
    # The connection was opened for the first turn, whose span is not the parent of the later ones.
    requests = {turn.parent.span_id for turn in telemetry.turns if turn.parent is not None}
    assert len(requests) == 3


async def test_a_barge_in_is_a_cancelled_turn_under_its_own_request(telemetry: Telemetry) -> None:
    slow = {"fault": only(0, Dribble(0.1, 5))}
    async with stage(echo(), simulator=slow, on_trace=telemetry.listener) as st:
        async with st.llm.chat(chat_ctx=hello(LONG), conn_options=ONCE) as stream:
            async for chunk in stream:
                if chunk.delta is not None and chunk.delta.content:
                    break
        await answer(st, hello("Stop"))
        while len(telemetry.turns) < 2:
            await asyncio.sleep(0.1)
        cancelled, second = telemetry.turns
        usage = st.llm.usage
    assert attributes_of(cancelled)["rtllm.outcome"] == "cancelled"
    assert attributes_of(cancelled)["gen_ai.usage.input_tokens"] == usage.cancelled.input
    assert above(telemetry, second) == LIVEKITS
    assert cancelled.parent is not None


async def test_a_failed_turn_is_an_error_even_if_a_text_is_spoken_instead(
    telemetry: Telemetry,
) -> None:
    async with stage(
        "Hello.", simulator=DOWN, failure_text=SORRY, on_trace=telemetry.listener
    ) as st:
        chunks, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert (text_of(chunks), error) == (SORRY, None)
    (turn,) = telemetry.turns
    assert turn.status.status_code is StatusCode.ERROR
    assert attributes_of(turn)["rtllm.outcome"] == "failed"
    known = attributes_of(turn)["error.type"]
    (point,) = telemetry.metrics()["gen_ai.client.inference.duration"].data.data_points
    assert point.attributes["error.type"] == known
    (attempt,) = telemetry.attempts_of(turn)
    assert attributes_of(attempt)["error.type"] == "insufficient_quota"
    assert above(telemetry, turn) == LIVEKITS


async def test_a_failed_turn_is_an_error_of_livekits_request_too(telemetry: Telemetry) -> None:
    async with stage("Hello.", simulator=DOWN, on_trace=telemetry.listener) as st:
        _, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert error is not None
    (turn,) = telemetry.turns
    assert turn.status.status_code is StatusCode.ERROR
    assert parent_of(telemetry, turn).status.status_code is StatusCode.ERROR


async def test_a_dropped_connection_is_two_attempts_of_one_turn(telemetry: Telemetry) -> None:
    dropped = {"fault": only(0, Close(phase="created"))}
    async with stage("Hello.", simulator=dropped, on_trace=telemetry.listener) as st:
        await answer(st, hello())
    (turn,) = telemetry.turns
    assert len(telemetry.attempts_of(turn)) == 2
    assert above(telemetry, turn) == LIVEKITS


async def test_a_turn_has_the_jobs_names(telemetry: Telemetry) -> None:
    async with (
        stage("Hello.", on_trace=telemetry.listener, label="front desk") as st,
        job_of(7),
    ):
        await answer(st, hello())
    known = attributes_of(telemetry.turns[0])
    assert known["rtllm.call.label"] == "front desk"
    assert known["rtllm.call.job"] == "job-7"
    assert known["rtllm.call.room"] == "room-7"
    assert known["rtllm.call.session"] == known["gen_ai.conversation.id"] == "RM_7"
