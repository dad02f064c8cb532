"""The plan: what is known of a context, and what is sent of it."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtllm.content.items import Item, Message, ToolCall, ToolOutput
from rtllm.context.belonging import KnownResponse, KnownResponses, Proof
from rtllm.context.conversations import Conversation, Membership
from rtllm.context.normalize import normalize_context
from rtllm.context.outline import KnownPrefix, LaneAddress, Origin, Outline, Plan, ResponseAnchor
from rtllm.context.planner import Continuable, choose_plan

S, S2 = Message.of("system", "You are Ada."), Message.of("system", "You are Bob.")
NUDGE = Message.of("system", "Say hello.")
U1, U2, U3 = (Message.of("user", f"question {n}") for n in (1, 2, 3))
A1, A2 = (Message.of("assistant", f"answer {n}") for n in (1, 2))
C1, C2 = ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "f", '{"a":2}')
O1, O2 = ToolOutput("c1", "one"), ToolOutput("c2", "two")


def everywhere(_: ResponseAnchor) -> bool:
    return True


class Book:
    """The responses of one conversation, with short ways to add and to plan."""

    def __init__(self) -> None:
        self.responses: list[KnownResponse] = []

    def knows(
        self,
        context: Sequence[Item],
        *output: Item,
        in_field: bool = False,
        model: str = "m",
    ) -> str:
        name = f"r{len(self.responses) + 1}"
        outline = Outline.of(normalize_context(context).items)
        state, lane_address = KnownPrefix.of(outline, output), LaneAddress(1, name)
        anchor = ResponseAnchor(
            name, name, model, state, Origin.of(outline), in_field, lane_address, False
        )
        self.responses.append(KnownResponse(anchor, 1))
        return name

    def plan(
        self,
        *context: Item,
        model: str = "m",
        reachable: Callable[[ResponseAnchor], bool] = everywhere,
    ) -> Plan:
        outline = Outline.of(normalize_context(context).items)
        index = KnownResponses()
        for response in self.responses:
            index.add(response)
        conversation = Conversation(1, responses=deque(self.responses), requests=1)
        known = Continuable(((k, Proof.MARK) for k in index.matching(outline)), reachable=reachable)
        return choose_plan(Membership(conversation, outline), model, known)


def continued(plan: Plan) -> str | None:
    return None if plan.anchor is None else plan.anchor.response_id


def test_a_first_request_is_sent_in_full() -> None:
    assert Book().plan(S, U1) == Plan(None, (S, U1), False, "first request")


def test_only_what_is_new_is_sent() -> None:
    book = Book()
    known = book.knows([S, U1], A1)
    plan = book.plan(S, U1, A1, U2)
    assert (continued(plan), plan.items, plan.full_context_reason) == (known, (U2,), None)
    assert not plan.lead_in_field


def test_nothing_new_is_an_empty_delta() -> None:
    book = Book()
    known = book.knows([S, U1], A1)
    plan = book.plan(S, U1, A1)
    assert (continued(plan), plan.items) == (known, ())


@pytest.mark.parametrize(
    "context",
    [
        [S, U1, Message.of("assistant", "answer"), U2],
        [S, U1, U2],
        [S, U2, A1, U2],
        [S, A1, U1, U2],
        [S, U1, Message.of("assistant", "answer 1", "commentary"), U2],
        [S, A1, U2],
        [S, U1],
    ],
    ids=["half heard", "unheard", "edited", "swapped", "phase", "window", "rewound"],
)
def test_a_state_that_is_not_a_prefix_is_not_continued(context: list[Item]) -> None:
    book = Book()
    book.knows([S, U1], A1)
    plan = book.plan(*context)
    assert (continued(plan), plan.items) == (None, tuple(context))
    assert (plan.full_context_reason, plan.lead_in_field) == ("context changed", False)


def test_after_a_barge_in_the_state_before_the_cut_answer_is_continued() -> None:
    book = Book()
    before = book.knows([S, U1], A1)
    book.knows([S, U1, A1, U2], A2)
    plan = book.plan(S, U1, A1, U2, Message.of("assistant", "ans"), U3)
    assert continued(plan) == before
    assert plan.items == (U2, Message.of("assistant", "ans"), U3)


def test_the_longest_state_wins_even_if_it_is_older() -> None:
    book = Book()
    longest = book.knows([S, U1, A1, U2], A2)
    book.knows([S, U1], A1)
    assert continued(book.plan(S, U1, A1, U2, A2, U3)) == longest


def test_of_equal_states_the_newest_wins() -> None:
    book = Book()
    book.knows([S, U1], A1)
    newest = book.knows([S, U1], A1)
    assert continued(book.plan(S, U1, A1, U2)) == newest


def test_the_longest_reachable_state_wins() -> None:
    book = Book()
    near = book.knows([S, U1], A1)
    far = book.knows([S, U1, A1, U2], A2)
    plan = book.plan(S, U1, A1, U2, A2, U3, reachable=lambda a: a.response_id != far)
    assert (continued(plan), plan.items) == (near, (U2, A2, U3))


def test_an_unavailable_response_is_distinguished_from_a_changed_context() -> None:
    book = Book()
    book.knows([S, U1], A1)
    plan = book.plan(S, U1, A1, U2, reachable=lambda _: False)
    assert (continued(plan), plan.full_context_reason) == (None, "response unavailable")
    assert not plan.lead_in_field


def test_an_anchor_belongs_to_its_model() -> None:
    book = Book()
    book.knows([S, U1], A1, model="other")
    assert continued(book.plan(S, U1, A1, U2)) is None


# -- calls --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recorded",
    [
        [C1, O1, C2, O2],
        [C2, O2, C1, O1],
        [C1, C2, O1, O2],
        [C1, C2, O2, O1],
        [C2, C1, O1, O2],
    ],
)
def test_the_calls_of_a_response_are_found_in_any_order(recorded: list[Item]) -> None:
    book = Book()
    known = book.knows([S, U1], C1, C2)
    plan = book.plan(S, U1, *recorded)
    assert continued(plan) == known
    assert set(plan.items) == {O1, O2}


def test_respaced_arguments_are_the_same_call() -> None:
    book = Book()
    known = book.knows([S, U1], C1)
    plan = book.plan(S, U1, ToolCall("c1", "f", '{ "a": 1 }'), O1)
    assert (continued(plan), plan.items) == (known, (O1,))


def test_words_said_while_a_tool_ran_follow_its_output() -> None:
    book = Book()
    known = book.knows([S, U1], C1)
    plan = book.plan(S, U1, C1, A1, O1)
    assert (continued(plan), plan.items) == (known, (O1, A1))


def test_a_call_that_was_not_run_is_answered_as_well() -> None:
    book = Book()
    known = book.knows([S, U1], C1)
    plan = book.plan(S, U1, C1, U2)
    assert continued(plan) == known
    assert [type(item) for item in plan.items] == [ToolOutput, Message]


@pytest.mark.parametrize(
    "context",
    [
        [S, U1, C1, O1],
        [S, U1, C1, ToolCall("c2", "f", '{"a":3}'), O1, O2],
        [S, U1, C1, O1, A1, C2, O2],
        [S, U1, A1, C1, C2, O1, O2],
    ],
    ids=["a call dropped", "arguments repaired", "torn apart", "words before"],
)
def test_other_calls_than_the_responses_are_another_context(context: list[Item]) -> None:
    book = Book()
    book.knows([S, U1], C1, C2)
    assert continued(book.plan(*context)) is None


def test_pairs_of_other_origin_may_join_a_run() -> None:
    book = Book()
    known = book.knows([S, U1], C1)
    plan = book.plan(S, U1, C2, O2, C1, O1)
    assert (continued(plan), plan.items) == (known, (C2, O2, O1))


def test_the_second_of_two_tool_rounds_is_longer_than_the_first() -> None:
    book = Book()
    book.knows([S, U1], C1)
    second = book.knows([S, U1, C1, O1], C2)
    plan = book.plan(S, U1, C1, O1, C2, O2)
    assert (continued(plan), plan.items) == (second, (O2,))


# -- instructions -------------------------------------------------------------------------


def test_edited_instructions_move_into_the_field() -> None:
    book = Book()
    book.knows([S, U1], A1)
    plan = book.plan(S2, U1, A1, U2)
    assert plan == Plan(None, (U1, A1, U2), True, "instructions changed")


@pytest.mark.parametrize("lead", [[S2], [S, S2], [S], []])
def test_from_then_on_edits_cost_only_their_own_text(lead: list[Item]) -> None:
    book = Book()
    book.knows([S, U1], A1)
    known = book.knows([S2, U1, A1, U2], A2, in_field=True)
    plan = book.plan(*lead, U1, A1, U2, A2, U3)
    assert (continued(plan), plan.items, plan.lead_in_field) == (known, (U3,), True)


def test_once_in_the_field_a_whole_resend_keeps_them_there() -> None:
    book = Book()
    book.knows([S2, U1], A1, in_field=True)
    plan = book.plan(S2, U1, A1, U2, reachable=lambda _: False)
    assert (plan.lead_in_field, plan.items) == (True, (U1, A1, U2))


def test_edited_instructions_of_an_unknown_context_stay_items() -> None:
    book = Book()
    book.knows([S, U1], A1)
    plan = book.plan(S2, U2)
    assert (plan.lead_in_field, plan.items, plan.full_context_reason) == (
        False,
        (S2, U2),
        "context changed",
    )


def test_a_text_for_one_request_only_is_not_an_edit() -> None:
    """The greeting's instructions follow the leading system texts once, and are gone next turn."""
    book = Book()
    book.knows([S, NUDGE], A1)
    plan = book.plan(S, A1, U1)
    assert (plan.lead_in_field, plan.items) == (False, (S, A1, U1))


def test_a_trailing_text_keeps_its_place_and_the_state_before_it_is_used_next() -> None:
    book = Book()
    before = book.knows([S, U1], A1)
    assert book.plan(S, U1, A1, NUDGE).items == (NUDGE,)
    book.knows([S, U1, A1, NUDGE], A2)
    plan = book.plan(S, U1, A1, A2, U2)
    assert (continued(plan), plan.items) == (before, (A2, U2))


def test_a_context_without_instructions_never_uses_the_field() -> None:
    book = Book()
    book.knows([S, U1], A1)
    assert not book.plan(U1, A1, U2).lead_in_field


# -- the index ----------------------------------------------------------------------------


def test_a_lost_response_is_never_continued_again() -> None:
    book = Book()
    older = book.knows([S, U1], A1)
    book.knows([S, U1, A1, U2], A2)
    book.responses[-1].lost = True
    assert continued(book.plan(S, U1, A1, U2, A2, U3)) == older


def test_a_removed_response_is_found_no_more() -> None:
    index, book = KnownResponses(), Book()
    for asked, said in (([S, U1], A1), ([S, U1, A1, U2], C1)):
        book.knows(asked, said)
        index.add(book.responses[-1])
    context = Outline.of([S, U1, A1, U2, C1, O1])
    assert [k.anchor.response_id for k in index.matching(context)] == ["r2", "r1"]
    for known in book.responses:
        index.remove(known)
    assert not list(index.matching(context))


@given(st.lists(st.sampled_from([S, U1, A1, U2, C1, O1, C2, O2, NUDGE]), max_size=12), st.data())
def test_an_outline_grows_as_if_it_had_been_cut_whole(
    items: list[Item], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(items)))
    assert Outline.of(items[:at]).extended(items[at:]) == Outline.of(items)


def test_a_key_that_occurs_twice_identifies_nothing() -> None:
    twice = [replace(U1, key="k"), replace(A1, key="k"), replace(U2, key="other")]
    outline = Outline.of(twice, ["config"])
    assert (outline.keys, outline.traces) == (("other",), ("config",))


def test_an_outline_tells_its_lead_its_units_and_its_open_run() -> None:
    outline = Outline.of([S, S2, U1, S, C1, C2, O1, O2])
    assert (len(outline.lead), len(outline.units), outline.starts) == (2, 3, (2, 3, 4))
    assert len(outline.open_run) == 4
    assert outline.after(2) == (C1, C2, O1, O2)
    assert outline.after(3) == ()
    assert outline.run_at(2) == (C1, C2, O1, O2)
    assert not Outline.of([S, C1, O1, U1]).open_run
