"""Tools during a call: what they gave must reach the model, once, however the caller behaves."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from livekit.agents import Agent, RunContext, function_tool

from rtllm.simulator import Call, Reply, Request
from rtllm_livekit.testing import FakeSTT
from voice.line import PROMPT, answer_of, has_results, line


class Desk(Agent):
    """An agent whose tools take their time, and are counted."""

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__(instructions=PROMPT)
        self.seconds = seconds
        self.ran: Counter[str] = Counter()

    @function_tool
    async def book(self, table: int) -> str:
        """Book a table.

        Args:
            table: Which one.
        """
        self.ran["book"] += 1
        await asyncio.sleep(self.seconds)
        return f"table {table} is booked"

    @function_tool
    async def look_up(self, ctx: RunContext[Any]) -> str:
        """Look something up, and speak meanwhile."""
        self.ran["look_up"] += 1
        ctx.session.say("This takes a moment.")
        await asyncio.sleep(self.seconds)
        return "found"

    @function_tool
    async def hand_over(self) -> Agent:
        """Hand over to a colleague."""
        self.ran["hand_over"] += 1
        return Agent(instructions="You are the colleague.", chat_ctx=self.chat_ctx)


def books(*, words: int = 0, also: tuple[str, ...] = ()) -> Any:
    """Book when asked to; say some words before, and call other tools too."""

    def script(request: Request) -> Reply | str:
        answer = answer_of(request.index)
        if has_results(request) or "book" not in request.last_user_text:
            return answer
        said = [answer_of(request.index, words)] if words else []
        calls = [Call("book", {"table": request.index}), *(Call(name) for name in also)]
        return Reply.of(*said, *calls)

    return script


async def test_a_tool_is_called_and_its_result_spoken(any_host: Any) -> None:
    desk = Desk()
    async with line(any_host, books(words=4), agent=desk) as on:
        await on.call.caller_says("Please book a table.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert desk.ran == {"book": 1}
        assert any(r == "function_call_output" for r, _ in on.contexts[-1])
        assert on.chained[-2:] == [True, True]


@pytest.mark.parametrize("words", [0, 8])
async def test_a_barge_in_while_a_tool_runs(any_host: Any, words: int) -> None:
    desk = Desk(seconds=3.0)
    async with line(any_host, books(words=words), agent=desk) as on:
        await on.call.caller_says("Please book a table.")
        await on.call.until(lambda: desk.ran["book"])
        if words:
            await on.call.agent_says(2)
        await on.call.caller_says("Wait, is it quiet?")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert desk.ran == {"book": 1}
        calls = [text for role, text in on.contexts[-1] if role == "function_call"]
        outputs = [text for role, text in on.contexts[-1] if role == "function_call_output"]
        assert len(calls) == len(outputs) == 1
        assert "is booked" in outputs[0]


async def test_a_barge_in_into_the_words_before_a_tool_that_is_quick(any_host: Any) -> None:
    desk = Desk(seconds=0.1)
    async with line(any_host, books(words=10), agent=desk) as on:
        await on.call.caller_says("Please book a table.")
        await on.call.agent_says(3)
        await on.call.caller_says("Wait, is it quiet?")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert desk.ran == {"book": 1}
        assert "is booked" in str(on.contexts[-1])


async def test_a_barge_in_into_the_answer_after_a_tool(any_host: Any) -> None:
    desk = Desk(seconds=0.5)
    async with line(any_host, books(), agent=desk) as on:
        await on.call.caller_says("Please book a table.")
        await on.call.agent_says(3)
        await on.call.caller_says("Wait, is it quiet?")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert on.call.heard[0].interrupted
        assert desk.ran == {"book": 1}
        # The state with the call is still stored: only the cut answer was lost.
        assert on.chained == [False, True, on.keeps_older_states, True]


async def test_a_tool_that_outlasts_livekits_patience(any_host: Any) -> None:
    desk = Desk(seconds=12.0)
    async with line(any_host, books(words=4), agent=desk) as on:
        await on.call.caller_says("Please book a table.")
        await on.call.until(lambda: desk.ran["book"])
        await on.call.agent_says(2)
        await on.call.caller_says("Wait, is it quiet?")
        await on.call.quiet(settle=8.0)
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet(settle=4.0)
        assert desk.ran == {"book": 1}


async def test_a_tool_that_says_something_meanwhile(any_host: Any) -> None:
    def script(request: Request) -> Reply | str:
        if has_results(request) or "look" not in request.last_user_text:
            return answer_of(request.index)
        return Reply.of(Call("look_up"))

    desk = Desk(seconds=2.0)
    async with line(any_host, script, agent=desk) as on:
        await on.call.caller_says("Please look it up.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert "This takes a moment." in [heard.text for heard in on.call.heard]
        assert desk.ran == {"look_up": 1}


async def test_two_tools_of_which_the_answer_is_cut(any_host: Any) -> None:
    desk = Desk(seconds=0.7)
    async with line(any_host, books(also=("book",)), agent=desk) as on:
        await on.call.caller_says("Please book a table.")
        await on.call.agent_says(2)
        await on.call.caller_says("Wait, is it quiet?")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()


@pytest.mark.parametrize("thinks", [0.0, 0.6])
async def test_tools_of_a_draft_that_is_thrown_away_never_run(any_host: Any, thinks: float) -> None:
    def mistaken(text: str, kind: str) -> str:
        return text if kind == "final" else text.replace("seat", "book")

    desk = Desk(seconds=0.5)
    async with line(
        any_host,
        books(),
        agent=desk,
        stt=FakeSTT(preflight=0.1, final=0.4, hears=mistaken),
        simulator={"time_to_first": thinks},
    ) as on:
        await on.call.caller_says("Is there a seat?")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert desk.ran == {}
        assert "function_call" not in str(on.contexts)


async def test_the_colleague_knows_what_was_heard(any_host: Any) -> None:
    def script(request: Request) -> Reply | str:
        if has_results(request) or "colleague" not in request.last_user_text:
            return answer_of(request.index)
        return Reply.of(Call("hand_over"))

    desk = Desk()
    # The new agent's instructions replace the old one's: a resend is right.
    async with line(any_host, script, agent=desk, whole=range(9)) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(3)
        await on.call.caller_says("Rather give me a colleague.")
        await on.call.quiet()
        for _ in range(3):
            await on.call.caller_says("Tell me a story.")
            await on.call.agent_says(3)
            await on.call.caller_says("Enough of that one.")
            await on.call.quiet()
        assert desk.ran == {"hand_over": 1}
        assert ("assistant", on.call.heard[0].text) in on.contexts[-1]
        assert on.chained[-1] == on.keeps_older_states
