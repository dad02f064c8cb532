"""What calls cost, and how they use the prompt cache, through VideoSDK's calls."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from videosdk.agents import ChatRole

from rtllm import ModelPrices, Prices
from rtllm.simulator import fixed
from rtllm.usage import export_usage
from support.waiting import until
from videosdk_adapter.requests import chunks_of, context, text_of
from videosdk_adapter.stage import stage

PROMPT = "You are a friendly receptionist, and it is Monday. " * 130
PRICES = Prices({"*": ModelPrices(Decimal(2), Decimal(8), Decimal("0.5"))})


@pytest.mark.parametrize("streaming", [True, False])
async def test_costs_and_cache_reports_of_a_conversation(streaming: bool) -> None:
    options: dict[str, Any] = {"prices": PRICES, "cache_report": True, "streaming": streaming}
    async with stage(fixed("Yes."), simulator={"cache_minimum": 1024}, **options) as st:
        ctx = context(("system", PROMPT))
        for number, text in enumerate(("Hello", "And?", "Fine")):
            if number == 2:
                ctx.items[0].content = [PROMPT.replace("Monday", "Tuesday", 1)]
            ctx.add_message(role=ChatRole.USER, content=text)
            chunks, error = await chunks_of(st.llm, ctx)
            assert error is None
            ctx.add_message(role=ChatRole.ASSISTANT, content=text_of(chunks))
        await until(lambda: st.llm.usage.all.attempts == 3)
        assert st.llm.usage.cost.amount == sum(r.cost.amount or 0 for r in st.reports) > 0
        assert st.llm.usage.cost.saved > 0
        assert export_usage(st.llm.usage).cost.amount == st.llm.usage.cost.amount
        second, third = st.reports[1:]
        assert second.cache is not None
        assert second.cache.breaks == ()
        assert str(third.cache).startswith("instructions changed at character 44 of")
        assert "Tuesday" not in str(third.cache)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_draft_that_was_thrown_away_is_counted_apart(streaming: bool) -> None:
    """VideoSDK removes the words that it asked with, and asks again with those that were meant."""
    async with stage(fixed("Yes, of course."), streaming=streaming) as st:
        ctx = context(("system", "Be kind."), ("user", "Hello"))
        chunks, _ = await chunks_of(st.llm, ctx)
        ctx.add_message(role=ChatRole.ASSISTANT, content=text_of(chunks))
        for text in ("A table for you", "A table for two"):
            if text != "A table for you":
                ctx.items.remove(ctx.items[-1])
            ctx.add_message(role=ChatRole.USER, content=text)
            await chunks_of(st.llm, ctx)
        assert (st.llm.usage.draft.attempts, st.llm.usage.answered.attempts) == (1, 2)
