"""What the model sees is what the framework's context holds, and legal."""

from __future__ import annotations

from typing import Any

from rtllm.simulator import (
    echo,
)
from support.stock import both, finds_fault
from videosdk_adapter.scenes import Weather, both_ways, on_demand, say
from videosdk_adapter.stage import stage
from videosdk_adapter.talks import Plain, talk, tool

# -- contexts are normalized --------------------------------------------------------------------


@both
@both_ways
async def test_a_tool_that_raises_does_not_end_the_conversation(
    streaming: bool, stock: bool
) -> None:
    async with (
        stage(on_demand, streaming=streaming, stock=stock) as st,
        talk(st.llm, Weather().agent) as c,
    ):
        await say(c, "broken Paris")
        for text in ("still there", "and now"):
            error = await say(c, text)
            assert (error is None) is not stock
            assert (c.last == ("assistant", f"You said {text}.")) is not stock
        with finds_fault(stock):
            await st.check()


@both
async def test_words_between_a_call_and_its_output_are_put_after_both(stock: bool) -> None:
    agent: Any = None

    @tool
    async def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        await agent.session.say("Hold on.")
        return "fine"

    agent = Plain(tools=[weather])
    async with (
        stage(on_demand, streaming=False, stock=stock) as st,
        talk(st.llm, agent) as c,
    ):
        await say(c, "weather Paris")
        error = await say(c, "bye")
        assert (error is None) is not stock
        assert bool(st.service.journal.refused) is stock


# -- anchors by content -------------------------------------------------------------------------


@both
async def test_an_instruction_edited_in_place_counts(stock: bool) -> None:
    async with stage(echo(), store=True, stock=stock) as st, talk(st.llm) as c:
        await c.say("hello")
        c.context.items[0].content = ["Be a pirate."]
        await c.say("again")
        entry = st.entries[-1]
        seen = f"{entry.texts()} {entry.instructions}"
        assert ("Be a pirate." in seen) is not stock
        with finds_fault(stock):
            await st.check(whole=[1])


@both
async def test_what_the_agent_said_by_itself_is_in_the_chain(stock: bool) -> None:
    async with stage(echo(), store=True, stock=stock) as st, talk(st.llm) as c:
        await c.say("hello")
        await c.session.say("Your order has shipped.")
        await c.say("great")
        assert (("assistant", "Your order has shipped.") in st.entries[1].texts()) is not stock
        with finds_fault(stock):
            await st.check()


@both
async def test_at_constant_size_the_question_is_sent(stock: bool) -> None:
    async with stage(echo(), store=True, stock=stock) as st, talk(st.llm) as c:
        for number in range(5):
            c.context.truncate(max_items=4)
            await c.say(f"question {number}")
        seen = [entry.texts()[-1] for entry in st.entries]
        asked = [("user", f"question {number}") for number in range(5)]
        assert (seen == asked) is not stock


@both
async def test_one_callers_words_never_reach_another(stock: bool) -> None:
    async with stage(echo(), store=True, stock=stock) as st:
        alice, bob = Plain("You are Alice. The code is 1234."), Plain("You are Bob.")
        async with talk(st.llm, alice) as one, talk(st.llm, bob) as two:
            await one.say("hello")
            await two.say("what is the code")
            assert ("1234" in str(st.entries[-1].context)) is stock
