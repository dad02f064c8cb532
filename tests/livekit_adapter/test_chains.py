"""What a session may do without losing its chain, and what its chain may not hold."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.agents import Agent, function_tool

from livekit_adapter.requests import TWICE_MORE, answer, hello, turn
from livekit_adapter.sessions import said_in, session_of
from livekit_adapter.stage import stage
from rtllm.simulator import (
    Call,
    Reasoning,
    Reply,
    Text,
    echo,
    fixed,
    overloaded,
    rate_limited,
)
from support.oracle import is_chained


@pytest.mark.parametrize("text", [" Hello there.", "Hello there.\n", "\n\nHello  there. "])
async def test_blanks_around_an_answer_dont_cost_the_chain(text: str) -> None:
    async with stage(fixed(text, "Second.", "Third.")) as st:
        async with session_of(st.llm, Agent(instructions="Be kind.")) as session:
            for word in ("One", "Two", "Three"):
                await session.run(user_input=word)
        await st.check()
        assert [is_chained(e) for e in st.entries] == [False, True, True]


async def test_phases_and_reasoning_ride_along_in_a_session(host: Any) -> None:
    @function_tool
    async def look() -> str:
        """Look."""
        return "seen"

    script = fixed(
        Reply.of(Reasoning("hm"), Text("Looking.", phase="commentary"), Call("look")),
        Reply.of(Reasoning("aha"), Text("There it is.", phase="final_answer")),
        Reply.of(Text("Bye.", phase="final_answer")),
    )
    async with stage(script, model="gpt-5.3-codex", **host) as st:
        async with session_of(st.llm, Agent(instructions="Be kind.", tools=[look])) as session:
            await session.run(user_input="Look")
            await session.run(user_input="Thanks")
        await st.check()
        assert [is_chained(e) for e in st.entries] == [False, True, True]


@pytest.mark.parametrize("fault", [rate_limited(), overloaded()], ids=["429", "503"])
async def test_a_busy_service_is_asked_again_with_the_same_small_delta(
    fault: Any, host: Any
) -> None:
    async with stage(echo(), **host) as st:
        ctx = hello("One")
        await turn(st, ctx)
        st.service.fault = [fault]
        await turn(st, ctx, "Two", conn_options=TWICE_MORE)
        first = st.entries[0].response_id
        assert [e.previous_response_id for e in st.entries] == [None, first, first]
        assert [len(e.input) for e in st.entries[1:]] == [1, 1]
        await st.check(refused=1)


async def test_another_model_for_one_call_leaves_the_chain_alone(host: Any) -> None:
    async with stage(echo(), **host) as st:
        ctx = hello("One")
        await turn(st, ctx)
        side = ctx.copy()
        side.add_message(role="user", content="Judge")
        await answer(st, side, extra_kwargs={"model": "gpt-4o"})
        await turn(st, ctx, "Two")
        assert [is_chained(e) for e in st.entries] == [False, False, True]
        assert st.entries[1].body["model"] == "gpt-4o"
        await st.check()


async def test_tools_that_are_taken_away_take_their_calls_with_them(any_host: Any) -> None:
    @function_tool
    async def old() -> str:
        """Be old."""
        return "old"

    @function_tool
    async def new() -> str:
        """Be new."""
        return "new"

    script = fixed(Reply.of(Call("old")), "First.", Reply.of(Call("new")), "Second.", "Third.")
    async with stage(script, **any_host) as st:
        agent = Agent(instructions="Be kind.", tools=[old])
        async with session_of(st.llm, agent) as session:
            await session.run(user_input="One")
            await agent.update_tools([new])
            await session.run(user_input="Two")
            await session.run(user_input="Three")
        await st.check()
        assert [t["name"] for t in st.entries[-1].body["tools"]] == ["new"]


async def test_words_after_a_call_in_one_answer_are_recorded_before_it(any_host: Any) -> None:
    @function_tool
    async def book() -> str:
        """Book."""
        return "booked"

    script = fixed(Reply.of(Call("book"), "One moment."), "Done.", "Bye.")
    async with stage(script, **any_host) as st:
        async with session_of(st.llm, Agent(instructions="Be kind.", tools=[book])) as session:
            await session.run(user_input="Book")
            await session.run(user_input="Thanks")
            assert said_in(session)[-1] == ("assistant", "Bye.")
        await st.check()


async def test_a_raw_tool_that_cannot_be_encoded_is_named_once_and_the_others_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @function_tool(raw_schema={"name": "odd", "description": "", "parameters": {"x": object()}})
    async def odd(raw_arguments: dict[str, object]) -> str:
        return ""

    @function_tool
    async def even(n: int) -> str:
        """Say something even."""
        return str(n)

    async with stage(echo()) as st:
        for _ in range(2):
            await answer(st, hello(), tools=[odd, even])
        assert [tool["name"] for tool in st.entries[-1].body["tools"]] == ["even"]
        told = [r for r in caplog.records if "'odd'" in r.getMessage()]
        assert len(told) == 1


async def test_a_session_records_each_responses_own_mark_with_its_message_and_calls() -> None:
    @function_tool
    async def look() -> str:
        """Look."""
        return "seen"

    script = fixed(Reply.of(Text("Looking.", phase="commentary"), Call("look")), "There it is.")
    agent = Agent(instructions="Be kind.", tools=[look])
    async with stage(script, model="gpt-5.3-codex") as st, session_of(st.llm, agent) as session:
        await session.run(user_input="Look!")
        recorded = session.history.items
    said = [i.extra for i in recorded if i.type == "message" and i.role == "assistant"]
    (called,) = [i.extra for i in recorded if i.type == "function_call"]
    first, second = (extra["rtllm"]["mark"] for extra in said)
    assert first != second
    assert called["rtllm"]["mark"] == first
    assert said[0]["openai"] == {"phase": "commentary"}, "what else is carried there stays"
