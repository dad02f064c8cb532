"""The gate for calls that can't run, and the tokens of a turn with several responses."""

from __future__ import annotations

import pytest

from rtllm import Message, ResponseFailed, ToolCall, ToolOutput, Usage
from rtllm.adapters import CallGate, add_usage, explain_unreadable

GOOD, BAD = ToolCall("1", "good", "{}"), ToolCall("2", "bad", "{")


def explain(call: ToolCall) -> str | None:
    return explain_unreadable(call, ("good",))


def test_calls_that_can_run_pass() -> None:
    assert CallGate().answer([GOOD], explain) == ([GOOD], [])


def test_the_others_are_answered_for_the_model_and_fail_the_turn_if_they_go_on() -> None:
    gate = CallGate(limit=1)
    passed, items = gate.answer([BAD, GOOD], explain)
    assert passed == [GOOD]
    assert items[0] == BAD
    assert isinstance(items[1], ToolOutput)
    assert items[1].output == "error: there is no tool named 'bad'; nothing was run"
    with pytest.raises(ResponseFailed, match="can't be run") as failed:
        gate.answer([BAD], explain, "resp-1")
    assert failed.value.details.code == "tool_call_invalid"
    assert failed.value.details.request_id == "resp-1"


def test_the_text_is_answered_too_if_no_call_can_run() -> None:
    words = Message.of("assistant", "One moment.")
    _, items = CallGate().answer([BAD], explain, text="One moment.")
    assert items[:2] == [words, BAD]
    _, items = CallGate().answer([BAD, GOOD], explain, text="One moment.")
    assert items[0] == BAD


@pytest.mark.parametrize("arguments", ["{", "[1]", '{"a": ' + "[" * 200 + "]" * 200 + "}"])
def test_arguments_that_no_framework_can_read(arguments: str) -> None:
    assert explain(ToolCall("1", "good", arguments)) is not None
    assert explain(ToolCall("1", "good", "")) is None


def test_tokens_are_added_and_what_is_unknown_stays_unknown() -> None:
    one, other = Usage(10, 2, cached=5, tier="flex"), Usage(20, 3, tier="default")
    assert add_usage(one, other) == Usage(30, 5, cached=5, tier="default")
    assert add_usage(None, one) is add_usage(one, None) is one
