"""What an adapter must do, point by point; where the stock plugin doesn't, it is shown too.

Each test is named after its point. ``[stock]`` runs play the same scene on
``livekit.plugins.openai.responses.LLM`` and assert the defect, so that each test is known to
bite.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from livekit.agents import Agent, function_tool, llm
from livekit.agents._exceptions import APIConnectionError, APIError, APIStatusError
from openai.types import Reasoning

from livekit_adapter.asking import (
    ONCE,
    TWICE_MORE,
    answer,
    calls_of,
    chunks_of,
    context,
    hello,
    output,
    text_of,
    turn,
)
from livekit_adapter.contexts import GUIDE
from livekit_adapter.sessions import errors_of, said_in, session_of
from livekit_adapter.stage import Stage, stage
from rtllm.simulator import (
    GARBAGE,
    Abort,
    Call,
    Close,
    ErrorFrame,
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
from rtllm_livekit import LLM
from support.oracle import is_chained
from support.waiting import until

both = pytest.mark.parametrize("stock", [False, True], ids=["rtllm", "stock"])


def finds_fault(stock: bool) -> Any:
    """The check passes; on the stock plugin it must find something."""
    return pytest.raises(AssertionError) if stock else _nothing()


class _nothing:  # noqa: N801 - stands in for pytest.raises
    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None: ...


# -- 1: by value, at once ----------------------------------------------------------------------


async def test_01_chat_takes_the_context_by_value_and_touches_no_network() -> None:
    async with stage(echo()) as st:
        ctx = hello("Before")
        stream = st.llm.chat(chat_ctx=ctx, conn_options=ONCE)
        assert st.service.journal.connections == []
        ctx.messages()[-1].content = ["After"]
        ctx.add_message(role="user", content="Later")
        assert (await stream.collect()).text == "You said: Before"
        await st.check()


@both
async def test_01_a_message_edited_in_place_is_seen_as_it_is_now(stock: bool) -> None:
    async with stage(echo(), stock=stock) as st:
        ctx = hello("Hello")
        await turn(st, ctx)
        ctx.messages()[0].content = ["Be strict."]
        await turn(st, ctx, "Again")
        seen = " ".join([text for _, text in st.entries[-1].texts()])
        seen += st.entries[-1].instructions or ""
        assert ("Be strict." in seen) is not stock
        with finds_fault(stock):
            await st.check()


# -- 2: nothing is said twice ------------------------------------------------------------------


@pytest.mark.parametrize("end", [Close, Abort], ids=["close", "reset"])
@pytest.mark.parametrize("flag", [True, False])
async def test_02_after_words_nothing_is_repeated(end: Callable[..., Any], flag: bool) -> None:
    fault = end(phase="output", after=2)
    async with stage("one two three four", simulator={"fault": fault}) as st:
        events = errors_of(st.llm)
        stream = st.llm.chat(chat_ctx=hello(), conn_options=TWICE_MORE)
        stream._retry_on_chunk_sent = flag
        chunks, error = await chunks_of(stream)
        assert text_of(chunks) == "one two "
        assert isinstance(error, APIConnectionError)
        assert not isinstance(error, APIStatusError)
        assert not error.retryable
        assert [e.recoverable for e in events] == [False]
        assert len(st.entries) == 1


async def test_02_stock_repeats_what_was_said() -> None:
    fault = [Close(phase="output", after=2)]
    async with stage("one two three four", stock=True, simulator={"fault": fault}) as st:
        chunks, _ = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=TWICE_MORE))
        assert text_of(chunks) == "one two one two three four"


@both
@pytest.mark.parametrize("flag", [True, False])
async def test_02_after_a_call_nothing_is_repeated(stock: bool, flag: bool) -> None:
    # "whole" of a response that still owes words: the call is out, then the line is dead.
    reply = Reply.of(Call("book"), "Booked.")
    fault = [Close(phase="output", after=2)]
    async with stage(reply, stock=stock, simulator={"fault": fault}) as st:
        stream = st.llm.chat(chat_ctx=hello(), conn_options=TWICE_MORE)
        if not flag:
            stream._retry_on_chunk_sent = False
        chunks, error = await chunks_of(stream)
        if stock and flag:
            assert len(calls_of(chunks)) == 2  # booked twice
        else:
            assert len(calls_of(chunks)) == 1
            assert error is not None


# -- 3: recovery stays inside the turn ---------------------------------------------------------

_MISS = ErrorFrame(
    code="previous_response_not_found",
    status=400,
    kind="invalid_request_error",
    message="Previous response with id 'resp_x' not found.",
    param="previous_response_id",
)
_LIMIT = ErrorFrame(
    code="websocket_connection_limit_reached",
    status=400,
    kind="invalid_request_error",
    message="Responses websocket connection limit reached (60 minutes).",
    then_close=1000,
)


@pytest.mark.parametrize(
    ("fault", "connections"),
    [
        pytest.param(_MISS, 1, id="chain miss"),
        pytest.param(_LIMIT, 2, id="connection limit"),
        pytest.param(Close(phase="sent"), 2, id="close"),
        pytest.param(Close(phase="created", code=1001), 2, id="close after created"),
        pytest.param(Abort(phase="created"), 2, id="reset"),
    ],
)
async def test_03_recovery_is_silent_even_without_retries(
    host: Any, fault: Any, connections: int
) -> None:
    async with stage(echo(), **host) as st:
        events = errors_of(st.llm)
        ctx = hello("One")
        await turn(st, ctx)
        st.service.fault = [fault]
        assert await turn(st, ctx, "Two") == "You said: Two"
        assert await turn(st, ctx, "Three") == "You said: Three"
        assert events == []
        assert is_chained(st.entries[-1])
        refused = 1 if isinstance(fault, ErrorFrame) else 0
        await st.check(connections=connections, refused=refused, whole={2})


async def test_03_a_socket_that_died_while_idle_costs_no_error(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st:
        events = errors_of(st.llm)
        ctx = hello("One")
        await turn(st, ctx)
        await st.service.close_connections(1001)
        assert await turn(st, ctx, "Two") == "You said: Two"
        st.service.abort_connections()
        assert await turn(st, ctx, "Three") == "You said: Three"
        assert events == []
        await st.check(connections=None, lost=2)


async def test_03_stock_never_gets_over_a_forgotten_response() -> None:
    async with stage(echo(), stock=True) as st:
        ctx = hello("One")
        await turn(st, ctx)
        st.service.fault = lambda r: _MISS if r.body.get("previous_response_id") else None
        for text in ("Two", "Three"):
            ctx.add_message(role="user", content=text)
            with pytest.raises(APIError):
                await answer(st, ctx)


async def test_03_a_connection_at_its_age_limit_is_replaced(host: Any) -> None:
    async with stage(echo(), simulator={"lifetime": 0.15}, **host) as st:
        events = errors_of(st.llm)
        ctx = hello("Word 0")
        await turn(st, ctx)
        number = 0
        while len(st.service.journal.connections) < 3:
            number += 1
            assert await turn(st, ctx, f"Word {number}") == f"You said: Word {number}"
            await asyncio.sleep(0.01)
        assert events == []


# -- 6: cutting waits for nothing --------------------------------------------------------------


@both
async def test_06_the_next_request_leaves_at_once_beside_the_cut_answer(stock: bool) -> None:
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
        await asyncio.wait_for(stream.aclose(), 5)
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


# -- 7, 8: what was not heard was not said -----------------------------------------------------

RECORDED = {
    "shorter": "You said:",
    "longer": "You said: Two. And more.",
    "stripped": "You said Two",
    "absent": "",
}


@both
@pytest.mark.parametrize("recorded", RECORDED.values(), ids=list(RECORDED))
async def test_08_an_answer_recorded_otherwise_continues_the_state_before(
    recorded: str, stock: bool
) -> None:
    async with stage(echo(), stock=stock) as st:
        ctx = hello("One")
        await turn(st, ctx)
        ctx.add_message(role="user", content="Two")
        await answer(st, ctx)
        if recorded:
            ctx.add_message(role="assistant", content=recorded, interrupted=True)
        await turn(st, ctx, "Three")
        with finds_fault(stock):
            await st.check()
            assert st.entries[2].previous_response_id == st.entries[0].response_id


async def test_08_two_answers_merged_into_one_message_continue_the_state_before() -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        await turn(st, ctx)
        await turn(st, ctx, "Two")
        first, second = (m for m in ctx.messages() if m.role == "assistant")
        second.content = [f"{first.text_content} {second.text_content}"]
        ctx.items.remove(first)
        await turn(st, ctx, "Three")
        await st.check()
        assert not is_chained(st.entries[2])


async def test_07_a_superseded_draft_is_no_part_of_the_next_context(host: Any) -> None:
    go_on = asyncio.Event()

    def script(request: Request) -> Reply | str:
        if request.last_user_text.startswith("draft"):
            return Reply.of(Text(pieces=("Hm ", Pause(go_on), "yes.")))
        return f"You said: {request.last_user_text}"

    async with stage(script, **host) as st:
        ctx = hello("One")
        await turn(st, ctx)
        for number in range(5):  # as many as run beside their parent on eight lanes
            sent = ctx.copy()
            sent.add_message(role="user", content=f"draft {number}")
            stream = st.llm.chat(chat_ctx=sent, conn_options=ONCE)
            await anext(stream)
            await stream.aclose()
        await turn(st, ctx, "Two")
        assert st.entries[-1].previous_response_id == st.entries[0].response_id
        go_on.set()
        await turn(st, ctx, "Three")
        await st.check()
        assert st.llm.usage.cancelled.attempts == 5


# -- 9: calls as values ------------------------------------------------------------------------


async def _after_calls(st: Stage, change: Callable[[list[llm.FunctionCall]], None]) -> None:
    """A turn with two calls, recorded with a change, then another turn."""
    ctx = hello("Call")
    await turn(st, ctx)
    calls = [item for item in ctx.items if isinstance(item, llm.FunctionCall)]
    assert len(calls) == 2
    change(calls)
    ctx.items = [i for i in ctx.items if i.type != "function_call"] + calls
    for call in calls:
        output(ctx, call.call_id, "done")
    await turn(st, ctx)
    await st.check()


_TWO_CALLS = (Reply.of(Call("a", '{"x":1,"y":[2]}'), Call("b", "{}")), "Done.")


def _respaced(calls: list[llm.FunctionCall]) -> None:
    calls[0].arguments = '{ "y": [2], "x": 1 }'


def _renamed(calls: list[llm.FunctionCall]) -> None:
    calls[0].arguments = '{"x": 1, "y": [3]}'


@pytest.mark.parametrize(
    ("change", "chained"),
    [
        pytest.param(lambda calls: calls.reverse(), True, id="another order"),
        pytest.param(_respaced, True, id="respaced arguments"),
        pytest.param(_renamed, False, id="other arguments"),
        pytest.param(lambda calls: calls.pop(), False, id="one dropped"),
    ],
)
async def test_09_calls_are_a_set_and_arguments_are_values(
    change: Callable[[list[llm.FunctionCall]], None], chained: bool
) -> None:
    async with stage(fixed(*_TWO_CALLS)) as st:
        await _after_calls(st, change)
        assert is_chained(st.entries[1]) is chained


# -- 10: what matters, and what doesn't --------------------------------------------------------


async def test_10_what_the_model_cant_see_doesnt_matter(host: Any) -> None:
    async with stage(echo(), **host) as st:
        ctx = hello("One")
        await turn(st, ctx)
        rebuilt = llm.ChatContext.empty()
        rebuilt.items.append(llm.AgentHandoff(new_agent_id="other"))
        for message in ctx.messages():
            rebuilt.add_message(
                role=message.role,
                content=[*message.content, llm.CacheBreakpoint()],
                created_at=1.0,
                interrupted=message.role == "assistant",
            )
        rebuilt.items.append(llm.AgentConfigUpdate(instructions="whatever"))
        await turn(st, rebuilt, "Two")
        await st.check()
        assert is_chained(st.entries[1])


async def test_10_a_phase_is_kept_and_sent_back() -> None:
    script = fixed(Reply.of(Text("Thinking.", phase="commentary")), "Yes.", "No.")
    async with stage(script, model="gpt-5.3-codex") as st:
        ctx = hello("One")
        await turn(st, ctx)
        assert ctx.messages()[-1].extra["openai"]["phase"] == "commentary"
        await turn(st, ctx, "Two")
        assert is_chained(st.entries[1])
        ctx.messages()[2].extra = {}
        await turn(st, ctx, "Three")
        await st.check()
        assert not is_chained(st.entries[2])


async def test_10_another_picture_is_another_context() -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        picture = llm.ImageContent(image="https://example.com/a.png")
        ctx.add_message(role="user", content=["Look", picture])
        await turn(st, ctx)
        await turn(st, ctx, "Two")
        assert is_chained(st.entries[1])
        ctx.messages()[2].content = ["Look", llm.ImageContent(image="https://example.com/b.png")]
        await turn(st, ctx, "Three")
        await st.check()
        assert not is_chained(st.entries[2])


# -- 11: instructions --------------------------------------------------------------------------


@both
async def test_11_the_second_and_later_updates_of_instructions_keep_the_chain(stock: bool) -> None:
    async with stage(echo(), stock=stock) as st:
        ctx = hello("Word 0")
        for number in range(1, 6):
            await turn(st, ctx)
            ctx.items[0] = llm.ChatMessage(
                id=ctx.items[0].id, role="system", content=[f"Be kind. Version {number}."]
            )
            ctx.add_message(role="user", content=f"Word {number}")
        await answer(st, ctx)
        with finds_fault(stock):
            await st.check()
            assert [is_chained(e) for e in st.entries] == [False, False, True, True, True, True]


async def test_11_the_guide_may_change_beside_updated_instructions(host: Any) -> None:
    async with stage(echo(), **host) as st:
        ctx = hello("Word 0")
        for number in range(1, 5):
            sent = ctx.copy()
            sent.add_message(role="system", content=f"Guide {number}.", id=GUIDE)
            collected = await answer(st, sent)
            ctx.add_message(role="assistant", content=collected.text)
            ctx.items[0] = llm.ChatMessage(role="system", content=[f"Version {number}."])
            ctx.add_message(role="user", content=f"Word {number}")
        await st.check()
        assert [is_chained(e) for e in st.entries] == [False, False, True, True]


# -- 12: made legal ----------------------------------------------------------------------------


async def test_12_a_context_with_equal_counts_of_orphans_is_legal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        ctx.items += [
            llm.FunctionCall(id="m/1", call_id="c1", name="a", arguments="{}"),
            llm.FunctionCall(id="m/2", call_id="c2", name="b", arguments="{}"),
        ]
        output(ctx, "c1", "one")
        output(ctx, "c1", "one again")
        await turn(st, ctx, "Two")
        outputs = {i["call_id"]: i["output"] for i in st.entries[0].input if "output" in i}
        assert outputs == {"c1": "one", "c2": "no result: interrupted or failed"}
        await turn(st, ctx, "Three")
        assert is_chained(st.entries[1])
        assert st.service.journal.refused == []
        warned = [r for r in caplog.records if r.levelname == "WARNING" and "rtllm" in r.name]
        assert len(warned) <= 1
        assert [n.change for n in st.reports[0].context_repairs] == [
            "output synthesised",
            "output dropped",
        ]


async def test_12_stock_sends_what_the_service_refuses() -> None:
    async with stage(echo(), stock=True) as st:
        ctx = hello("One")
        ctx.items += [
            llm.FunctionCall(id="m/1", call_id="c1", name="a", arguments="{}"),
            llm.FunctionCall(id="m/2", call_id="c2", name="b", arguments="{}"),
        ]
        output(ctx, "c1", "one")
        output(ctx, "c1", "one again")
        ctx.add_message(role="user", content="Two")
        with pytest.raises((APIError, AssertionError)):
            await answer(st, ctx)


@both
async def test_12_two_messages_with_the_same_beginning_of_their_ids(stock: bool) -> None:
    async with stage(echo(), stock=stock) as st:
        ctx = hello("One")
        for number in (1, 2):
            ctx.add_message(role="assistant", content=f"Part {number}.", id=f"t/{number}")
        ctx.add_message(role="user", content="Two")
        if stock:
            with pytest.raises(AssertionError):
                await answer(st, ctx)
            return
        await turn(st, ctx)
        await st.check()
        assert st.entries[0].texts()[2:4] == [("assistant", "Part 1."), ("assistant", "Part 2.")]


async def test_12_a_picture_in_an_assistants_message_moves_behind_it() -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        picture = llm.ImageContent(image="https://example.com/a.png")
        ctx.add_message(role="assistant", content=["Look.", picture])
        ctx.add_message(role="user", content="Two")
        assert (await answer(st, ctx)).text == "You said: Two"
        roles = [i["role"] for i in st.entries[0].input]
        assert roles == ["system", "user", "assistant", "user", "user"]


# -- 13: several users -------------------------------------------------------------------------


async def test_13_a_request_without_words_is_refused_where_it_is_made() -> None:
    async with stage(echo()) as st:
        with pytest.raises(ValueError, match="no item"):
            st.llm.chat(chat_ctx=llm.ChatContext.empty())
        assert st.service.journal.connections == []


async def test_13_a_request_with_instructions_alone_anchors_nobody_elses_conversation() -> None:
    async with stage(fixed("Private matter.", "Hello.")) as st:
        await answer(st, context(("system", "Be kind.")))
        await answer(st, hello())
        await st.check()
        assert "Private matter." not in [text for _, text in st.entries[-1].texts()]


@both
async def test_13_interleaved_conversations_all_stay_chained(stock: bool) -> None:
    async with stage(echo(), stock=stock) as st:
        callers = [hello(f"I am {name}") for name in ("Ann", "Ben", "Cid")]
        for ctx in callers:
            await turn(st, ctx)
        for number in range(3):
            for ctx in callers:
                await turn(st, ctx, f"Word {number}")
            side = context(("system", "Sum up."), ("user", f"Everything so far: {number}"))
            await answer(st, side, extra_kwargs={"temperature": 0})
        # Four conversations share a connection, and each side call is one.
        with finds_fault(stock):
            await st.check(connections=2)


# -- 14: calls at once, once -------------------------------------------------------------------


async def test_14_a_call_is_given_out_while_the_answer_goes_on() -> None:
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
async def test_14_a_call_comes_once_whichever_event_brings_it(flaw: Any) -> None:
    async with stage(Reply.of(Call("book")), simulator={"fault": Mangle(flaw)}) as st:
        chunks, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert [c.name for c in calls_of(chunks)] == ["book"]
        assert error is None


async def test_14_a_call_that_was_cut_is_never_given_out() -> None:
    fault = Mangle("call_incomplete")
    async with stage(Reply.of("Wait.", Call("book")), simulator={"fault": fault}) as st:
        chunks, _ = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert calls_of(chunks) == []


# -- 15: ids, usage, books ---------------------------------------------------------------------


async def test_15_chunks_carry_the_responses_id_and_its_whole_usage() -> None:
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
async def test_15_usage_that_isnt_told_is_unknown_not_nothing(flaw: Any) -> None:
    async with stage(echo(), simulator={"fault": Mangle(flaw)}) as st:
        assert (await answer(st, hello())).text == "You said: Hello"
        await until(lambda: st.llm.usage.answered.attempts)
        assert (st.llm.usage.answered.attempts, st.llm.usage.answered.unknown) == (1, 1)


async def test_15_failed_and_repeated_attempts_are_in_the_books_once() -> None:
    faults = [rate_limited(), Close(phase="created"), None]
    async with stage(echo(), simulator={"fault": faults}) as st:
        await answer(st, hello(), conn_options=TWICE_MORE)
        await until(lambda: st.llm.usage.all.attempts == 3)
        assert st.llm.usage.answered.attempts == 1
        assert st.llm.usage.failed.attempts + st.llm.usage.superseded.attempts == 2
        said = st.entries[2].usage or {}
        assert st.llm.usage.answered.input == said["input_tokens"]


# -- 16: unusual ends and strange events -------------------------------------------------------


@both
async def test_16_an_answer_that_the_service_cuts_short_ends_normally(stock: bool) -> None:
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
async def test_16_a_refusal_is_spoken(stock: bool) -> None:
    async with stage(Reply.of(Refusal("I can't help with that.")), stock=stock) as st:
        said = "" if stock else "I can't help with that."
        assert (await answer(st, hello())).text == said


async def test_16_a_spoken_refusal_keeps_the_chain() -> None:
    async with stage(fixed(Reply.of(Refusal("I can't.")), "Yes.")) as st:
        ctx = hello("One")
        await turn(st, ctx)
        await turn(st, ctx, "Two")
        await st.check()
        assert is_chained(st.entries[1])


@both
async def test_16_two_messages_of_one_answer_are_told_apart(stock: bool) -> None:
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
@pytest.mark.parametrize("phase", ["sent", "created", "output", "whole"])
async def test_16_strange_frames_change_nothing(name: str, phase: Any) -> None:
    fault = [Garbage(phase=phase, frame=GARBAGE[name])]
    async with stage(echo(), simulator={"fault": fault}) as st:
        ctx = hello("One")
        events = errors_of(st.llm)
        assert await turn(st, ctx) == "You said: One"
        assert await turn(st, ctx, "Two") == "You said: Two"
        assert events == []
        await st.check()


async def test_16_stock_dies_of_a_frame_that_isnt_json() -> None:
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
async def test_16_events_with_gaps_still_make_an_answer(flaw: Any) -> None:
    async with stage(echo(), simulator={"fault": Mangle(flaw)}) as st:
        ctx = hello("One")
        assert await turn(st, ctx) == "You said: One"
        assert await turn(st, ctx, "Two") == "You said: Two"
        await st.check(whole={1})


# -- 17: settings ------------------------------------------------------------------------------


@both
async def test_17_what_a_call_sets_wins_over_the_constructor(stock: bool) -> None:
    options: dict[str, Any] = {
        "temperature": 0.9,
        "tool_choice": "required",
        "parallel_tool_calls": True,
    }

    @function_tool
    async def verdict() -> None:
        """Judge."""

    async with stage(echo(), stock=stock, **options) as st:
        await answer(
            st,
            hello(),
            tools=[verdict],
            tool_choice="auto",
            parallel_tool_calls=False,
            extra_kwargs={"temperature": 0},
        )
        body = st.entries[0].body
        assert body["temperature"] == (0.9 if stock else 0)
        if not stock:
            assert body["tool_choice"] == "auto"
            assert body["parallel_tool_calls"] is False
            await answer(st, hello("Again"), tools=[verdict])
            again = st.entries[1].body
            assert (again["temperature"], again["tool_choice"]) == (0.9, "required")


@both
async def test_17_a_response_format_becomes_a_text_format(stock: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    response_format = {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "schema": schema, "strict": True},
    }
    async with stage('{"ok": true}', stock=stock) as st:
        call = {"extra_kwargs": {"response_format": response_format}}
        if stock:
            with pytest.raises(APIError):
                await answer(st, hello(), **call)
            return
        await answer(st, hello(), **call)
        assert st.entries[0].body["text"]["format"] == {
            "type": "json_schema",
            "name": "verdict",
            "schema": schema,
            "strict": True,
        }
        assert "response_format" not in st.entries[0].body


async def test_17_every_setting_reaches_the_service() -> None:
    options: dict[str, Any] = {
        "model": "gpt-5.1",
        "user": "caller-1",
        "reasoning": {"effort": "low"},
        "service_tier": "priority",
        "verbosity": "low",
        "max_output_tokens": 300,
        "store": True,
    }
    async with stage(echo(), **options) as st:
        await answer(st, hello())
        body = st.entries[0].body
        assert body["user"] == "caller-1"
        assert body["reasoning"] == {"effort": "low"}
        assert body["service_tier"] == "priority"
        assert body["text"]["verbosity"] == "low"
        assert body["max_output_tokens"] == 300
        assert body["store"] is True
        assert body["model"] == "gpt-5.1"
        await st.check()


async def test_17_no_field_is_null() -> None:
    async with stage(echo(), model="gpt-5.1", reasoning=Reasoning(effort="none")) as st:
        await answer(st, hello(), extra_kwargs={"top_p": None})
        assert None not in st.entries[0].body.values()
        assert st.entries[0].body["reasoning"] == {"effort": "none"}
        await st.check()


# -- 19: names, spans --------------------------------------------------------------------------


async def test_19_model_and_provider_are_names() -> None:
    async with stage(echo(), model="gpt-5.1") as st:
        assert (st.llm.model, st.llm.provider) == ("gpt-5.1", "127.0.0.1")
    assert LLM(api_key="k").provider == "openai"


# -- 25: sessions ------------------------------------------------------------------------------


async def test_25_repeated_failure_closes_the_session_with_the_services_message() -> None:
    fault = ErrorFrame(code="invalid_prompt", status=400, message="Your prompt is not allowed.")
    async with stage(echo(), simulator={"fault": fault}) as st:
        closed: list[Any] = []
        async with session_of(st.llm, Agent(instructions="Be kind.")) as session:
            session.on("close", closed.append)
            for _ in range(4):
                with contextlib.suppress(APIStatusError):
                    await asyncio.wait_for(session.run(user_input="Hello"), 10)
            await until(lambda: closed)
        assert len(st.entries) == 4
        assert closed[0].error is not None
        assert "Your prompt is not allowed." in str(closed[0].error.error)


async def test_25_one_failed_turn_leaves_the_session_usable() -> None:
    async with stage(echo()) as st, session_of(st.llm, Agent(instructions="Be kind.")) as session:
        await session.run(user_input="One")
        st.service.fault = [ErrorFrame(code="invalid_prompt", status=400, message="Not allowed.")]
        with pytest.raises(APIStatusError, match="Not allowed"):
            await session.run(user_input="Two")
        await session.run(user_input="Three")
        assert said_in(session)[-1] == ("assistant", "You said: Three")
        await st.check(refused=1)
