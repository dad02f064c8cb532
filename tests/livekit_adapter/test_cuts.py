"""Cuts: many of them, while connecting, without lanes, and before a retry."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.agents.types import APIConnectOptions

from livekit_adapter.requests import ONCE, answer, hello, turn
from livekit_adapter.stage import stage
from rtllm.simulator import (
    DelayHandshake,
    Pause,
    Reply,
    Request,
    Text,
    echo,
    rate_limited,
)
from support.oracle import is_chained
from support.waiting import until


async def test_more_cuts_than_lanes_still_give_right_answers(host: Any) -> None:
    go_on = asyncio.Event()

    def script(request: Request) -> Reply | str:
        if request.last_user_text.startswith("Long"):
            return Reply.of(Text(pieces=(f"I{request.index} ", Pause(go_on), "talk.")))
        return f"You said: {request.last_user_text}"

    async with stage(script, **host) as st:
        ctx = hello("One")
        await turn(st, ctx)
        for number in range(12):
            ctx.add_message(role="user", content=f"Long {number}")
            stream = st.llm.chat(chat_ctx=ctx, conn_options=ONCE)
            await anext(stream)
            await stream.aclose()
        assert await turn(st, ctx, "Two") == "You said: Two"
        go_on.set()
        assert await turn(st, ctx, "Three") == "You said: Three"
        await st.check(connections=None, whole=range(7, 15))
        assert st.llm.usage.cancelled.attempts == 12
        assert is_chained(st.entries[-1])


async def test_a_turn_cut_while_connecting_leaves_the_connection_to_the_next() -> None:
    go_on = asyncio.Event()
    plan = {0: DelayHandshake(go_on)}
    async with stage(echo(), simulator={"on_connect": plan.get}) as st:
        stream = st.llm.chat(chat_ctx=hello("Never"), conn_options=ONCE)
        await st.service.journal.wait(lambda j: j.connections)
        await asyncio.wait_for(stream.aclose(), 20)
        waiting = asyncio.ensure_future(answer(st, hello("One")))
        await asyncio.sleep(0)
        go_on.set()
        assert (await waiting).text == "You said: One"
        assert len(st.entries) == 1
        await st.check(connections=1)


async def test_without_lanes_a_cut_costs_no_handshake_on_the_callers_path() -> None:
    go_on = asyncio.Event()

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "Long":
            return Reply.of(Text(pieces=("I ", Pause(go_on), "talk.")))
        return f"You said: {request.last_user_text}"

    async with stage(script, lanes="off") as st:
        ctx = hello("One")
        await turn(st, ctx)
        await st.service.journal.wait(lambda j: len(j.open_connections) == 2)
        ctx.add_message(role="user", content="Long")
        stream = st.llm.chat(chat_ctx=ctx, conn_options=ONCE)
        await anext(stream)
        await stream.aclose()
        opened = len(st.service.journal.connections)
        await turn(st, ctx, "Two")
        assert st.entries[-1].connection < opened
        go_on.set()
        await st.check()


async def test_a_cut_during_the_wait_before_a_retry_ends_the_turn() -> None:
    async with stage(echo(), simulator={"fault": rate_limited("5")}) as st:
        patient = APIConnectOptions(max_retry=2, timeout=5.0)
        stream = st.llm.chat(chat_ctx=hello("One"), conn_options=patient)
        await st.service.journal.wait_for(1, "refused")
        await asyncio.wait_for(stream.aclose(), 20)
        await until(lambda: st.reports)
        assert st.reports[0].outcome == "cancelled"
        st.service.fault = None
        assert (await answer(st, hello("Two"))).text == "You said: Two"
        await st.check(refused=1)
