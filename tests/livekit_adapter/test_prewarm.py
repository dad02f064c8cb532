"""`prewarm` with instructions: the service processes them before the first turn."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from livekit.agents import Agent, function_tool

from livekit_adapter.sessions import said_in, session_of
from livekit_adapter.stage import stage
from rtllm.simulator import echo
from support.oracle import is_chained


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("lanes", ["on", "off"])
async def test_the_first_turn_goes_on_from_the_prepared_instructions(
    lanes: Any, store: bool
) -> None:
    async with stage(echo(), lanes=lanes, store=store) as st:
        agent = Agent(instructions="Be kind.", tools=[get_weather])
        st.llm.prewarm(instructions="Be kind.", tools=[get_weather])
        await st.service.journal.wait(lambda j: j.entries and j.entries[0].outcome == "completed")
        async with session_of(st.llm, agent) as session:
            await session.run(user_input="Hello")
            await session.run(user_input="Thanks")
        warm_up, *turns = st.service.journal.entries
        assert warm_up.body["generate"] is False
        assert [is_chained(entry) for entry in turns] == [True, True]
        assert turns[0].texts() == [("system", "Be kind."), ("user", "Hello")]
        assert st.llm.usage.warm_up.attempts == 1


async def test_a_warm_up_that_fails_costs_the_first_turn_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage(echo(), model="unknown-9", simulator={"models": ["gpt-4.1"]}) as st:
        with caplog.at_level(logging.WARNING):
            st.llm.prewarm(instructions="Be kind.")
            await st.service.journal.wait(lambda j: j.refused)
        st.llm.update_options(model="gpt-4.1")
        async with session_of(st.llm, Agent(instructions="Be kind.")) as session:
            await session.run(user_input="Hello")
            assert said_in(session)[-1] == ("assistant", "You said: Hello")
        assert "could not be warmed up" in caplog.text


async def test_over_http_there_is_nothing_to_prepare() -> None:
    async with stage(echo(), use_websocket=False) as st:
        st.llm.prewarm(instructions="Be kind.")
        async with session_of(st.llm, Agent(instructions="Be kind.")) as session:
            await session.run(user_input="Hello")
        assert len(st.service.journal.entries) == 1
