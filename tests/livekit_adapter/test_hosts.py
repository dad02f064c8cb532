"""Hosts as they are, in a session: what they hang on calls, refuse, and only pretend to keep."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.agents import Agent, function_tool, llm
from livekit.agents.utils import http_context

from livekit_adapter.sessions import said_in, session_of
from rtllm.simulator import Simulator
from rtllm_livekit import LLM, ChatLLM
from support.hosts import calls_once
from support.waiting import until


@function_tool
async def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


def chat_of(service: Simulator, **options: Any) -> ChatLLM:
    return ChatLLM(model="some-model", api_key="key", base_url=service.base_url, **options)


@pytest.mark.parametrize("manner", ["signs calls", "thinks beside calls"])
async def test_what_a_host_hangs_on_a_call_goes_back_also_in_another_process(manner: str) -> None:
    async with http_context.open(), Simulator(calls_once, manners=[manner], strict=False) as host:
        first = chat_of(host)
        async with session_of(first, Agent(instructions="Be kind.", tools=[weather])) as session:
            await session.run(user_input="Weather in Rome?")
            assert said_in(session)[-1] == ("assistant", "It is sunny.")
            kept = session.history.to_dict()
        await first.aclose()
        second = chat_of(host)
        before = len(host.journal.entries)
        again = await second.chat(chat_ctx=llm.ChatContext.from_dict(kept)).collect()
        assert again.text == "It is sunny."
        assert len(host.journal.entries) == before + 1
        await second.aclose()


async def test_instructions_of_a_reply_are_said_where_system_comes_first_alone() -> None:
    async with http_context.open(), Simulator(manners=["one leading system"], strict=False) as host:
        model = chat_of(host)
        async with session_of(model, Agent(instructions="Be kind.")) as session:
            await session.run(user_input="Hello")
            await session.generate_reply(instructions="Ask whether the caller is there.")
            assert "Ask whether" in str(host.journal.entries[-1].body)
            assert host.journal.entries[-1].body["messages"][0]["role"] == "system"
        await model.aclose()


async def test_a_host_that_ignores_a_parent_is_asked_whole() -> None:
    async with http_context.open(), Simulator(manners=["ignores parents"]) as host:
        model = LLM(api_key="key", base_url=host.base_url, use_websocket=False)
        async with session_of(model, Agent(instructions="Be kind.")) as session:
            for text in ("one", "two", "three"):
                await session.run(user_input=text)
        said = [text for role, text in host.journal.entries[-1].texts() if role == "user"]
        assert said == ["one", "two", "three"]
        assert len(host.journal.entries) == 4
        await model.aclose()


async def test_a_cut_answers_tokens_reach_livekits_metrics_at_its_end() -> None:
    async with http_context.open(), Simulator("one two three four", per_delta=0.05) as host:
        model = LLM(api_key="key", base_url=host.base_url, lanes=True)
        metrics: list[Any] = []
        model.on("metrics_collected", metrics.append)
        context = llm.ChatContext.empty()
        context.add_message(role="user", content="Count.")
        async with model.chat(chat_ctx=context) as stream:
            async for chunk in stream:
                if chunk.delta and chunk.delta.content:
                    break
        await host.journal.wait(lambda journal: journal.entries[0].usage)
        await until(lambda: sum(m.completion_tokens for m in metrics))
        assert [m.cancelled for m in metrics][-1]
        await model.aclose()
