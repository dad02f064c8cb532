"""The stock LiveKit plugin as a client, by itself and in a session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, llm
from livekit.agents.utils import http_context
from livekit.agents.voice.run_result import RunResult
from livekit.plugins.openai import responses

from rtllm.simulator import Call, Reply, Simulator, calls_on_demand, fixed
from simulator.replies import get_weather


@asynccontextmanager
async def stock(service: Simulator, **options: Any) -> AsyncIterator[responses.LLM]:
    async with http_context.open():
        model = responses.LLM(api_key="k", base_url=service.websocket_url, **options)
        try:
            yield model
        finally:
            await model.aclose()


async def answer(
    model: responses.LLM, context: llm.ChatContext, tools: list[llm.Tool]
) -> llm.CollectedResponse:
    return await model.chat(chat_ctx=context, tools=tools).collect()


@pytest.mark.parametrize("name", ["gpt-4.1", "gpt-5.1", "gpt-5-mini", "gpt-5.6-luna"])
async def test_the_stock_plugin_has_a_tool_called_and_answered(name: str) -> None:
    async with Simulator(calls_on_demand()) as service, stock(service, model=name) as model:
        context = llm.ChatContext.empty()
        context.add_message(role="system", content="You are a weather service.")
        context.add_message(role="user", content='call get_weather {"city":"Paris","days":null}')
        first = await answer(model, context, [get_weather])
        [call] = first.tool_calls
        context.items += [
            llm.FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments),
            llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output="rain", is_error=False
            ),
        ]
        second = await answer(model, context, [get_weather])
        assert second.text == "The tools said: rain"
        context.add_message(role="assistant", content=second.text)
        context.add_message(role="user", content="Thank you.")
        third = await answer(model, context, [get_weather])
        assert third.text == "You said: Thank you."
        assert third.usage is not None
        assert third.usage.prompt_cached_tokens > 0
        assert [entry.outcome for entry in service.journal.entries] == ["completed"] * 3
        assert service.journal.connections[0].query == {"model": name}


async def test_the_stock_plugin_serves_a_session_in_text_mode() -> None:
    script = fixed(
        "Hello, which city?",
        # The arguments are strict, so the model gives every property.
        Reply.of(Call("get_weather", {"city": "Paris", "days": None})),
        "It rains in Paris.",
        "Goodbye.",
    )
    async with Simulator(script) as service, stock(service, model="gpt-4.1") as model:
        async with AgentSession(llm=model, vad=None) as session:
            await session.start(Agent(instructions="Be a weather service.", tools=[get_weather]))
            await session.run(user_input="Hello")
            second: RunResult[None] = await session.run(user_input="Paris, please")
            second.expect.next_event().is_function_call(name="get_weather")
            second.expect.next_event().is_function_call_output(output="rain in Paris")
            second.expect.next_event().is_message(role="assistant")
            await session.run(user_input="Bye")
        said = [item.text_content for item in session.history.items if item.type == "message"]
        assert said[1::2] == ["Hello, which city?", "It rains in Paris.", "Goodbye."]
        assert service.journal.refused == []
