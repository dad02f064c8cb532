"""Drafts: answers that are asked for before the caller has finished."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.agents import Agent, llm

from livekit_adapter.stage import stage
from rtllm_livekit.testing import FakeSTT, PhoneCall
from support.waiting import until
from voice.line import PROMPT, answer_of, line, numbered


def _careless(text: str, kind: str) -> str:
    """A transcript that gets its capitals and points only in the end."""
    return text if kind == "final" else text.lower().replace(".", "").replace(",", "")


def _mistaken(text: str, kind: str) -> str:
    """A transcript of which one word turns out to be another."""
    return text if kind == "final" else text.replace("two", "you")


class Scribe(Agent):
    """An agent that corrects what the caller is said to have said."""

    async def on_user_turn_completed(
        self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
    ) -> None:
        text = new_message.text_content or ""
        new_message.content = [f"{text[0].upper()}{text[1:]}!"]


@pytest.mark.parametrize("thinks", [0.0, 1.0])
async def test_an_adopted_draft_goes_on_and_its_message_is_rewritten(
    any_host: Any, thinks: float
) -> None:
    # If the recogniser decides the turns, no draft is begun at the final transcript, so that of
    # the early one is adopted.
    async with line(
        any_host,
        stt=FakeSTT(preflight=0.1, final=0.3, hears=_careless),
        turn_handling={"turn_detection": "stt"},
        simulator={"time_to_first": thinks},
    ) as on:
        await on.call.caller_says("A table for two, please.")
        await on.call.quiet()
        assert [context[1:] for context in on.contexts] == [[("user", "a table for two please")]]
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert len(on.contexts) == 2
        assert on.contexts[-1][1] == ("user", "A table for two, please.")
        await on.call.caller_says("Goodbye then.")
        await on.call.quiet()
        assert on.contexts[-1][3] == ("user", "Thanks a lot.")


async def test_an_adopted_draft_whose_message_the_agent_rewrites(any_host: Any) -> None:
    async with line(any_host, agent=Scribe(instructions=PROMPT)) as on:
        await on.call.caller_says("a table for two please")
        await on.call.quiet()
        await on.call.caller_says("thanks a lot")
        await on.call.agent_says(3)
        await on.call.caller_says("goodbye")
        await on.call.quiet()
        users = [[text for role, text in context if role == "user"] for context in on.contexts]
        assert users == [
            ["a table for two please"],
            ["A table for two please!", "thanks a lot"],
            # Over an answer that isn't interrupted yet LiveKit begins no draft.
            ["A table for two please!", "Thanks a lot!", "Goodbye!"],
        ]


@pytest.mark.parametrize("thinks", [0.0, 0.1, 0.25, 2.0])
async def test_a_draft_of_mistaken_words_is_thrown_away(any_host: Any, thinks: float) -> None:
    ears = FakeSTT(preflight=0.1, final=0.3, hears=_mistaken)
    async with line(any_host, stt=ears, simulator={"time_to_first": thinks}) as on:
        await on.call.caller_says("A table for two, please.")
        await on.call.quiet()
        draft, meant = on.contexts
        assert draft[-1] == ("user", "A table for you, please.")
        assert meant[-1] == ("user", "A table for two, please.")
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert [heard.text for heard in on.call.heard] == [
            text for role, text in on.call.dialogue if role == "assistant"
        ]
        assert len(on.call.heard) == 2
        assert on.chained[-1]


async def test_drafts_that_are_thrown_away_are_counted_apart(any_host: Any) -> None:
    ears = FakeSTT(preflight=0.1, final=0.3, hears=_mistaken)
    async with line(any_host, stt=ears) as on:
        await on.call.caller_says("Good morning.")
        await on.call.quiet()
        await on.call.caller_says("A table for two, please.")
        await on.call.quiet()
        usage = on.stage.llm.usage
        assert (usage.draft.attempts, usage.answered.attempts) == (1, 2)
        used = [entry.usage for entry in on.stage.entries if entry.usage is not None]
        assert usage.all.input == sum(one["input_tokens"] for one in used)
        assert usage.draft.input == used[1]["input_tokens"]


@pytest.mark.parametrize("pace", [{}, {"per_delta": 0.5}])
async def test_a_draft_that_the_call_ends_with_is_counted_apart(
    any_host: Any, pace: dict[str, float]
) -> None:
    ears = FakeSTT(preflight=0.1, final=5.0)
    async with stage(numbered(), simulator=pace, **any_host) as st:
        async with PhoneCall(Agent(instructions=PROMPT), llm=st.llm, stt=ears) as call:
            await call.caller_says("A table for two, please.")
            await until(lambda: any(entry.deltas for entry in st.entries))
            if not pace:
                await until(lambda: st.llm.usage.answered.attempts)
        await until(lambda: st.llm.usage.draft.attempts)
        usage = st.llm.usage
        assert (usage.draft.attempts, usage.answered.attempts) == (1, 0)
        assert usage.cancelled.attempts == 0
        used = [entry.usage for entry in st.entries if entry.usage is not None]
        assert usage.draft.input == sum(one["input_tokens"] for one in used)


async def test_a_response_that_is_interrupted_is_not_a_draft(any_host: Any) -> None:
    async with line(any_host, stt=FakeSTT(preflight=0.1, final=0.3)) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(2)
        await on.call.caller_says("No, another one please.")
        await on.call.quiet()
        assert on.call.heard[0].interrupted
        assert on.stage.llm.usage.draft.attempts == 0


@pytest.mark.parametrize("pace", [{}, {"per_delta": 0.1}, {"time_to_first": 1.0}])
async def test_a_draft_is_thrown_away_when_the_caller_goes_on(
    any_host: Any, pace: dict[str, float]
) -> None:
    ears = FakeSTT(preflight=0.1, final=0.6)
    async with line(any_host, stt=ears, simulator=pace) as on:
        await on.call.caller_says("A table")
        await on.call.caller_says("for two", at=on.call.now + 0.25)
        await on.call.caller_says("please.", at=on.call.now + 0.25)
        await on.call.quiet()
        assert on.contexts[-1][-1] == ("user", "A table for two please.")
        assert len(on.contexts) == 3
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert len(on.call.heard) == 2
        assert on.chained[-1]


async def test_drafts_in_barge_ins(any_host: Any) -> None:
    ears = FakeSTT(preflight=0.1, final=0.3, hears=_mistaken)
    async with line(any_host, stt=ears, simulator={"per_delta": 0.05}) as on:
        await on.call.caller_says("A table for two, please.")
        for words in (2, 4, 3):
            await on.call.agent_says(words)
            await on.call.caller_says("No, for two, I said.")
            await on.call.until(lambda: not on.call.output.is_busy)
        await on.call.quiet()
        assert [heard.interrupted for heard in on.call.heard] == [True] * 3 + [False]


async def test_a_draft_that_is_also_spoken_beforehand(host: Any) -> None:
    async with line(
        host,
        stt=FakeSTT(preflight=0.1, final=0.3),
        turn_handling={"preemptive_generation": {"preemptive_tts": True}},
    ) as on:
        for _ in range(3):
            await on.call.caller_says("Tell me a story.")
            await on.call.quiet()
        assert [heard.text for heard in on.call.heard] == [answer_of(n) for n in range(3)]
        assert on.chained == [False, True, True]


async def test_without_drafts(any_host: Any) -> None:
    async with line(any_host, turn_handling={"preemptive_generation": {"enabled": False}}) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(3)
        await on.call.caller_says("No, another one please.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert on.chained[-1]
