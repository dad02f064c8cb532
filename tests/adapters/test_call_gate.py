"""The gate for calls that can't run."""

from __future__ import annotations

import pytest

from rtllm import Message, ResponseEnded, ResponseFailed, ToolCall, ToolOutput
from rtllm.adapters import CallGate, CallGroup, EmittedOutput, Unseen, explain_unreadable

GOOD, BAD = ToolCall("1", "good", "{}"), ToolCall("2", "bad", "{")


def explain(call: ToolCall) -> str | None:
    return explain_unreadable(call, ("good",))


def output(*calls: ToolCall, text: str = "", before: str = "") -> EmittedOutput:
    ended = ResponseEnded("completed", response_id="resp-1")
    return EmittedOutput(text=text, before=before, calls=list(calls), ended=ended)


def checked(gate: CallGate, one: EmittedOutput, **more: bool) -> tuple[bool, CallGroup | None]:
    return gate.check(one, explain, at=3, **more), one.group


def test_a_response_without_calls_passes() -> None:
    gate = CallGate()
    assert checked(gate, output(text="Hello.")) == (False, None)
    assert gate.unseen == []


def test_calls_that_can_run_pass_with_the_text_before_them() -> None:
    gate = CallGate()
    asks, group = checked(gate, output(GOOD, text="Now.", before="One moment."))
    assert not asks
    assert group is not None
    assert (group.calls, group.words, group.before) == ((GOOD,), "Now.", "One moment. ")
    assert gate.unseen == []


def test_text_that_the_framework_does_not_record_is_not_the_calls() -> None:
    _, group = checked(CallGate(), output(GOOD, text="Now.", before="Wait."), is_recorded=False)
    assert group is not None
    assert (group.words, group.before) == ("", "")


def test_the_others_are_answered_for_the_model_and_fail_the_turn_if_they_go_on() -> None:
    gate = CallGate(limit=1)
    asks, group = checked(gate, output(BAD, GOOD))
    assert not asks
    assert group is not None
    assert group.calls == (GOOD,)
    error = ToolOutput("2", "error: there is no tool named 'bad'; nothing was run")
    assert group.unseen == (BAD, error)
    assert gate.unseen == []
    with pytest.raises(ResponseFailed, match="can't be run") as failed:
        checked(gate, output(BAD))
    assert failed.value.details.code == "tool_call_invalid"
    assert failed.value.details.request_id == "resp-1"
    assert repr(gate) == "CallGate(0 answered, -1 left)"


def test_the_model_is_asked_again_with_its_text_if_no_call_can_run() -> None:
    gate = CallGate()
    assert checked(gate, output(BAD, text="One moment.")) == (True, None)
    error = ToolOutput("2", "error: there is no tool named 'bad'; nothing was run")
    assert gate.unseen == [Unseen((Message.of("assistant", "One moment."), BAD, error), 3)]


@pytest.mark.parametrize("arguments", ["{", "[1]", '{"a": ' + "[" * 200 + "]" * 200 + "}"])
def test_arguments_that_no_framework_can_read(arguments: str) -> None:
    assert explain(ToolCall("1", "good", arguments)) is not None
    assert explain(ToolCall("1", "good", "")) is None
