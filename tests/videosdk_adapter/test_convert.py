"""The two mappings by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from av import VideoFrame
from videosdk.agents import (
    ChatContext,
    ChatRole,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)

from rtllm import Item, Message, ToolCall, ToolOutput
from rtllm.codec.carried_fields import signature_of
from rtllm_videosdk.convert import as_recorded, calls_in, copy_context
from videosdk_adapter.requests import context


def said(text: str) -> Message:
    return Message.of("assistant", text)


def heard(text: str) -> Message:
    return Message.of("user", text)


def call(n: int) -> ToolCall:
    return ToolCall(f"call_{n}", "work", "{}")


def keys(ctx: ChatContext) -> list[str | None]:
    """The keys of what is sent."""
    items = [
        item
        for item in copy_context(ctx).items
        if isinstance(item, Message | ToolCall | ToolOutput)
    ]
    assert len(items) == len(copy_context(ctx).items)
    return [item.key for item in items]


def test_a_context_is_taken_by_value() -> None:
    ctx = context(("system", "Be kind."), ("user", "Hello"))
    before = copy_context(ctx).items
    ctx.items[1].content = "Changed"
    ctx.items.clear()
    assert before == (Message.of("system", "Be kind."), heard("Hello"))


def test_all_system_and_developer_texts_count() -> None:
    ctx = context(("system", "One."), ("user", "Hello"), ("developer", "Two."))
    roles = [item.role for item in copy_context(ctx).items if isinstance(item, Message)]
    assert roles == ["system", "user", "system"]


def test_an_update_of_the_tools_alone_changes_no_text() -> None:
    ctx = context(("system", "One."), ("system", "Two."))
    ctx.add_config_update(tools=["a"])
    assert len(copy_context(ctx).items) == 2


def test_instructions_without_a_place_come_first() -> None:
    ctx = context(("user", "Hello"))
    ctx.add_config_update(instructions="Be kind.")
    assert copy_context(ctx).items == (Message.of("system", "Be kind."), heard("Hello"))


def test_emptied_messages_and_marks_are_left_out() -> None:
    ctx = ChatContext.empty()
    ctx.add_message(role=ChatRole.USER, content="Hello")
    ctx.add_handoff(to_agent="Bob")
    ctx.add_message(role=ChatRole.USER, content=[])
    ctx.items[-1].content = None
    ctx.add_message(role=ChatRole.ASSISTANT, content=["", ""])
    assert copy_context(ctx).items == (heard("Hello"),)


def test_each_item_keeps_the_id_that_the_framework_gave_it() -> None:
    ctx = context(("system", "Be kind."), ("user", "Hello"))
    ctx.add_function_call("work", "{}", call_id="call_1")
    ctx.add_function_output("work", "done", "call_1")
    assert keys(ctx) == [item.id for item in ctx.items]
    assert copy_context(ctx).unsent == ()
    assert [one.key for one in calls_in(ctx)] == [ctx.items[2].id]


def test_a_message_with_a_picture_keeps_its_id() -> None:
    ctx = ChatContext.empty()
    picture = ImageContent(image=VideoFrame(8, 8, "rgb24"))
    ctx.add_message(role=ChatRole.USER, content=["Look", picture])
    copied = copy_context(ctx)
    (message,) = copied.items
    assert copied.frames == (picture,)
    assert isinstance(message, Message)
    assert message.has_images
    assert message.key == ctx.items[0].id


def test_the_ids_of_what_is_not_sent_are_taken_too() -> None:
    class Note:
        id = "note_1"

    ctx = context(("user", "Hello"), ("assistant", ""))
    ctx.add_handoff(to_agent="Bob")
    ctx.add_config_update(tools=["a"])
    ctx.items.append(Note())
    assert keys(ctx) == [ctx.items[0].id]
    assert copy_context(ctx).unsent == tuple(item.id for item in ctx.items[1:])


def test_instructions_that_were_updated_keep_the_id_of_the_message_in_whose_place_they_are() -> (
    None
):
    ctx = context(("system", "One."), ("user", "Hello"), ("system", "Two."))
    update = ctx.add_config_update(instructions="Three.")
    first, hello, second = (item.id for item in ctx.items[:3])
    assert [i.text for i in copy_context(ctx).items if isinstance(i, Message)] == [
        "Three.",
        "Hello",
    ]
    assert keys(ctx) == [first, hello]
    assert copy_context(ctx).unsent == (second, update.id)


def test_instructions_without_a_place_have_no_id() -> None:
    ctx = context(("user", "Hello"))
    update = ctx.add_config_update(instructions="Be kind.")
    assert keys(ctx) == [None, ctx.items[0].id]
    assert copy_context(ctx).unsent == (update.id,)


@pytest.mark.parametrize("unusable", [None, "", 7, b"x"])
def test_an_id_that_is_not_text_is_none(unusable: object) -> None:
    ctx = context(("user", "Hello"), ("assistant", ""))
    for item in ctx.items:
        object.__setattr__(item, "id", unusable)
    assert keys(ctx) == [None]
    assert copy_context(ctx).unsent == ()


def unchanged(one: ToolCall) -> ToolCall:
    return one


@pytest.mark.parametrize(
    ("output_", "nested", "recorded"),
    [
        ((said("A."), said("B.")), False, (said("A. B."),)),
        ((said("A."), call(1)), False, (said("A."), call(1))),
        ((said("A."), call(1)), True, None),
        ((call(1), said("A.")), False, None),
        ((call(1), call(2)), True, (call(1), call(2))),
        ((said("A."),), True, (said("A."),)),
        ((), False, ()),
    ],
)
def test_what_is_recorded(
    output_: tuple[Item, ...], nested: bool, recorded: tuple[Item, ...] | None
) -> None:
    assert as_recorded(output_, as_run=unchanged, nested=nested) == recorded


def test_of_a_graphs_words_something_else_is_recorded() -> None:
    assert as_recorded((said("{}"),), as_run=unchanged, graph=True) is None
    assert as_recorded((call(1),), as_run=unchanged, graph=True) == (call(1),)


@pytest.mark.parametrize("kept", [None, {}, {"thought_signature": 5}, {"other": object()}])
def test_metadata_of_another_kind_carries_nothing(kept: Any) -> None:
    assert [item.carried for item in calls_with(kept)] == [None]


def test_half_a_character_in_a_signature_harms_nothing() -> None:
    [item] = calls_with({"thought_signature": "sig\ud83d"})
    assert signature_of(item.carried) == "sig\ufffd"


def calls_with(metadata: Any) -> list[ToolCall]:
    """A call that the framework kept with some metadata, as it is sent."""
    ctx = ChatContext.empty()
    ctx.items.append(FunctionCall(name="look", arguments="{}", call_id="c", metadata=metadata))
    output = FunctionCallOutput(name="look", call_id="c", output="seen", is_error=False)
    ctx.items.append(output)
    return [item for item in copy_context(ctx).items if isinstance(item, ToolCall)]
