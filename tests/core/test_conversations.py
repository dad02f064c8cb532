"""Whose is it: which responses belong to a context, and which requests are grouped."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rtllm.content.items import Image, Item, Message, Opaque, Text, ToolCall, ToolOutput
from rtllm.context.belonging import Proof
from rtllm.context.conversations import (
    ALL_HIDDEN_BYTES,
    HIDDEN_BYTES,
    RELEASED_AFTER,
    RESPONSES,
    Conversation,
    Conversations,
    Membership,
)
from rtllm.context.outline import (
    HiddenItems,
    KnownPrefix,
    LaneAddress,
    Origin,
    Outline,
    ResponseAnchor,
)

PROMPT = Message.of("system", "You are Ada.")


def keyed(item: Item, key: str) -> Item:
    """An item under a framework's id."""
    assert isinstance(item, Message | ToolCall | ToolOutput)
    return replace(item, key=key)


class Desk:
    """Conversations, and how each was prepared."""

    def __init__(self, limit: int = 512, active_limit: int = 4096) -> None:
        self.released: list[int] = []
        self.all = Conversations(self.released.append, limit, active_limit)
        self.now = 0.0
        self._count = itertools.count(1)

    def asks(self, call: "Call", name: str | None = None) -> Membership:
        outline = Outline.of(call.context(), call.unsent)
        return self.all.join(outline, self.now, name)

    def answers(
        self,
        asked: Membership,
        *output: Item,
        hidden: tuple[HiddenItems, ...] = (),
        private: bool = False,
    ) -> ResponseAnchor:
        mark = f"mark-{next(self._count)}"
        anchor = ResponseAnchor(
            f"resp-{mark}",
            mark,
            "m",
            KnownPrefix.of(asked.context, output),
            Origin.of(asked.context),
            False,
            LaneAddress(1, None),
            False,
            private,
        )
        self.all.record(asked.conversation, anchor, hidden)
        return anchor

    def belonging(self, asked: Membership) -> list[tuple[str, Proof]]:
        return [(k.anchor.mark, proof) for k, proof in self.all.find_belonging(asked)]


_numbers = itertools.count()


class Call:
    """One caller's context, as a framework keeps it."""

    def __init__(self, *items: Item, unsent: tuple[str, ...] = ()) -> None:
        self.items: list[Item] = []
        self.unsent = unsent
        self._keys = (f"id-{next(_numbers)}-{n}" for n in itertools.count())
        self.add(PROMPT, *items)

    def add(self, *items: Item) -> "Call":
        self.items += [i if getattr(i, "key", None) else keyed(i, next(self._keys)) for i in items]
        return self

    def says(self, text: str) -> "Call":
        return self.add(Message.of("user", text))

    def hears(self, text: str, mark: str | None = None) -> "Call":
        return self.add(replace(Message.of("assistant", text), mark=mark))

    def context(self) -> list[Item]:
        return list(self.items)

    def copied(self) -> "Call":
        """The same history, ids included, in another session."""
        other = Call()
        other.items = list(self.items)
        return other


class Rebuilt(Call):
    """A context that is rebuilt for each request."""

    def context(self) -> list[Item]:
        keys: Iterator[str] = self._keys
        return [keyed(item, next(keys)) for item in self.items]


# -- the four proofs --------------------------------------------------------------------------


def test_a_response_belongs_to_the_context_with_the_keys_that_it_answered() -> None:
    desk, call = Desk(), Call()
    anchor = desk.answers(desk.asks(call.says("Hi.")), Message.of("assistant", "Hello!"))
    asked = desk.asks(call.hears("Hello!").says("Book it."))
    assert desk.belonging(asked) == [(anchor.mark, Proof.KEYS)]


def test_equal_words_under_other_keys_prove_nothing() -> None:
    desk = Desk()
    desk.answers(desk.asks(Call().says("Hi.")), Message.of("assistant", "Hello!"))
    twin = Call().says("Hi.")
    desk.asks(twin)
    assert desk.belonging(desk.asks(twin.hears("Hello!").says("Book it."))) == []


def test_who_continues_it_on_its_content_does_not_refute_its_caller() -> None:
    desk, call = Desk(), Call()
    anchor = desk.answers(desk.asks(call.says("Hi.")), Message.of("assistant", "Hello!"))
    stranger = desk.asks(Call().says("Hi.").hears("Hello!").says("Book it."))
    assert desk.belonging(stranger) == [(anchor.mark, Proof.CONTENT)]
    desk.all.record_continuation(anchor, stranger.context)
    asked = desk.asks(call.hears("Hello!").says("Book it."))
    assert desk.belonging(asked) == [(anchor.mark, Proof.KEYS)]


def test_a_mark_proves_it_where_keys_can_not() -> None:
    desk = Desk()
    calls = [Call(replace(Message.of("assistant", "Good day."), key="greeting")) for _ in range(2)]
    anchors = [desk.answers(desk.asks(call), Message.of("assistant", "Hm?")) for call in calls]
    for call, anchor in zip(calls, anchors, strict=True):
        call.hears("Hm?", anchor.mark).says("Yes.")
        assert desk.belonging(desk.asks(call)) == [(anchor.mark, Proof.MARK)]


def test_another_responses_mark_refutes_equal_keys() -> None:
    desk, call = Desk(), Call().says("Hi.")
    desk.answers(desk.asks(call), Message.of("assistant", "Hello!"))
    call.hears("Hello!", "mark-of-another").says("Yes.")
    assert desk.belonging(desk.asks(call)) == []


def test_a_mark_on_a_call_proves_it_too() -> None:
    desk, call = Desk(), Call().says("Hi.")
    made = ToolCall("c", "look", "{}")
    anchor = desk.answers(desk.asks(call), made)
    call.add(replace(made, mark=anchor.mark), ToolOutput("c", "it is nine"))
    assert desk.belonging(desk.asks(call)) == [(anchor.mark, Proof.MARK)]


def test_an_id_that_the_user_set_in_every_call_proves_nothing() -> None:
    desk = Desk()
    greeting = replace(Message.of("assistant", "Good day."), key="greeting")
    calls = [Call(greeting) for _ in range(3)]
    for call in calls:
        desk.answers(desk.asks(call), Message.of("assistant", "Hm?"))
    for call in calls:
        assert desk.belonging(desk.asks(call.hears("Hm?").says("Yes."))) == []


def test_a_user_set_id_is_not_a_hindrance_for_items_with_ids_of_their_own() -> None:
    desk = Desk()
    greeting = replace(Message.of("assistant", "Good day."), key="greeting")
    calls = [Call(greeting).says("Hi.") for _ in range(3)]
    anchors = [desk.answers(desk.asks(c), Message.of("assistant", "Hm?")) for c in calls]
    for call, anchor in zip(calls, anchors, strict=True):
        asked = desk.asks(call.hears("Hm?").says("Yes."))
        assert desk.belonging(asked) == [(anchor.mark, Proof.KEYS)]
    assert len({desk.asks(call).conversation.number for call in calls}) == 3


def test_the_ids_of_system_texts_count_where_nothing_else_was_answered() -> None:
    desk = Desk()
    calls = [Call() for _ in range(2)]
    anchors = [desk.answers(desk.asks(c), Message.of("assistant", "Hm?")) for c in calls]
    for call, anchor in zip(calls, anchors, strict=True):
        asked = desk.asks(call.hears("Hm?").says("Yes."))
        assert desk.belonging(asked) == [(anchor.mark, Proof.KEYS)]


def test_what_was_asked_twice_with_the_same_keys_is_ambiguous() -> None:
    desk, call = Desk(), Call().says("Hi.")
    for _ in range(2):
        desk.answers(desk.asks(call), Message.of("assistant", "Hello!"))
    assert desk.belonging(desk.asks(call.hears("Hello!").says("Yes."))) == []


def test_a_named_conversation_is_proof_of_its_own_and_refutes_others() -> None:
    desk = Desk()
    calls = [Rebuilt().says("Hi.") for _ in range(2)]
    anchors = [
        desk.answers(desk.asks(call, name), Message.of("assistant", "Hello!"))
        for call, name in zip(calls, "ab", strict=True)
    ]
    for call, name, anchor in zip(calls, "ab", anchors, strict=True):
        asked = desk.asks(call.hears("Hello!").says("Yes."), name)
        assert desk.belonging(asked) == [(anchor.mark, Proof.CONVERSATION)]


# -- content alone ----------------------------------------------------------------------------


def test_a_single_caller_whose_ids_change_is_found_by_content_and_stays_one() -> None:
    desk, call = Desk(), Rebuilt()
    numbers = set()
    for turn in range(5):
        asked = desk.asks(call.says(f"Turn {turn}."))
        numbers.add(asked.conversation.number)
        assert [p for _, p in desk.belonging(asked)] == [Proof.CONTENT] * (turn > 0)
        desk.answers(asked, Message.of("assistant", f"Answer {turn}."))
        call.hears(f"Answer {turn}.")
    assert numbers == {1}


def test_twins_whose_ids_change_are_never_found_by_content() -> None:
    desk = Desk()
    calls = [Rebuilt().says("Hi.") for _ in range(2)]
    for call in calls:
        desk.answers(desk.asks(call), Message.of("assistant", "Hello!"))
    for call in calls:
        assert desk.belonging(desk.asks(call.hears("Hello!").says("Yes."))) == []


def test_a_twin_whose_answer_was_lost_does_not_get_the_other_ones() -> None:
    desk = Desk()
    calls = [Rebuilt().says("Hi.") for _ in range(2)]
    asked = [desk.asks(call) for call in calls]
    desk.answers(asked[0], Message.of("assistant", "Hello!"))  # the other one's ended otherwise
    assert desk.belonging(desk.asks(calls[1].hears("Hello!").says("Yes."))) == []


@pytest.mark.parametrize("how", ["private", "running", "named", "known key"])
def test_content_is_not_proof_when_more_is_known(how: str) -> None:
    desk, call = Desk(), Rebuilt().says("Hi.")
    asked = desk.asks(call, "a" if how == "named" else None)
    desk.answers(asked, Message.of("assistant", "Hello!"), private=how == "private")
    asked.conversation.running = int(how == "running")
    context = call.hears("Hello!").says("Yes.").context()
    if how == "known key":
        context[3] = keyed(context[3], asked.context.keys[0])
    assert desk.belonging(desk.all.join(Outline.of(context), 0.0)) == []


def test_other_instructions_are_another_content() -> None:
    desk = Desk()
    one = Rebuilt().says("Hi.")
    desk.answers(desk.asks(one), Message.of("assistant", "Hello!"))
    other = Rebuilt().says("Hi.").hears("Hello!").says("Yes.")
    other.items[0] = Message.of("system", "You are Bob.")
    assert desk.belonging(desk.asks(other)) == []


# -- groups -----------------------------------------------------------------------------------


def test_a_copied_opening_makes_a_conversation_of_each_call() -> None:
    desk = Desk()
    template = Call(Message.of("user", "1+1?"), Message.of("assistant", "2."))
    calls = [template.copied().says("Hi.") for _ in range(40)]
    numbers = {desk.asks(call).conversation.number for call in calls}
    assert len(numbers) == 40


def test_a_cut_first_answer_keeps_each_call_by_itself() -> None:
    desk = Desk()
    calls = [Call().says("Hi.") for _ in range(40)]
    firsts = [desk.asks(call).conversation for call in calls]
    for call, first in zip(calls, firsts, strict=True):
        assert desk.asks(call.hears("Hel").says("Wait!")).conversation is first


def test_drafts_edits_and_windows_stay_with_their_conversation() -> None:
    desk, call = Desk(), Call().says("Hi.")
    first = desk.asks(call).conversation
    desk.asks(call.hears("Hello!").says("a draft"))
    call.items.pop()
    assert desk.asks(call.says("the turn")).conversation is first
    del call.items[1:3]
    assert desk.asks(call.hears("Yes.").says("more")).conversation is first


def test_two_sessions_on_one_transcript_part_once_both_go_on() -> None:
    desk, call = Desk(), Call().says("Hi.")
    anchor = desk.answers(desk.asks(call), Message.of("assistant", "Hello!"))
    call.hears("Hello!")
    sessions = [call.copied() for _ in range(2)]
    found: list[list[Conversation]] = [[], []]
    for turn in range(3):
        for number, session in enumerate(sessions):
            asked = desk.asks(session.says(f"{number} says {turn}"))
            assert (anchor.mark, Proof.KEYS) in desk.belonging(asked)
            found[number].append(asked.conversation)
    assert found[0][-1] is not found[1][-1]


def test_sessions_with_traces_of_their_own_part_at_once() -> None:
    desk, call = Desk(), Call(unsent=("config-0",)).says("Hi.")
    desk.answers(desk.asks(call), Message.of("assistant", "Hello!"))
    call.hears("Hello!")
    numbers = set()
    for number in range(1, 41):
        session = call.copied().says(f"I am {number}.")
        session.items[0] = replace(PROMPT, key=None)
        session.unsent = (f"config-{number}",)
        numbers.add(desk.asks(session).conversation.number)
    assert len(numbers) == 40


def test_a_side_call_is_a_conversation_of_its_own() -> None:
    desk, call = Desk(), Call().says("Hi.")
    first = desk.asks(call).conversation
    assert desk.asks(Call().says("Summarise: Hi.")).conversation is not first


# -- lifetime ---------------------------------------------------------------------------------


def secret(size: int) -> tuple[HiddenItems, ...]:
    return (HiddenItems(b"", 1, (Opaque("mcp_call", b"x" * size),), None),)


def test_hidden_items_are_bounded_for_a_conversation_and_for_all() -> None:
    desk, call = Desk(), Call()
    asked = desk.asks(Call())
    for turn in range(4):
        asked = desk.asks(call.says(f"{turn}"))
        desk.answers(asked, Message.of("assistant", "Ok."), hidden=secret(HIDDEN_BYTES // 2))
        call.hears("Ok.")
        assert asked.conversation.hidden_bytes <= HIDDEN_BYTES
    assert [bool(k.hidden) for k in asked.conversation.responses] == [False, False, True, True]
    for _ in range(ALL_HIDDEN_BYTES // HIDDEN_BYTES + 4):
        asked = desk.asks(Call().says("Hi."))
        desk.answers(asked, Message.of("assistant", "Ok."), hidden=secret(HIDDEN_BYTES))
    assert sum(c.hidden_bytes for c in desk.all) <= ALL_HIDDEN_BYTES
    assert asked.conversation.hidden_bytes == HIDDEN_BYTES


def test_what_is_larger_than_all_that_is_kept_is_not_kept() -> None:
    desk = Desk()
    asked = desk.asks(Call().says("Draw."))
    desk.answers(asked, Message.of("assistant", "Ok."), hidden=secret(HIDDEN_BYTES + 1))
    assert asked.conversation.hidden_bytes == 0


def test_after_ten_minutes_without_a_request_lanes_and_hidden_items_are_released() -> None:
    desk, call = Desk(), Call().says("Hi.")
    asked = desk.asks(call)
    anchor = desk.answers(asked, Message.of("assistant", "Ok."), hidden=secret(9))
    assert desk.all.next_release() == RELEASED_AFTER
    desk.all.release_idle(RELEASED_AFTER - 1)
    assert (desk.released, asked.conversation.hidden_bytes) == ([], 9)
    desk.all.release_idle(RELEASED_AFTER)
    assert (desk.released, asked.conversation.hidden_bytes) == ([1], 0)
    assert desk.all.next_release() is None
    desk.now = RELEASED_AFTER + 1
    assert desk.belonging(desk.asks(call.hears("Ok.").says("Yes."))) == [(anchor.mark, Proof.KEYS)]
    assert desk.all.next_release() == 2 * RELEASED_AFTER + 1


def test_a_conversation_that_runs_is_not_released() -> None:
    desk = Desk()
    asked = desk.asks(Call().says("Hi."))
    asked.conversation.running = 1
    desk.all.release_idle(2 * RELEASED_AFTER)
    assert desk.released == []


def test_conversations_in_use_are_not_forgotten_for_new_ones() -> None:
    desk = Desk(limit=2)
    calls = [Call().says(str(n)) for n in range(10)]
    for call in calls:
        desk.answers(desk.asks(call), Message.of("assistant", "Ok."))
    for call in calls:
        assert len(desk.belonging(desk.asks(call.hears("Ok.").says("Yes.")))) == 1
    desk.now = RELEASED_AFTER
    running = desk.asks(calls[0].hears("Ok.").says("Go on."))
    running.conversation.running = 1
    desk.now = 2 * RELEASED_AFTER
    desk.asks(Call().says("new"))
    assert [c.number for c in desk.all] == [1, 11]


def test_the_longest_unused_conversation_is_forgotten_whole() -> None:
    desk = Desk(limit=2, active_limit=2)
    calls = [Call().says(str(n)) for n in range(3)]
    first = desk.asks(calls[0])
    desk.answers(first, Message.of("assistant", "Ok."))
    for call in calls[1:]:
        desk.asks(call)
    assert desk.released == [1]
    asked = desk.asks(calls[0].hears("Ok.").says("Yes."))
    assert desk.belonging(asked) == []
    assert asked.conversation.number == 4
    desk.answers(first, Message.of("assistant", "late"))  # of a conversation that is forgotten
    assert [c.number for c in desk.all] == [3, 4]


def test_responses_are_bounded_and_the_newest_stay() -> None:
    desk, call = Desk(), Call()
    asked = desk.asks(Call())
    for turn in range(RESPONSES + 5):
        asked = desk.asks(call.says(str(turn)))
        desk.answers(asked, Message.of("assistant", "Ok."))
        call.hears("Ok.")
    assert len(asked.conversation.responses) == RESPONSES
    assert len(desk.belonging(desk.asks(call.says("last")))) == RESPONSES


def test_no_context_is_kept() -> None:
    desk = Desk()
    picture = Message("user", (Image("data:image/png;base64," + "x" * 1000), Text("What is it?")))
    asked = desk.asks(Call(picture))
    desk.answers(asked, Message.of("assistant", "A cat."))
    known = asked.conversation.responses[0]
    assert "What is it?" not in repr((known, asked.conversation.opening))
    assert "data:" not in repr((known, asked.conversation.latest))
