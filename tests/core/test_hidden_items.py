"""What a framework doesn't record is put back where it stood, and nowhere else."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rtllm.content.items import Item, Message, Opaque, Reasoning, ToolCall, ToolOutput
from rtllm.context.hidden_items import find_hidden_items, restore_hidden_items
from rtllm.context.outline import Outline

SEALED = [Reasoning(b'{"type":"reasoning","encrypted_content":"%d"}' % n) for n in range(4)]
UNSEALED = Reasoning(b'{"type":"reasoning","encrypted_content":null}')
SEARCHED = Opaque("web_search_call", b'{"type":"web_search_call","id":"ws_1"}')
RETURNED = Opaque("web_search_call", b'{"type":"web_search_call"}')
COUNTED_REQUESTS = (Message.of("system", "S"), Message.of("user", "hello"))
A, B = ToolCall("a", "look", "{}"), ToolCall("b", "look", "{}")
DONE = (ToolOutput("a", "x"), ToolOutput("b", "y"))


def resent(
    context: tuple[Item, ...], output: tuple[Item, ...], recorded: tuple[Item, ...], *later: Item
) -> tuple[Item, ...]:
    """Make a later full context, with the hidden items of an earlier output."""
    hidden = find_hidden_items(Outline.of((*context, *recorded)), output, recorded)
    now = Outline.of((*context, *recorded, *later))
    return restore_hidden_items(now, now.items, hidden)


def test_reasoning_comes_before_what_it_led_to() -> None:
    said = Message.of("assistant", "Hi.")
    assert resent(COUNTED_REQUESTS, (SEALED[0], said), (said,)) == (
        *COUNTED_REQUESTS,
        SEALED[0],
        said,
    )


def test_each_call_has_its_own() -> None:
    output = (SEALED[0], A, SEALED[1], B)
    assert resent(COUNTED_REQUESTS, output, (A, B), *DONE) == (*COUNTED_REQUESTS, *output, *DONE)


def test_the_order_in_which_a_framework_records_calls_does_not_matter() -> None:
    hidden = find_hidden_items(Outline.of((*COUNTED_REQUESTS, A, B)), (SEALED[0], A, B), (A, B))
    now = Outline.of((*COUNTED_REQUESTS, B, DONE[1], A, DONE[0]))
    assert restore_hidden_items(now, now.items, hidden) == (
        *COUNTED_REQUESTS,
        B,
        DONE[1],
        SEALED[0],
        A,
        DONE[0],
    )


def test_unsealed_reasoning_says_nothing_and_stays_away() -> None:
    said = Message.of("assistant", "Hi.")
    assert resent(COUNTED_REQUESTS, (UNSEALED, said), (said,)) == (*COUNTED_REQUESTS, said)


def test_a_hosted_tools_item_comes_back_too() -> None:
    said = Message.of("assistant", "Found.")
    assert resent(COUNTED_REQUESTS, (SEARCHED, said), (said,)) == (
        *COUNTED_REQUESTS,
        RETURNED,
        said,
    )


def test_equal_words_elsewhere_get_nothing() -> None:
    said = Message.of("assistant", "Yes.")
    later = (Message.of("user", "sure?"), said)
    assert resent(COUNTED_REQUESTS, (SEALED[0], said), (said,), *later) == (
        *COUNTED_REQUESTS,
        SEALED[0],
        said,
        *later,
    )


def test_a_phase_comes_back_where_the_framework_records_none() -> None:
    said = Message.of("assistant", "Hi.", "final_answer")
    plain = Message.of("assistant", "Hi.")
    assert resent(COUNTED_REQUESTS, (said,), (plain,)) == (*COUNTED_REQUESTS, said)


@given(st.data())
def test_without_what_is_hidden_it_is_the_same_context(data: st.DataObject) -> None:
    parts: st.SearchStrategy[Item] = st.sampled_from(
        [*SEALED, SEARCHED, A, B, Message.of("assistant", "Hm.")]
    )
    output = tuple(data.draw(st.lists(parts, unique=True)))
    recorded = tuple(item for item in output if isinstance(item, Message | ToolCall))
    called = {item.call_id for item in output if isinstance(item, ToolCall)}
    later: tuple[Item, ...] = tuple(done for done in DONE if done.call_id in called)
    sent = resent(COUNTED_REQUESTS, output, recorded, *later)
    assert tuple(i for i in sent if not isinstance(i, Reasoning | Opaque)) == (
        *COUNTED_REQUESTS,
        *recorded,
        *later,
    )
    hidden = [item for item in sent if isinstance(item, Reasoning | Opaque)]
    last = max((i for i, item in enumerate(output) if item in recorded), default=-1)
    expected = [RETURNED if i is SEARCHED else i for i in output[: last + 1]]
    assert hidden == [i for i in expected if isinstance(i, Reasoning | Opaque)]
    assert all(msgspec.json.decode(item.json) for item in hidden)
