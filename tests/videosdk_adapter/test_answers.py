"""Answers: every ending ends, frames belong to their request, failures are reported once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from videosdk.agents import FallbackLLM

from rtllm import ConnectionLost, RateLimited, ResponseFailed, TurnError, TurnTimeout
from rtllm.simulator import (
    Call,
    Close,
    ErrorFrame,
    FailedResponse,
    Incomplete,
    Pause,
    Reply,
    Request,
    Silence,
    Text,
    echo,
    only,
    rate_limited,
)
from support.stock import both
from support.waiting import until
from videosdk_adapter.requests import chunks_of, hello, usages_of
from videosdk_adapter.scenes import HANGS, Weather, both_ways, read, say
from videosdk_adapter.stage import stage
from videosdk_adapter.talks import talk

# -- every ending ends --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "on_stock"),
    [
        pytest.param(
            FailedResponse("x", "No.", phase="created"), ResponseFailed, "hangs", id="failed"
        ),
        pytest.param(ErrorFrame(), ResponseFailed, "raises", id="error"),
        pytest.param(Close(phase="output", after=2), ConnectionLost, "silent", id="close"),
        pytest.param(Silence(), TurnTimeout, "hangs", id="silence"),
    ],
)
@both
async def test_a_broken_answer_ends_with_a_typed_error(
    fault: Any, kind: type[TurnError], on_stock: str, stock: bool
) -> None:
    options: dict[str, Any] = {"timeout": 3.0 if isinstance(fault, Silence) else 5.0}
    plan = {"fault": only(0, fault)}
    if not stock:
        options["max_retries"] = 0
    async with stage("one two three", stock=stock, simulator=plan, **options) as st:
        _, error = await read(st, limit=HANGS if stock else 20)
        if not stock:
            assert isinstance(error, kind)
            assert st.errors == [error]
            return
        assert isinstance(error, TimeoutError) is (on_stock == "hangs")
        assert (error is None) is (on_stock == "silent")


@both
async def test_an_incomplete_answer_ends(stock: bool) -> None:
    reply = Reply.of("It is long and", ending=Incomplete("max_output_tokens"))
    async with stage(reply, stock=stock) as st:
        text, error = await read(st, limit=HANGS if stock else 20)
        assert isinstance(error, TimeoutError) is stock
        if not stock:
            assert (text, error) == ("It is long and", None)


# -- frames belong to their request -------------------------------------------------------------


def long_or_short(gate: asyncio.Event) -> Callable[[Request], Reply | str]:
    def script(request: Request) -> Reply | str:
        match request.last_user_text:
            case "long":
                return Reply.of(Text(pieces=("One ", Pause(gate), "two.")))
            case "silent":
                return Reply.of(Text(pieces=(Pause(gate), "Late.")))
        return f"You said {request.last_user_text}."

    return script


@both
async def test_an_abandoned_answer_never_leaks_into_the_next(stock: bool) -> None:
    gate = asyncio.Event()
    async with stage(long_or_short(gate), stock=stock) as st:
        async with aclosing(st.llm.chat(hello("long"))) as answer:
            assert (await anext(answer)).content == "One "
        gate.set()
        text, error = await read(st, "short")
        assert error is None
        assert (text == "You said short.") is not stock


# -- cancelling ---------------------------------------------------------------------------------


@both
async def test_cancelling_an_idle_one_sends_nothing_and_breaks_nothing(stock: bool) -> None:
    async with stage("Hi.", stock=stock) as st:
        await read(st)
        await st.llm.cancel_current_generation()
        text, error = await read(st, "Again")
        assert ((text, error) == ("Hi.", None)) is not stock


async def test_a_cut_wakes_a_reader_whom_the_server_gives_nothing() -> None:
    gate = asyncio.Event()
    async with stage(long_or_short(gate)) as st:
        reading = asyncio.create_task(chunks_of(st.llm, hello("silent")))
        await until(lambda: len(st.entries) == 1)
        await st.llm.cancel_current_generation()
        assert await asyncio.wait_for(reading, 10) == ([], None)
        assert st.entries[0].outcome == "running"
        gate.set()


@both
async def test_after_a_cut_before_the_first_word_the_next_answer_is_its_own(
    stock: bool,
) -> None:
    gate = asyncio.Event()
    async with stage(long_or_short(gate), stock=stock) as st, talk(st.llm) as c:
        await c.turn("hello")
        task = await c.hear("silent")
        await until(lambda: len(st.entries) == 2)
        await c.barge_in()
        await asyncio.wait([task], timeout=5)
        gate.set()
        following = await c.hear("next")
        await asyncio.wait([following], timeout=HANGS if stock else 10)
        if not following.done():
            await c.barge_in()
        assert (c.last == ("assistant", "You said next.")) is not stock


# -- retries ------------------------------------------------------------------------------------


@both
@both_ways
async def test_a_rate_limit_before_the_first_word_is_not_noticed(
    streaming: bool, stock: bool
) -> None:
    plan = {"fault": only(0, rate_limited())}
    async with stage("Hi.", streaming=streaming, stock=stock, simulator=plan) as st:
        text, error = await read(st)
        assert ((text, error) == ("Hi.", None)) is not stock
        assert bool(st.errors) is stock


@both
async def test_after_the_first_word_nothing_is_said_again(stock: bool) -> None:
    fault = ErrorFrame(
        code="websocket_connection_limit_reached",
        status=400,
        kind="invalid_request_error",
        message="Responses websocket connection limit reached (60 minutes).",
        phase="output",
        after=2,
    )
    plan = {"fault": only(0, fault)}
    async with stage("The price is ten.", stock=stock, simulator=plan) as st:
        text, error = await read(st)
        if stock:
            assert text.count("The price") == 2
        else:
            assert "The price is ten.".startswith(text)
            assert isinstance(error, TurnError)
            assert error.details.emitted[0] == len(text) > 0


@both
async def test_a_retry_waits_as_long_as_the_service_asks(stock: bool) -> None:
    plan = {"fault": only(0, rate_limited(retry_after="100000"))}
    async with stage("Hi.", stock=stock, simulator=plan) as st:
        text, error = await read(st)  # longer than a turn may take: no retry, at once
        assert text == ""
        assert isinstance(error, RateLimited) is not stock
        assert len(st.entries) == 1


# -- several at once ----------------------------------------------------------------------------


@both
async def test_two_chats_at_once_on_one_object(stock: bool) -> None:
    async with stage(echo(), stock=stock) as st:
        texts = [f"number {n}" for n in range(3)]
        limit = HANGS if stock else 20.0
        came = await asyncio.gather(*(read(st, text, limit=limit) for text in texts))
        wanted = [(f"You said: {text}", None) for text in texts]
        assert (came == wanted) is not stock


# -- one event for a failure, none for anything else --------------------------------------------


@both
@both_ways
async def test_a_call_that_cannot_run_switches_no_provider(streaming: bool, stock: bool) -> None:
    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and "function_call" not in str(request.context):
            return Reply.of(Call("weather", '{"city": '))
        return "Well."

    async with (
        stage(script, streaming=streaming, stock=stock) as st,
        stage("Backup.", streaming=streaming) as backup,
    ):
        wrapped = FallbackLLM([st.llm, backup.llm])
        async with talk(wrapped, Weather().agent) as c:
            await say(c, "go")
            await say(c, "and now")
            switches = stock and streaming  # over HTTP it is only logged
            assert (wrapped.active_provider is st.llm) is not switches
            assert all(isinstance(error, Exception) for error in st.errors) is not switches
            assert st.errors == [] or stock


@both
async def test_a_failure_is_one_event_of_the_error_that_is_raised(stock: bool) -> None:
    fault = FailedResponse("data_residency_mismatch", "Not here.", phase="created")
    async with stage("Hi.", stock=stock, simulator={"fault": only(0, fault)}) as st:
        _, error = await read(st, limit=HANGS if stock else 20)
        told = [str(event) for event in st.errors]
        assert (len(told) == 1 and "Not here." in told[0] and st.errors == [error]) is not stock


# -- usage --------------------------------------------------------------------------------------


@both
@both_ways
async def test_usage_is_one_fresh_dict_and_no_first_chunk_is_empty(
    streaming: bool, stock: bool
) -> None:
    async with stage("One two three.", streaming=streaming, stock=stock) as st:
        chunks, _ = await chunks_of(st.llm, hello())
        assert (len(usages_of(chunks)) == 1) is not stock
        assert usages_of(chunks)[-1]["total_tokens"] > 0
        if not streaming:
            assert (chunks[0].content == "") is stock
        else:
            assert chunks[0].content == "One "


@both
@both_ways
async def test_a_call_carries_its_usage(streaming: bool, stock: bool) -> None:
    reply = Reply.of(Call("weather", {"city": "Paris"}))
    async with stage(reply, streaming=streaming, stock=stock) as st:
        usage: list[int] = []
        async with aclosing(st.llm.chat(hello(), tools=Weather().agent.tools)) as answer:
            async for chunk in answer:
                if "function_call" in (chunk.metadata or {}):  # the framework reads no further
                    usage.append(chunk.metadata["usage"]["total_tokens"])
                    break
        assert (usage[0] > 0) is not stock
