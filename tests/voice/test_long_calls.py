"""Calls that are long, expressive, or not alone; and what the stock plugin makes of a barge-in."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from livekit.agents import Agent

from livekit_adapter.stage import stage
from rtllm.simulator import Request
from rtllm_livekit.testing import FakeTTS, PhoneCall
from voice.line import PROMPT, Line, answer_of, line, numbered


@pytest.mark.parametrize(
    "a_host",
    [
        {"lanes": "on"},
        {"lanes": "on", "store": False},
        {"lanes": "off", "store": False},
    ],
    ids=str,
)
async def test_a_hundred_turns_with_a_barge_in_every_third(a_host: dict[str, Any]) -> None:
    async with line(a_host) as on:
        for number in range(100):
            await on.call.caller_says(f"Story number {number} please.")
            if number % 3 == 2:
                await on.call.agent_says(1 + number % 7)
                await on.call.caller_says(f"Not number {number}, another.")
            await on.call.quiet()
        heard = on.call.heard
        assert len(heard) == 133
        assert sum(h.interrupted for h in heard) == 33
        assert len([1 for role, _ in on.contexts[-1] if role == "user"]) == 133
        if a_host["lanes"] == "on":
            assert all(on.chained[1:])
            assert max(len(e.input) for e in on.stage.entries[1:]) <= 3


# -- expressive --------------------------------------------------------------------------------


def _feelingly(request: Request) -> str:
    """Answer with markup, if that was asked for."""
    if "expr" not in (request.instructions or ""):
        return answer_of(request.index)
    words = answer_of(request.index).split()
    return f'<expr type="expression" label="happy"/> {" ".join(words[:5])}. {" ".join(words[5:])}.'


@pytest.mark.parametrize("transcript", ["exact", "estimated"])
async def test_expressive_mode_keeps_its_markup_and_its_chain(
    any_host: Any, transcript: Literal["exact", "estimated"]
) -> None:
    async with line(
        any_host,
        _feelingly,
        tts=FakeTTS(streaming=False, dialect="cartesia"),
        expressive=True,
        transcript=transcript,
        checked=transcript == "exact",
    ) as on:
        for _ in range(2):
            await on.call.caller_says("Tell me a story.")
            await on.call.quiet()
        await on.call.caller_says("Tell me another one.")
        await on.call.agent_says(3)
        await on.call.caller_says("No, not that one.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert all("expr" in (e.instructions or "") for e in on.stage.entries)
        answers = [text for role, text in on.contexts[-1] if role == "assistant"]
        assert len(answers) == 4
        assert all(text.startswith("<expr") for text in answers)
        assert "<" not in str([heard.text for heard in on.call.heard])
        assert on.chained[-1]
    await on.stage.check()


async def test_markup_is_gone_from_the_history_when_expressive_mode_is_off(any_host: Any) -> None:
    async with line(
        any_host,
        _feelingly,
        tts=FakeTTS(streaming=False, dialect="cartesia"),
        expressive=True,
    ) as on:
        for _ in range(2):
            await on.call.caller_says("Tell me a story.")
            await on.call.quiet()
        on.call.session.update_options(expressive=False)
        for _ in range(3):
            await on.call.caller_says("Tell me a story.")
            await on.call.quiet()
        assert on.stage.entries[-1].instructions in (None, PROMPT)
        assert "<expr" not in str(on.contexts[-1][:4])
        assert on.chained[-1]


# -- several calls -------------------------------------------------------------------------------


async def test_calls_at_the_same_time_know_nothing_of_each_other(any_host: Any) -> None:
    async with stage(numbered(), **any_host) as st:

        async def caller(number: int) -> Line:
            async with PhoneCall(Agent(instructions=PROMPT), llm=st.llm) as call:
                for turn in range(4):
                    await call.caller_says(f"Caller {number} turn {turn} here.")
                    if turn % 2:
                        await call.agent_says(2 + number)
                        await call.caller_says(f"Caller {number} again {turn} here.")
                    await call.quiet()
            return Line(st, call)

        lines = await asyncio.gather(*(caller(number) for number in range(3)))
        refused = 3 if any_host["lanes"] == "refuse" else None  # each may try once, at once
        await st.check(connections=None, refused=refused)
        for number, on in enumerate(lines):
            told = [str(c) for c in on.contexts if f"Caller {number}" in str(c)]
            others = {f"Caller {other}" for other in range(3)} - {f"Caller {number}"}
            assert len(told) == 6
            assert not any(other in text for text in told for other in others)


# -- the stock plugin ----------------------------------------------------------------------------


async def test_the_stock_plugin_tells_the_model_what_was_not_heard() -> None:
    async with line({"lanes": "ignore"}, stock=True, checked=False) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(3)
        await on.call.caller_says("No, another one please.")
        await on.call.quiet()
    assert on.call.heard[0].interrupted
    assert on.told_unheard() > {"w0x9"}
    with pytest.raises(AssertionError):
        on.check_heard()
    with pytest.raises(AssertionError):
        await on.stage.check(connections=None, refused=0)
