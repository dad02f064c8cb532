"""What the model sees is what the agent's context holds, whatever was done to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from livekit.agents import llm
from livekit.agents._exceptions import APIError

from livekit_adapter.contexts import GUIDE
from livekit_adapter.requests import (
    ONCE,
    answer,
    context,
    hello,
    output,
    turn,
)
from livekit_adapter.stage import Stage, stage
from rtllm.simulator import (
    Call,
    Pause,
    Reply,
    Request,
    Text,
    echo,
    fixed,
)
from support.oracle import is_chained
from support.stock import both, finds_fault

# -- by value, at once --------------------------------------------------------------------------


async def test_chat_takes_the_context_by_value_and_touches_no_network() -> None:
    async with stage(echo()) as st:
        ctx = hello("Before")
        stream = st.llm.chat(chat_ctx=ctx, conn_options=ONCE)
        assert st.service.journal.connections == []
        ctx.messages()[-1].content = ["After"]
        ctx.add_message(role="user", content="Later")
        assert (await stream.collect()).text == "You said: Before"
        await st.check()


@both
async def test_a_message_edited_in_place_is_seen_as_it_is_now(stock: bool) -> None:
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


# -- what was not heard was not said ------------------------------------------------------------

RECORDED = {
    "shorter": "You said:",
    "longer": "You said: Two. And more.",
    "stripped": "You said Two",
    "absent": "",
}


@both
@pytest.mark.parametrize("recorded", RECORDED.values(), ids=list(RECORDED))
async def test_an_answer_recorded_otherwise_continues_the_state_before(
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


async def test_two_answers_merged_into_one_message_continue_the_state_before() -> None:
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


async def test_a_superseded_draft_is_not_part_of_the_next_context(host: Any) -> None:
    go_on = asyncio.Event()

    def script(request: Request) -> Reply | str:
        if request.last_user_text.startswith("draft"):
            return Reply.of(Text(pieces=("Hm ", Pause(go_on), "yes.")))
        return f"You said: {request.last_user_text}"

    async with stage(script, **host) as st:
        ctx = hello("One")
        await turn(st, ctx)
        for number in range(5):  # as many as run next to their parent on eight lanes
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
        assert st.llm.usage.draft.attempts == 5


# -- calls as values ----------------------------------------------------------------------------


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
async def test_calls_are_a_set_and_arguments_are_values(
    change: Callable[[list[llm.FunctionCall]], None], chained: bool
) -> None:
    async with stage(fixed(*_TWO_CALLS)) as st:
        await _after_calls(st, change)
        assert is_chained(st.entries[1]) is chained


# -- what matters, and what doesn't -------------------------------------------------------------


async def test_what_the_model_cant_see_doesnt_matter(host: Any) -> None:
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


async def test_a_phase_is_kept_and_sent_back() -> None:
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


async def test_another_picture_is_another_context() -> None:
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


# -- instructions -------------------------------------------------------------------------------


@both
async def test_the_second_and_later_updates_of_instructions_keep_the_chain(stock: bool) -> None:
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


async def test_the_guide_may_change_next_to_updated_instructions(host: Any) -> None:
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


# -- normalized contexts ------------------------------------------------------------------------


async def test_a_context_with_equal_counts_of_orphans_is_legal(
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


async def test_stock_sends_what_the_service_refuses() -> None:
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
async def test_two_messages_with_the_same_beginning_of_their_ids(stock: bool) -> None:
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


async def test_a_picture_in_an_assistants_message_moves_after_it() -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        picture = llm.ImageContent(image="https://example.com/a.png")
        ctx.add_message(role="assistant", content=["Look.", picture])
        ctx.add_message(role="user", content="Two")
        assert (await answer(st, ctx)).text == "You said: Two"
        roles = [i["role"] for i in st.entries[0].input]
        assert roles == ["system", "user", "assistant", "user", "user"]


# -- several users ------------------------------------------------------------------------------


async def test_a_request_without_words_is_refused_when_it_is_made() -> None:
    async with stage(echo()) as st:
        with pytest.raises(ValueError, match="no item"):
            st.llm.chat(chat_ctx=llm.ChatContext.empty())
        assert st.service.journal.connections == []


async def test_a_request_with_instructions_alone_anchors_no_other_conversation() -> None:
    async with stage(fixed("Private matter.", "Hello.")) as st:
        await answer(st, context(("system", "Be kind.")))
        await answer(st, hello())
        await st.check()
        assert "Private matter." not in [text for _, text in st.entries[-1].texts()]


@both
async def test_interleaved_conversations_all_stay_chained(stock: bool) -> None:
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
