"""What calls cost, and how they use the prompt cache, through LiveKit's calls."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from livekit_adapter.requests import context, turn
from livekit_adapter.stage import stage
from rtllm import ModelPrices, Prices
from rtllm.simulator import Simulator, fixed
from rtllm.usage import export_turn, export_usage
from rtllm_livekit import ChatLLM

PROMPT = "You are a friendly receptionist, and it is Monday. " * 130
PRICES = Prices({"gpt-4.1": ModelPrices(Decimal(2), Decimal(8), Decimal("0.5"))})
CACHE: dict[str, Any] = {"cache_minimum": 1024}


async def test_costs_and_cache_reports_of_a_conversation() -> None:
    options: dict[str, Any] = {"prices": PRICES, "cache_report": "texts"}
    async with stage(fixed("Yes."), simulator=CACHE, **options) as st:
        ctx = context(("system", PROMPT))
        await turn(st, ctx, "Hello")
        await turn(st, ctx, "And?")
        system: Any = ctx.items[0]
        system.content = [PROMPT.replace("Monday", "Tuesday", 1)]
        await turn(st, ctx, "Fine")
        used = [entry.usage or {} for entry in st.entries]
        expected = sum(
            (one["input_tokens"] - (cached := one["input_tokens_details"]["cached_tokens"])) * 2
            + cached * Decimal("0.5")
            + one["output_tokens"] * 8
            for one in used
        )
        assert st.llm.usage.cost.amount == expected / 10**6
        assert st.llm.usage.cost.saved > 0
        first, second, third = st.reports
        assert second.cache is not None
        assert (second.cache.breaks, second.cache.missed) == ((), 0)
        assert third.cache is not None
        assert str(third.cache).startswith("instructions changed at character 44 of")
        assert "Tuesday" in str(third.cache)
        record = export_usage(st.llm.usage)
        assert record.cost.amount == sum(export_turn(r).cost.amount or 0 for r in st.reports)
        assert first.cost.amount == export_turn(first).cost.amount
        exported = export_turn(third).cache
        assert exported is not None
        assert exported.missed == third.cache.missed
        assert (exported.missed or 0) > 1024
        assert exported.breaks == tuple(map(str, third.cache.breaks))
        assert [cost.amount for cost in first.attempt_costs] == [first.cost.amount]


async def test_a_chained_call_has_the_input_tokens_of_its_contexts_and_no_more() -> None:
    """The stock plugin sends each answer again that the service already has in its chain."""
    counted = {}
    for stock, store in ((False, True), (False, False), (True, True), (True, False)):
        answers = fixed("One answer.", "Another one.", "A third.")
        async with stage(answers, stock=stock, store=store) as st:
            ctx = context(("system", "Be kind."))
            for text in ("Hello", "And?", "Fine", "Bye"):
                await turn(st, ctx, text)
            counted[stock, store] = [(entry.usage or {})["input_tokens"] for entry in st.entries]
    in_full = counted[True, False]
    assert counted[False, True] == counted[False, False] == in_full
    assert sum(counted[True, True]) > sum(in_full)


async def test_chat_completions_have_them_too() -> None:
    reports: list[Any] = []
    async with Simulator(fixed("Yes."), **CACHE) as service:
        model = ChatLLM(
            api_key="k",
            base_url=service.base_url,
            prices=PRICES,
            cache_report=True,
            on_turn=reports.append,
        )
        for effort in (None, "Again"):
            ctx = context(("system", PROMPT), ("user", effort or "Hello"))
            await model.chat(chat_ctx=ctx).collect()
        await model.aclose()
        used = service.journal.entries[-1].usage or {}
    assert used["prompt_tokens_details"]["cached_tokens"] > 1024
    assert reports[1].cache.read == used["prompt_tokens_details"]["cached_tokens"]
    assert model.usage.cost.amount == sum(report.cost.amount for report in reports)


@pytest.mark.parametrize("changed", ["prices", "cache_report"])
async def test_they_are_set_by_the_constructor_only(changed: str) -> None:
    async with stage(fixed("Yes.")) as st:
        with pytest.raises(ValueError, match=changed):
            st.llm.update_options(**{changed: None})
