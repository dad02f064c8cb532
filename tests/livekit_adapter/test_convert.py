"""The two mappings: a context to items as the stock plugin sends them, an output to a record."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.agents import llm

from rtllm import Message, ToolCall
from rtllm.codec.carried_fields import unpack
from rtllm.codec.responses_encoder import item_json
from rtllm.context.normalize import normalize_context
from rtllm_livekit.convert import as_recorded, to_items
from support.contexts import NO_RESULT

DYNAMIC = "lk.agent_task.instructions.dynamic"

texts = st.text(alphabet="abc \n", max_size=6)
words = st.text(alphabet="abc", min_size=1, max_size=6)
pictures = st.sampled_from(["https://h/a.png", "https://h/b.png"]).map(
    lambda url: llm.ImageContent(image=url)
)
breakpoints = st.just(None).map(lambda _: llm.CacheBreakpoint())
spoken: st.SearchStrategy[list[Any]] = st.lists(texts | breakpoints, min_size=1, max_size=4)
said: st.SearchStrategy[list[Any]] = st.lists(words, min_size=1, max_size=3)
shown: st.SearchStrategy[list[Any]] = spoken | st.lists(texts | pictures, min_size=1, max_size=4)
extras: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"openai": {"phase": "commentary"}}, {"other": 1}]
)


def sent(ctx: llm.ChatContext, *, marks: bool = False) -> list[dict[str, Any]]:
    """What goes over the wire for a context."""
    legal = normalize_context(to_items(ctx, breakpoints=marks).items)
    return [json.loads(bytes(item_json(item))) for item in legal.items]


def stock(ctx: llm.ChatContext, *, marks: bool = False) -> list[dict[str, Any]]:
    """What the stock plugin sends, without empty messages, which say nothing.

    An assistant's get their type, which may be left out: llama.cpp misses it.
    """
    items, _ = ctx.to_provider_format("openai.responses", prompt_cache_breakpoints=marks)
    return [
        {**item, "type": "message"} if item.get("role") == "assistant" else item
        for item in items
        if "role" not in item or item["content"]
    ]


def read(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items with contents as the model reads them: where a text is cut in two doesn't count."""
    made: list[dict[str, Any]] = []
    for item in items:
        content = item.get("content")
        if not isinstance(content, list):
            made.append(item)
            continue
        parts: list[dict[str, Any]] = []
        for part in content:
            if part["type"] == "input_text" and parts and set(parts[-1]) == {"type", "text"}:
                parts[-1] = {**part, "text": parts[-1]["text"] + part["text"]}
            else:
                parts.append(part)
        only_text = len(parts) == 1 and set(parts[0]) == {"type", "text"}
        made.append({**item, "content": parts[0]["text"] if only_text else parts})
    return made


@st.composite
def rounds(draw: st.DrawFn, number: int) -> list[llm.ChatItem]:
    """One answer with calls and their outputs, perhaps with words between."""
    group = f"item_{number}"
    items: list[llm.ChatItem] = []
    if draw(st.booleans()):
        items.append(
            llm.ChatMessage(id=group, role="assistant", content=draw(spoken), extra=draw(extras))
        )
    count = draw(st.integers(0, 3))
    calls = [
        llm.FunctionCall(
            id=f"{group}/fnc_{n}",
            group_id=draw(st.sampled_from([None, group])),
            call_id=f"call_{number}_{n}",
            name=draw(words),
            arguments=draw(st.sampled_from(["{}", '{"a": 1}', '{"a": [1, {"b": null}]}'])),
        )
        for n in range(count)
    ]
    outputs: list[llm.ChatItem] = [
        llm.FunctionCallOutput(
            call_id=call.call_id, name=call.name, output=draw(texts), is_error=draw(st.booleans())
        )
        for call in draw(st.permutations(calls))
    ]
    between = draw(st.booleans()) and bool(calls)
    meanwhile: list[llm.ChatItem] = (
        [llm.ChatMessage(id=f"said_{number}", role="assistant", content=["meanwhile"])]
        if between
        else []
    )
    return [*items, *calls, *meanwhile, *outputs]


@st.composite
def contexts(draw: st.DrawFn, users: st.SearchStrategy[list[Any]] = shown) -> llm.ChatContext:
    """Contexts that are legal as the stock plugin sends them."""
    items: list[llm.ChatItem] = []
    if draw(st.booleans()):
        items.append(llm.ChatMessage(role="system", content=draw(spoken)))
        if draw(st.booleans()):
            items.append(llm.ChatMessage(id=DYNAMIC, role="system", content=draw(said)))
    for number in range(draw(st.integers(0, 4))):
        match draw(st.integers(0, 5)):
            case 0 | 1:
                items.append(llm.ChatMessage(role="user", content=draw(users)))
            case 2 | 3:
                items += draw(rounds(number))
            case 4:
                role: Any = draw(st.sampled_from(["system", "developer"]))
                items.append(llm.ChatMessage(role=role, content=draw(spoken)))
            case _:
                items.append(llm.AgentHandoff(new_agent_id="b"))
                items.append(llm.AgentConfigUpdate(instructions="c"))
    return llm.ChatContext(items)


@settings(max_examples=300, deadline=None)
@given(contexts())
def test_law_what_is_sent_is_what_the_stock_plugin_sends(ctx: llm.ChatContext) -> None:
    assert sent(ctx) == stock(ctx)


@settings(max_examples=300, deadline=None)
@given(contexts(users=spoken))
def test_law_cache_breakpoints_are_where_the_stock_plugin_sends_them(
    ctx: llm.ChatContext,
) -> None:
    assert read(sent(ctx, marks=True)) == read(stock(ctx, marks=True))


mixed: st.SearchStrategy[list[Any]] = st.lists(
    texts | breakpoints | pictures, min_size=1, max_size=4
)


@settings(max_examples=300, deadline=None)
@given(contexts(users=mixed))
def test_law_pictures_next_to_breakpoints_are_where_the_stock_plugin_sends_them(
    ctx: llm.ChatContext,
) -> None:
    assert read(sent(ctx, marks=True)) == read(stock(ctx, marks=True))


@settings(max_examples=200, deadline=None)
@given(contexts(), st.booleans())
def test_law_converting_changes_nothing_of_the_context(ctx: llm.ChatContext, marks: bool) -> None:
    before = ctx.to_dict(exclude_image=False, exclude_timestamp=False)
    to_items(ctx, breakpoints=marks)
    assert ctx.to_dict(exclude_image=False, exclude_timestamp=False) == before


@settings(max_examples=300, deadline=None)
@given(contexts(), st.data())
def test_law_whatever_is_lost_of_a_context_every_call_is_answered_once(
    ctx: llm.ChatContext, data: st.DataObject
) -> None:
    keep = data.draw(st.lists(st.booleans(), min_size=len(ctx.items), max_size=len(ctx.items)))
    ctx.items = list(itertools.compress(ctx.items, keep))
    doubled = data.draw(st.lists(st.sampled_from(ctx.items), max_size=2)) if ctx.items else []
    ctx.items += [item for item in doubled if item.type.startswith("function")]
    items = sent(ctx)
    open_calls: list[str] = []
    seen: set[str] = set()
    for item in items:
        match item.get("type"):
            case "function_call":
                assert item["call_id"] not in seen
                seen.add(item["call_id"])
                open_calls.append(item["call_id"])
            case "function_call_output":
                open_calls.remove(item["call_id"])
            case _:
                assert open_calls == []
    assert open_calls == []


# -- what the stock plugin sends wrong, or not at all ----------------------------------------------


def call(call_id: str, item_id: str | None = None, **changes: Any) -> llm.FunctionCall:
    values = {"name": "tool", "arguments": "{}", **changes}
    return llm.FunctionCall(id=item_id or f"item_{call_id}", call_id=call_id, **values)


def result(call_id: str, output: str = "done") -> llm.FunctionCallOutput:
    return llm.FunctionCallOutput(call_id=call_id, name="tool", output=output, is_error=False)


def user(text: str) -> llm.ChatMessage:
    return llm.ChatMessage(role="user", content=[text])


def shape(items: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (i.get("role") or i["type"], i.get("content") or i.get("output") or i["call_id"])
        for i in items
    ]


def test_a_call_without_an_output_gets_one_that_says_that() -> None:
    ctx = llm.ChatContext([user("a"), call("c1"), user("b")])
    assert shape(sent(ctx)) == [
        ("user", "a"),
        ("function_call", "c1"),
        ("function_call_output", NO_RESULT),
        ("user", "b"),
    ]


def test_an_output_without_its_call_is_dropped() -> None:
    ctx = llm.ChatContext([user("a"), result("c1"), user("b")])
    assert shape(sent(ctx)) == [("user", "a"), ("user", "b")]


def test_two_calls_with_two_outputs_of_one_of_them_are_normalized() -> None:
    ctx = llm.ChatContext(
        [
            call("c1", "m/1"),
            call("c2", "m/2"),
            result("c1", "one"),
            result("c1", "again"),
            user("b"),
        ]
    )
    assert shape(sent(ctx)) == [
        ("function_call", "c1"),
        ("function_call", "c2"),
        ("function_call_output", "one"),
        ("function_call_output", NO_RESULT),
        ("user", "b"),
    ]
    assert shape(stock(ctx)) != shape(sent(ctx))


def test_messages_whose_ids_begin_alike_both_stay() -> None:
    ctx = llm.ChatContext(
        [
            llm.ChatMessage(id="t/1", role="assistant", content=["one"]),
            llm.ChatMessage(id="t/2", role="assistant", content=["two"]),
        ]
    )
    assert shape(sent(ctx)) == [("assistant", "one"), ("assistant", "two")]
    with pytest.raises(AssertionError):
        stock(ctx)


def test_a_picture_of_the_assistant_moves_into_a_users_message() -> None:
    picture = llm.ImageContent(image="https://h/a.png", inference_detail="low")
    ctx = llm.ChatContext([llm.ChatMessage(role="assistant", content=["see", picture])])
    assert sent(ctx) == [
        {"role": "assistant", "type": "message", "content": "see"},
        {
            "role": "user",
            "content": [{"type": "input_image", "image_url": "https://h/a.png", "detail": "low"}],
        },
    ]


def test_a_call_id_used_again_for_another_call_is_made_unique() -> None:
    ctx = llm.ChatContext(
        [
            call("c1", "m", arguments='{"n": 1}'),
            result("c1", "one"),
            user("again"),
            call("c1", "n", arguments='{"n": 2}'),
            result("c1", "two"),
        ]
    )
    items = sent(ctx)
    ids = [item["call_id"] for item in items if item.get("type") == "function_call"]
    answers = {i["call_id"]: i["output"] for i in items if "output" in i}
    assert len(set(ids)) == 2
    assert [answers[call_id] for call_id in ids] == ["one", "two"]


def test_a_picture_of_bytes_is_sent_as_a_data_address() -> None:
    png = (
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
        "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    ctx = llm.ChatContext(
        [llm.ChatMessage(role="user", content=["see", llm.ImageContent(image=png)])]
    )
    assert sent(ctx) == stock(ctx)
    assert sent(ctx)[0]["content"][0]["image_url"].startswith("data:image/png;base64,")


def test_the_expressive_guide_is_kept_apart_at_any_place() -> None:
    guide = llm.ChatMessage(
        id="lk.expressive.instructions", role="system", content=["with", "feeling"]
    )
    converted = to_items(llm.ChatContext([user("a"), guide, user("b")]), breakpoints=False)
    assert converted.guide == "with\nfeeling"
    assert [item.text for item in converted.items if isinstance(item, Message)] == ["a", "b"]


# -- what LiveKit records --------------------------------------------------------------------------

_CALL = ToolCall("c", "tool", "{}")


@pytest.mark.parametrize(
    ("output", "recorded"),
    [
        ([], []),
        ([Message.of("assistant", "a")], [Message.of("assistant", "a")]),
        (
            [Message.of("assistant", "a"), Message.of("assistant", "b")],
            [Message.of("assistant", "a b")],
        ),
        ([Message.of("assistant", ""), _CALL], [_CALL]),
        ([Message.of("assistant", "a"), _CALL], [Message.of("assistant", "a"), _CALL]),
        ([_CALL, Message.of("assistant", "a")], None),
        (
            [
                Message.of("assistant", "a", "commentary"),
                Message.of("assistant", "b", "final_answer"),
            ],
            [Message.of("assistant", "a b", "final_answer")],
        ),
    ],
    ids=["nothing", "words", "two messages", "a call", "words, call", "call, words", "phases"],
)
def test_an_output_becomes_what_livekit_records(output: list[Any], recorded: Any) -> None:
    made = as_recorded(tuple(output))
    assert made == (None if recorded is None else tuple(recorded))


# -- keys and marks -----------------------------------------------------------------------------


def test_each_item_keeps_its_id_and_the_mark_that_was_left_on_it() -> None:
    ours = {"rtllm": {"mark": "m-1"}, "openai": {"phase": "final_answer"}}
    ctx = llm.ChatContext.empty()
    ctx.add_message(role="user", content="Hi.", id="user-1")
    ctx.add_message(role="assistant", content="Look.", id="said-1", extra=ours)
    ctx.items += [
        llm.FunctionCall(id="call-1", call_id="c", name="look", arguments="{}", extra=ours),
        llm.FunctionCallOutput(id="output-1", call_id="c", output="seen", is_error=False),
    ]
    items = to_items(ctx, breakpoints=False).items
    assert [getattr(i, "key", None) for i in items] == ["user-1", "said-1", "call-1", "output-1"]
    assert [getattr(i, "mark", None) for i in items] == [None, "m-1", "m-1", None]
    assert [getattr(i, "phase", None) for i in items] == [None, "final_answer", None, None]


def test_constant_ids_are_not_keys_and_the_ids_of_what_is_never_sent_are_taken() -> None:
    ctx = llm.ChatContext.empty()
    ctx.add_message(role="system", content="Be kind.", id="lk.agent_task.instructions")
    ctx.items += [
        llm.AgentConfigUpdate(id="config-1", instructions="Be kind."),
        llm.AgentHandoff(id="handoff-1", new_agent_id="b"),
    ]
    converted = to_items(ctx, breakpoints=False)
    assert [getattr(item, "key", None) for item in converted.items] == [None]
    assert converted.unsent == ("config-1", "handoff-1")


@pytest.mark.parametrize("extra", [{}, {"rtllm": None}, {"rtllm": "m"}, {"rtllm": {"mark": 1}}])
def test_what_is_not_a_mark_of_ours_is_none(extra: dict[str, Any]) -> None:
    ctx = llm.ChatContext.empty()
    ctx.add_message(role="assistant", content="Hi.", extra=extra)
    assert [getattr(i, "mark", None) for i in to_items(ctx, breakpoints=False).items] == [None]


@pytest.mark.parametrize("kept", [None, 5, "", "{", "\ud83d", "\x00", ["{}"]])
def test_fields_of_a_host_that_were_kept_wrongly_harm_nothing(kept: Any) -> None:
    ours = {"rtllm": {"mark": "\ud83d", "carried": kept}, "google": {"thought_signature": kept}}
    ctx = llm.ChatContext.empty()
    ctx.items += [
        llm.FunctionCall(call_id="c", name="look", arguments="{}", extra=ours),
        llm.FunctionCallOutput(call_id="c", output="seen", is_error=False),
    ]
    call, _ = to_items(ctx, breakpoints=False).items
    assert isinstance(call, ToolCall)
    assert unpack(call.carried, "host") == ({}, {})
