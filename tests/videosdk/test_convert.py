"""The two mappings by themselves."""

from __future__ import annotations

import pytest
from videosdk.agents import ChatContext, ChatRole

from rtllm import Item, Message, ToolCall, ToolOutput
from rtllm_videosdk.convert import Answers, Unseen, arranged, as_recorded, taken
from videosdk.stage import context


def said(text: str) -> Message:
    return Message.of("assistant", text)


def heard(text: str) -> Message:
    return Message.of("user", text)


def call(n: int, arguments: str = "{}") -> ToolCall:
    return ToolCall(f"call_{n}", "work", arguments)


def output(n: int) -> ToolOutput:
    return ToolOutput(f"call_{n}", "done")


def test_a_context_is_taken_by_value() -> None:
    ctx = context(("system", "Be kind."), ("user", "Hello"))
    before = taken(ctx)
    ctx.items[1].content = "Changed"
    ctx.items.clear()
    assert before == [Message.of("system", "Be kind."), heard("Hello")]


def test_all_system_and_developer_texts_count() -> None:
    ctx = context(("system", "One."), ("user", "Hello"), ("developer", "Two."))
    roles = [item.role for item in taken(ctx) if isinstance(item, Message)]
    assert roles == ["system", "user", "system"]


def test_an_update_of_the_tools_alone_changes_no_text() -> None:
    ctx = context(("system", "One."), ("system", "Two."))
    ctx.add_config_update(tools=["a"])
    assert len(taken(ctx)) == 2


def test_instructions_without_a_place_come_first() -> None:
    ctx = context(("user", "Hello"))
    ctx.add_config_update(instructions="Be kind.")
    assert taken(ctx) == [Message.of("system", "Be kind."), heard("Hello")]


def test_emptied_messages_and_marks_are_left_out() -> None:
    ctx = ChatContext.empty()
    ctx.add_message(role=ChatRole.USER, content="Hello")
    ctx.add_handoff(to_agent="Bob")
    ctx.add_message(role=ChatRole.USER, content=[])
    ctx.items[-1].content = None
    assert taken(ctx) == [heard("Hello"), Message("user", ())]


@pytest.mark.parametrize(
    ("output_", "nested", "recorded"),
    [
        ((said("A."), said("B.")), False, (said("A. B."),)),
        ((said("A."), call(1)), False, (said("A."), call(1))),
        ((said("A."), call(1)), True, None),
        ((call(1), said("A.")), False, None),
        ((call(1, ""), call(2, " ")), True, (call(1), call(2))),
        ((said("A."),), True, (said("A."),)),
        ((), False, ()),
    ],
)
def test_what_is_recorded(
    output_: tuple[Item, ...], nested: bool, recorded: tuple[Item, ...] | None
) -> None:
    assert as_recorded(output_, nested=nested) == recorded


def test_of_a_graphs_words_something_else_is_recorded() -> None:
    assert as_recorded((said("{}"),), graph=True) is None
    assert as_recorded((call(1),), graph=True) == (call(1),)


def known(*calls: ToolCall, words: str = "Look. ") -> Answers:
    answers = Answers()
    answers.note(calls, words)
    return answers


def test_words_go_back_before_their_calls() -> None:
    items: list[Item] = [heard("go"), call(1), output(1), said("Look. Done."), heard("bye")]
    assert arranged(items, known(call(1))) == (
        heard("go"),
        said("Look. "),
        call(1),
        output(1),
        said("Done."),
        heard("bye"),
    )


def test_words_that_were_cut_stay_where_they_are() -> None:
    items: list[Item] = [heard("go"), call(1), output(1), said("Lo"), heard("bye")]
    assert arranged(items, known(call(1))) == tuple(items)


def test_words_of_the_next_turn_are_not_taken() -> None:
    items: list[Item] = [heard("go"), call(1), heard("bye"), said("Look. Done.")]
    assert arranged(items, known(call(1))) == tuple(items)


def test_only_an_open_turn_has_words_that_are_not_recorded() -> None:
    items: list[Item] = [heard("go"), call(1), output(1)]
    assert arranged(items, known(call(1))) == tuple(items)
    assert arranged(items, known(call(1)), open_from=1)[1] == said("Look. ")


def test_calls_of_one_answer_stand_together() -> None:
    items: list[Item] = [heard("go"), call(1), output(1), call(2), call(3), output(2), output(3)]
    made = arranged(items, known(call(1), call(2), call(3), words=""))
    assert made[:4] == (heard("go"), call(1), call(2), call(3))


def test_what_the_framework_does_not_know_stands_in_its_place() -> None:
    items: list[Item] = [heard("go"), call(2), output(2)]
    alone = Unseen((call(0), output(0)), 1)
    beside = Unseen((call(1), output(1)), 1, "call_2")
    made = arranged(items, known(call(2), words=""), unseen=[alone, beside])
    assert made == (heard("go"), call(0), output(0), call(1), output(1), call(2), output(2))
