"""LiveKit's own metrics in real sessions: every field that they have, once for each token."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.agents import Agent, AgentSession, MetricsCollectedEvent, RunContext, function_tool
from livekit.agents.metrics import LLMMetrics
from livekit.agents.metrics.usage import LLMModelUsage

from livekit_adapter.sessions import session_of
from livekit_adapter.stage import stage
from rtllm.simulator import Call, Pause, Reply, Request, Text, calls_on_demand, echo
from support.waiting import until


@function_tool
async def weather(context: RunContext[Any], city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


def metrics_of(session: AgentSession[Any]) -> list[LLMMetrics]:
    """The metrics that the session emits from now on."""
    found: list[LLMMetrics] = []

    def note(event: MetricsCollectedEvent) -> None:
        if isinstance(event.metrics, LLMMetrics):
            found.append(event.metrics)

    session.on("metrics_collected", note)
    return found


def usage_of(session: AgentSession[Any]) -> LLMModelUsage:
    (usage,) = [one for one in session.usage.model_usage if isinstance(one, LLMModelUsage)]
    return usage


async def test_a_turn_has_every_field() -> None:
    words = "A long system prompt, which the service keeps in its cache. " * 150
    async with (
        stage(echo()) as st,
        session_of(st.llm, Agent(instructions=words)) as session,
    ):
        metrics = metrics_of(session)
        for text in ("One", "Two"):
            await session.run(user_input=text)
        first, second = metrics
        for one, entry in zip(metrics, st.entries, strict=True):
            used: Any = entry.usage
            assert one.request_id == entry.response_id
            assert one.prompt_tokens == used["input_tokens"]
            assert one.completion_tokens == used["output_tokens"]
            assert one.total_tokens == used["total_tokens"]
            assert one.prompt_cached_tokens == used["input_tokens_details"]["cached_tokens"]
            assert 0 <= one.ttft <= one.duration
            assert not one.cancelled
            assert one.speech_id is not None
            assert one.metadata is not None
            assert (one.metadata.model_name, one.metadata.model_provider) == (
                st.llm.model,
                st.llm.provider,
            )
        assert second.prompt_cached_tokens > 0
        assert first.speech_id != second.speech_id
        usage = usage_of(session)
        assert usage.input_tokens == st.llm.usage.all.input
        assert usage.input_cached_tokens == st.llm.usage.all.cached
        assert usage.output_tokens == st.llm.usage.all.output


async def test_each_request_of_a_turn_with_tools_is_metered() -> None:
    agent = Agent(instructions="Be kind.", tools=[weather])
    async with stage(calls_on_demand()) as st, session_of(st.llm, agent) as session:
        metrics = metrics_of(session)
        await session.run(user_input='call weather {"city":"Paris"}')
        assert [one.request_id for one in metrics] == [e.response_id for e in st.entries]
        assert len({one.speech_id for one in metrics}) == 1
        assert usage_of(session).output_tokens == st.llm.usage.all.output


async def test_a_cut_answers_tokens_have_its_speech_and_its_response() -> None:
    go_on = asyncio.Event()

    def script(request: Request) -> Reply | str:
        if request.last_user_text != "Count":
            return f"You said: {request.last_user_text}"
        return Reply.of(Text(pieces=("One, ", "two, ", Pause(go_on), "three, ", "four.")))

    async with stage(script) as st, session_of(st.llm, Agent(instructions="Hm.")) as session:
        metrics = metrics_of(session)
        speech = session.generate_reply(user_input="Count")
        await until(lambda: st.entries and st.entries[0].deltas >= 2)
        await until(lambda: session.agent_state == "speaking")
        await session.interrupt()
        await speech
        await session.run(user_input="Stop")
        go_on.set()
        await until(lambda: st.llm.usage.cancelled.output)
        await until(lambda: [one for one in metrics if one.cancelled and one.total_tokens])
        (late,) = [one for one in metrics if one.cancelled and one.total_tokens]
        assert late.speech_id == speech.id
        assert late.request_id == st.entries[0].response_id
        assert late.completion_tokens == st.llm.usage.cancelled.output
        assert late.tokens_per_second > 0
        usage = usage_of(session)
        assert usage.input_tokens == st.llm.usage.all.input
        assert usage.output_tokens == st.llm.usage.all.output


async def test_a_call_is_output_for_the_time_to_the_first_token() -> None:
    @function_tool
    async def nothing() -> None:
        """Do nothing."""

    agent = Agent(instructions="Be kind.", tools=[nothing])
    script = Reply.of(Call("nothing"))
    async with (
        stage(lambda request: "Done." if request.index else script) as st,
        session_of(st.llm, agent) as session,
    ):
        metrics = metrics_of(session)
        await session.run(user_input="Go")
        assert all(one.ttft >= 0 for one in metrics)
