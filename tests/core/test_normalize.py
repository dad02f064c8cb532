"""A normalized context: every change, and what never changes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtllm.content.items import Image, Item, Message, Opaque, Reasoning, Text, ToolCall, ToolOutput
from rtllm.context.normalize import (
    MAX_CALL_ID,
    MAX_NAME,
    NO_RESULT,
    ContextRepair,
    normalize_context,
)

USER = Message.of("user", "What time is it?")
SAID = Message.of("assistant", "One moment.")
ONE, TWO = ToolCall("c1", "clock", "{}"), ToolCall("c2", "clock", '{"zone":"UTC"}')
ONE_DONE, TWO_DONE = ToolOutput("c1", "nine"), ToolOutput("c2", "ten")
PICTURE = Image("https://example.com/a.png")


def legal(*items: Item) -> list[Item]:
    return list(normalize_context(items).items)


def notes(*items: Item) -> list[ContextRepair]:
    return list(normalize_context(items).notes)


@pytest.mark.parametrize(
    "items",
    [
        [],
        [USER],
        [USER, SAID, USER],
        [USER, ONE, ONE_DONE, SAID],
        [USER, ONE, TWO, TWO_DONE, ONE_DONE],
        [USER, Reasoning(b"{}"), ONE, ONE_DONE, Opaque("web_search_call", b"{}"), SAID],
        [Message("user", (PICTURE, Text("Who is it?")))],
    ],
)
def test_what_is_legal_stays_as_it_is(items: list[Item]) -> None:
    assert legal(*items) == items
    assert notes(*items) == []


def test_an_unanswered_call_gets_an_output_that_says_that() -> None:
    assert legal(USER, ONE, USER) == [USER, ONE, ToolOutput("c1", NO_RESULT), USER]
    assert notes(USER, ONE, USER) == [ContextRepair("output synthesised", "c1")]


def test_one_of_two_calls_unanswered() -> None:
    assert legal(ONE, TWO, TWO_DONE) == [ONE, TWO, TWO_DONE, ToolOutput("c1", NO_RESULT)]


def test_an_output_without_its_call_is_dropped() -> None:
    assert legal(ONE_DONE, USER) == [USER]
    assert notes(ONE_DONE, USER) == [ContextRepair("output dropped", "c1")]


def test_a_second_output_of_a_call_is_dropped() -> None:
    assert legal(ONE, ONE_DONE, ToolOutput("c1", "late")) == [ONE, ONE_DONE]
    assert notes(ONE, ONE_DONE, ToolOutput("c1", "late")) == [ContextRepair("output dropped", "c1")]


def test_words_between_a_call_and_its_output_come_after_the_pair() -> None:
    assert legal(USER, ONE, SAID, ONE_DONE) == [USER, ONE, ONE_DONE, SAID]


def test_an_output_before_its_call_moves_after_it() -> None:
    assert legal(ONE_DONE, USER, ONE) == [USER, ONE, ONE_DONE]


@pytest.mark.parametrize(
    ("given_items", "expected"),
    [
        ([ONE, ONE_DONE, TWO, TWO_DONE], [ONE, ONE_DONE, TWO, TWO_DONE]),
        ([ONE, TWO, TWO_DONE, ONE_DONE], [ONE, TWO, TWO_DONE, ONE_DONE]),
        ([ONE, SAID, TWO, ONE_DONE, TWO_DONE], [ONE, ONE_DONE, SAID, TWO, TWO_DONE]),
    ],
    ids=["pairs", "any order of outputs", "two runs"],
)
def test_outputs_come_after_their_run_of_calls(
    given_items: list[Item], expected: list[Item]
) -> None:
    assert legal(*given_items) == expected


def test_a_call_id_used_for_another_call_is_made_unique() -> None:
    again = ToolCall("c1", "clock", '{"zone":"CET"}')
    items: list[Item] = [ONE, ONE_DONE, USER, again, ToolOutput("c1", "ten"), USER]
    assert legal(*items) == [
        ONE,
        ONE_DONE,
        USER,
        ToolCall("c1-2", "clock", '{"zone":"CET"}'),
        ToolOutput("c1-2", "ten"),
        USER,
    ]
    assert notes(*items) == [ContextRepair("id changed", "c1")]


def test_the_same_call_twice_with_one_output_is_one_call() -> None:
    assert legal(ONE, ONE_DONE, ONE) == [ONE, ONE_DONE]
    assert notes(ONE, ONE_DONE, ONE) == [ContextRepair("call dropped", "c1")]


def test_the_same_call_twice_with_two_outputs_is_two_calls() -> None:
    items = legal(ONE, ONE_DONE, USER, ONE, ToolOutput("c1", "ten"))
    assert items[3:] == [ToolCall("c1-2", "clock", "{}"), ToolOutput("c1-2", "ten")]


@pytest.mark.parametrize("call_id", ["", "x" * (MAX_CALL_ID + 1)])
def test_an_id_that_is_empty_or_too_long_is_replaced(call_id: str) -> None:
    call, output = legal(ToolCall(call_id, "clock", "{}"), ToolOutput(call_id, "nine"))
    assert isinstance(call, ToolCall)
    assert isinstance(output, ToolOutput)
    assert call.call_id == output.call_id
    assert 0 < len(call.call_id) <= MAX_CALL_ID


def test_long_ids_with_one_beginning_stay_apart() -> None:
    long = "x" * MAX_CALL_ID
    ids = {
        i.call_id
        for i in legal(ToolCall(long + "a", "f", ""), ToolCall(long + "b", "f", ""))
        if isinstance(i, ToolCall)
    }
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [("look up!", "look_up_"), ("", "_"), ("n" * 80, "n" * MAX_NAME), ("a-B_9", "a-B_9")],
)
def test_a_name_that_the_service_refuses_is_changed(name: str, expected: str) -> None:
    call, _ = legal(ToolCall("c1", name, "{}"), ONE_DONE)
    assert isinstance(call, ToolCall)
    assert call.name == expected
    assert (ContextRepair("name changed", name) in notes(ToolCall("c1", name, "{}"), ONE_DONE)) is (
        name != expected
    )


@pytest.mark.parametrize("parts", [(), (Text(""),), (Text(""), Text(""))])
def test_an_empty_message_is_dropped(parts: tuple[Text, ...]) -> None:
    assert legal(Message("assistant", parts), USER) == [USER]
    assert notes(Message("assistant", parts)) == [
        ContextRepair("empty message dropped", "assistant")
    ]


def test_an_empty_text_next_to_words_goes_without_a_note() -> None:
    assert legal(Message("user", (Text(""), Text("a")))) == [Message.of("user", "a")]
    assert notes(Message("user", (Text(""), Text("a")))) == []


def test_an_assistants_picture_moves_into_a_user_message_after_it() -> None:
    message = Message("assistant", (PICTURE, Text("a")), "commentary")
    expected = [Message.of("assistant", "a", "commentary"), Message("user", (PICTURE,))]
    assert legal(message) == expected
    assert notes(message) == [ContextRepair("image moved", "assistant")]


def test_an_assistants_picture_without_words_leaves_no_empty_message() -> None:
    assert legal(Message("assistant", (PICTURE,))) == [Message("user", (PICTURE,))]


_ids = st.sampled_from(["c1", "c2", "", "x" * 70, "x" * 69 + "y", "c1-2"])
_texts = st.sampled_from(["", "a", "b"])
_items: st.SearchStrategy[Item] = st.one_of(
    st.builds(Message.of, st.sampled_from(["user", "assistant", "system"]), _texts),
    st.builds(lambda text: Message("assistant", (PICTURE, Text(text))), _texts),
    st.builds(ToolCall, _ids, st.sampled_from(["f", "f g", ""]), st.sampled_from(["{}", "{", ""])),
    st.builds(ToolOutput, _ids, _texts),
    st.just(Reasoning(b"{}")),
)
_contexts = st.lists(_items, max_size=12)


@given(_contexts)
def test_a_normalized_context_is_normal(items: list[Item]) -> None:
    once = normalize_context(items)
    again = normalize_context(once.items)
    assert again.items == once.items
    assert again.notes == ()


@given(_contexts)
def test_every_call_is_answered_once_directly_after_its_run(items: list[Item]) -> None:
    made = normalize_context(items).items
    calls = [item.call_id for item in made if isinstance(item, ToolCall)]
    outputs = [item.call_id for item in made if isinstance(item, ToolOutput)]
    assert sorted(calls) == sorted(outputs)
    assert len(set(calls)) == len(calls)
    waiting: set[str] = set()
    for item in made:
        if isinstance(item, ToolCall):
            waiting.add(item.call_id)
        elif isinstance(item, ToolOutput):
            waiting.remove(item.call_id)
        else:
            assert not waiting


@given(_contexts, _contexts)
def test_what_is_closed_does_not_change_when_the_context_grows(
    items: list[Item], more: list[Item]
) -> None:
    """Else a known state would no longer be a prefix, and everything would be sent again."""
    answered = {item.call_id for item in items if isinstance(item, ToolCall)}
    later = [i for i in more if not (isinstance(i, ToolOutput) and i.call_id in answered)]
    closed = [*items, Message.of("user", "end")]
    before = normalize_context(closed).items
    assert normalize_context([*closed, *later]).items[: len(before)] == before


@given(_contexts)
def test_words_keep_their_order(items: list[Item]) -> None:
    said = [(i.role, i.text) for i in items if isinstance(i, Message) and i.text]
    kept = [
        (i.role, i.text)
        for i in normalize_context(items).items
        if isinstance(i, Message) and i.text
    ]
    assert kept == said
    assert all(
        a is not b for a, b in pairwise(normalize_context(items).items) if isinstance(a, ToolCall)
    )


def test_each_of_very_many_calls_with_one_id_gets_its_own_in_linear_time() -> None:
    """With a search from the start for each of them this would take half a minute."""
    calls = 20_000
    items = [
        item for _ in range(calls) for item in (ToolCall("c", "f", "{}"), ToolOutput("c", "o"))
    ]
    ids = [i.call_id for i in normalize_context(items).items if isinstance(i, ToolCall)]
    assert (ids[0], ids[1], ids[-1], len(set(ids))) == ("c", "c-2", f"c-{calls}", calls)
