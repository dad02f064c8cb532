"""Answers as they come: words, calls and usage, once; cuts, unusual ends, strange events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents._exceptions import APIConnectionError, APIError

from livekit_adapter.requests import (
    ONCE,
    TWICE_MORE,
    answer,
    calls_of,
    chunks_of,
    hello,
    text_of,
    turn,
)
from livekit_adapter.sessions import errors_of
from livekit_adapter.stage import stage
from rtllm.simulator import (
    GARBAGE,
    Call,
    Close,
    Garbage,
    Incomplete,
    Mangle,
    Pause,
    Refusal,
    Reply,
    Request,
    Text,
    echo,
    fixed,
    rate_limited,
)
from support.oracle import is_chained
from support.stock import both
from support.waiting import until

# -- cutting waits for nothing ------------------------------------------------------------------


@both
async def test_the_next_request_is_sent_at_once_next_to_the_cut_answer(stock: bool) -> None:
    go_on = asyncio.Event()

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "Long":
            return Reply.of(Text(pieces=("I talk ", Pause(go_on), "on.")))
        return f"You said: {request.last_user_text}"

    async with stage(script, stock=stock) as st:
        ctx = hello("Hello")
        await turn(st, ctx)
        ctx.add_message(role="user", content="Long")
        stream = st.llm.chat(chat_ctx=ctx, conn_options=ONCE)
        await anext(stream)
        await asyncio.wait_for(stream.aclose(), 20)
        ctx.add_message(role="user", content="Next")
        assert (await answer(st, ctx)).text == "You said: Next"
        if stock:
            assert len(st.service.journal.connections) == 2  # the socket was thrown away
            go_on.set()
            return
        assert st.entries[1].outcome == "running"
        go_on.set()
        await st.check()
        assert st.entries[1].reply_text == "I talk on."
        assert (st.llm.usage.cancelled.attempts, st.llm.usage.cancelled.unknown) == (1, 0)
        assert st.llm.usage.cancelled.output == (st.entries[1].usage or {})["output_tokens"]


# -- calls at once, once ------------------------------------------------------------------------


async def test_a_call_is_emitted_while_the_answer_goes_on() -> None:
    go_on = asyncio.Event()
    reply = Reply.of(Call("book", '{"n":1}', call_id="call_own"), Pause(go_on), "Booked.")
    async with stage(reply) as st:
        stream = st.llm.chat(chat_ctx=hello(), conn_options=ONCE)
        first = await asyncio.wait_for(anext(stream), 10)
        [call] = calls_of([first])
        assert (call.call_id, call.name, call.arguments) == ("call_own", "book", '{"n":1}')
        assert st.entries[0].outcome == "running"
        go_on.set()
        chunks, error = await chunks_of(stream)
        assert (text_of(chunks), calls_of(chunks), error) == ("Booked.", [], None)


@pytest.mark.parametrize("flaw", ["item_done_dropped", "output_missing", "output_empty"])
async def test_a_call_comes_once_whichever_event_brings_it(flaw: Any) -> None:
    async with stage(Reply.of(Call("book")), simulator={"fault": Mangle(flaw)}) as st:
        chunks, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert [c.name for c in calls_of(chunks)] == ["book"]
        assert error is None


async def test_a_call_that_was_cut_is_never_emitted() -> None:
    fault = Mangle("call_incomplete")
    async with stage(Reply.of("Wait.", Call("book")), simulator={"fault": fault}) as st:
        chunks, _ = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert calls_of(chunks) == []


# -- ids, usage, books --------------------------------------------------------------------------


async def test_chunks_carry_the_responses_id_and_its_whole_usage() -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        await turn(st, ctx)
        ctx.add_message(role="user", content="Two")
        metrics: list[Any] = []
        st.llm.on("metrics_collected", metrics.append)
        chunks, _ = await chunks_of(st.llm.chat(chat_ctx=ctx, conn_options=ONCE))
        entry = st.entries[1]
        assert {c.id for c in chunks} == {entry.response_id}
        usage, said = chunks[-1].usage, entry.usage or {}
        assert usage is not None
        assert usage.prompt_tokens == said["input_tokens"]
        assert usage.completion_tokens == said["output_tokens"]
        assert usage.total_tokens == said["total_tokens"]
        assert usage.prompt_cached_tokens == said["input_tokens_details"]["cached_tokens"] > 0
        await until(lambda: metrics)
        assert metrics[0].request_id == entry.response_id
        assert metrics[0].prompt_cached_tokens == usage.prompt_cached_tokens
        assert metrics[0].metadata.model_name == "gpt-4.1"


@pytest.mark.parametrize("flaw", ["usage_null", "usage_missing"])
async def test_usage_that_isnt_reported_is_unknown_not_nothing(flaw: Any) -> None:
    async with stage(echo(), simulator={"fault": Mangle(flaw)}) as st:
        assert (await answer(st, hello())).text == "You said: Hello"
        await until(lambda: st.llm.usage.answered.attempts)
        assert (st.llm.usage.answered.attempts, st.llm.usage.answered.unknown) == (1, 1)


async def test_failed_and_repeated_attempts_are_counted_once() -> None:
    faults = [rate_limited(), Close(phase="created"), None]
    async with stage(echo(), simulator={"fault": faults}) as st:
        await answer(st, hello(), conn_options=TWICE_MORE)
        await until(lambda: st.llm.usage.all.attempts == 3)
        assert st.llm.usage.answered.attempts == 1
        assert st.llm.usage.failed.attempts + st.llm.usage.superseded.attempts == 2
        said = st.entries[2].usage or {}
        assert st.llm.usage.answered.input == said["input_tokens"]


# -- unusual ends and strange events ------------------------------------------------------------


@both
async def test_an_answer_that_the_service_cuts_short_ends_normally(stock: bool) -> None:
    script = fixed(Reply.of("That is all I", ending=Incomplete("max_output_tokens")), "Yes.")
    async with stage(script, stock=stock) as st:
        events = errors_of(st.llm)
        ctx = hello("One")
        if stock:
            with pytest.raises(APIError):
                await answer(st, ctx)
            return
        collected = await answer(st, ctx)
        assert collected.text
        assert collected.usage is not None
        assert collected.usage.completion_tokens == (st.entries[0].usage or {})["output_tokens"]
        assert events == []
        assert st.reports[0].outcome == "incomplete"
        ctx.add_message(role="assistant", content=collected.text)
        await turn(st, ctx, "Two")
        assert not is_chained(st.entries[1])
        await st.check()


@both
async def test_a_refusal_is_spoken(stock: bool) -> None:
    async with stage(Reply.of(Refusal("I can't help with that.")), stock=stock) as st:
        said = "" if stock else "I can't help with that."
        assert (await answer(st, hello())).text == said


async def test_a_spoken_refusal_keeps_the_chain() -> None:
    async with stage(fixed(Reply.of(Refusal("I can't.")), "Yes.")) as st:
        ctx = hello("One")
        await turn(st, ctx)
        await turn(st, ctx, "Two")
        await st.check()
        assert is_chained(st.entries[1])


@both
async def test_two_messages_of_one_answer_are_distinguished(stock: bool) -> None:
    script = fixed(Reply.of("One.", "Two."), "Three.")
    async with stage(script, stock=stock) as st:
        ctx = hello("Go")
        said = await turn(st, ctx)
        assert said == ("One.Two." if stock else "One. Two.")
        if not stock:
            await turn(st, ctx, "On")
            st.joined_words = True
            await st.check()
            assert is_chained(st.entries[1])


@pytest.mark.parametrize(
    "name",
    [
        "not_json",
        "cut_json",
        "array",
        "null",
        "empty",
        "no_type",
        "unknown_event",
        "unknown_codex_event",
    ],
)
@pytest.mark.parametrize("phase", ["sent", "created", "output", "complete"])
async def test_strange_frames_change_nothing(name: str, phase: Any) -> None:
    fault = [Garbage(phase=phase, frame=GARBAGE[name])]
    async with stage(echo(), simulator={"fault": fault}) as st:
        ctx = hello("One")
        events = errors_of(st.llm)
        assert await turn(st, ctx) == "You said: One"
        assert await turn(st, ctx, "Two") == "You said: Two"
        assert events == []
        await st.check()


async def test_stock_dies_of_a_frame_that_isnt_json() -> None:
    async with stage(echo(), stock=True, simulator={"fault": Garbage(phase="created")}) as st:
        with pytest.raises(APIConnectionError, match="JSONDecodeError"):
            await answer(st, hello())


FLAWS = [
    "delta_without_logprobs",
    "delta_without_place",
    "delta_null",
    "deltas_dropped",
    "sequence_missing",
    "item_done_dropped",
    "usage_null",
    "usage_missing",
    "output_missing",
    "output_null",
    "output_empty",
    "response_done",
]


@pytest.mark.parametrize("flaw", FLAWS)
async def test_events_with_gaps_still_make_an_answer(flaw: Any) -> None:
    async with stage(echo(), simulator={"fault": Mangle(flaw)}) as st:
        ctx = hello("One")
        assert await turn(st, ctx) == "You said: One"
        assert await turn(st, ctx, "Two") == "You said: Two"
        await st.check(whole={1})
