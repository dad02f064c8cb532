"""Summaries and judges during turns, and fallback adapters around the LLM, on both SDKs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents import llm
from videosdk.agents import FallbackLLM

from belonging.sessions.hall import PROMPT, hall_of


@pytest.mark.parametrize("count", [1, 2, 8])
async def test_a_summary_and_a_judge_next_to_a_turn(side: Any, host: str, count: int) -> None:
    async with hall_of(side, host) as hall:

        async def call(name: str) -> None:
            del name
            summary = side.opening(("system", "Sum up."), ("user", "They said hello."))
            judge = side.opening(("system", "Judge."), ("user", "They said hello."))
            async with hall.line() as line:
                await line.say("hello")
                await hall.together()
                await asyncio.gather(
                    line.say("look"), side.ask(hall, summary), side.ask(hall, judge)
                )
                await hall.together()
                await line.say("thanks")

        await hall.play(count, call)
        hall.check(whole=3, callers=count)


async def test_a_rebuilt_history_next_to_a_call_costs_it_nothing(side: Any, host: str) -> None:
    """A monitor asks with the words of a call under new ids; the call itself is chained on."""
    async with hall_of(side, host) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line() as line:
                for text in ("hello", "more"):
                    await line.say(text)
                said = [("system", PROMPT), *(p for p in line.history() if p[0] != "system")]
                await side.ask(hall, side.opening(*said, ("user", "How do they feel?")))
                await line.say("thanks")

        await hall.play(1, call)
        assert hall.crossings() == [], hall.story()
        assert hall.chained() == [False, True, False, True], hall.story()


async def test_inside_the_frameworks_fallback(side: Any, host: str, callers: int) -> None:
    async with hall_of(side, host) as hall, hall_of(side, host) as spare:

        async def call(name: str) -> None:
            del name
            models = [hall.llm, spare.llm]
            both: Any
            if isinstance(hall.llm, llm.LLM):
                both = llm.FallbackAdapter(models)
            else:
                both = FallbackLLM(models)
            async with hall.line(model=both) as line:
                for text in ("hello", "look", "thanks"):
                    await hall.together()
                    await line.say(text)

        await hall.play(callers, call)
        hall.check(callers=callers)
        assert spare.entries == []
