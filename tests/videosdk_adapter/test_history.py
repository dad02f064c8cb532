"""Calls in a history: what belongs to one response, and where its words go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rtllm import Item, Message, ToolCall, ToolOutput
from rtllm.adapters import CallGroup, CallHistory, Unseen, arrange
from rtllm_videosdk.parallel_calls import PipelineTurn
from videosdk_adapter.requests import context


def said(text: str, key: str | None = None) -> Message:
    return Message("assistant", Message.of("assistant", text).parts, key=key)


def heard(text: str) -> Message:
    return Message.of("user", text)


def call(n: int, key: str | None = None) -> ToolCall:
    return ToolCall(f"call_{n}", "work", "{}", key=key or f"item_{n}")


def output(n: int) -> ToolOutput:
    return ToolOutput(f"call_{n}", "done")


def history(*calls: ToolCall, words: str = "Look. ") -> CallHistory:
    known = CallHistory()
    group = CallGroup(calls, words)
    for one in calls:
        assert one.key is not None
        known.bind(one.key, group)
    return known


def placed(items: Sequence[Item], known: CallHistory, **more: Any) -> tuple[Item, ...]:
    return arrange(items, known.groups_in(items), **more)


def test_words_go_back_before_their_calls() -> None:
    items: list[Item] = [heard("go"), call(1), output(1), said("Look. Done."), heard("bye")]
    assert placed(items, history(call(1))) == (
        heard("go"),
        said("Look. "),
        call(1),
        output(1),
        said("Done."),
        heard("bye"),
    )


def test_the_rest_of_a_message_keeps_its_key_and_the_moved_words_have_none() -> None:
    items: list[Item] = [heard("go"), call(1), output(1), said("Look. Done.", "message")]
    made = placed(items, history(call(1)))
    assert [i.key for i in made if isinstance(i, Message)] == [None, None, "message"]


def test_a_message_that_is_moved_as_a_whole_keeps_its_key() -> None:
    items: list[Item] = [heard("go"), call(1), output(1), said("Look. ", "message"), heard("bye")]
    made = placed(items, history(call(1)))
    assert made[1] == said("Look. ")
    assert [i.key for i in made if isinstance(i, Message)] == [None, "message", None]


def test_words_that_were_cut_keep_their_place() -> None:
    items: list[Item] = [heard("go"), call(1), output(1), said("Lo"), heard("bye")]
    assert placed(items, history(call(1))) == tuple(items)


def test_words_of_the_next_turn_are_not_taken() -> None:
    items: list[Item] = [heard("go"), call(1), heard("bye"), said("Look. Done.")]
    assert placed(items, history(call(1))) == tuple(items)


def test_only_an_open_turn_has_words_that_are_not_recorded() -> None:
    items: list[Item] = [heard("go"), call(1), output(1)]
    assert placed(items, history(call(1))) == tuple(items)
    own = {1: CallGroup((call(1),), "Look. ")}
    assert placed(items, CallHistory(), own=own)[1] == said("Look. ")


def test_a_call_id_proves_nothing() -> None:
    other = call(1, key="another item")
    items: list[Item] = [heard("go"), other, output(1), said("Look. Done.")]
    assert placed(items, history(call(1))) == tuple(items)


def test_an_item_that_was_made_into_another_call_is_not_known() -> None:
    other = ToolCall("call_2", "work", "{}", key="item_1")
    items: list[Item] = [heard("go"), other, output(2), said("Look. Done.")]
    assert placed(items, history(call(1))) == tuple(items)


def test_an_id_that_occurs_twice_in_a_context_identifies_no_call() -> None:
    items: list[Item] = [call(1), output(1), said("Look. A."), call(1), output(1), said("Look. B.")]
    assert placed(items, history(call(1))) == tuple(items)


def test_an_id_that_two_responses_claim_proves_nothing_any_more() -> None:
    known = history(call(1))
    known.bind("item_1", CallGroup((call(1),), "Look. "))
    items: list[Item] = [heard("go"), call(1), output(1), said("Look. Done.")]
    assert placed(items, known) == tuple(items)
    known.bind("item_1", CallGroup((call(1),), "Look. "))
    assert placed(items, known) == tuple(items)


def test_as_many_calls_are_remembered_as_were_seen_lately() -> None:
    known = CallHistory(size=2)
    groups = [CallGroup((call(n),), "") for n in range(3)]
    known.bind("item_0", groups[0])
    known.bind("item_1", groups[1])
    assert known.groups_in([call(0)]) == {0: groups[0]}
    known.bind("item_2", groups[2])
    assert known.groups_in([call(0), call(1), call(2)]) == {0: groups[0], 2: groups[2]}
    assert repr(known) == "CallHistory(2 calls)"


def test_calls_of_one_answer_are_adjacent() -> None:
    items: list[Item] = [heard("go"), call(1), output(1), call(2), call(3), output(2), output(3)]
    made = placed(items, history(call(1), call(2), call(3), words=""))
    assert made[:4] == (heard("go"), call(1), call(2), call(3))


def test_what_the_framework_does_not_know_stands_in_its_place() -> None:
    items: list[Item] = [heard("go"), call(2), output(2)]
    group = CallGroup((call(2),), unseen=(call(1), output(1)))
    made = arrange(items, {}, {1: group}, [Unseen((call(0), output(0)), 1)])
    assert made == (heard("go"), call(0), output(0), call(1), call(2), output(1), output(2))


def test_unseen_calls_come_once_for_all_calls_of_their_response() -> None:
    items: list[Item] = [heard("go"), call(1), output(1), call(2), output(2)]
    group = CallGroup((call(1), call(2)), unseen=(call(7), output(7)))
    made = arrange(items, {}, {1: group, 3: group})
    calls = [i.call_id for i in made if isinstance(i, ToolCall)]
    assert calls == ["call_7", "call_1", "call_2"]


def test_unseen_calls_are_next_to_those_of_their_response_and_no_other_of_the_same_id() -> None:
    items: list[Item] = [heard("go"), call(1, "a"), output(1), call(1, "b"), output(1)]
    first = CallGroup((call(1),), unseen=(call(7), output(7)))
    second = CallGroup((call(1),), unseen=(call(8), output(8)))
    made = arrange(items, {}, {1: first, 3: second})
    assert [i.call_id for i in made if isinstance(i, ToolCall)] == [
        "call_7",
        "call_1",
        "call_8",
        "call_1",
    ]


def test_unseen_calls_of_a_completed_turn_are_there_until_the_user_speaks() -> None:
    items: list[Item] = [heard("go"), call(1), output(1)]
    group = CallGroup((call(1),), unseen=(call(7), output(7)))
    assert arrange(items, {1: group}) == (heard("go"), call(7), call(1), output(7), output(1))
    items.append(heard("again"))
    assert arrange(items, {1: group}) == tuple(items)


# -- the calls of an open turn ---------------------------------------------------------------------


async def test_a_call_is_refused_though_an_earlier_one_of_its_id_was_taken() -> None:
    turn = PipelineTurn(context(("user", "go")), (heard("go"),))
    for words in ("One. ", "Two. "):  # a call in each of two rounds, both by one id
        turn.hold(CallGroup((call(1),), words))
        turn.emit_next_call()
    turn.update([heard("go"), call(1, "a"), output(1)])
    assert turn.refused
    turn.update([heard("go"), call(1, "a"), output(1), call(1, "b")])
    assert not turn.refused


# -- a law ----------------------------------------------------------------------------------------

WORDS = st.lists(st.sampled_from(["alice ", "bob ", "look ", "done "]), max_size=3).map("".join)
GROUPS = st.builds(CallGroup, st.just(()), WORDS)
ITEMS = st.one_of(
    st.builds(said, WORDS),
    st.builds(heard, WORDS),
    st.builds(call, st.integers(0, 2)),
    st.builds(output, st.integers(0, 2)),
)


@st.composite
def contexts(
    draw: st.DrawFn,
) -> tuple[list[Item], Mapping[int, CallGroup], Mapping[int, CallGroup]]:
    """A context, and responses for some of its calls: of earlier turns, and of this one."""
    items: list[Item] = list(draw(st.lists(ITEMS, max_size=12)))
    groups = draw(st.lists(GROUPS, min_size=1, max_size=3))
    own = draw(st.lists(GROUPS, min_size=1, max_size=2))
    places: dict[str, dict[int, CallGroup]] = {"known": {}, "own": {}}
    for place, item in enumerate(items):
        if isinstance(item, ToolCall):
            whose = draw(st.sampled_from(["known", "own", "nobody's"]))
            if whose in places:
                places[whose][place] = draw(st.sampled_from(groups if whose == "known" else own))
    return items, places["known"], places["own"]


def spoken(items: Sequence[Item]) -> Counter[str]:
    texts = [i.text for i in items if isinstance(i, Message) and i.role == "assistant"]
    return Counter(word for text in texts for word in text.split())


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(contexts())
def test_law_no_word_is_lost_and_none_comes_from_another_turn(
    case: tuple[list[Item], Mapping[int, CallGroup], Mapping[int, CallGroup]],
) -> None:
    items, known, own = case
    made = arrange(items, known, own)
    assert not spoken(items) - spoken(made), "lost"
    of_this_turn = Counter(w for group in set(own.values()) for w in group.words.split())
    assert spoken(made) - spoken(items) <= of_this_turn
    rest = [i for i in items if not (isinstance(i, Message) and i.role == "assistant")]
    kept = [i for i in made if not (isinstance(i, Message) and i.role == "assistant")]
    assert Counter(map(repr, rest)) == Counter(map(repr, kept))
    assert [i for i in rest if isinstance(i, Message)] == [
        i for i in kept if isinstance(i, Message)
    ]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(contexts())
def test_law_a_turn_that_is_over_adds_no_word(
    case: tuple[list[Item], Mapping[int, CallGroup], Mapping[int, CallGroup]],
) -> None:
    items, known, own = case
    assert spoken(arrange(items, {**known, **own})) == spoken(items)
