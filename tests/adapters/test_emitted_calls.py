"""The calls of a turn, found again in a context whose framework made their ids."""

from __future__ import annotations

from rtllm import Message, ToolCall, ToolOutput
from rtllm.adapters import CallGroup, CallHistory, EmittedCalls

GO, AGAIN, OUTPUT = (
    Message.of("user", "go"),
    Message.of("user", "again"),
    ToolOutput("call", "done"),
)


def call(key: str | None) -> ToolCall:
    return ToolCall("call", "work", "{}", key=key)


def emitted(*texts: str, base: tuple[object, ...] = (GO,)) -> EmittedCalls:
    """The calls of a response with each text, all by one id."""
    made = EmittedCalls(base)
    for text in texts:
        made.add(call(None), CallGroup((call(None),), text))
    return made


def found(calls: EmittedCalls, items: list[object]) -> dict[int, str]:
    return {index: group.words for index, group in calls.groups_in(items).items()}


def test_calls_of_one_id_are_found_in_their_order() -> None:
    calls, history = emitted("One.", "Two."), CallHistory()
    items: list[object] = [GO, call("a"), OUTPUT, call("b"), OUTPUT]
    assert found(calls, items) == {1: "One.", 3: "Two."}
    calls.bind(history, items)
    assert calls.keys == {"a", "b"}
    assert {i: group.words for i, group in history.groups_in(items).items()} == {
        1: "One.",
        3: "Two.",
    }
    assert found(calls, [GO, call("b"), OUTPUT]) == {1: "Two."}


def test_items_without_an_id_of_their_own_are_found_by_their_place() -> None:
    calls, history = emitted("One.", "Two."), CallHistory()
    items: list[object] = [GO, call("x"), OUTPUT, call("x"), OUTPUT]
    for _ in range(2):
        assert found(calls, items) == {1: "One.", 3: "Two."}
        calls.bind(history, items)


def test_an_id_that_was_there_before_is_not_the_items_own() -> None:
    base = (GO, call("x"), OUTPUT, AGAIN)
    assert found(emitted("Two.", base=base), [*base, call("x"), OUTPUT]) == {4: "Two."}


def test_an_item_of_another_turn_is_not_its_own() -> None:
    calls, history = emitted("One."), CallHistory()
    calls.bind(history, [GO, call("a")], others={"a"})
    assert (calls.keys, calls.unrecorded) == (set(), {"call"})
    calls.bind(history, [GO, call("a"), call("b")])
    assert (calls.keys, calls.unrecorded) == ({"b"}, set())
    assert calls.call_ids == ["call"]
    assert repr(calls) == "EmittedCalls(1 calls)"
