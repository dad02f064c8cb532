"""Conversations are recognised by what is said in them."""

import pytest

from rtllm.chain import Anchor, Home, Outline, State
from rtllm.conversations import Conversation, Conversations
from rtllm.items import Item, Message

S, S2 = Message.of("system", "You are Ada."), Message.of("system", "Summarise.")
HI, YES = Message.of("user", "hi"), Message.of("user", "yes")
HELLO, BYE = Message.of("assistant", "Hello!"), Message.of("assistant", "Bye!")


class Desk:
    """Conversations, and the forgotten ones."""

    def __init__(self, limit: int = 128) -> None:
        self.forgotten: list[int] = []
        self.all = Conversations(self.forgotten.append, limit)
        self._count = 0

    def find(self, *context: Item) -> Conversation:
        return self.all.find(Outline.of(context), "m")

    def answered(self, conversation: Conversation, *output: Item) -> Anchor:
        self._count += 1
        state = State.of(conversation.latest, output)
        anchor = Anchor(str(self._count), "m", state, False, Home(1, None), False)
        conversation.ledger.record(anchor)
        return anchor


def test_equal_prompts_make_no_common_conversation() -> None:
    desk = Desk()
    assert desk.find(S, HI) is not desk.find(S, YES)


def test_one_equal_message_makes_no_common_conversation() -> None:
    desk = Desk()
    assert desk.find(S, HI) is not desk.find(S, HI)


def test_a_known_state_makes_a_conversation() -> None:
    desk = Desk()
    one = desk.find(S, HI)
    desk.answered(one, HELLO)
    desk.find(S, YES)
    assert desk.find(S, HI, HELLO, YES) is one


def test_two_equal_messages_make_a_conversation_without_any_answer() -> None:
    desk = Desk()
    one = desk.find(S, HI, HELLO, HI)
    assert desk.find(S, HI, HELLO, HI, YES) is one


def test_a_history_cut_to_a_window_is_found_by_its_end() -> None:
    desk = Desk()
    one = desk.find(S, HI, HELLO, YES, BYE)
    assert desk.find(S, YES, BYE, HI) is one


def test_a_history_under_other_instructions_is_the_same_conversation() -> None:
    desk = Desk()
    one = desk.find(S, HI)
    desk.answered(one, HELLO)
    assert desk.find(S2, HI, HELLO, YES) is one


def test_a_summary_is_a_conversation_of_its_own() -> None:
    desk = Desk()
    one = desk.find(S, HI, HELLO, YES)
    assert desk.find(S2, Message.of("user", "hi Hello! yes")) is not one


def test_callers_with_equal_openings_get_conversations_of_their_own() -> None:
    desk = Desk()
    pair = [desk.find(S, HI), desk.find(S, HI)]
    for conversation in pair:
        desk.answered(conversation, HELLO)
    found: list[Conversation] = []
    for said in (YES, BYE):
        conversation = desk.find(S, HI, HELLO, said)
        anchor = conversation.ledger.plan(conversation.latest, "m", lambda _: True).anchor
        assert anchor is not None
        conversation.continued[anchor.response_id] += 1
        found.append(conversation)
    assert found[0] is not found[1]


def test_the_conversation_that_knows_most_wins() -> None:
    desk = Desk()
    short = desk.find(S, HI)
    desk.answered(short, HELLO)
    long = desk.find(S, HI)
    desk.answered(long, HELLO)
    long.latest = Outline.of([S, HI, HELLO, YES])
    desk.answered(long, BYE)
    assert desk.find(S, HI, HELLO, YES, BYE, HI) is long


def test_the_longest_unused_conversation_is_forgotten_and_told_so() -> None:
    desk = Desk(limit=2)
    one = desk.find(S, HI, HELLO)
    desk.find(S, YES, BYE)
    assert desk.find(S, HI, HELLO, YES) is one
    third = desk.find(S, BYE, YES)
    assert desk.forgotten == [2]
    assert third.number == 3
    assert desk.find(S, HI, HELLO, YES, BYE) is one


@pytest.mark.parametrize("words", [(HI,), (HI, HELLO, YES)])
def test_a_new_conversation_remembers_how_long_its_opening_was(words: tuple[Item, ...]) -> None:
    assert Desk().find(S, *words).opening == len(words)


def test_a_new_conversation_is_never_the_one_to_be_forgotten() -> None:
    desk = Desk(limit=2)
    for number in range(5):
        opening = Message.of("user", f"caller {number}")
        one = desk.find(S, opening)
        desk.answered(one, HELLO)
        assert desk.find(S, opening, HELLO, YES) is one
